"""How near a search comes to the rate of plain matrix products (GEMM), and how its time grows with N and Q."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from dse.bench import scoring_setup as setup
from dse.bench.harness import Figure
from dse.evaluation.timing import alternate
from dse.modules import PairHead


def compare(
    head: PairHead, embeddings: Tensor, sizes: Sequence[int], dtype: torch.dtype
) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Fractions of the GEMM rate at each N, and how the time of a pair grows with N and Q."""
    d, h = head.embedding_dimension, head.hidden_dimension
    candidates, query = setup.repeated(embeddings, max(sizes), dtype), embeddings[:1].float()
    worst: list[float] = []
    table, per_pair = [], []
    for n in sizes:
        part = candidates[:n]
        operations = 4.0 * d * h * n
        multiply, multiplied = products(operations, dtype, embeddings.device)
        rounds = alternate(multiply, setup.search(head, query, part, dtype), runs=setup.rounds_for(n))
        fractions = [(operations / times[1]) / (multiplied / times[0]) for times in rounds]
        worst = min(worst or fractions, fractions, key=median)
        per_pair.append(median(times[1] for times in rounds) / n)
        note = f"{median(fractions):.2f} of GEMM"
        table.append(setup.row(f"top 10 of N, d = {d}", 1, n, per_pair[-1] * n, note))
    q = 8
    rounds = alternate(setup.search(head, embeddings[:q].float(), candidates[: sizes[0]], dtype), runs=5)
    per_pair.append(median(times[0] for times in rounds) / sizes[0] / q)
    table.append(setup.row(f"top 10 of N, d = {d}", q, sizes[0], per_pair[-1] * q * sizes[0], ""))
    figures = [Figure.from_runs(worst, f"gemm_fraction_d{d}", "", target=0.85)]
    if embeddings.is_cuda:  # below a million candidates a search is over before its kernels are launched
        gpu, wide = gpu_name(embeddings.device), "" if d == 1536 else f"_d{d}"
        figures = [
            Figure.from_runs(fractions, f"{gpu}_gemm_fraction{wide}", "", target=0.5),
            Figure(f"{gpu}_pairs_per_s{wide}", 1 / min(per_pair), "pairs/s", target=None if wide else 1e8),
        ]
    return [*figures, Figure("linearity_worst", growth(per_pair), "", target=0.10)], table


def gpu_name(device: torch.device) -> str:
    """A GPU's name as figures begin with it: h200 for "NVIDIA H200", a10g for "NVIDIA A10G"."""
    words = torch.cuda.get_device_name(device).lower().split()
    return next((word for word in words if any(c.isdigit() for c in word)), "gpu")


def growth(per_pair: Sequence[float]) -> float:
    """Largest relative increase of the time of a pair from any size to a larger one; 0 if it only falls.

    Example:
        >>> round(growth([1.0, 1.1, 0.9, 0.95]), 3), growth([2.0, 1.0])
        (0.1, 0.0)
    """
    return max((b / a - 1 for i, a in enumerate(per_pair) for b in per_pair[i:]), default=0.0)


def products(operations: float, dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], float]:
    """Large matrix products of about so many operations, at the best rate of the machine; and their exact number."""
    n, k = (4096, 2048) if device.type == "cpu" else (8192, 8192)
    one = 2.0 * n * k * k
    times = max(1, round(operations / one))
    a, b = (torch.randn(rows, k, device=device).to(dtype) for rows in (n, k))
    out = torch.empty_like(a)

    def multiply() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return multiply, times * one
