"""Fine-tune a cross-encoder: the teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import nn

from dse.data.pairs import Pairs, need_two_labels
from dse.data.tasks import Task
from dse.encoding.fast_copy import FastCopy
from dse.encoding.identity import fingerprint
from dse.errors import BadDataError
from dse.files import share_weights, write_json
from dse.saved import naming
from dse.teacher.load import Teacher, config_of, default_prompt, load_teacher
from dse.teacher.scoring import teacher_scores
from dse.teacher.segments import segment_teacher, start_teacher_head
from dse.training.loop import PairEvaluator, last_checkpoint, run, trainer_arguments
from dse.training.losses import unit_labels
from dse.training.run_folder import claim_folder, data_hashes, finished
from dse.training.settings import Training

TeacherPooling = Literal["cls", "segments"]


def fit_teacher(
    backbone: str,
    train: Pairs,
    task: Task,
    output: str | Path,
    *,
    validation: Pairs | None = None,
    training: Training | None = None,
    regression_loss: Literal["bce", "mse"] = "bce",
    max_seq_length: int | None = None,
    pooling: TeacherPooling = "cls",
    claim: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> CrossEncoder:
    """Fine-tune a cross-encoder.

    An interrupted run resumes from its last checkpoint; a finished one is loaded.

    Args:
        backbone: Folder or hub id of any encoder, or of a cross-encoder to train further.
        train: Labelled pairs.
        task: What their labels mean.
        output: Folder of the teacher: a new or empty one, or that of the run to continue.
        validation: Labelled pairs that choose the best checkpoint; never the ones reported.
        training: Optimiser settings.
        regression_loss: ``"bce"`` learns labels scaled to 0..1 through a sigmoid (as sentence-transformers' own
            similarity models), ``"mse"`` the raw labels (as the paper).
        max_seq_length: Tokens of a pair; the backbone's own limit by default.
        pooling: ``"cls"``, the usual classification model, or ``"segments"``, which judges by the means of the two
            sentences (`SegmentPooling`) and learns from far fewer pairs where the backbone is a sentence encoder.
        claim: What decides the teacher, where that is more than these arguments (see `make_teacher`).
        **kwargs: As `CrossEncoder` takes them.

    Returns:
        The teacher, trained and saved; its outputs carry the task's label names.

    Raises:
        BadDataError: If the pairs have no labels.
        MismatchError: If ``output`` holds a run with other settings or data, or anything else.
    """
    training, output = training or Training(), Path(output)
    if pooling == "cls":
        training = replace(training, head_learning_rate=None, head_steps=0)  # it has no pair head
    linear = task.kind == "regression" and regression_loss == "mse"
    dataset = _dataset(train, task, linear)
    torch.manual_seed(training.seed)  # the classifier starts at random
    teacher = _untrained(backbone, task, pooling, linear, max_length=max_seq_length, **kwargs)
    own = {"kind": "teacher", "task": task.to_dict(), "training": training.to_dict(), "start": fingerprint(teacher)}
    own |= {"pooling": pooling, "loss": regression_loss, "data": data_hashes(train=train, validation=validation)}
    claim_folder(output, own if claim is None else claim)
    if finished(output):
        return load_teacher(str(output), task, **kwargs)
    if training.head_steps and last_checkpoint(output / "checkpoints") is None:
        start_teacher_head(teacher, train, task, linear, training)
    trainer = _trainer(teacher, dataset, task, linear, validation, training, output / "checkpoints")
    history = run(trainer, training, f"teacher, {task.name}")
    if trainer.is_world_process_zero():
        teacher.save_pretrained(str(output))
        share_weights(output)
        write_json(output / "training.json", {"training": training.to_dict(), "log": history})
        shutil.rmtree(output / "checkpoints")
    return teacher


def further_settings(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What else decides a teacher, of the keywords of `CrossEncoder`: all but where it lies and where it runs."""
    where = ("device", "token", "cache_folder", "local_files_only")
    further = {name: value for name, value in kwargs.items() if name not in where and value is not None}
    named = json.dumps(further, default=lambda value: getattr(value, "__qualname__", type(value).__qualname__))
    return {"further": json.loads(named)} if further else {}


def need_labels(train: Pairs, task: Task) -> None:
    """Check that pairs can train a teacher.

    Raises:
        BadDataError: If one of them has no label, or all have the same.
    """
    if train.label is None:
        raise BadDataError(f"{train.source} has no labels; a teacher is fine-tuned on labelled pairs.")
    if not train.labelled.all():
        row = int(np.flatnonzero(~train.labelled)[0])
        raise BadDataError(f"row {row + 1} of {train.source} has no label; a teacher is fine-tuned on labelled pairs.")
    need_two_labels(train, task)


def _untrained(backbone: str, task: Task, pooling: TeacherPooling, linear: bool, **kwargs: Any) -> CrossEncoder:
    """A cross-encoder with a new head, its outputs named after the task's labels."""
    if linear:
        kwargs["activation_fn"] = nn.Identity()
    make: Callable[..., CrossEncoder] = segment_teacher if pooling == "segments" else Teacher
    with naming("encoder", backbone):
        teacher = make(backbone, num_labels=task.num_labels, **kwargs)
    names = list(task.labels) if task.kind == "multiclass" else [task.positive or "score"]
    config_of(teacher).id2label = dict(enumerate(names))
    config_of(teacher).label2id = {name: i for i, name in enumerate(names)}
    return teacher


def _trainer(
    teacher: CrossEncoder,
    dataset: Any,
    task: Task,
    linear: bool,
    validation: Pairs | None,
    training: Training,
    checkpoints: Path,
) -> Any:  # CrossEncoderTrainer
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    fast = FastCopy()

    def score(model: CrossEncoder, pairs: Pairs) -> np.ndarray:
        return teacher_scores(model, pairs.tuples(), task, fast=fast)

    args = trainer_arguments(
        CrossEncoderTrainingArguments,
        training,
        checkpoints,
        len(dataset),
        teacher.device,
        task.main_metric if validation is not None else None,
        config_of(teacher).hidden_size,
    )
    args.prompts = default_prompt(teacher)  # trained as it will be used
    return CrossEncoderTrainer(
        model=teacher,
        args=args,
        train_dataset=dataset,
        loss=_loss(teacher, task, linear),
        evaluator=PairEvaluator(validation, task, score) if validation is not None else None,
    )


def _loss(teacher: CrossEncoder, task: Task, linear: bool) -> nn.Module:
    from sentence_transformers.cross_encoder import losses

    if task.kind == "multiclass":
        return losses.CrossEntropyLoss(teacher)
    return losses.MSELoss(teacher) if linear else losses.BinaryCrossEntropyLoss(teacher)


def _dataset(train: Pairs, task: Task, linear: bool) -> Any:  # datasets.Dataset
    from datasets import Dataset

    need_labels(train, task)
    assert train.label is not None
    label = unit_labels(train.label, task) if task.kind == "regression" and not linear else train.label
    return Dataset.from_dict({"sentence1": train.sentence1, "sentence2": train.sentence2, "label": label})
