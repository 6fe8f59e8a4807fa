"""The CUDA kernel computes what torch does; run here by Triton's own interpreter, so that no GPU is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from dse.scoring import kernels

pytest.importorskip("triton")

# In a process of its own: Triton decides when it is imported whether it compiles or interprets.
PROGRAM = """
import torch
from dse.scoring import kernels
from dse.scoring.fastpass import FastPass
from dse.modules import PairHead

for kind, n, q, d, h in [("mlp", 300, 2, 96, 160), ("mlp-symmetric", 7, 3, 36, 20), ("mlp", 128, 1, 64, 128)]:
    torch.manual_seed(0)
    head = PairHead(d, kind=kind, hidden_dimension=h)
    queries, candidates = torch.randn(q, d), torch.randn(n, d)
    fast_pass = FastPass(head, queries)
    expected = fast_pass(candidates, slice(0, n))
    folded = fast_pass.scores_with
    parts = folded.u, folded.folded, folded.c, folded.m
    torch.testing.assert_close(kernels.fused_scores(candidates, *parts, head), expected, atol=1e-4, rtol=1e-4)
assert kernels.fused_scores(candidates[:0], *parts, head).shape == (1, 0)
for bad in (float("nan"), float("inf"), -float("inf")):  # such a candidate must not be scored as if it were fine
    spoilt = candidates.clone()
    spoilt[3, 5], spoilt[70, 0] = bad, bad
    scores = kernels.fused_scores(spoilt, *parts, head)
    assert (~scores.isfinite()).nonzero().tolist() == [[0, 3], [0, 70]], (bad, scores[0, [3, 70]])
print("same")
"""


def test_the_kernel_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=300)
    assert result.stdout == "same\n", result.stderr


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dse.scoring import kernels

sizes = {"BM": BM, "BH": BH, "BK": BK}
types = {name: "*fp32" for name in ("c_at", "w2_at", "s_at", "bias_at")} | {"u_at": "*bf16"}
types |= {name: "i32" for name in ("n", "d", "h")}
types |= {"v_at": f"tensordesc<bf16[{BM},{BK}]>"} | {at: f"tensordesc<bf16[{BH},{BK}]>" for at in ("f_at", "m_at")}
order = kernels._kernel().arg_names
source = ASTSource(kernels._kernel(), {name: types.get(name, "constexpr") for name in order}, constexprs=sizes)
options = {"num_warps": WARPS, "num_stages": STAGES}
made = triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32), options=options)
assert made.metadata.shared <= ROOM, made.metadata.shared
print("compiled")
"""


@pytest.mark.parametrize(("capability", "room"), [(80, 163), (89, 99), (90, 227)], ids=["A100", "L4", "H100"])
def test_the_kernel_compiles_for_gpus_that_are_not_there(capability, room, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: divmod(capability, 10))
    how = kernels._blocks.__wrapped__(torch.device("cuda"))
    given = how | {"CAPABILITY": capability, "ROOM": room * 1024}
    renamed = {"num_warps": "WARPS", "num_stages": "STAGES"}
    program = "".join(f"{renamed.get(name, name)} = {value}\n" for name, value in given.items()) + COMPILE
    env = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=env)
    assert result.stdout == "compiled\n", result.stderr


@pytest.mark.parametrize(
    ("dtype", "width", "on_gpu", "fit"),
    [
        (torch.bfloat16, 64, True, True),
        (torch.float32, 64, True, False),  # the matrix units would round it to 10 bits
        (torch.bfloat16, 63, True, False),  # rows that do not begin at whole 16 bytes
        (torch.bfloat16, 64, False, False),
    ],
)
def test_what_the_kernel_takes(dtype, width, on_gpu, fit):
    assert kernels.fits(SimpleNamespace(dtype=dtype, shape=(5, width), is_cuda=on_gpu)) is fit
