"""The teacher: fine-tune a cross-encoder or take a ready one, and get its raw scores fast."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn

from dse.data.pairs import Pairs
from dse.data.tasks import Task, align_labels
from dse.encoding.runtime import Dtype, FastCopy, resolve_dtype, run_sorted
from dse.errors import BadDataError, MismatchError
from dse.files import write_json
from dse.teacher.segments import Teacher, segment_teacher, warm_up
from dse.training.settings import PairEvaluator, Training, last_checkpoint, run

logger = logging.getLogger(__name__)

TeacherPooling = Literal["cls", "segments"]


def load_teacher(
    path: str, task: Task | None = None, labels: Sequence[str] | None = None, **kwargs: Any
) -> CrossEncoder:
    """Load a ready cross-encoder and check, before any work, that its outputs can be those of the task.

    Args:
        path: Folder or hub id.
        task: The task whose pairs it will score.
        labels: Names of its outputs in their order, where its configuration has none or wrong ones.
        **kwargs: As `CrossEncoder` takes them.

    Raises:
        MismatchError: If number or names of the outputs do not fit the task.
    """
    teacher: CrossEncoder = Teacher(path, **kwargs)
    if labels is not None:
        if len(labels) != teacher.num_labels:
            raise MismatchError(
                f"{path} has {teacher.num_labels} outputs, {len(labels)} names were given ({', '.join(labels)}); "
                "name every output once, in order."
            )
        _config(teacher).id2label = dict(enumerate(labels))
    if task is not None:
        check_outputs(teacher, task)
    return teacher


def check_outputs(teacher: CrossEncoder, task: Task) -> list[int]:
    """Find which outputs of a teacher are the task's classes.

    Returns:
        Positions of the outputs in the order of the task's labels; [0] for a single output.

    Raises:
        MismatchError: If number or names of the outputs do not fit the task.
    """
    outputs = teacher.num_labels
    wanted = {"binary": (1, 2), "regression": (1,), "multiclass": (len(task.labels),)}[task.kind]
    if outputs not in wanted:
        raise MismatchError(
            f"The teacher gives {outputs} scores per pair, task {task.name!r} ({task.kind}) needs "
            f"{' or '.join(map(str, wanted))}; fine-tune a teacher for this task with `dse teacher`."
        )
    if outputs == 1:
        return [0]
    id2label = _config(teacher).id2label
    return align_labels([str(id2label[i]) for i in range(outputs)], task)


def teacher_scores(
    teacher: CrossEncoder,
    pairs: Sequence[tuple[str, str]],
    task: Task | None = None,
    *,
    batch_size: int = 32,
    dtype: Dtype = "auto",
    show_progress_bar: bool = False,
    fast: FastCopy | None = None,
) -> np.ndarray:
    """The teacher's raw logits, about twice as fast as `CrossEncoder.predict`: see `label_pairs` to keep them.

    Args:
        teacher: Any cross-encoder.
        pairs: Pairs of sentences, (n,).
        task: Puts the outputs into the order of the task's classes; two outputs of a binary task become the one
            logit t = z_positive - z_negative. Without a task they come as they are.
        batch_size: Pairs the transformer reads at a time.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it.
        show_progress_bar: Whether to show one.
        fast: Keeps the low-precision copy from one call to the next.

    Returns:
        Float32 logits without activation, (n, C).

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
    """
    columns = check_outputs(teacher, task) if task is not None else list(range(teacher.num_labels))
    if not pairs:
        return np.empty((0, task.num_labels if task else teacher.num_labels), np.float32)
    teacher.eval()
    rows: dict[tuple[str, str], int] = {}
    index = [rows.setdefault((a, b), len(rows)) for a, b in pairs]
    module = cast(CrossEncoder, (fast or FastCopy()).of(teacher, resolve_dtype(dtype, teacher.device)))

    def forward(features: dict[str, Any]) -> Tensor:
        # Not `module(...)`: while it trains in mixed precision, its `forward` is wrapped in autocast.
        scores: Tensor = CrossEncoder.forward(module, features)["scores"]
        return scores.float().reshape(-1, teacher.num_labels)

    with torch.inference_mode():
        logits = run_sorted(
            teacher,
            list(rows),
            forward,
            batch_size=batch_size,
            device=teacher.device,
            description="teacher",
            show_progress_bar=show_progress_bar,
        )
    z = logits[:, columns].cpu().numpy()[index]  # (n, outputs)
    if task is not None and task.kind == "binary" and len(columns) == 2:
        positive = task.labels.index(str(task.positive))
        z = z[:, [positive]] - z[:, [1 - positive]]  # t = z1 - z0
    return np.ascontiguousarray(z)


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
    bootstrap_pairs: int = 0,
    **kwargs: Any,
) -> CrossEncoder:
    """Fine-tune a cross-encoder. Goes on from the last checkpoint of an interrupted run with the same output.

    Args:
        backbone: Folder or hub id of any encoder, or of a cross-encoder to train further.
        train: Labelled pairs.
        task: What their labels mean.
        output: Folder of the teacher.
        validation: Labelled pairs that choose the best checkpoint; never the ones reported.
        training: Optimiser settings.
        regression_loss: ``"bce"`` learns labels scaled to 0..1 through a sigmoid (as sentence-transformers' own
            similarity models), ``"mse"`` the raw labels (as the paper).
        max_seq_length: Tokens of a pair; the backbone's own limit by default.
        pooling: ``"cls"``, the usual classification model, or ``"segments"``, which judges by the means of the two
            sentences (`SegmentPooling`) and learns from far fewer pairs where the backbone is a sentence encoder.
        bootstrap_pairs: On how many pairs of the training sentences it first learns the cosine of its backbone, a
            sentence encoder, see `dse.teacher.bootstrap`; for pooling ``"segments"``.
        **kwargs: As `CrossEncoder` takes them.

    Returns:
        The teacher, trained and saved; its outputs carry the task's label names.

    Raises:
        BadDataError: If the pairs have no labels.
        ValueError: If a teacher that judges by ``[CLS]`` is to be bootstrapped.
    """
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    training, output = training or Training(), Path(output)
    if pooling == "cls":
        training = replace(training, head_learning_rate=None, head_steps=0)  # it has no pair head
    linear = task.kind == "regression" and regression_loss == "mse"
    dataset = _dataset(train, task, linear)
    if bootstrap_pairs:
        check_bootstrap(pooling)
        from dse.teacher.bootstrap import bootstrap  # which calls this function

        backbone = bootstrap(backbone, train, output / "bootstrap", bootstrap_pairs, training, max_seq_length)
    torch.manual_seed(training.seed)  # the classifier starts at random
    names = list(task.labels) if task.kind == "multiclass" else [task.positive or "score"]
    kwargs |= {"max_length": max_seq_length, **_activation(linear)}
    teacher: CrossEncoder
    if pooling == "segments":
        teacher = segment_teacher(backbone, task.num_labels, **kwargs)
    else:
        teacher = Teacher(backbone, num_labels=task.num_labels, **kwargs)
    _config(teacher).id2label = dict(enumerate(names))
    _config(teacher).label2id = {name: i for i, name in enumerate(names)}
    fast = FastCopy()
    evaluator = None
    if validation is not None:
        evaluator = PairEvaluator(
            validation, task, lambda model, pairs: teacher_scores(model, pairs.tuples(), task, fast=fast)
        )
    if training.head_steps and last_checkpoint(output / "checkpoints") is None:
        warm_up(teacher, train, task, linear, training)
    trainer = CrossEncoderTrainer(
        model=teacher,
        args=training.arguments(
            CrossEncoderTrainingArguments,
            output / "checkpoints",
            len(train),
            teacher.device,
            task.main_metric if evaluator else None,
            _config(teacher).hidden_size,
        ),
        train_dataset=dataset,
        loss=_loss(teacher, task, linear),
        evaluator=evaluator,
    )
    history = run(trainer, training, "teacher")
    if trainer.is_world_process_zero():
        teacher.save_pretrained(str(output))
        write_json(output / "training.json", {"training": training.to_dict(), "log": history})
        shutil.rmtree(output / "checkpoints")
        shutil.rmtree(output / "bootstrap", ignore_errors=True)
    return teacher


def check_bootstrap(pooling: TeacherPooling) -> None:
    """Refuse to bootstrap a teacher that judges by ``[CLS]``.

    Raises:
        ValueError: If it does.
    """
    if pooling == "cls":
        raise ValueError("bootstrap_pairs needs pooling 'segments'; [CLS] has no cosine to begin with.")


def _config(teacher: CrossEncoder) -> Any:  # transformers' PretrainedConfig; every cross-encoder has one
    return teacher.config


def _activation(linear: bool) -> dict[str, Any]:
    return {"activation_fn": nn.Identity()} if linear else {}


def _loss(teacher: CrossEncoder, task: Task, linear: bool) -> nn.Module:
    from sentence_transformers.cross_encoder import losses

    if task.kind == "multiclass":
        return losses.CrossEntropyLoss(teacher)
    return losses.MSELoss(teacher) if linear else losses.BinaryCrossEntropyLoss(teacher)


def _dataset(train: Pairs, task: Task, linear: bool) -> Any:  # datasets.Dataset
    from datasets import Dataset

    if train.label is None:
        raise BadDataError(f"{train.source} has no labels; a teacher is fine-tuned on labelled pairs.")
    label = train.label
    if task.kind == "regression" and not linear:
        assert task.label_range is not None
        low, high = task.label_range
        label = (label - low) / (high - low)
    return Dataset.from_dict({"sentence1": train.sentence1, "sentence2": train.sentence2, "label": label.tolist()})
