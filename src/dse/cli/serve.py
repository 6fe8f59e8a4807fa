"""`dse serve`: a student, and an index of it, behind HTTP."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dse.index import CandidateIndex
    from dse.model import DSE

logger = logging.getLogger(__name__)

KEY = "DSE_API_KEY"
LOCAL = ("127.0.0.1", "localhost", "::1")
LIMITS = "Limits"  # panel of --help


def serve(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    index: Annotated[str | None, typer.Option("--index", help="Index of this student: folder or URI.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    max_texts: Annotated[
        int, typer.Option("--max-texts", min=1, help="Texts or ids in a request.", rich_help_panel=LIMITS)
    ] = 10_000,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Tokens of a request.", rich_help_panel=LIMITS)
    ] = 1_000_000,
    max_body: Annotated[
        float, typer.Option("--max-body", min=0.001, help="MiB of a request's body.", rich_help_panel=LIMITS)
    ] = 8.0,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=1, help="Texts that may wait; then status 429.", rich_help_panel=LIMITS)
    ] = 20_000,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.01, help="Seconds a request may take.", rich_help_panel=LIMITS)
    ] = 60.0,
    cache: Annotated[
        float, typer.Option("--cache", min=0.0, help="MiB of embeddings to remember.", rich_help_panel=LIMITS)
    ] = 512.0,
) -> None:
    """Serve a student over HTTP: rerank, score, embed, search. SIGHUP loads student and index again.

    With the environment variable DSE_API_KEY requests need that bearer token.
    """
    key = _key()
    if index is not None:
        from dse.cli.index import open_store

        open_store(index)  # an error of the path comes before the student is loaded
    from dse.serve import Settings, create_app
    from dse.serve.server import bind, run

    settings = Settings(
        max_texts=max_texts,
        max_tokens=max_tokens,
        max_body=int(max_body * 2**20),
        max_waiting=max_waiting,
        timeout=timeout,
        cache_bytes=int(cache * 2**20),
        api_key=key,
    )
    with bind(host, port) as bound:
        name = Path(student).resolve().name if os.path.isdir(student) else student
        app = create_app(lambda: _load(student, index), settings, name=name)
        address = f"[{host}]" if ":" in host else host
        logger.info("Serving %s at http://%s:%d (/docs lists the routes).", name, address, bound.getsockname()[1])
        if key is None and host not in LOCAL:
            logger.warning("Everybody who reaches %s may send requests; %s sets a token.", host, KEY)
        run(app, bound)


def _key() -> str | None:
    """The token that requests need, once the extra is known to be there."""
    from dse.errors import DSEError, need_extra

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        need_extra(package, "serve")
    key = os.environ.get(KEY)
    if key is not None and not key.strip():
        raise DSEError(f"{KEY} is set and empty; give it a token, or unset it to let everybody in.")
    return key


def _load(student: str, index: str | None) -> tuple[DSE, CandidateIndex | None]:
    from dse import DSE

    loaded = DSE(student)
    if index is None:
        return loaded, None
    from dse.index import CandidateIndex

    return loaded, CandidateIndex(index, loaded)
