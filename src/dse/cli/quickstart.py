"""`dse quickstart`: the whole way on bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the models go.")] = Path("dse-quickstart"),
    as_json: o.JsonOption = False,
) -> None:
    """The whole story on the bundled help-desk questions, offline: teacher, student, report, a few queries."""
    o.need_training()
    from dse.quickstart import run

    result = run(output, command=o.command_line(), show_progress_bar=o.on_terminal())
    o.show(result.to_dict(), result.text(), as_json)
