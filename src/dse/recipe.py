"""What decides a student, and the note of it that its folder keeps."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dse.data.pairs import Pairs
from dse.errors import MismatchError
from dse.files import write_json
from dse.teacher.fit import TeacherPooling
from dse.training.losses import Distillation
from dse.training.settings import Training


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a student.

    Attributes:
        backbone: Folder or hub id of the encoder the student (and a teacher yet to be made) starts from.
        teacher: Folder or hub id of a cross-encoder; None fine-tunes one from ``backbone`` first.
        teacher_labels: Names of the teacher's outputs, where its configuration has none.
        init: Start the student from the backbone or from the fine-tuned teacher's layers.
        folds: Train on out-of-fold scores of so many teachers; 0 takes the teacher's own scores.
        extra_pairs: Pairs recombined from the training sentences, as a multiple of the training pairs, that the teacher
            alone judges; none at alpha 0.
        student: Keywords of `DSE.from_backbone`.
        distillation: Loss.
        teacher_pooling: What a teacher made here judges by, see `fit_teacher`.
        bootstrap_pairs: On how many pairs of the training sentences a teacher made here first learns the cosine of
            the backbone, see `dse.teacher.bootstrap`; for teacher_pooling ``"segments"``.
        training: Optimiser settings of the student.
        teacher_training: Optimiser settings of the teacher.

    Raises:
        ValueError: If ``extra_pairs`` is negative or meets several teachers.
    """

    backbone: str
    teacher: str | None = None
    teacher_labels: tuple[str, ...] | None = None
    init: Literal["backbone", "teacher"] = "backbone"
    folds: int = 0
    extra_pairs: float = 0.0
    student: Mapping[str, Any] = field(default_factory=dict)
    distillation: Distillation = field(default_factory=Distillation)
    teacher_pooling: TeacherPooling = "cls"
    bootstrap_pairs: int = 0
    training: Training = field(default_factory=Training)
    teacher_training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if self.extra_pairs < 0:
            raise ValueError(f"extra_pairs is {self.extra_pairs}; it must be 0 or more.")
        if self.extra_pairs and self.folds:
            raise ValueError("extra_pairs are judged by one teacher; leave out folds, whose teachers are several.")


def claim_folder(output: Path, run: Mapping[str, Any]) -> None:
    """Write to run.json what this folder is for.

    Args:
        output: The folder; made if it does not exist.
        run: Everything that decides what the folder will hold.

    Raises:
        MismatchError: If the folder holds a run with other settings or data.
    """
    run = json.loads(json.dumps(run))  # tuples become lists, as they will be read back
    file = output / "run.json"
    if not file.exists():
        output.mkdir(parents=True, exist_ok=True)
        write_json(file, run)
        return
    before, now = _flat(json.loads(file.read_text(encoding="utf-8"))), _flat(run)
    different = [
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if different:
        raise MismatchError(
            f"{output} holds a run with other settings ({'; '.join(different[:4])}); choose another --output or "
            "delete the folder."
        )


def finished(folder: Path) -> bool:
    """Whether the folder holds a trained model; if so, temporary folders that a killed run left are deleted."""
    done = (folder / "training.json").exists()  # written last
    if done:
        for name in ("checkpoints", "bootstrap"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return done


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat


def pairs_hash(pairs: Pairs) -> str:
    """Hash of pairs and labels, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([pairs.sentence1, pairs.sentence2]).encode())
    if pairs.label is not None:
        digest.update(np.ascontiguousarray(pairs.label).tobytes())
        if not pairs.labelled.all():
            digest.update(pairs.labelled.tobytes())
    return f"{len(pairs)} rows {digest.hexdigest()}"


def texts_hash(texts: Sequence[str]) -> str:
    """Hash of texts, in their order."""
    return f"{len(texts)} texts {hashlib.blake2b(json.dumps(list(texts)).encode(), digest_size=8).hexdigest()}"
