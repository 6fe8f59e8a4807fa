"""What a job of any size would take: hours, disk, memory, shards, milliseconds a query, and how each is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dse.scale.unit_costs import UnitCosts

# From docs/results: an index of 10 M rows (search.md) and the scores on an H100 (scoring_h100.md).
ROW_BYTES = 500  # of a row beside its embedding: text, id, scout vector and its index
MEMORY_GIB, MEMORY_GIB_PER_MILLION = 1.1, 0.14  # of a process that searches
SEARCH_MS = 0.049  # times the root of the rows; 0.2, 1 and 10 M rows took 22, 42 and 156 ms without encoding
H100_GFLOPS = 786_000.0  # bfloat16 matrix products
H100_SHARE = 0.35  # of that rate, which an encoder reaches
ENCODE_SHARD, LABEL_SHARD = 2048, 2000


@dataclass(frozen=True)
class Machine:
    """A machine to plan for.

    Attributes:
        cores: Of its CPU.
        gpu: Whether encoders and teachers run on an H100.
    """

    cores: int
    gpu: bool = False


MACHINES: Mapping[str, Machine] = {"cpu-16": Machine(16), "h100": Machine(16, gpu=True)}


def plan(
    costs: UnitCosts, *, rows: float, dimension: int, queries_per_second: float, pairs: float, machine: Machine
) -> list[dict[str, Any]]:
    """The figures of a job.

    Args:
        costs: Of this machine.
        rows: Texts to embed and search.
        dimension: d, of an embedding.
        queries_per_second: To be answered.
        pairs: That a teacher labels.
        machine: Where it is to run.

    Returns:
        ``figure``, ``value``, ``unit`` and ``known``: how the value came about.

    Raises:
        ValueError: If a number is negative, infinite or NaN, or there are no rows.

    Example:
        >>> costs = UnitCosts(0.0036, 0.036, 18.0, 100.0, 12.0, {})
        >>> figures = plan(
        ...     costs, rows=1e6, dimension=1536, queries_per_second=10, pairs=0, machine=MACHINES["cpu-16"]
        ... )
        >>> figures[0]["figure"], round(figures[0]["value"], 4)
        ('encode', 0.0625)
    """
    given = {"rows": rows, "dimension": dimension, "queries_per_second": queries_per_second, "pairs": pairs}
    for name, value in given.items():
        if not math.isfinite(value) or value < (name in ("rows", "dimension")):
            raise ValueError(f"{name} is {value}; give a number that is not negative, and of rows at least one.")
    if machine.gpu:
        speed = H100_SHARE * H100_GFLOPS / costs.gemm_gflops
        how = f"extrapolated: measured here, by the rate of matrix products, {H100_SHARE:.0%} of an H100's"
    else:
        speed, how = float(machine.cores), f"extrapolated: measured on one core here, times {machine.cores}"
    search = SEARCH_MS * math.sqrt(rows)
    from_pages = "extrapolated from docs/results/search.md"
    return [
        _figure("encode", rows * costs.encode_s / speed / 3600, "hours", how),
        _figure("label", pairs * costs.label_s / speed / 3600, "hours", how),
        _figure(
            "disk", rows * (2 * dimension + ROW_BYTES) / 2**30, "GiB", f"computed; {ROW_BYTES} bytes a row measured"
        ),
        _figure("memory", MEMORY_GIB + MEMORY_GIB_PER_MILLION * rows / 1e6, "GiB", from_pages),
        _figure("shards", math.ceil(rows / ENCODE_SHARD) + math.ceil(pairs / LABEL_SHARD), "", "computed"),
        _figure(
            "query", costs.query_ms + search, "ms", f"{costs.query_ms:.0f} ms measured here, the rest {from_pages}"
        ),
        _figure("cores", queries_per_second * (costs.query_ms + search) / 1000, "", "computed from the query's time"),
    ]


def _figure(name: str, value: float, unit: str, known: str) -> dict[str, Any]:
    return {"figure": name, "value": value, "unit": unit, "known": known}
