"""The student's pair head as an index uses it: one score per row, also where the student gives several per pair."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dse import scoring
from dse.encoding.runtime import auto_dtype
from dse.scoring.head import PairFunction


@dataclass(frozen=True)
class RowScorer:
    """The pair head and the class searched for.

    Attributes:
        head: The student's.
        label: Place of the class among the student's scores; None for a student with one score.
    """

    head: PairFunction
    label: int | None

    def scores(self, query: Tensor, candidates: Tensor) -> Tensor:
        """Raw scores of one query (d,) with candidates (n, d), one per pair, (n,)."""
        logits = scoring.score_matrix(self.head, query[None], candidates)[0]  # (n, C)
        return logits[:, 0] if self.label is None else log_odds(logits, self.label)

    def best(self, queries: Tensor, candidates: scoring.Embeddings, k: int) -> tuple[Tensor, Tensor]:
        """The k best candidates of each query: raw scores (q, k) in float32 and rows of ``candidates`` (q, k)."""
        if self.label is None:
            return scoring.topk(self.head, queries, candidates, k, auto_dtype(queries.device))
        odds = log_odds(scoring.score_matrix(self.head, queries, candidates), self.label)  # (q, n)
        scores, rows = odds.sort(dim=1, descending=True, stable=True)
        return scores[:, :k], rows[:, :k]


def log_odds(logits: Tensor, label: int) -> Tensor:
    """Log-odds of one class, s = z_l - log sum_(c != l) exp(z_c), which order pairs as its probability does.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 2.0, 0.5]])
        >>> torch.allclose(torch.sigmoid(log_odds(logits, 1)), logits.softmax(dim=-1)[:, 1])
        True
    """
    others = [c for c in range(logits.shape[-1]) if c != label]
    return logits[..., label] - logits[..., others].logsumexp(dim=-1)
