"""The cheap pass over all pairs of two tables: products of short vectors, of which only the highest are looked at.

A head whose score is one product of two vectors gives these itself: the cheap pass then orders pairs as the score does.
Of other heads the scout of an index is taken: two towers that the head teaches (`dse.index.scout`).

Products are made in tiles that stay in the cache. Sorting them would take ten times as long as making them, so each row
first looks at the largest product of every 16, and then into the groups where that is high.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from dse.encoding.runtime import auto_dtype
from dse.files import write_tensors
from dse.index.row_scorer import RowScorer
from dse.index.scout_training import train_scout

ROWS, COLUMNS = 512, 16_384  # of a tile; of those tried on a CPU (128 to 2,048, 4,096 to 32,768) the fastest
GROUP = 16  # columns j, j + G, j + 2G, ... of a tile, G = COLUMNS / GROUP, are a group
GROUPS = 12  # that a row looks into, of a tile, and more for a long shortlist
PIECE = 16_384  # rows whose vectors are made at a time
SAMPLE_ROWS = 65_536  # that the scout learns from


@dataclass(frozen=True)
class CheapPass:
    """Finds the right rows with the largest dot products.

    Attributes:
        left: Vectors of the left rows, (n, c) fp16.
        right: Of the right rows, (m, c) fp16.
        exact: Whether the dot product orders pairs as the score does, up to rounding.
        device: Where to compute.
    """

    left: np.ndarray
    right: np.ndarray
    exact: bool
    device: torch.device

    @classmethod
    def of(cls, scorer: RowScorer, u: np.ndarray, v: np.ndarray) -> Self:
        """From embeddings of both sides, (n, d) and (m, d) fp16."""
        head, device = scorer.head, scorer.head.device

        @torch.inference_mode()
        def own(x: np.ndarray, side: int) -> np.ndarray | None:
            part = torch.from_numpy(x.astype(np.float32)).to(device)
            both = head.formula.product_vectors(head, part, part)
            return None if both is None else both[side].cpu().numpy()

        if scorer.label is None and own(u[:1], 0) is not None:
            return cls(_vectors(lambda x: own(x, 0), u), _vectors(lambda x: own(x, 1), v), True, device)
        scout = train_scout(scorer, _sample(u, v))
        return cls(_vectors(scout.queries, u), _vectors(scout.rows, v), False, device)

    def save(self, file: Path, length: int) -> None:
        """Keep the vectors, and the length of the shortlist they need (0: no shortlist does)."""
        write_tensors(file, {"left": self.left, "right": self.right}, {"length": str(length)})

    @classmethod
    def load(cls, file: Path, device: torch.device) -> tuple[Self, int]:
        """What `save` wrote: of a head whose score is no product of vectors."""
        with safe_open(file, framework="numpy") as kept:
            vectors = kept.get_tensor("left"), kept.get_tensor("right")
            return cls(*vectors, False, device), int(kept.metadata()["length"])

    def __getstate__(self) -> dict[str, Any]:
        """What travels to workers: not the copy in the precision of the products."""
        return {name: value for name, value in self.__dict__.items() if name != "_right"}

    @cached_property
    def _right(self) -> Tensor:
        return torch.tensor(self.right, device=self.device, dtype=auto_dtype(self.device))

    @torch.inference_mode()
    def __call__(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Right rows with the largest products of each left row, as far as bfloat16 tells, (b,) to (b, count)."""
        left = torch.from_numpy(self.left[rows]).to(self.device, self._right.dtype)  # (b, c)
        groups = GROUPS + math.ceil(2 * count * min(COLUMNS, len(self.right)) / len(self.right))
        best = torch.empty(len(rows), 0, device=self.device)
        columns = torch.empty(len(rows), 0, dtype=torch.long, device=self.device)
        tile = self._right.new_empty(len(rows), min(COLUMNS, len(self.right)))
        for start in range(0, len(self.right), COLUMNS):
            part = self._right[start : start + COLUMNS]
            products = torch.mm(left, part.T, out=tile) if len(part) == tile.shape[1] else left @ part.T  # (b, n)
            picked = _highest(products, groups)  # (b, g)
            best = torch.cat([best, products.gather(1, picked).float()], dim=1)
            columns = torch.cat([columns, picked + start], dim=1)
            best, kept = best.topk(min(count, best.shape[1]), dim=1)
            columns = columns.gather(1, kept)
        return columns.cpu().numpy()


def _highest(products: Tensor, count: int) -> Tensor:
    """Columns of the groups in which the highest products (b, n) are, (b, g)."""
    whole = products.shape[1] // GROUP
    grouped = products[:, : whole * GROUP].unflatten(1, (GROUP, whole))
    top = grouped.amax(dim=1).topk(min(count, whole), dim=1, sorted=False).indices  # (b, t)
    members = torch.arange(GROUP, device=products.device) * whole
    rest = torch.arange(whole * GROUP, products.shape[1], device=products.device).expand(len(products), -1)
    return torch.cat([(top[:, :, None] + members).flatten(1), rest], dim=1)


def _vectors(make: Callable[[np.ndarray], np.ndarray | None], x: np.ndarray) -> np.ndarray:
    """Vectors (n, c) of embeddings (n, d), as fp16; their common length changes no order."""
    parts = [np.asarray(make(x[start : start + PIECE])) for start in range(0, len(x), PIECE)]
    largest = max(float(np.abs(part).max()) for part in parts)
    return np.concatenate([(part / max(1.0, largest / 1024)).astype(np.float16) for part in parts])


def _sample(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rows of one table, or of two in equal number."""
    generator, sides = np.random.default_rng(0), [u] if u is v else [u, v]
    return np.concatenate([side[generator.permutation(len(side))[: SAMPLE_ROWS // len(sides)]] for side in sides])
