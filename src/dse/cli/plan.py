"""`dse plan`: what a job of any size would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dse.cli import options as o


def plan(
    rows: Annotated[float, typer.Option("--rows", min=1, help="Texts to embed and search: 1e9.")],
    dimension: Annotated[int, typer.Option("--dimension", min=1, help="Numbers of an embedding.")] = 1536,
    queries_per_second: Annotated[float, typer.Option("--queries-per-second", min=0, help="To be answered.")] = 1.0,
    pairs: Annotated[float, typer.Option("--pairs", min=0, help="That a teacher labels.")] = 1e6,
    machine: Annotated[Literal["cpu-16", "h100"], typer.Option("--machine", help="Where it is to run.")] = "cpu-16",
    backbone: o.BackboneOption = None,
    costs: Annotated[
        Path | None, typer.Option("--costs", help="File of unit costs. Default: in the user's cache.")
    ] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Estimate hours, disk, memory and time a query from costs measured on this machine in a short run."""
    from tabulate import tabulate

    from dse.scale.costs import MACHINES
    from dse.scale.costs import plan as make_plan
    from dse.scale.unit_costs import UnitCosts, cost_file

    where = costs or cost_file()
    unit, is_new = UnitCosts.here(o.backbone_or_offline(backbone), where)
    figures = make_plan(
        unit,
        rows=rows,
        dimension=dimension,
        queries_per_second=queries_per_second,
        pairs=pairs,
        machine=MACHINES[machine],
    )
    measured = {
        "encode_ms_a_text": 1000 * unit.encode_s,
        "label_ms_a_pair": 1000 * unit.label_s,
        "query_ms": unit.query_ms,
        "tokens_a_text": unit.texts,
    }
    table = [[f["figure"], _number(f["value"]), f["unit"], f["known"]] for f in figures]
    about = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in measured.items())
    when = "measured now" if is_new else "measured before"
    rows_of_figures = tabulate(table, tablefmt="plain", disable_numparse=True)
    text = f"{rows_of_figures}\n\nOne core here, {when} ({where}): {about}."
    o.show({"figures": figures, "measured": measured, "costs": str(where)}, text, as_json)


def _number(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
