"""One CUDA kernel for the fast pass: max(u,v) is formed tile by tile on the chip, the (N, d) temporary never exists.

    s = w2 . relu(c_u + F_u v + M max(u,v)) + b2           # see dse.fastpass

Written in Triton (optional: without it the same is done by torch). A program takes BM candidates and one query, goes
through the hidden units BH at a time, and for each through d in steps of BK: a tile of v, read once, feeds both
products. The hidden layer stays in registers; one score a pair is written.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dse.modules import PairHead

BM, BH, BK = 128, 128, 64


@cache
def available() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


@cache
def _kernel() -> Any:  # triton's compiled function
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(  # type: ignore[no-untyped-def]
        v_at,
        u_at,
        f_at,
        c_at,
        m_at,
        w2_at,
        s_at,
        bias_at,
        n,
        d,
        h,
        BM: tl.constexpr,
        BH: tl.constexpr,
        BK: tl.constexpr,
    ):
        query = tl.program_id(1)
        rows = tl.program_id(0) * BM + tl.arange(0, BM)
        here = rows < n
        score = tl.zeros((BM,), dtype=tl.float32)
        for h0 in range(0, h, BH):
            units = h0 + tl.arange(0, BH)
            hidden = tl.zeros((BM, BH), dtype=tl.float32)
            for d0 in range(0, d, BK):
                cols = d0 + tl.arange(0, BK)
                in_d = cols < d
                v = tl.load(v_at + rows[:, None].to(tl.int64) * d + cols[None], here[:, None] & in_d[None], 0.0)
                u = tl.load(u_at + query * d + cols, in_d, 0.0)
                tile = units[None].to(tl.int64) * d + cols[:, None]  # (BK, BH) of an (h, d) matrix
                inside = (units[None] < h) & in_d[:, None]
                f = tl.load(f_at + query.to(tl.int64) * h * d + tile, inside, 0.0)
                m = tl.load(m_at + tile, inside, 0.0)
                hidden += tl.dot(v, f)  # F_u v
                hidden += tl.dot(tl.maximum(v, u[None]), m)  # M max(u,v)
            c = tl.load(c_at + query * h + units, units < h, 0.0).to(tl.float32)
            w2 = tl.load(w2_at + units, units < h, 0.0)
            score += tl.sum(tl.maximum(hidden + c[None], 0.0) * w2[None], axis=1)
        tl.store(s_at + query.to(tl.int64) * n + rows, score + tl.load(bias_at), here)

    return kernel


def fused_scores(v: Tensor, u: Tensor, folded: Tensor, c: Tensor, m: Tensor, head: PairHead) -> Tensor:
    """Raw scores of queries with a block of candidates, the mlp heads.

    Args:
        v: Candidates, (B, d).
        u: Queries, (q, d).
        folded: F_u, (q, h, d).
        c: c_u, (q, h).
        m: M, (h, d).
        head: Gives W2 and b2; one label.

    Returns:
        Scores, (q, B) float32.
    """
    (n, d), (q, h) = v.shape, c.shape
    scores = torch.empty(q, n, device=v.device, dtype=torch.float32)
    if n and q:
        w2, bias = head.out.weight.detach().float()[0], head.out.bias.detach().float()
        parts = (part.contiguous() for part in (v, u, folded, c, m, w2))
        _kernel()[-(-n // BM), q](*parts, scores, bias, n, d, h, BM=BM, BH=BH, BK=BK, num_warps=8, num_stages=3)
    return scores
