"""Real processes that run `tests.worker`, to be killed, compared, or run side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(*args: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start `python -m tests.worker ARGS`; its output is kept."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "tests.worker", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | quiet,
        cwd=ROOT,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a process that must end well; what it wrote to stdout and stderr."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    """`kill -9` as soon as ``ready()`` is true; the process must still be running then."""
    try:
        while not ready():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.002)
    finally:
        process.kill()
        _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
