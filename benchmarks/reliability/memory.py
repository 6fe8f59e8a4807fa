"""Memory of a process that predicts again and again."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse import DSE

WARM_UP = 0.2  # share of the calls after which memory must stay


def resident() -> int:
    """Memory of this process now, bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def predicts(student: DSE, calls: int) -> dict[str, Any]:
    """Predict so often, each time other texts; the growth is that of a line through the measured points."""
    first, points = int(WARM_UP * calls), list[tuple[int, int]]()
    for call in range(calls):
        student.predict([(f"a dog {call}", "a cat"), ("a red bicycle", f"a tent {call % 90}")], show_progress_bar=False)
        if call >= first and call % max(1, calls // 200) == 0:
            points.append((call, resident()))
    numbers, sizes = np.array(points, float).T
    return {
        "predicts": calls,
        "memory_mib": round(sizes[-1] / 2**20, 1),
        "memory_growth_mib": round((sizes[-1] - sizes[0]) / 2**20, 1),
        "bytes_per_predict": round(float(np.polyfit(numbers, sizes, 1)[0]), 1),
    }
