"""The application: its routes, its errors, and how student and index are loaded again."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from dse.errors import DSEError, MismatchError
from dse.serve import embeddings, page, pairs, ranking, searching, status, teaching
from dse.serve.answers import record_of
from dse.serve.errors import RequestError, error_response, validation_sentence
from dse.serve.guard import Guard
from dse.serve.metrics import Metrics
from dse.serve.serving import Serving
from dse.serve.settings import Settings
from dse.serve.threads import Threads

if TYPE_CHECKING:
    from dse.index.shards.sharded_index import AnyIndex
    from dse.model import DSE

logger = logging.getLogger(__name__)

TRIM_SECONDS = 30.0

Load = Callable[[], "tuple[DSE | Any, AnyIndex | None]"]


def create_app(
    load: Load,
    settings: Settings | None = None,
    *,
    name: str = "student",
    teacher: teaching.Teacher | None = None,
) -> FastAPI:
    """The ASGI application around a student.

    Args:
        load: Gives the student, and an index that it made or None. Called now, and at every reload. The student is a
            `DSE`, or a `dse_lite.Student`, which has no index.
        settings: Limits, size of the cache, token.
        name: Of the model, as responses give it.
        teacher: Ranks beside the student on the page at `/`.

    Returns:
        The application.

    Raises:
        DSEError: If they cannot be loaded, or do not belong together.

    Example:
        >>> from starlette.testclient import TestClient
        >>> student = getfixture("student")
        >>> with TestClient(create_app(lambda: (student, None))) as client:
        ...     answer = client.post("/rerank", json={"query": "a bike", "texts": ["a tent", "a bicycle"]})
        >>> answer.status_code, sorted(hit["index"] for hit in answer.json())
        (200, [0, 1])
    """
    settings = settings or Settings()
    metrics, threads = Metrics(), Threads()

    def start(before: Serving | None = None) -> Serving:
        return Serving(name, *load(), settings, metrics, threads, before)

    serving = threads.encoder.submit(start).result()
    threads.encoder.submit(serving.student.encode, ["a"], "").result()  # the first text of a process takes a while

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        trimming = asyncio.create_task(_give_back(threads))
        yield
        trimming.cancel()
        threads.close()
        if teacher is not None:
            teacher.close()

    app = FastAPI(
        title="dse", version=version("dse"), description="A student behind HTTP.", redoc_url=None, lifespan=lifespan
    )

    app.state.load, app.state.threads, app.state.serving = start, threads, serving
    app.state.metrics, app.state.lock, app.state.teacher = metrics, asyncio.Lock(), teacher
    metrics.gauge("dse_queue_sentences", "Sentences that wait to be encoded.", lambda: len(app.state.serving.queue))
    metrics.gauge("dse_cache_entries", "Embeddings in the cache.", lambda: len(app.state.serving.cache))
    metrics.gauge("dse_cache_bytes", "Memory of the cache.", lambda: app.state.serving.cache.bytes)
    for routes in (ranking, pairs, embeddings, searching, teaching, status, page):
        app.include_router(routes.router)
    _handle_errors(app)
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    return app


async def _give_back(threads: Threads) -> None:
    """Give memory that is free back to the system every half minute.

    glibc and Arrow keep much of what each thread has freed; most when rows are added to the index meanwhile.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None

    def give_back() -> None:
        if arrow := sys.modules.get("pyarrow"):  # there is an index
            arrow.default_memory_pool().release_unused()
        if trim is not None:
            trim(0)

    while True:
        await asyncio.sleep(TRIM_SECONDS)
        await threads.run(give_back)


async def reload(app: FastAPI) -> bool:
    """Load student and index again; whether that worked.

    Requests that have begun are answered by those they began with, and a load that fails changes nothing.
    """
    state = app.state
    async with state.lock:
        try:
            state.serving = await state.threads.run(state.load, state.serving)
        except Exception as error:  # whatever it is, what is in use stays
            logger.error(json.dumps({"event": "reload", "result": "failed", "error": " ".join(str(error).split())}))
            state.metrics.reloads.labels("failed").inc()
            return False
        logger.info(json.dumps({"event": "reload", "result": "done", "student": state.serving.fingerprint}))
        state.metrics.reloads.labels("done").inc()
        return True


def _handle_errors(app: FastAPI) -> None:
    """Let every refusal be one sentence in the shape that the client parses."""

    def answer(request: Request, code: int, message: str, headers: Any = None) -> Response:
        return error_response(code, message, tei=record_of(request).tei, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, *validation_sentence(list(error.errors())))

    @app.exception_handler(RequestError)
    async def _refused(request: Request, error: RequestError) -> Response:
        return answer(request, error.status, error.message)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        sentences = {404: "There is no such address; /docs lists them.", 405: "This address takes another method."}
        sentences[400] = "The body is not valid JSON; send one JSON object in UTF-8."
        return answer(request, error.status_code, sentences.get(error.status_code, error.detail), error.headers)

    @app.exception_handler(DSEError)
    async def _failed(request: Request, error: DSEError) -> Response:
        logger.error(
            json.dumps({"event": "error", "request_id": record_of(request).request_id, "error": type(error).__name__})
        )
        if isinstance(error, MismatchError):
            return answer(request, 503, "The index was changed to another student; the server must be reloaded.")
        return answer(request, 503, "The index cannot be read; the log of the server has more.")
