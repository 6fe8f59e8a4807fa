"""What the workers of tests run. They import this file, so it imports nothing that takes long."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from dse.errors import DSEError


class Square:
    """Dies once, in the middle."""

    def __init__(self, flag: Path, at: int | None, always: bool = False) -> None:
        self.flag, self.at, self.always = flag, at, always

    def __call__(self, number: int) -> tuple[int, int]:
        if number == self.at and (self.always or not self.flag.exists()):
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            raise DSEError("a number below zero.")
        return number**2, os.getpid()


class Deadly:
    """Dies at the first two numbers, once at each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int) -> int:
        if number < 2 and not (self.folder / str(number)).exists():
            (self.folder / str(number)).touch()
            time.sleep(0.5)  # until the result of the shard before it has arrived
            os.kill(os.getpid(), signal.SIGKILL)
        return number
