"""`dse label`: score pairs with a teacher and keep the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o


@o.grouped
def label(
    teacher: Annotated[str, typer.Argument(help="Cross-encoder: folder or hub id.")],
    source: o.PairOptions,
    split: o.SplitOption = "train",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Parquet file of scores; those already in it are kept.")
    ] = Path("scores.parquet"),
    teacher_labels: o.TeacherLabelsOption = None,
    batch_size: o.BatchOption = 16,
    ray: o.RayOption = None,
    dtype: o.DtypeOption = "auto",
    as_json: o.JsonOption = False,
) -> None:
    """Score pairs with a teacher and keep the raw logits; a killed run loses at most 2,000 pairs of work."""
    task = source.read_task()
    pairs = source.read_pairs(split, task, labelled=False)
    from dse.teacher.labelling import label_pairs
    from dse.teacher.load import load_teacher

    with o.workers(ray) as run:
        scores = label_pairs(
            load_teacher(teacher, task, o.comma(teacher_labels) or None),
            pairs,
            task,
            output,
            batch_size=batch_size,
            dtype=dtype,
            run=run,
            show_progress_bar=o.on_terminal(),
        )
    result = {"scores": str(output), "pairs": len(pairs), "mean": float(scores.mean()), "std": float(scores.std())}
    text = f"{len(pairs)} pairs scored in {output} (mean {scores.mean():.2f}, standard deviation {scores.std():.2f})."
    o.show(result, text, as_json)
