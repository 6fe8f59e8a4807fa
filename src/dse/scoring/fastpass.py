"""The fast pass: scores of all candidates for some queries, with everything folded that can be.

For one query u against many candidates v the first layer of the head is, with |u-v| = 2 max(u,v) - u - v,

    W1 [u, v, u*v, |u-v|] + b1 = (Wu u + b1 - Wd u) + (Wv + Wp diag(u) - Wd) v + 2 Wd max(u,v)
                               =        c_u         +           F_u v          +   M max(u,v)

c_u and F_u are made once per query; per pair two matrix products of d x h are left, where the head written plainly
takes four and builds a row of 4d features. The maximum takes one look at v where |u-v| takes two, and rounds nothing.
The symmetric head has Wu = Wv. Bilinear, dot and cosine are one product.
"""

from __future__ import annotations

import logging
import time
from functools import cache

import numpy as np
import torch
from torch import Tensor

from dse.modules import PairHead
from dse.scoring import kernels
from dse.scoring.exact import MLP, Embeddings, affine, normalized, split_weights

logger = logging.getLogger(__name__)

BLOCK = 4096  # candidates at a time where there are too few of them to measure what is best
MEASURE_FROM = 100_000  # candidates from which it pays to measure: that takes about as long as scoring 20,000
LARGEST = 2**30  # bytes of a block: those of candidates that do not lie on the GPU are copied there


class FastPass:
    """Scores of queries against blocks of candidates.

    Args:
        head: The pair head; one label.
        queries: Embeddings, (q, d) float32.
        dtype: Of the matrix products; they add up in float32.
    """

    @torch.inference_mode()
    def __init__(self, head: PairHead, queries: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.head, self.queries, self.dtype = head, queries, dtype
        self.buffers: tuple[Tensor, ...] = ()
        if head.kind in MLP:
            wu, wv, wp, wd = split_weights(head)  # (h, d) each
            self.u, wd = queries.to(dtype), wd.to(dtype)  # rounded before they are used: max(u,v) meets the same u
            c = torch.addmm(head.dense.bias.float(), queries, wu.T)
            self.c = c.addmm_(self.u.float(), wd.float().T, alpha=-1)  # (q, h)   c_u
            self.folded = torch.empty(len(queries), *wv.shape, dtype=dtype, device=queries.device)  # (q, h, d)
            rest = wv - wd
            for i, u in enumerate(queries):
                self.folded[i] = torch.addcmul(rest, wp, u)  # F_u = Wv + Wp diag(u) - Wd
            self.m, self.w2 = 2 * wd, head.out.weight.float()[0]  # (h, d), (h,)
            self.always = self.c @ self.w2 + head.out.bias.float()  # (q,)   W2 c_u + b2
        elif head.kind == "bilinear":
            self.u = (queries @ head.weight.float()[0]).to(dtype)  # (q, d)   u' M
        else:
            self.u = (normalized(queries) if head.kind == "cosine" else queries).to(dtype)

    @torch.inference_mode()
    def __call__(self, candidates: Embeddings, block: slice) -> Tensor:
        """Raw scores of the queries with one block of the candidates: (q, B) float32."""
        v = self._read(candidates, block)  # (B, d)
        if self.head.kind in MLP:
            return self._mlp(v)
        similarity = torch.mm(self.u, v.T).float()  # (q, B)
        if self.head.kind == "bilinear":
            return torch.add(similarity, self.head.bias.float())
        if self.head.kind == "cosine":
            similarity /= v.float().norm(dim=1).clamp_min(1e-8)
        scores: Tensor = affine(self.head, similarity).squeeze(-1)
        return scores

    def _read(self, candidates: Embeddings, block: slice) -> Tensor:
        part = candidates[block]
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(part if part.flags.writeable else part.copy())  # torch warns of read-only memory
        return part.to(self.queries.device, self.dtype)

    def _mlp(self, v: Tensor) -> Tensor:
        if kernels.fits(v):
            return kernels.fused_scores(v, self.u, self.folded, self.c, self.m, self.head)
        larger, hidden, wide = self._room(v)
        scores = torch.empty(len(self.u), len(v), device=v.device)  # (q, B)
        for i, (u, folded) in enumerate(zip(self.u, self.folded, strict=True)):
            torch.mm(v, folded.T, out=hidden)  # (B, h)   F_u v; a product that begins with c_u takes a fifth longer
            hidden.addmm_(torch.maximum(v, u, out=larger), self.m.T)  # M max(u,v)
            # W2 relu(c_u + x) = W2 max(x, -c_u) + W2 c_u
            torch.mv(torch.maximum(wide.copy_(hidden), -self.c[i], out=wide), self.w2, out=scores[i])
        return scores.add_(self.always[:, None])

    def _room(self, v: Tensor) -> list[Tensor]:
        """Where max(u,v) (B, d), the hidden layer (B, h) and its float32 copy go: fresh memory costs like a step."""
        if not self.buffers or len(self.buffers[0]) < len(v):
            hidden = v.new_empty(len(v), len(self.m))
            wide = hidden if hidden.dtype == torch.float32 else torch.empty_like(hidden, dtype=torch.float32)
            self.buffers = torch.empty_like(v), hidden, wide
        return [buffer[: len(v)] for buffer in self.buffers]

    def block_size(self, n: int) -> int:
        """How many of n candidates to take at a time: what this machine does fastest, measured once per process."""
        if n < MEASURE_FROM or self.head.kind not in MLP:
            return BLOCK
        d, h = self.head.embedding_dimension, self.head.hidden_dimension
        return _measured_block(d, h, self.dtype, self.queries.device, torch.get_num_threads())


@cache
def _measured_block(d: int, h: int, dtype: torch.dtype, device: torch.device, threads: int) -> int:
    """The block size with the most candidates a second: large products run best, but a block must stay in the cache."""
    head = PairHead(d, hidden_dimension=h).to(device)
    offered = (512, 1024, 2048, 4096) if device.type == "cpu" else (16_384, 65_536, 262_144)
    sizes = [size for size in offered if size * d * dtype.itemsize <= LARGEST] or [offered[0]]
    candidates = torch.randn(max(sizes), d, device=device, dtype=dtype)
    fast_pass = FastPass(head, torch.randn(1, d, device=device), dtype)
    rates = dict.fromkeys(sizes, 0.0)
    for size in sizes * 2:  # twice, apart: what else the machine does should not decide
        _wait(device)
        start = time.perf_counter()
        fast_pass(candidates, slice(0, size))
        _wait(device)
        rates[size] = max(rates[size], size / (time.perf_counter() - start))
    best = max(rates, key=lambda size: rates[size])
    logger.debug("blocks of %d candidates are fastest here: %s a second", best, rates)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
