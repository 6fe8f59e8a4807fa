"""Products of embeddings in float32 that do not depend on their company, and rows of embeddings from anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

Embeddings = Tensor | np.ndarray  # a memory map is an array
EXACT_BLOCK = 2048  # pairs scored in float32 at a time: at d = 1536 two temporaries of 12 MiB
CACHED_BLOCK = 512  # the same on a CPU, whose cache is to hold the temporaries; the fastest of 64 to 2,048


def exact_block(device: torch.device) -> int:
    """How many pairs are scored in float32 at a time."""
    return EXACT_BLOCK if device.type == "cuda" else CACHED_BLOCK


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``range(n)``."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def stable_product(x: Tensor, w: Tensor) -> Tensor:
    """``x @ w.T`` in float32, (n, k) and (m, k) to (n, m): a row of the result depends on its row of x alone.

    A matrix library picks its kernel by the shape, and kernels add in different orders: the same row can differ in its
    last bits between a call with 3 rows and one with 300. Padded to shapes that all take one kernel it does not.
    """
    n, m = len(x), len(w)
    rows = EXACT_BLOCK if x.device.type == "cuda" else 64
    if n % rows:
        x = torch.cat([x, x.new_zeros(-n % rows, x.shape[1])])
    if m < 16:
        w = torch.cat([w, w.new_zeros(16 - m, w.shape[1])])
    return (x @ w.T)[:n, :m]


def normalized(x: Tensor) -> Tensor:
    """Rows of length one, as `torch.cosine_similarity` makes them; a zero row stays zero."""
    return torch.nn.functional.normalize(x, dim=-1, eps=1e-8)


def as_tensor(values: Embeddings) -> Tensor:
    """A tensor of the same memory, or of a copy where it may not be written, of which torch warns."""
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values if values.flags.writeable else values.copy())
    return values


def rows_of(embeddings: Embeddings, rows: Tensor | slice, device: torch.device) -> Tensor:
    """The chosen rows as float32 on a device; of a memory map, only these are read."""
    if isinstance(embeddings, np.ndarray):
        part = embeddings[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]
        return torch.from_numpy(np.array(part, dtype=np.float32)).to(device)
    return embeddings[rows.to(embeddings.device) if isinstance(rows, Tensor) else rows].to(device, torch.float32)
