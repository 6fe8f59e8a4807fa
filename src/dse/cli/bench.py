"""`dse bench`: this machine measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.cli import options as o


def bench(
    name: Annotated[str, typer.Argument(help="training, encoding, labelling, scoring or search.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of real data sets; default: the bundled questions.")
    ] = None,
    backbone: o.BackboneOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same, smaller: under a minute.")] = False,
    student: Annotated[str | None, typer.Option("--student", help="search: take the encoder of this student.")] = None,
    rows: Annotated[str, typer.Option("--rows", help="search: sizes of the indexes.")] = "200000,1000000",
    work: Annotated[Path | None, typer.Option("--work", help="search: keep what was built here.")] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Measure this machine: our way and the usual way, side by side in one run."""
    known = ("training", "encoding", "labelling", "scoring", "search")
    if name not in known:
        raise typer.BadParameter(f"there is no benchmark {name!r}; choose one of {', '.join(known)}.")
    from importlib import import_module

    more: dict[str, Any] = {}
    if name == "search":
        from dse.errors import need_extra

        need_extra("lance", "index")
        more = {"student": student, "rows": [int(size) for size in o.comma(rows)], "work": work}
    run = import_module(f"dse.bench.{name}").run
    result = run(data=data, backbone=backbone, quick=quick, command=o.command_line(), **more)
    o.show(result.to_dict(), result.table_text(), as_json)
