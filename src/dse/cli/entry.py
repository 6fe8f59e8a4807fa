"""The `dse` command: what is common to all commands, and the list of them."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Annotated

import typer

from dse import __version__
from dse.cli import bench, distill, evaluate, index, label, quickstart, score, search, teacher, transfer
from dse.errors import DSEError

app = typer.Typer(
    name="dse",
    help="Distil a slow, accurate cross-encoder into a pair model thousands of times faster at the same job.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (  # in the order in which `dse --help` lists them
    teacher.teacher,
    label.label,
    distill.distill,
    evaluate.evaluate,
    score.score,
    score.rank,
    bench.bench,
    quickstart.quickstart,
    search.search,
    transfer.transfer,
):
    app.command()(command)
app.add_typer(index.index_app, name="index")


def _version(value: bool) -> None:
    if value:
        print(f"dse {__version__}")
        raise typer.Exit


@app.callback()
def common(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and show where an error arose.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Set up messages: ours at INFO, those of the libraries only when something is wrong."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("dse").setLevel(level if verbose else logging.INFO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    # The libraries draw a bar for every file they load, even into a pipe; ours are enough.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Run a command; every expected failure is one sentence on stderr and an exit code that says its kind."""
    try:
        app()
    except (DSEError, OSError, ValueError) as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        code = getattr(error, "exit_code", 1)
        message = " ".join(str(error).split())
        if "--json" in sys.argv:
            message = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False)
        else:
            message = f"Error: {message}"
        print(message, file=sys.stderr)
        sys.exit(code)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on where it stopped.", file=sys.stderr)
        sys.exit(130)
