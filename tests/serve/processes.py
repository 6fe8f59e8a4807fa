"""`dse serve` as a real process on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


class Server:
    """A running process.

    Attributes:
        process: It.
        port: Where it listens.
        url: The same as an address.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port, self.url = process, port, f"http://127.0.0.1:{port}"


@contextmanager
def serving(log: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """Start `dse serve ARGUMENTS`, its messages in a file, and wait until it answers."""
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    with log.open("w") as messages:
        command = [sys.executable, "-m", "dse", "serve", *arguments, "--port", "0"]
        process = subprocess.Popen(command, stderr=messages, text=True, env=os.environ | quiet | environment)
    try:
        server = Server(process, _port(process, log))
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        yield server
    finally:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[str], log: Path) -> int:
    """The port it names in its first message, once it listens there."""
    transport = httpx.HTTPTransport(retries=1)
    while process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()):
            try:
                with httpx.Client(transport=transport) as client:
                    client.get(f"http://127.0.0.1:{found[1]}/health")
                return int(found[1])
            except httpx.ConnectError:
                continue
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())
