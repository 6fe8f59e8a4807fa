"""Scores of pairs in float32, computed once per sentence where they can be.

    W1 [u, v, u*v, |u-v|] + b1 = (Wu u + b1) + Wv v + Wp (u*v) + Wd |u-v|

Wu u + b1 and Wv v depend on one sentence only. A score does not depend on the other pairs of the call, bit for bit: see
`stable_product`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dse.modules import PairHead

Embeddings = Tensor | np.ndarray  # a memory map is an array
MLP = ("mlp", "mlp-symmetric")
EXACT_BLOCK = 2048  # pairs scored in float32 at a time: at d = 1536 two temporaries of 12 MiB


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``range(n)``."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def check_embeddings(embeddings: Tensor, head: PairHead, what: str) -> Tensor:
    """Return embeddings as float32 (n, d) on the head's device.

    Raises:
        ValueError: If the width is not the head's, or a value is NaN or infinite.
    """
    check_width(embeddings, head, what)
    embeddings = embeddings.to(device=_device(head), dtype=torch.float32)
    check_finite(embeddings, what)
    return embeddings


def check_width(embeddings: Embeddings, head: PairHead, what: str) -> None:
    """Refuse what is not (n, d) with the head's d.

    Raises:
        ValueError: If the shape is another one.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != head.embedding_dimension:
        raise ValueError(
            f"{what}: expected embeddings of shape (n, {head.embedding_dimension}), got {tuple(embeddings.shape)}; "
            "embed the sentences with this student."
        )


def check_finite(embeddings: Tensor, what: str, first: int = 0) -> None:
    """Refuse NaN and infinite values; ``first`` is the row number of the first row.

    Raises:
        ValueError: Naming the row.
    """
    # A sum is finite only if all its terms are (float64 cannot overflow here): one pass, no mask of n x d.
    if torch.isfinite(embeddings.sum(dtype=torch.float64)):
        return
    row = int((~torch.isfinite(embeddings).all(dim=1)).nonzero()[0]) + first
    raise ValueError(f"{what}: the embedding in row {row} holds NaN or infinite values; embed it again.")


def _device(head: PairHead) -> torch.device:
    return next(head.parameters()).device


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


def split_weights(head: PairHead) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Wu, Wv, Wp, Wd, each (h, d): the columns of W1 that meet u, v, u*v and |u-v|."""
    parts = head.dense.weight.float().chunk(4 if head.kind == "mlp" else 3, dim=1)
    if head.kind == "mlp":
        wu, wv, wp, wd = parts
    else:  # [u+v, u*v, |u-v|]: the same columns meet u and v
        wu, wp, wd = parts
        wv = wu
    return wu, wv, wp, wd


@torch.inference_mode()
def score_pairs(head: PairHead, u: Tensor, v: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Raw scores of pairs, each given as a row of ``u`` and a row of ``v``.

    Args:
        head: The pair head.
        u: Left embeddings, (m, d) float32.
        v: Right embeddings, (k, d) float32; may be the same tensor.
        left: Row of ``u`` of each pair, (n,).
        right: Row of ``v`` of each pair, (n,).

    Returns:
        Scores without activation, (n, C) float32.
    """
    exact = Exact(head)
    of_u, of_v = exact.of_left(u), exact.of_right(v)  # (m, h), (k, h)  once per sentence
    scores = u.new_empty(len(left), head.num_labels)  # (n, C)
    for block in blocks(len(left), EXACT_BLOCK):
        i, j = left[block], right[block]
        scores[block] = exact(u[i], v[j], of_u[i] + of_v[j])
    return scores


@torch.inference_mode()
def score_matrix(head: PairHead, queries: Tensor, candidates: Embeddings) -> Tensor:
    """Raw scores of every query with every candidate.

    Args:
        head: The pair head.
        queries: Embeddings, (q, d) float32.
        candidates: Embeddings, (n, d), of any precision; computed in float32.

    Returns:
        Scores without activation, (q, n, C) float32.

    Raises:
        ValueError: If the width is not the head's, or a candidate holds NaN or infinite values.
    """
    check_width(candidates, head, "candidates")
    exact = Exact(head)
    of_u = exact.of_left(queries)  # (q, h)
    scores = queries.new_empty(len(queries), len(candidates), head.num_labels)
    for block in blocks(len(candidates), EXACT_BLOCK):
        v = rows_of(candidates, block, queries.device)  # (B, d)
        check_finite(v, "candidates", block.start)
        of_v = exact.of_right(v)  # (B, h)
        for i, u in enumerate(queries):
            scores[i, block] = exact(u, v, of_u[i] + of_v)
    return scores


class Exact:
    """The head in float32, its one-sided terms apart: c_u and Wv v are computed once per sentence.

    Args:
        head: The pair head.
    """

    def __init__(self, head: PairHead) -> None:
        self.head = head
        if head.kind in MLP:
            self.wu, self.wv, self.wp, self.wd = split_weights(head)

    def of_left(self, u: Tensor) -> Tensor:
        """c_u = Wu u + b1, (m, d) to (m, h); nothing for heads without a hidden layer."""
        if self.head.kind not in MLP:
            return u.new_empty(len(u), 0)
        return stable_product(u, self.wu) + self.head.dense.bias.float()

    def of_right(self, v: Tensor) -> Tensor:
        """Wv v, (k, d) to (k, h); nothing for heads without a hidden layer."""
        return stable_product(v, self.wv) if self.head.kind in MLP else v.new_empty(len(v), 0)

    def __call__(self, u: Tensor, v: Tensor, one_sided: Tensor) -> Tensor:
        """Scores of aligned rows: u (B, d) or (d,), v (B, d), one-sided terms (B, h); returns (B, C)."""
        head = self.head
        if head.kind in MLP:
            hidden = one_sided  # (B, h)   c_u + Wv v
            hidden += stable_product(u * v, self.wp)
            hidden += stable_product((v - u).abs_(), self.wd)
            return stable_product(hidden.relu_(), head.out.weight.float()) + head.out.bias.float()
        if head.kind == "bilinear":  # u' M_c v
            u = u.expand_as(v)
            classes = [(stable_product(u, m.T) * v).sum(dim=1) for m in head.weight.float()]
            return torch.stack(classes, dim=1) + head.bias.float()
        if head.kind == "cosine":
            u, v = normalized(u), normalized(v)
        return affine(head, (u * v).sum(dim=1))


def normalized(x: Tensor) -> Tensor:
    """Rows of length one, as `torch.cosine_similarity` makes them."""
    return torch.nn.functional.normalize(x, dim=-1, eps=1e-8)


def affine(head: PairHead, similarity: Tensor) -> Tensor:
    """a_c similarity + b_c, (...) to (..., C)."""
    return similarity.unsqueeze(-1) * head.out.weight.float()[:, 0] + head.out.bias.float()


def rows_of(embeddings: Embeddings, rows: Tensor | slice, device: torch.device) -> Tensor:
    """Some rows as float32 on a device; of a memory map, only these are read."""
    if isinstance(embeddings, np.ndarray):
        part = embeddings[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]
        return torch.from_numpy(np.array(part, dtype=np.float32)).to(device)
    return embeddings[rows.to(embeddings.device) if isinstance(rows, Tensor) else rows].to(device, torch.float32)
