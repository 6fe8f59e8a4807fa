"""After the embeddings have moved: a map of each side, so that what answers a query need not be like it.

    u* = normalize(u + f (A u + p)),  v* = normalize(v + f (B v + q))      # u, v: embeddings of length one, at rest
    loss: as in `dse.training.ranking_lists` and `dse.training.scored_lists`, of u* and v*

A, B, p and q start at zero. The gate: f is the factor that is best on the held-out lists, and 0, the plain cosine,
unless the gain there is larger than two standard errors. One is not enough, as the best of many checks is chosen. Of
several kinds of lists the first decides: an encoder's many lists would outvote the scored pairs.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dse.modules import PairHead
from dse.scoring.similarity import CosineMap
from dse.training.ranking_loop import RankingTrainer

logger = logging.getLogger(__name__)

STEPS, CHECK, PATIENCE = 600, 25, 6  # at most; steps between two checks; checks without a gain
LEARNING_RATE, DROPOUT = 3e-4, 0.1
ERRORS = 2  # standard errors that a gain must exceed
FACTORS = (0.25, 0.5, 0.75, 1.0)
QUERIES = 64  # of a step


def fit_maps(head: PairHead, trainer: RankingTrainer) -> dict[str, float]:
    """Fit the maps of a ``cosine-map`` head on the embeddings that training has left in the trainer's bank.

    Returns:
        ``before`` and ``after``: divergence of the held-out lists; ``standard_error`` of the gain; ``factor`` f.
    """
    kind, generator = CosineMap(), np.random.default_rng((trainer.settings.seed, 3))
    bank = trainer.bank.clone()  # (m, d)
    weights = [*head.left.parameters(), *head.right.parameters()]
    for weight in weights:
        torch.nn.init.zeros_(weight).requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.01)
    cosine = best = trainer.held_out(bank, bank, trainer.parts[:1])  # (h,)
    chosen, factor, checks = [torch.zeros_like(weight) for weight in weights], 0.0, 0
    orders: list[list[int]] = [[] for _ in trainer.parts]
    for step in range(1, STEPS + 1):
        place = (step - 1) % len(orders)
        part: Any = trainer.parts[place]
        if len(orders[place]) < QUERIES:
            orders[place] = generator.permutation(part.anchors).tolist()
        rows, orders[place] = np.array(orders[place][:QUERIES]), orders[place][QUERIES:]
        with torch.random.fork_rng(devices=[bank.device] if bank.is_cuda else []):
            torch.manual_seed(trainer.settings.seed + step)
            left = kind.left_part(head, F.dropout(bank[torch.from_numpy(rows).to(bank.device)], DROPOUT))  # (B, d)
        right = kind.right_part(head, bank)  # (m, d)
        part.divergences(rows, left, right, part.candidates(step)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % CHECK:
            continue
        checks += 1
        learned = [weight.detach().clone() for weight in weights]
        for f in FACTORS:
            _set(weights, learned, f)
            found = _held_out(head, trainer, bank)
            if found.mean() < best.mean():
                best, factor, chosen, checks = found, f, learned, 0
        _set(weights, learned, 1.0)
        if checks >= PATIENCE:
            break
    gain = (cosine - best).cpu().double()  # (h,)
    error = float(gain.std() / np.sqrt(len(gain))) if len(gain) > 1 else float("inf")
    if not float(gain.mean()) > ERRORS * error:
        best, factor, chosen = cosine, 0.0, [torch.zeros_like(weight) for weight in weights]
    _set(weights, chosen, factor)
    fitted = {"before": float(cosine.mean()), "after": float(best.mean()), "standard_error": error, "factor": factor}
    logger.info(
        "held-out lists: divergence %(before).4f as a cosine, %(after).4f with maps of factor %(factor)s", fitted
    )
    return fitted


@torch.no_grad()
def moved(head: PairHead, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The embeddings of all texts as queries, and as documents: (m, d) each."""
    kind = CosineMap()
    return kind.left_part(head, bank), kind.right_part(head, bank)


def _held_out(head: PairHead, trainer: RankingTrainer, bank: Tensor) -> Tensor:
    return trainer.held_out(*moved(head, bank), trainer.parts[:1])


@torch.no_grad()
def _set(weights: list[torch.nn.Parameter], values: list[Tensor], factor: float) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(factor * value)
