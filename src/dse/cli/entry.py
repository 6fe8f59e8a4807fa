"""The `dse` command: its subcommands, logging and errors."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from dse import __version__
from dse.cli import (
    bench,
    distill,
    encode,
    evaluate,
    export,
    index,
    label,
    match,
    plan,
    quickstart,
    report,
    score,
    search,
    serve,
    teacher,
    threshold,
    transfer,
)
from dse.errors import DSEError

app = typer.Typer(
    name="dse",
    help="Distil a slow, accurate cross-encoder into a pair model thousands of times faster at the same job.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
RESUMED = (
    "teacher",
    "label",
    "distill",
    "quickstart",
    "add",
    "encode",
    "match",
)  # commands that go on where they stopped

NOT_WRITTEN = ("inline_container", "PytorchStreamWriter", "Error while serializing")  # in errors of torch, safetensors


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as from a scheduler or `kill`."""


def _guarded(command: Callable[..., None], resumed: bool) -> Callable[..., None]:
    """Let an interrupted command say what is left of it, and see that all of its output was written."""
    goes_on = "; run the same command again to continue" * resumed

    @wraps(command)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            with _terminated(resumed):
                command(*args, **kwargs)
            sys.stdout.flush()
        except Terminated:
            print(f"Terminated{goes_on}.", file=sys.stderr)
            raise typer.Exit(128 + signal.SIGTERM) from None
        except KeyboardInterrupt:  # Typer would print "Aborted" and exit with 1
            print(f"Interrupted{goes_on}.", file=sys.stderr)
            raise typer.Exit(130) from None

    return call


@contextmanager
def _terminated(raised: bool) -> Iterator[None]:
    """Raise `Terminated` on SIGTERM in a command that goes on; a server answers the signal itself."""
    if not raised or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


for command in (  # in the order in which `dse --help` lists them
    teacher.teacher,
    label.label,
    distill.distill,
    evaluate.evaluate,
    threshold.threshold,
    report.report,
    score.score,
    score.rank,
    encode.encode,
    match.match,
    plan.plan,
    bench.bench,
    quickstart.quickstart,
    search.search,
    serve.serve,
    transfer.transfer,
    export.export,
):
    app.command()(_guarded(command, command.__name__ in RESUMED))
for registered in index.index_app.registered_commands:
    if registered.callback is not None:
        registered.callback = _guarded(registered.callback, registered.callback.__name__ in RESUMED)
app.add_typer(index.index_app, name="index")


def _version(value: bool) -> None:
    if value:
        print(f"dse {__version__}")
        raise typer.Exit


@app.callback()
def common(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log more, and print the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Log messages of dse from INFO on, those of libraries from WARNING on; with --verbose one level more of each."""
    if int(os.environ.get("RANK", "0")):  # started by torchrun: the first process speaks for all
        logging.disable(logging.WARNING)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        os.environ["TQDM_DISABLE"] = "1"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    logging.getLogger("dse").setLevel(logging.DEBUG if verbose else logging.INFO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    # The libraries draw a bar for every file they load, even into a pipe.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Run a command; a failure prints one sentence on stderr and exits with the code of its kind."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal need not know every sign
    try:
        app()
    except KeyboardInterrupt:  # before any command began
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _forget_output()
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        code = getattr(error, "exit_code", 1)
        message = " ".join(str(error).split())
        if any(sign in message for sign in NOT_WRITTEN):
            message = "A model or checkpoint cannot be written, as on a full disk; free some space and run again."
        elif isinstance(error, PermissionError) and error.filename:
            message = f"Permission denied: {error.filename}; change its permissions or choose another place."
        elif "No space left on device" in message and not message.startswith("[Errno 28] No space"):  # Arrow, Lance
            message = "There is no space left on the disk; free some and run again."
        elif type(error).__name__ == "SafetensorError":  # of a teacher or an encoder; a student's names the folder
            code, message = 4, f"Weights of a model cannot be read ({message}); copy or download it again."
        elif not isinstance(error, DSEError | OSError | ValueError):
            message = f"{message or type(error).__name__} (unexpected; `dse --verbose ...` prints where it happened)"
        if "--json" in sys.argv:
            message = json.dumps({"error": {"code": code, "message": message}})
        else:
            message = f"Error: {message}"
        print(message, file=sys.stderr)
        sys.exit(code)


def _forget_output() -> None:
    """Drop what cannot be written, which Python would try once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
