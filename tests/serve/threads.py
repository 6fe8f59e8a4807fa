"""An application behind a real socket, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from dse.serve.server import bind


@contextmanager
def running(app: FastAPI) -> Iterator[int]:
    """Serve an application; gives the port."""
    with bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        while not server.started:
            threading.Event().wait(0.001)
        yield port
        server.should_exit = True
        thread.join(30)
