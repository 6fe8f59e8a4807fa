"""`dse bench`: measure this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.cli import options as o


def bench(
    name: Annotated[str, typer.Argument(help="training, encoding, labelling, scoring, search, serving or scale.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of data sets. Default: the bundled questions.")
    ] = None,
    backbone: o.BackboneOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Use less data; takes under a minute.")] = False,
    student: Annotated[str | None, typer.Option("--student", help="search: use the encoder of this student.")] = None,
    rows: Annotated[str, typer.Option("--rows", help="search: sizes of the indexes.")] = "200000,1000000",
    work: Annotated[Path | None, typer.Option("--work", help="search: folder in which to keep the indexes.")] = None,
    soak: Annotated[
        float | None,
        typer.Option("--soak", min=0, help="serving: minutes of mixed requests. Default: 10, with --quick none."),
    ] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Time dse and the usual way on this machine, side by side in one run."""
    known = ("training", "encoding", "labelling", "scoring", "search", "serving", "scale")
    if name not in known:
        raise typer.BadParameter(f"no benchmark is called {name!r}; choose one of {', '.join(known)}.")
    from importlib import import_module

    settings: dict[str, Any] = {}
    if name == "search":
        from dse.errors import need_extra

        need_extra("lance", "index")
        settings = {"student": student, "rows": [int(size) for size in o.comma(rows)], "work": work}
    if name == "serving":
        from dse.errors import need_extra

        for package, extra in (("lance", "index"), ("fastapi", "serve"), ("prometheus_client", "serve")):
            need_extra(package, extra)
        settings = {"soak_minutes": soak}
    if name == "scale":
        from dse.errors import need_extra

        for package, extra in (("ray", "ray"), ("lance", "index")):
            need_extra(package, extra)
    run = import_module(f"dse.bench.{name}").run
    result = run(data=data, backbone=backbone, quick=quick, command=o.command_line(), **settings)
    o.show(result.to_dict(), result.table_text(), as_json)
