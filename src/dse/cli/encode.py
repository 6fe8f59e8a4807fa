"""`dse encode`: texts to embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dse.cli import options as o


def encode(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    files: Annotated[list[str], typer.Argument(help="Texts: parquet csv tsv jsonl, or txt with one a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of shards; a killed run goes on in it.")],
    format: Annotated[
        Literal["parquet", "lance"], typer.Option("--format", help="Parquet files, or one Lance dataset.")
    ] = "parquet",
    id_column: o.IdColumnOption = None,
    text_column: o.TextColumnOption = None,
    queries: Annotated[
        bool, typer.Option("--queries", help="The texts are queries, where the student has a prompt for these.")
    ] = False,
    shard_rows: Annotated[int, typer.Option("--shard-rows", min=1, help="Rows embedded and written at a time.")] = 2048,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts in a batch.")] = 32,
    ray: o.RayOption = None,
    dtype: o.DtypeOption = "auto",
    as_json: o.JsonOption = False,
) -> None:
    """Embed texts into a folder of shards; a killed run loses at most one shard of work."""
    from dse.data.text_files import need_file

    for file in files:
        need_file(file)
    from dse.model import DSE
    from dse.scale import encode_files

    with o.workers(ray) as run:
        result = encode_files(
            DSE(student, dtype=dtype),
            files,
            output,
            id_column=id_column,
            text_column=text_column,
            queries=queries,
            format=format,
            shard_rows=shard_rows,
            batch_size=batch_size,
            run=run,
            show_progress_bar=o.on_terminal(),
        )
    where = output / ("shards" if format == "parquet" else "embeddings.lance")
    kept = f" ({result['kept']:,} shards were there already)" if result["kept"] else ""
    text = f"{result['rows']:,} embeddings of {result['dimension']} numbers in {where}{kept}."
    o.show({"output": str(where), **result}, text, as_json)
