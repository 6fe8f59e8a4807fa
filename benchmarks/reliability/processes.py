"""Child processes that are forked from this one, which has imported everything, and killed with `kill -9`."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def fork(work: Callable[[], Any], log: Path) -> int:
    """A child process that does the work and ends; what it prints goes to a file.

    The parent must not call Lance: a fork would lack the threads that Lance has started.
    """
    if child := os.fork():
        return child
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, sys.stdout.fileno())
        os.dup2(descriptor, sys.stderr.fileno())
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float, is_time: Callable[[], bool] = lambda: True) -> int:
    """The exit code of a child.

    Args:
        child: Its id.
        seconds: It is killed if it has not ended so long after it was time.
        is_time: Asked until it is true; only then the seconds begin.
    """
    end = None
    while end is None or time.perf_counter() < end:
        if (ended := os.waitpid(child, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(ended[1])
        if end is None and is_time():
            end = time.perf_counter() + seconds
        else:
            time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def answer_of(work: Callable[[], Any], log: Path, seconds: float = 120.0) -> Any:
    """What a child process returned, as JSON keeps it; None if it failed or took longer."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer.json"
        code = wait(fork(lambda: file.write_text(json.dumps(work())), log), seconds)
        return json.loads(file.read_text()) if code == 0 else None
