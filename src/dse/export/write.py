"""Writing an exported student: graphs, tokenizer, pair head, and the comparison that let it pass."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from dse.data.pairs import Pairs
from dse.data.task import Task
from dse.encoding.graphs import PACKAGES, GraphBackend
from dse.encoding.identity import fingerprints
from dse.errors import BadDataError, need_extra, refuse_unwritable
from dse.export import gate
from dse.export.int8 import quantise
from dse.export.trace import write_encoder, write_head
from dse.files import write_json
from dse.graph_encoder import STEM, GraphEncoder
from dse.model import DSE

logger = logging.getLogger(__name__)

COMPARISON = "export.json"
HEAD = "head.onnx"


def export_student(
    student: str | Path,
    output: str | Path | None = None,
    *,
    to: GraphBackend = "onnx",
    int8: bool = False,
    pairs: Pairs | None = None,
    task: Task | None = None,
    force: bool = False,
) -> gate.Comparison:
    """Write encoder and pair head as graphs, compare them with the student, and keep them if they score alike.

    Args:
        student: Folder or hub id of a saved student.
        output: Folder to write; by default one inside the student's with the backend's name, where `DSE` looks for it.
            An earlier export there is replaced.
        to: What runs the graphs: ``onnx`` (ONNX Runtime) or ``openvino``.
        int8: Hold the encoder's matrices in eight bits.
        pairs: Sentences to compare on; by default the bundled help-desk questions.
        task: What the labels of the pairs mean; both are then measured by them.
        force: Keep what scores otherwise too.

    Returns:
        What was compared; also written to `export.json`.

    Raises:
        BadDataError: If the student cannot be exported, or the folder holds something else.
        MismatchError: If the folder is a file, or would lie in one.
        MissingExtraError: If a package is missing.
        WorseExportError: If the export scores otherwise. Nothing is written then.
    """
    for package in ("onnx", PACKAGES[to]):
        need_extra(package, to)
    folder = _folder(student, output, to)
    original = DSE(str(student), dtype="float32", device="cpu").eval()
    sentences = gate.Sentences.of(pairs, task)
    expected = gate.scores(original, sentences)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made = Path(temporary) / "export"
        graph = Path(temporary) / f"{STEM}.onnx"
        inputs = write_encoder(original, graph)
        for candidate in quantise(graph, to) if int8 else [graph]:
            _write(original, candidate, made, to, inputs, int8)
            tolerance = gate.REDUCED_TOLERANCE if int8 or to == "openvino" else gate.FLOAT_TOLERANCE
            comparison = gate.compare(expected, gate.scores(DSE(str(made)), sentences), sentences, tolerance)
            if comparison.passed:
                break
            logger.info("%s does not pass: %s.", candidate.stem, comparison.sentence())
        if not comparison.passed and not force:
            raise gate.WorseExportError(
                f"The export of {student} is not kept: {comparison.sentence()}; "
                f"{'export without --int8, or ' * int8}keep it with --force."
            )
        write_json(made / COMPARISON, comparison.to_dict() | {"backend": to, "int8": int8})
        if folder.exists():
            os.replace(folder, Path(temporary) / "old")
        os.replace(made, folder)
    return comparison


def exported_folder(student: str | Path, backend: GraphBackend) -> Path:
    """Where `export_student` puts an export by default."""
    return Path(student) / backend


def _folder(student: str | Path, output: str | Path | None, to: GraphBackend) -> Path:
    if output is None and not Path(student).is_dir():
        raise BadDataError(
            f"There is no folder {student} here; check the path or, for a student on the hub, name a folder of the "
            "export with -o."
        )
    folder = Path(output) if output is not None else exported_folder(student, to)
    refuse_unwritable(folder)
    if folder.exists() and not (folder / COMPARISON).is_file() and any(folder.iterdir()):
        raise BadDataError(f"{folder} exists and holds no export; name another folder with -o.")
    return folder


def _write(original: DSE, graph: Path, made: Path, to: GraphBackend, inputs: list[str], int8: bool) -> None:
    """Write the folder of an exported student anew."""
    shutil.rmtree(made, ignore_errors=True)
    source = graph.with_suffix("") / to  # a folder of its own: it is copied whole
    source.mkdir(parents=True)
    shutil.copyfile(graph, source / f"{STEM}.onnx")
    tokenizer = original.tokenizer
    padding = {
        "id": tokenizer.pad_token_id,
        "token": tokenizer.pad_token,
        "type_id": tokenizer.pad_token_type_id,
        "side": tokenizer.padding_side,
    }
    names = {"fingerprints": list(original.fingerprints)}
    encoder = GraphEncoder(
        to,
        original.head.embedding_dimension,
        original.max_seq_length,
        inputs,
        padding,
        int8,
        names,
        tokenizer=tokenizer,
        folder=source,
    )
    exported = DSE(
        modules=[encoder, original.head],
        prompts=original.prompts,
        default_prompt_name=original.default_prompt_name,
        similarity_fn_name=original.similarity_fn_name,
        device="cpu",
    )
    encoder.source = names | {"unchanged": fingerprints(exported)[0]}
    exported.save_pretrained(str(made), create_model_card=False)
    write_head(original, made / HEAD)


def read_comparison(folder: str | Path) -> dict[str, object]:
    """What `export_student` measured and wrote beside the files."""
    comparison: dict[str, object] = json.loads((Path(folder) / COMPARISON).read_text(encoding="utf-8"))
    return comparison
