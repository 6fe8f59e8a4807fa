"""The phantom-hit curve: quality as the candidates grow from 100 to the whole corpus.

A scorer that meets more documents meets more wrong ones that it rates high (Jacob et al. 2024, arXiv:2411.11767).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.evaluation.ranking.rankings import CorpusRanker, Ranking, Rows, ranked

SMALLEST = 100
POINTS = 7
K = 10  # the curve is that of nDCG@10


def sizes(documents: int) -> list[int]:
    """Numbers of candidates, evenly spread on a logarithmic scale; empty where the corpus is too small for a curve.

    Example:
        >>> sizes(100_000)
        [100, 316, 1000, 3162, 10000, 31623, 100000]
    """
    if documents < 2 * SMALLEST:
        return []
    return sorted({round(size) for size in np.geomspace(SMALLEST, documents, POINTS)})


def nested_rankings(ranker: CorpusRanker, judged: Sequence[Rows], documents: int, seed: int) -> dict[int, Ranking]:
    """The best of random subsets of the corpus, each a part of the next; a query's judged documents are in all of them.

    Args:
        ranker: What ranks.
        judged: For each query the documents that have a judgement.
        documents: Size of the corpus.
        seed: Decides the subsets.

    Returns:
        Rankings by number of candidates; that of all documents is the ranking of the corpus.
    """
    order = np.random.default_rng(seed).permutation(documents)
    own = ranker.scores(judged)
    rankings = {}
    for size in sizes(documents):
        drawn = ranker.best(2 * K, np.sort(order[:size]))
        joined = []
        for rows, scores, more, values in zip(drawn.rows, drawn.scores, judged, own, strict=True):
            new = ~np.isin(more, rows)
            joined.append((np.append(rows, more[new]), np.append(scores, values[new])))
        rankings[size] = ranked([rows for rows, _ in joined], [scores for _, scores in joined]).first(2 * K)
    return rankings
