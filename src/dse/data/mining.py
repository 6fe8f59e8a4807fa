"""New pairs made of the training sentences, for the teacher to judge: more to learn from than its labels hold.

A cross-encoder is only as useful to its student as the pairs it is asked about. Sentences recombined with those that
lie near them give pairs that are hard to tell, in any number (Thakur et al., NAACL 2021, arXiv:2010.08240).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.data.pairs import Pairs

if TYPE_CHECKING:
    from torch import Tensor

NEAR = 10  # neighbours of a sentence that may become its partner

Encode: TypeAlias = "Callable[[list[str]], Tensor]"  # from texts to embeddings (n, d)


def recombine(pairs: Pairs, encode: Encode, count: int, seed: int) -> Pairs:
    """Pair first sentences with second ones that lie near them and were not their partners.

    Args:
        pairs: Where the sentences come from; each keeps its side.
        encode: Gives the vectors whose cosine says what is near.
        count: How many new pairs; fewer come back where there are not so many.
        seed: Decides which.

    Returns:
        Pairs without labels, none of them among ``pairs`` in either order.

    Example:
        >>> given = Pairs(["a red bike", "a tent"], ["one red bicycle", "some tent"])
        >>> recombine(given, getfixture("student").encode, 5, seed=0).tuples()
        [('a red bike', 'some tent'), ('a tent', 'one red bicycle')]
    """
    from sentence_transformers.util import semantic_search

    left, right = (list(dict.fromkeys(side)) for side in (pairs.sentence1, pairs.sentence2))
    taken = set(pairs.tuples()) | {(b, a) for a, b in pairs.tuples()}
    found: list[tuple[str, str]] = []
    near = semantic_search(encode(left), encode(right), top_k=2 * NEAR)  # more than enough, as some are partners
    for a, hits in zip(left, near, strict=True):
        partners = [(a, right[int(hit["corpus_id"])]) for hit in hits]
        found += [(a, b) for a, b in partners if a != b and (a, b) not in taken][:NEAR]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:count])
    some = [found[i] for i in chosen]
    return Pairs([a for a, _ in some], [b for _, b in some], source=f"{pairs.source}, recombined")


def with_unlabelled(pairs: Pairs, unlabelled: Pairs) -> Pairs:
    """The pairs of both; labels that the second may have are not used.

    Example:
        >>> both = with_unlabelled(Pairs(["a"], ["b"], np.array([1.0])), Pairs(["c"], ["d"]))
        >>> both.tuples(), both.label.tolist(), both.labelled.tolist()
        ([('a', 'b'), ('c', 'd')], [1.0, 0.0], [True, False])
    """
    label, n = pairs.label, len(unlabelled)
    return Pairs(
        pairs.sentence1 + unlabelled.sentence1,
        pairs.sentence2 + unlabelled.sentence2,
        None if label is None or not len(pairs) else np.append(label, np.zeros(n, label.dtype)),
        pairs.source,
        labelled=np.append(pairs.labelled, np.zeros(n, bool)),
    )
