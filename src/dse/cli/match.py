"""`dse match`: join two tables, or find the duplicates in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o
from dse.cli.parsing import proper_share


def match(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    left: Annotated[str, typer.Argument(help="Rows: parquet csv tsv jsonl, or txt with one a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the pairs; a killed run goes on in it.")],
    right: Annotated[str | None, typer.Argument(help="Rows to find. Default: the others of the same table.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Pairs of a left row at most.")] = 5,
    min_score: Annotated[float, typer.Option("--min-score", help="Lowest score of a pair.")] = 0.9,
    label: Annotated[str | None, typer.Option("--label", help="Class that counts, if the student has several.")] = None,
    recall: Annotated[
        float, typer.Option("--recall", callback=proper_share, help="Share of the exact best pairs to find.")
    ] = 0.99,
    exact: Annotated[bool, typer.Option("--exact", help="Score every pair.")] = False,
    id_column: o.IdColumnOption = None,
    text_column: o.TextColumnOption = None,
    ray: o.RayOption = None,
    dtype: o.DtypeOption = "auto",
    as_json: o.JsonOption = False,
) -> None:
    """Find the pairs of two tables, or the duplicates in one, that a student scores high."""
    from dse.errors import need_extra

    need_extra("lance", "index")
    from dse.data.text_files import need_file

    need_file(left)
    if right is not None:
        need_file(right)
    from dse.model import DSE
    from dse.scale import match_tables

    with o.workers(ray) as run:
        result = match_tables(
            DSE(student, dtype=dtype),
            left,
            right,
            output=output,
            top_k=top_k,
            min_score=min_score,
            label=label,
            recall=None if exact else recall,
            id_column=id_column,
            text_column=text_column,
            run=run,
            show_progress_bar=o.on_terminal(),
        )
    how = f"{result['shortlist']} scored of each row" if result["shortlist"] else "every pair scored"
    clusters = f"; clusters of two or more rows: {result['clusters']:,}" if right is None else ""
    text = f"pairs: {result['pairs']:,}{clusters}; in {output} ({result['left']:,} x {result['right']:,} rows, {how})."
    o.show({"output": str(output), **result}, text, as_json)
