"""The CUDA kernel computes what torch does; run here by Triton's own interpreter, so that no GPU is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("triton")

# In a process of its own: Triton decides when it is imported whether it compiles or interprets.
PROGRAM = """
import torch
from dse import kernels
from dse.fastpass import FastPass
from dse.modules import PairHead

for kind, n, q, d, h in [("mlp", 300, 2, 96, 160), ("mlp-symmetric", 7, 3, 33, 20), ("mlp", 128, 1, 64, 128)]:
    torch.manual_seed(0)
    head = PairHead(d, kind=kind, hidden_dimension=h)
    queries, candidates = torch.randn(q, d), torch.randn(n, d)
    fast_pass = FastPass(head, queries)
    expected = fast_pass(candidates, slice(0, n))
    parts = fast_pass.u, fast_pass.folded, fast_pass.c, fast_pass.m
    torch.testing.assert_close(kernels.fused_scores(candidates, *parts, head), expected, atol=1e-4, rtol=1e-4)
assert kernels.fused_scores(candidates[:0], *parts, head).shape == (1, 0)
print("same")
"""


def test_the_kernel_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=300)
    assert result.stdout == "same\n", result.stderr
