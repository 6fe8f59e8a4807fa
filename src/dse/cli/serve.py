"""`dse serve`: a student, and an index of it, behind HTTP."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from dse.errors import BadDataError, DSEError, MissingExtraError, need_extra

if TYPE_CHECKING:
    from dse.index.shards.sharded_index import AnyIndex
    from dse.model import DSE
    from dse.serve.teaching import Teacher

logger = logging.getLogger(__name__)

Backend = Literal["torch", "onnx", "openvino"]
KEY = "DSE_API_KEY"
LOCAL = ("127.0.0.1", "localhost", "::1")
LIMITS = "Limits"  # panel of --help


def serve(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    index: Annotated[
        str | None,
        typer.Option(
            "--index", "--shards", help="Index of this student: folder or URI, or the folder of an index in shards."
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="Teacher whose ranking the page at / shows too: folder or hub id.")
    ] = None,
    backend: Annotated[
        Backend | None,
        typer.Option("--backend", help="What runs the encoder; onnx and openvino need an export (dse export)."),
    ] = None,
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
    if index is not None and find_spec("torch") is None:
        raise MissingExtraError("--index needs torch, which is not installed; install it, or leave the index out.")
    if index is not None:
        from dse.cli.index import open_stores

        open_stores(index)  # an error of the path comes before the student is loaded
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
        name = name_of(student)
        taught = _teacher(teacher) if teacher is not None else None
        app = create_app(lambda: _load(student, index, backend), settings, name=name, teacher=taught)
        address = f"[{host}]" if ":" in host else host
        logger.info("Serving %s at http://%s:%d (/docs lists the routes).", name, address, bound.getsockname()[1])
        if key is None and host not in LOCAL:
            logger.warning("Everybody who reaches %s may send requests; %s sets a token.", host, KEY)
        run(app, bound)


def name_of(student: str) -> str:
    """What answers call it: the folder of the student, also of an export that lies in that folder, or the hub id."""
    if not os.path.isdir(student):
        return student
    folder = Path(student).resolve()
    is_inside = folder.name in get_args(Backend) and (folder.parent / "dse.json").is_file()
    return folder.parent.name if is_inside else folder.name


def _key() -> str | None:
    """The token that requests need, once the extra is known to be there."""
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        need_extra(package, "serve")
    key = os.environ.get(KEY)
    if key is not None and not key.strip():
        raise DSEError(f"{KEY} is set and empty; give it a token, or unset it to let everybody in.")
    return key


def _teacher(path: str) -> Teacher:
    """Loaded on one core, see `dse.serve.threads.Threads`."""
    from dse.encoding.runtime import one_thread
    from dse.serve.teaching import read_teacher

    with one_thread():
        return read_teacher(path)


def _load(student: str, index: str | None, backend: Backend | None) -> tuple[DSE | Any, AnyIndex | None]:
    if find_spec("torch") is None:
        return _load_lite(student, backend), None
    from dse import DSE

    loaded = DSE(student, backend=backend)
    if index is None:
        return loaded, None
    from dse.index.shards.sharded_index import open_index

    return loaded, open_index(index, loaded)


def _load_lite(student: str, backend: Backend | None) -> Any:
    """An exported student, by dse-lite: torch is not installed."""
    if find_spec("dse_lite") is None:
        raise MissingExtraError("Neither torch nor dse-lite is installed; a server needs one of them.")
    if backend == "torch":
        raise MissingExtraError("torch is not installed; install it, or choose another --backend.")
    from dse_lite import ExportError, Student

    inside = Path(student) / backend if backend is not None else Path(student)
    try:
        return Student(inside if inside.is_dir() else student)
    except ExportError as error:
        raise BadDataError(str(error)) from error
