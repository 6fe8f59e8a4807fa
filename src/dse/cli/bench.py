"""`dse bench`: measure this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.cli import options as o
from dse.errors import need_extra

EXTRAS = {  # packages that a benchmark needs, and the extras that install them
    "search": {"lance": "index"},
    "serving": {"lance": "index", "fastapi": "serve", "prometheus_client": "serve"},
    "scale": {"ray": "ray", "lance": "index"},
    "shards": {"lance": "index"},
}
KNOWN = ("training", "encoding", "labelling", "scoring", "search", "serving", "scale", "shards")
KEEPING = ("search", "scale", "shards")
OWN = {"student": ("search",), "rows": KEEPING, "work": KEEPING, "soak": ("serving",)}


def bench(
    name: Annotated[str, typer.Argument(help=f"{', '.join(KNOWN[:-1])} or {KNOWN[-1]}.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of data sets. Default: the bundled questions.")
    ] = None,
    backbone: o.BackboneOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Use less data; takes under a minute.")] = False,
    student: Annotated[str | None, typer.Option("--student", help="search: use the encoder of this student.")] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows",
            help="Rows of an index. search: several, by default 200000,1000000. scale, shards: one, by default 200000.",
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", help="search, scale, shards: folder of what a later run goes on from."),
    ] = None,
    soak: Annotated[
        float | None,
        typer.Option("--soak", min=0, help="serving: minutes of mixed requests. Default: 10, with --quick none."),
    ] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Time dse and the usual way on this machine, side by side in one run."""
    if name not in KNOWN:
        raise typer.BadParameter(f"no benchmark is called {name!r}; choose one of {', '.join(KNOWN)}.")
    from importlib import import_module

    for option, given in {"student": student, "rows": rows, "work": work, "soak": soak}.items():
        if given is not None and name not in OWN[option]:
            raise typer.BadParameter(
                f"it is an option of {' and '.join(OWN[option])}, not of {name}.", param_hint=f"--{option}"
            )
    settings: dict[str, Any] = {}
    for package, extra in EXTRAS.get(name, {}).items():
        need_extra(package, extra)
    if name == "search":
        settings = {"student": student, "work": work}
    if name in ("scale", "shards"):
        settings = {"work": work}
    if rows is not None:
        sizes = _sizes(rows)
        if name != "search" and len(sizes) > 1:
            raise typer.BadParameter(f"dse bench {name} measures one size, not {rows}.", param_hint="--rows")
        settings["rows"] = sizes if name == "search" else sizes[0]
    if name == "serving":
        settings = {"soak_minutes": soak}
    run = import_module(f"dse.bench.{name}").run
    result = run(data=data, backbone=backbone, quick=quick, command=o.command_line(), **settings)
    o.show(result.to_dict(), result.table_text(), as_json)


def _sizes(text: str) -> list[int]:
    """Numbers of rows, as in ``200000,1000000``."""
    sizes = o.comma(text)
    if not sizes or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise typer.BadParameter(
            f"{text!r} is no list of sizes; give whole numbers above 0, as 200000, search also 200000,1000000.",
            param_hint="--rows",
        )
    return [int(size) for size in sizes]
