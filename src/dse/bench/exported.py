"""How fast exported students encode beside torch in float32, and what `dse-lite` takes."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median

import dse
from dse.bench.harness import Figure
from dse.encoding.graphs import GRAPH_BACKENDS, PACKAGES, GraphBackend
from dse.evaluation.timing import alternate, ratios
from dse.export import WorseExportError, export_student
from dse.model import DSE

logger = logging.getLogger(__name__)

LITE = Path(dse.__file__).parents[2] / "packages" / "dse-lite"
ANSWER = """
import sys
from dse_lite import Student
Student(sys.argv[1]).rank("where is my refund", ["refund has not arrived", "opening hours", "return a tent"])
"""


def measure(folder: Path, backbone: str, sentences: Sequence[str], runs: int) -> tuple[list[Figure], list[str]]:
    """Export a student of the backbone in every way that is installed, and time what the gate keeps.

    Returns:
        Figures and notes.
    """
    student = str(folder / "four_layers")
    DSE.from_backbone(backbone, head="cosine").save_pretrained(student)
    models, notes = {"torch, float32": DSE(student, dtype="float32"), "torch": DSE(student)}, []
    for backend, int8 in product(GRAPH_BACKENDS, (False, True)):
        name = f"{backend}{', int8' * int8}"
        made = export(student, folder / name, backend, int8)
        if isinstance(made, DSE):
            models[name] = made
        else:
            notes.append(f"{name}: {made}")
    texts = list(sentences)
    rounds = alternate(*(_encode(model, texts) for model in models.values()), runs=runs)
    faster = {name: ratios(rounds, 0, place) for place, name in enumerate(models)}
    figures = [
        Figure.from_runs(faster[name], f"encode_{name.replace(', ', '_')}_over_torch_fp32", "x", 3)
        for name in ("onnx, int8", "openvino")
        if name in faster
    ]
    others = ", ".join(f"{name} {median(values):.2f}" for name, values in faster.items())
    notes.append(
        f"Encoders: {len(texts):,} sentences, a cosine head, so that the gate sees errors of the embeddings undimmed; "
        "of each backend what its gate keeps. torch and OpenVINO compute in bfloat16 where the processor does. "
        f"Times torch in float32: {others}."
    )
    lite, note = _lite(folder, folder / "onnx")
    return figures + lite, notes + note


def export(student: str, output: Path, backend: GraphBackend, int8: bool = False) -> DSE | str:
    """The exported student, or why there is none."""
    if find_spec(PACKAGES[backend]) is None or find_spec("onnx") is None:
        return f"not measured, {backend} is not installed."
    try:
        export_student(student, output, to=backend, int8=int8)
    except WorseExportError as error:
        return f"not kept. {error}"
    return DSE(str(output))


def _encode(model: DSE, texts: list[str]) -> Callable[[], object]:
    return lambda: model.encode(texts, show_progress_bar=False)


def _lite(folder: Path, export: Path) -> tuple[list[Figure], list[str]]:
    """Size of a fresh environment with `dse-lite`, and the time from its start to a first answer."""
    if not LITE.is_dir() or not export.is_dir():
        return [], ["dse-lite: not measured; it needs a clone of the repository and the extra onnx."]
    python = folder / "lite" / "bin" / "python"
    made = _run(sys.executable, "-m", "venv", str(python.parents[1])) or _run(
        str(python), "-m", "pip", "install", "--quiet", str(LITE)
    )
    if made:
        return [], [f"dse-lite: not measured, it could not be installed ({made})."]
    size = sum(file.stat().st_size for file in python.parents[1].rglob("*") if not file.is_symlink()) / 2**20
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        if failed := _run(str(python), "-c", ANSWER, str(export)):
            return [Figure("lite_install_mib", size, "MiB", 350)], [f"dse-lite does not answer ({failed})."]
        seconds.append(time.perf_counter() - start)
    return [
        Figure("lite_install_mib", size, "MiB", 350),
        Figure.from_runs(seconds, "lite_start_s", "s", 2),
    ], ["dse-lite: a fresh environment, pip included, and a process of its own from its start to the first answer."]


def _run(*command: str) -> str:
    """Run a command; the last line it wrote if it failed, else nothing."""
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines() or ["no message"]
    return lines[-1] if done.returncode else ""
