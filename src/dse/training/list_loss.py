"""Lists of scores: how far one distribution is from another, which candidates come first, how wide scores lie."""

from __future__ import annotations

import torch
from torch import Tensor


def divergence(teacher: Tensor, student: Tensor, none: Tensor, temperature: float) -> Tensor:
    """KL(p || q) of each row, (B,), with p and q the softmax of teacher and student at a temperature.

    Args:
        teacher: Scores, (B, n).
        student: Scores, (B, n).
        none: What is no candidate, (B, n).
        temperature: T of both.
    """
    t, s = (x.div(temperature).masked_fill(none, -torch.inf) for x in (teacher, student))
    p, q = t.log_softmax(dim=1), s.log_softmax(dim=1)  # (B, n)
    return (p.exp() * (p - q)).masked_fill(none, 0.0).sum(dim=1)


def first(scores: Tensor, none: Tensor, k: int) -> Tensor:
    """Which candidates are among the k best of their row, (B, n).

    Args:
        scores: (B, n).
        none: What is no candidate, (B, n).
        k: How many; of fewer candidates all.

    Example:
        >>> first(torch.tensor([[3.0, 1.0, 2.0, 9.0]]), torch.tensor([[False, False, False, True]]), k=2).tolist()
        [[True, False, True, False]]
    """
    best = scores.detach().masked_fill(none, -torch.inf).topk(min(k, scores.shape[1]), dim=1).indices  # (B, k)
    return torch.zeros_like(none).scatter_(1, best, True) & ~none


def spread(scores: Tensor, none: Tensor) -> float:
    """Standard deviation within lists, sqrt(mean_ij (s_ij - mean_j s_ij)^2).

    Args:
        scores: (B, n).
        none: What is no candidate, (B, n).

    Example:
        >>> spread(torch.tensor([[0.0, 2.0, 9.0], [5.0, 7.0, 9.0]]), torch.tensor([[False, False, True]] * 2))
        1.0
    """
    none = none.cpu()  # as not every device has float64
    scores, there = scores.cpu().double().masked_fill(none, 0.0), (~none).double()
    means = scores.sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp_min(1)  # (B, 1)
    return float((((scores - means).square() * there).sum() / there.sum().clamp_min(1)).sqrt())
