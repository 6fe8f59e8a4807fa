"""Peak memory of this process, as Linux counts it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mib(work: Callable[[], object]) -> float:
    """MiB of resident memory that some work took above what was resident before; NaN where Linux is not the system.

    Example:
        >>> peak_mib(lambda: bytearray(2 << 20)) != 0.0
        True
    """
    if not CLEAR.exists():
        return float("nan")
    CLEAR.write_text("5")  # the peak starts anew from what is resident now
    before = _status("VmRSS")
    work()
    return max(0.0, (_status("VmHWM") - before) / 1024)


def _status(name: str) -> int:
    """A size of /proc/self/status in KiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
