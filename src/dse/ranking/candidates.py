"""Which documents a teacher of pairs is asked about: near ones by two measures, and random ones.

A list whose scores are all high, or all low, teaches little. So its documents are spread over the ranks: the best of
the student, ranks further down at growing distances, BM25's best, and documents drawn from the whole corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.evaluation.ranking.rankers import BM25Ranker, StudentRanker
from dse.model import DSE
from dse.ranks import ranks

DEPTH = 200  # ranks of the student that candidates come from
BEST, FURTHER, BM25 = 0.3, 0.2, 0.2  # shares of a list; the rest is random

Rows = np.ndarray


def draw_candidates(
    student: DSE,
    queries: Sequence[str],
    documents: Sequence[str],
    known: Sequence[set[int]],
    size: int,
    generator: np.random.Generator,
    show_progress_bar: bool = False,
) -> list[Rows]:
    """Draw documents for each query, none that is known.

    Args:
        student: Its ranking is the first source.
        queries: q texts.
        documents: n texts.
        known: For each query rows that are not drawn: those scored before, and the query itself.
        size: Documents of a list.
        generator: Of everything drawn.
        show_progress_bar: Whether to show one.

    Returns:
        For each query rows of the documents, at most ``size``.
    """
    depth = min(DEPTH, len(documents))
    prompt = student.pair_prompts[1]
    own = student.embed_texts(list(ranks().part(documents)), prompt, show_progress_bar=show_progress_bar)
    embedded = ranks().joined(own, len(documents))  # (n, d)
    near = ranks().spread(lambda part: list(StudentRanker(student, part, embedded).best(depth).rows), queries)
    words = BM25Ranker(queries, documents).best(depth).rows
    return [_list(near[i], words[i], known[i], len(documents), size, generator) for i in range(len(queries))]


def _list(near: Rows, words: Rows, known: set[int], documents: int, size: int, generator: np.random.Generator) -> Rows:
    best, further, by_words = (round(share * size) for share in (BEST, FURTHER, BM25))
    near = np.array([row for row in near if row not in known], np.int64)
    # Ranks at growing distances: the logarithm of the rank is uniform.
    ranks = np.exp(generator.uniform(np.log(best + 1), np.log(max(best + 2, len(near))), 4 * further)).astype(int)
    drawn = dict.fromkeys(near[:best].tolist())
    for source, number in ((near[ranks[ranks < len(near)]], further), (words, by_words)):
        fresh = [row for row in dict.fromkeys(source.tolist()) if row not in drawn and row not in known]
        drawn |= dict.fromkeys(fresh[:number])
    for row in generator.integers(documents, size=4 * size).tolist():
        if len(drawn) >= size:
            break
        if row not in known:
            drawn[row] = None
    return np.array(list(drawn), np.int64)
