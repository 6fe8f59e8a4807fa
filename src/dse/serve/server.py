"""The process around the application: its socket, its signals, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from dse.errors import DSEError
from dse.serve.app import reload

logger = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Take an address before anything is loaded; nobody can connect until `run`.

    Raises:
        DSEError: If it is taken, or is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DSEError(f"{host}:{port} cannot be used ({reason}); choose another (--host, --port).") from error
    return bound


class Process(uvicorn.Server):
    """A server that SIGTERM and Ctrl-C end once every accepted request is answered, and SIGHUP lets load again."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=75, lifespan="on"
            )
        )
        self._app = app
        self._reloads: set[asyncio.Task[bool]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the event loop; uvicorn would let the process die of the signal after a good end."""
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop}
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = self._reload
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit  # the second time at once
        self.should_exit = True

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(reload(self._app))
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


def run(app: FastAPI, bound: socket.socket) -> None:
    """Answer requests until a signal ends it."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    Process(app).run([bound])
