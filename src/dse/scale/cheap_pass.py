"""The cheap pass over the pairs of two tables: products of short vectors, of right rows that lie near the left row.

The right vectors are cut into cells (k-means, about sqrt(m) of them). A left row looks into cells whose centres have
the largest products with it, and for a long shortlist into more of them: one number decides both. All left rows of a
block that look into a cell share one matrix product.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import safe_open
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from dse.encoding.runtime import auto_dtype
from dse.files import write_tensors
from dse.index.scout import partitions

ROWS = 2048  # left rows at a time: of those, enough look into a cell
TILE = 8192  # rows of a cell at most: larger ones are cut
CELL_ROWS = 64  # for each cell, that decide where the cells lie
STEPS = 10  # of k-means
EVERYWHERE = 192  # shortlists of this length and above look into all cells; of shorter ones, each length into its share


@dataclass(frozen=True)
class CheapPass:
    """Finds the right rows with the largest products, as far as they lie in cells near the left row.

    Attributes:
        left: Vectors of the left rows, (n, c) fp16.
        right: Of the right rows, cell by cell, (m, c) fp16.
        rows: Which right rows these are, (m,).
        centres: Of the cells, (t, c) fp32; a cell that was cut has its centre several times.
        ends: Where each cell ends in ``right``, (t,).
        device: Where to compute.
    """

    left: np.ndarray
    right: np.ndarray
    rows: np.ndarray
    centres: np.ndarray
    ends: np.ndarray
    device: torch.device

    @classmethod
    def of(cls, left: np.ndarray, right: np.ndarray, device: torch.device) -> Self:
        """With cells of the right vectors (m, c)."""
        count = partitions(len(right))
        sample = right[np.random.default_rng(0).permutation(len(right))[: CELL_ROWS * count]].astype(np.float32)
        means = KMeans(min(count, len(sample)), init="random", n_init=1, max_iter=STEPS, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # rows that are alike leave cells empty
            means.fit(sample)
        cells = means.predict(right.astype(np.float32))  # (m,)
        rows = np.argsort(cells, kind="stable")
        starts = np.append(np.flatnonzero(np.diff(cells[rows], prepend=-1)), len(rows))
        first = np.concatenate([np.arange(*cell, TILE) for cell in pairwise(starts.tolist())])  # (t,)
        ends = np.append(first[1:], len(rows))
        return cls(left, right[rows], rows, means.cluster_centers_[cells[rows[first]]], ends, device)

    def save(self, file: Path, length: int) -> None:
        """Keep all of it, and the length of the shortlist that it needs (0: no shortlist does)."""
        tensors = {name: value for name, value in self.__getstate__().items() if isinstance(value, np.ndarray)}
        write_tensors(file, tensors, {"length": str(length)})

    @classmethod
    def load(cls, file: Path, device: torch.device) -> tuple[Self, int]:
        """What `save` wrote."""
        with safe_open(file, framework="numpy") as kept:
            tensors = {name: kept.get_tensor(name) for name in kept.keys()}
            return cls(**tensors, device=device), int(kept.metadata()["length"])

    def __getstate__(self) -> dict[str, Any]:
        """What travels to workers: not the copy in the precision of the products."""
        return {name: value for name, value in self.__dict__.items() if name != "_right"}

    @cached_property
    def _right(self) -> Tensor:
        return torch.tensor(self.right, device=self.device, dtype=auto_dtype(self.device))

    @torch.inference_mode()
    def __call__(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Right rows with the largest products of each left row, (b,) to (b, count), in no order."""
        count = min(count, len(self.right))
        left = torch.from_numpy(self.left[rows]).to(self.device, self._right.dtype)  # (b, c)
        looks = self._looks(left.float(), count)  # (t, b)
        best = torch.full((len(rows), count), -torch.inf, device=self.device)
        columns = torch.zeros(len(rows), count, dtype=torch.long, device=self.device)
        start = 0
        for end, looking in zip(self.ends.tolist(), looks, strict=True):
            at = looking.nonzero()[:, 0]  # (r,)
            products = (left[at] @ self._right[start:end].T).float()  # (r, e)
            better = (products.amax(dim=1) > best[at].amin(dim=1)).nonzero()[:, 0]
            at, products = at[better], products[better]
            highest, kept = torch.cat([best[at], products], dim=1).topk(count, dim=1, sorted=False)
            before = columns[at].gather(1, kept.clamp_max(count - 1))
            columns[at] = torch.where(kept < count, before, kept + (start - count))
            best[at] = highest
            start = end
        found: np.ndarray = self.rows[columns.cpu().numpy()]
        return found

    def _looks(self, left: Tensor, count: int) -> Tensor:
        """Whether a left row (b, c) looks into a cell, (t, b): the nearest, until they hold its share of the rows."""
        sizes = torch.from_numpy(np.diff(self.ends, prepend=0)).to(self.device)  # (t,)
        share = min(1.0, count / EVERYWHERE) * len(self.right)
        centres = torch.tensor(self.centres, device=self.device)  # a copy: a worker's arrays are not to be written
        order = (left @ centres.T).argsort(dim=1, descending=True)  # (b, t)
        nearer = sizes[order].cumsum(dim=1) - sizes[order]  # rows in the cells that lie nearer
        looks = torch.empty_like(order, dtype=torch.bool)
        looks.scatter_(1, order, nearer < max(share, count))
        return looks.T.contiguous()
