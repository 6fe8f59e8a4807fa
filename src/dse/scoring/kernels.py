"""One CUDA kernel for the fast pass: max(u,v) is formed tile by tile on the chip, the (N, d) temporary never exists.

    s = w2 . relu(c_u + F_u v + M max(u,v)) + b2           # see dse.scoring.mlp

Written in Triton (optional: without it the same is done by torch). A program takes BM candidates and one query and goes
through the hidden units BH at a time, for each through d in steps of BK: once for F_u v and once for M max(u,v), as one
loop with both products leaves fewer tiles in flight (on an H100 0.54 to 0.66 of the rate of bare products, two
loops 0.77). The hidden layer stays in registers; one score a pair is written.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dse.scoring.head import PairFunction


@cache
def available() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def fits(v: Tensor) -> bool:
    """Whether the kernel can score these candidates: bfloat16 on a GPU, rows of whole 16 bytes.

    In float32 the matrix units would round to 10 bits.
    """
    return v.is_cuda and v.dtype == torch.bfloat16 and v.shape[1] % 8 == 0 and available()


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
        query, first = tl.program_id(1), tl.program_id(0) * BM
        rows = first + tl.arange(0, BM)
        score = tl.zeros((BM,), dtype=tl.float32)
        for h0 in range(0, h, BH):
            units = h0 + tl.arange(0, BH)  # beyond h, w2 is 0
            hidden = tl.zeros((BM, BH), dtype=tl.float32)
            for d0 in range(0, d, BK):
                hidden = tl.dot(v_at.load([first, d0]), f_at.load([query * h + h0, d0]).T, hidden)  # F_u v
            for d0 in range(0, d, BK):
                cols = d0 + tl.arange(0, BK)
                u = tl.load(u_at + query * d + cols, cols < d, 0.0)
                larger = tl.maximum(v_at.load([first, d0]), u[None]).to(u.dtype)  # older Tritons widen it
                hidden = tl.dot(larger, m_at.load([h0, d0]).T, hidden)  # M max(u,v)
            c = tl.load(c_at + query * h + units, units < h, 0.0)
            w2 = tl.load(w2_at + units, units < h, 0.0)
            # A NaN in v is in F_u v, and stays: the caller refuses such scores.
            active = tl.maximum(hidden + c[None], 0.0, propagate_nan=tl.PropagateNan.ALL)
            score += tl.sum(active * w2[None], axis=1)
        tl.store(s_at + query.to(tl.int64) * n + rows, score + tl.load(bias_at), rows < n)

    return kernel


@cache
def _blocks(device: torch.device) -> dict[str, int]:
    """What fits on the chip: an H100 holds four pairs of tiles of 128 x 64 and 256 x 64, smaller GPUs do not."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] >= 9:
        return {"BM": 128, "BH": 256, "BK": 64, "num_warps": 8, "num_stages": 4}
    return {"BM": 128, "BH": 128, "BK": 32, "num_warps": 8, "num_stages": 3}


def fused_scores(v: Tensor, u: Tensor, folded: Tensor, c: Tensor, m: Tensor, head: PairFunction) -> Tensor:
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
        from triton.tools.tensor_descriptor import TensorDescriptor

        how = _blocks(v.device)
        tiles = [
            TensorDescriptor.from_tensor(matrix.contiguous(), [rows, how["BK"]])
            for matrix, rows in ((v, how["BM"]), (folded.reshape(q * h, d), how["BH"]), (m, how["BH"]))
        ]
        w2, bias = head.out.weight.detach().float()[0].contiguous(), head.out.bias.detach().float()
        of_v, of_f, of_m = tiles
        grid = -(-n // how["BM"]), q
        _kernel()[grid](of_v, u.contiguous(), of_f, c.float().contiguous(), of_m, w2, scores, bias, n, d, h, **how)
    return scores
