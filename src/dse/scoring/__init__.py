"""Scores of pairs from embeddings: exact in float32, a fast pass over many candidates, the k best of each query.

Only the pair head is computed here; embedding the sentences is the work of `dse.encoding`.
"""

from __future__ import annotations

from dse.scoring.candidates import Candidates
from dse.scoring.exact import check_embeddings, score_matrix, score_pairs
from dse.scoring.head import PairFunction
from dse.scoring.kinds import HEAD_KINDS, KINDS, HeadKind
from dse.scoring.products import Embeddings
from dse.scoring.selection import rescore, shortlist, topk

__all__ = [
    "HEAD_KINDS",
    "KINDS",
    "Candidates",
    "Embeddings",
    "HeadKind",
    "PairFunction",
    "check_embeddings",
    "rescore",
    "score_matrix",
    "score_pairs",
    "shortlist",
    "topk",
]
