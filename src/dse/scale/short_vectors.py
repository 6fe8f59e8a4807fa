"""Short vectors of the rows of two tables: their products put pairs nearly in the order of the scores.

Where the score is one product of two vectors, they are these, projected where they are long. Of other heads they are
the scout's of an index, two towers that the head teaches (`dse.index.scout`), trained for these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dse.index.row_scorer import RowScorer
from dse.index.scout_training import train_scout
from dse.scoring.head import PairFunction
from dse.scoring.products import normalized

WIDE, NARROW = 384, 128  # vectors of more numbers than WIDE are projected on NARROW directions
PIECE = 16_384  # rows whose vectors are made at a time
SAMPLE_ROWS = 65_536  # that the scout learns from
DIRECTION_ROWS = 16_384  # of a side, that decide the directions


def short_vectors(scorer: RowScorer, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of left embeddings (n, d) and right ones (m, d) fp16: (n, c) and (m, c) fp16."""
    head = scorer.head
    width = 0 if scorer.label is not None else _product_width(head)
    if not width:
        return _of_a_scout(scorer, u, v)
    if width > WIDE:
        return _projected(head, u, v)
    return _vectors(partial(_own, head, 0), u), _vectors(partial(_own, head, 1), v)


def _product_width(head: PairFunction) -> int:
    """How many numbers the vectors have whose product is the score; 0 where it is no product."""
    one = torch.zeros(1, head.embedding_dimension, device=head.device)
    both = head.formula.product_vectors(head, one, one)
    return 0 if both is None else both[0].shape[1]


@torch.inference_mode()
def _own(head: PairFunction, side: int, x: np.ndarray) -> Tensor:
    """The vectors of a side, 0 or 1, whose products are the scores, (n, d) to (n, c)."""
    part = torch.tensor(x, device=head.device, dtype=torch.float32)
    none = part[:0]
    sides = (none, part) if side else (part, none)
    both: tuple[Tensor, Tensor] = head.formula.product_vectors(head, *sides)  # type: ignore[assignment]
    return both[side]


def _projected(head: PairFunction, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The head's own vectors on the directions in which they are longest, brought back to their own length.

        z = |x| P'x / |P'x|        # (p,)   x: (c,)

    Of all p directions the leading eigenvectors P of L'L / |L|^2 + R'R / |R|^2 keep the most of both sides. What is
    lost is taken to lie as what is kept: with P'x alone, shortlists twice as long find as many rows.
    """
    moments = torch.zeros(1, device=head.device)
    for side, x in enumerate((u, v)):
        own = torch.cat(list(_pieces(partial(_own, head, side), _sample(x, DIRECTION_ROWS))))  # (n, c)
        moments = moments + own.T @ own / own.square().sum().clamp_min(1e-12)
    directions = torch.linalg.eigh(moments).eigenvectors[:, -NARROW:]  # (c, p)   the largest come last

    def projected(side: int, x: np.ndarray) -> Tensor:
        own = _own(head, side, x)
        lengths: Tensor = own.norm(dim=1, keepdim=True)
        return normalized(own @ directions) * lengths

    return _vectors(partial(projected, 0), u), _vectors(partial(projected, 1), v)


def _of_a_scout(scorer: RowScorer, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = [u] if u is v else [u, v]
    scout = train_scout(scorer, np.concatenate([_sample(side, SAMPLE_ROWS // len(sides)) for side in sides]))
    left = _vectors(lambda x: torch.from_numpy(scout.queries(x)), u)
    return left, _vectors(lambda x: torch.from_numpy(scout.rows(x)), v)


def _pieces(make: Callable[[np.ndarray], Tensor], x: np.ndarray) -> Iterator[Tensor]:
    return (make(x[start : start + PIECE]) for start in range(0, len(x), PIECE))


def _vectors(make: Callable[[np.ndarray], Tensor], x: np.ndarray) -> np.ndarray:
    """Vectors (n, c) of embeddings (n, d), as fp16; their common length changes no order."""
    parts = list(_pieces(make, x))
    scale = max(1.0, max(float(part.abs().max()) for part in parts) / 1024)
    return np.concatenate([(part / scale).half().cpu().numpy() for part in parts])


def _sample(rows: np.ndarray, count: int) -> np.ndarray:
    """So many of the rows, or all."""
    return rows[np.random.default_rng(0).permutation(len(rows))[:count]]
