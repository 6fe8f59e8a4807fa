"""The `dse` command: its subcommands, logging and errors."""

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
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log more, and print the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Log messages of dse from INFO on, those of libraries from WARNING on."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("dse").setLevel(level if verbose else logging.INFO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    # The libraries draw a bar for every file they load, even into a pipe.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Run a command; an expected failure prints one sentence on stderr and exits with the code of its kind."""
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
        print("Interrupted; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
