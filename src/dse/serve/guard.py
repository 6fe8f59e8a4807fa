"""What stands before every route: request id, token, limits of number, size and time, log and counts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import uuid
from time import perf_counter
from traceback import extract_tb

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dse.serve import page
from dse.serve.answers import Record
from dse.serve.errors import TEI_PATHS, RequestError, error_response
from dse.serve.metrics import Metrics
from dse.serve.settings import Settings

logger = logging.getLogger(__name__)

OPEN = (
    *page.FILES,
    "/health",
    "/ping",
    "/docs",
    "/openapi.json",
)  # need no token: nothing of student or index
CLIENT_GONE = 499  # status in log and counts of a request whose client has hung up; nobody reads it


class ClientGone(Exception):
    """The client hung up before its request was whole."""


class Guard:
    """ASGI middleware around the routes of an application.

    Args:
        app: The application.
        settings: Limits.
        metrics: What is counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._running = 0
        self._token = None if settings.api_key is None else _digest(f"Bearer {settings.api_key}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and note what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record = scope["dse"] = Record(_request_id(headers.get("x-request-id", "")), scope["path"] in TEI_PATHS)
        start, status = perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(record.headers)
            await send(message)

        self._running += 1
        self.metrics.running.set(self._running)
        try:
            await self._answer(scope, receive, noted, headers, record)
        except ClientGone:
            pass
        except RequestError as error:
            if not status:
                await error_response(error.status, error.message, tei=record.tei)(scope, receive, noted)
        except Exception as error:
            _log_error(record, error)
            if not status:
                sentence = f"The server failed; its log has more under {record.request_id}."
                await error_response(500, sentence, tei=record.tei)(scope, receive, noted)
        finally:
            self._running -= 1
            self.metrics.running.set(self._running)
            self._note(scope, record, status or CLIENT_GONE, perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers, record: Record) -> None:
        if scope["path"] not in OPEN:
            self._check_token(headers.get("authorization", ""))
            if self._running > self.settings.max_requests:
                raise RequestError(429, f"{self._running:,} requests are being answered; send it again in a moment.")
        body: bytes | None = None
        try:
            async with asyncio.timeout(self.settings.timeout):
                body = await self._body(receive, headers)
                await self._call(scope, body, receive, send)
        except TimeoutError as error:
            seconds = f"{self.settings.timeout:g} s"
            if body is None:
                raise RequestError(408, f"The body has not come within {seconds}.") from error
            raise RequestError(504, f"This took longer than {seconds}; send fewer texts at a time.") from error

    def _check_token(self, given: str) -> None:
        # Digests have one length, and the comparison takes the same time wherever they differ.
        if self._token is not None and not hmac.compare_digest(_digest(given.encode("latin-1")), self._token):
            raise RequestError(401, "The token is missing or wrong; send it as Authorization: Bearer TOKEN.")

    async def _body(self, receive: Receive, headers: Headers) -> bytes:
        """The whole body, unless it is too large."""
        most = self.settings.max_body
        announced = headers.get("content-length", "")
        chunks, size, more = [], int(announced) if announced.isdecimal() and len(announced) < 20 else 0, True
        read = 0
        while more and max(size, read) <= most:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            read += len(chunks[-1])
            more = message.get("more_body", False)
        if max(size, read) > most:
            raise RequestError(413, f"The body is larger than {most:,} bytes; send fewer texts at a time.")
        return b"".join(chunks)

    async def _call(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Call the application; where the client hangs up, its work is given up."""
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await asyncio.shield(gone)
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        app = asyncio.ensure_future(self.app(scope, replay, send))
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({app, gone}, return_when=asyncio.FIRST_COMPLETED)
            if app.done():
                app.result()
        finally:
            app.cancel()
            gone.cancel()
            await asyncio.gather(app, gone, return_exceptions=True)

    def _note(self, scope: Scope, record: Record, status: int, seconds: float) -> None:
        """Count the request, and write its line to the log: nothing that the client sent is in it."""
        route = str(getattr(scope.get("route"), "path", "none"))
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        self.metrics.texts(record.hits, record.asked)
        self.metrics.truncated.inc(record.cut)
        line = {"event": "request", "request_id": record.request_id, "route": route, "status": status}
        more = {"ms": round(seconds * 1000, 2), "texts": record.asked, "cached": record.hits, "truncated": record.cut}
        logger.info(json.dumps(line | more))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _request_id(given: str) -> str:
    """The client's name of the request where it is a plain one, else a new one."""
    return given if re.fullmatch(r"[A-Za-z0-9-]{1,64}", given) else uuid.uuid4().hex


def _log_error(record: Record, error: Exception) -> None:
    """Write where an error arose; its message may hold texts, and is left out."""
    frames = [f"{frame.filename}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-3:]]
    line = {"event": "error", "request_id": record.request_id, "error": type(error).__name__, "where": frames}
    logger.error(json.dumps(line))
