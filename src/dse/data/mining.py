"""New pairs of the training sentences for the teacher to score: a student learns from more pairs than are given.

Sentences are recombined with sentences of similar embeddings, because dissimilar ones are easy and teach little
(Augmented SBERT: Thakur et al., NAACL 2021, arXiv:2010.08240).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dse.data.pairs import Pairs

if TYPE_CHECKING:
    from torch import Tensor

NEAR = 10  # most similar second sentences that a first sentence is paired with

Encode: TypeAlias = "Callable[[list[str]], Tensor]"  # from texts to embeddings (n, d)


def recombine(pairs: Pairs, encode: Encode, count: int, seed: int) -> Pairs:
    """Pair first sentences with the most similar second sentences that they were not paired with yet.

    Args:
        pairs: Source of the sentences; each keeps its side.
        encode: Gives embeddings, compared by cosine.
        count: Number of new pairs; all that exist, if they are fewer.
        seed: Seed of the draw among the possible pairs.

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
    possible: list[tuple[str, str]] = []
    similar = semantic_search(encode(left), encode(right), top_k=2 * NEAR)  # twice, as pairs that exist are left out
    for a, hits in zip(left, similar, strict=True):
        partners = [(a, right[int(hit["corpus_id"])]) for hit in hits]
        possible += [(a, b) for a, b in partners if a != b and (a, b) not in taken][:NEAR]
    drawn = np.sort(np.random.default_rng(seed).permutation(len(possible))[:count])
    chosen = [possible[i] for i in drawn]
    return Pairs([a for a, _ in chosen], [b for _, b in chosen], source=f"{pairs.source}, recombined")


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
