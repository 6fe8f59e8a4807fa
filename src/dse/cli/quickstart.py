"""`dse quickstart`: teacher, student and report from bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the models.")] = Path("dse-quickstart"),
    as_json: o.JsonOption = False,
) -> None:
    """Make a teacher and a student from the bundled help-desk questions, offline; report on them and ask queries."""
    o.need_training()
    from dse.quickstart import run

    result = run(output, command=o.command_line(), show_progress_bar=o.on_terminal())
    o.show(result.to_dict(), result.text(), as_json)
