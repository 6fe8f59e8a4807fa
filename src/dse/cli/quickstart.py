"""`dse quickstart`: a student that ranks, distilled from bundled data without labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the student.")] = Path("dse-quickstart"),
    as_json: o.JsonOption = False,
) -> None:
    """Distil a ranking student from bundled help-desk questions, offline, without labels; ask it new questions."""
    from dse.quickstart import run

    logging.getLogger("dse").setLevel(logging.WARNING)  # what it prints at the end says it all
    result = run(output, show_progress_bar=o.on_terminal())
    o.show(result.to_dict(), result.text(), as_json)
