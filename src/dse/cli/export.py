"""`dse export`: a student as graphs for ONNX Runtime or OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dse.cli import options as o


@o.grouped
def export(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    source: o.PairOptions,
    to: Annotated[Literal["onnx", "openvino"], typer.Option("--to", help="What runs the graphs.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Hold the encoder's matrices in eight bits.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write. Default: onnx or openvino in the student's.")
    ] = None,
    split: o.SplitOption = "dev",
    force: Annotated[bool, typer.Option("--force", help="Keep an export that scores otherwise too.")] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Write encoder and pair head as graphs, if they score as the student does on real sentences."""
    task = source.read_task() if source.task or source.kind else None
    pairs = source.read_pairs(split, task, labelled=task is not None) if source.data or task else None
    from dse.export import export_student
    from dse.export.write import exported_folder

    comparison = export_student(student, output, to=to, int8=int8, pairs=pairs, task=task, force=force)
    folder = output or exported_folder(student, to)
    text = [f"{folder} is ready: {comparison.sentence()}."]
    for name, value in comparison.metrics.get("float32", {}).items():
        text.append(f"{name}: {value:.4f} in float32, {comparison.metrics['exported'][name]:.4f} exported.")
    o.show({"folder": str(folder)} | comparison.to_dict(), "\n".join(text), as_json)
