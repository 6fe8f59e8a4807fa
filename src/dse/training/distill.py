"""Distil a teacher's scores into a student; the loss is in `dse.training.losses`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor

from dse.data.metrics import best_threshold
from dse.data.pairs import Pairs, need_two_labels
from dse.data.tasks import Task
from dse.encoding.identity import weights_hash
from dse.errors import BadDataError, MismatchError
from dse.files import write_json
from dse.model import DSE
from dse.training.head_start import is_final, settings_for_head, start_student_head
from dse.training.loop import PairEvaluator, last_checkpoint, run, trainer_arguments
from dse.training.losses import TARGETS, Distillation, DistillationLoss
from dse.training.run_folder import claim_folder, data_hashes, finished
from dse.training.settings import Training


@dataclass
class DistillationCollator(SentenceTransformerDataCollator):
    """Makes one batch of the distinct sentences of both sides: one tokenizer call, one forward pass.

    Rows have ``sentence1``, ``sentence2`` and those of `TARGETS` that the loss needs.
    """

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Features under the prefix ``sentence_`` and the targets as a dict under ``label``."""
        index: dict[str, int] = {}
        pairs = [[index.setdefault(row[side], len(index)) for side in ("sentence1", "sentence2")] for row in rows]
        features = self.preprocess_fn(list(index))
        batch: dict[str, Any] = {f"sentence_{k}": v for k, v in features.items() if isinstance(v, Tensor)}
        batch["sentence_pairs"] = torch.tensor(pairs)  # (n, 2)
        names = [name for name in TARGETS if name in rows[0]]
        batch["label"] = {name: torch.tensor([row[name] for row in rows]) for name in names}
        return batch


def distill(
    student: DSE,
    train: Pairs,
    task: Task,
    output: str | Path,
    *,
    teacher_scores: np.ndarray | None = None,
    validation: Pairs | None = None,
    distillation: Distillation | None = None,
    training: Training | None = None,
    claim: Mapping[str, Any] | None = None,
) -> DSE:
    """Train a student on pairs a teacher has scored, and save it.

    An interrupted run resumes from its last checkpoint and ends with the same weights, bit for bit; those of a finished
    one are loaded into the student.

    Args:
        student: As `DSE.from_backbone` builds it.
        train: Pairs; labels are needed unless alpha is 1.
        task: What the labels mean.
        output: Folder of the student: a new or empty one, or that of the run to continue; checkpoints live in
            ``output/checkpoints`` until it is done.
        teacher_scores: Raw logits of those pairs, (n, C), from `label_pairs`; not needed when alpha is 0.
        validation: Labelled pairs that choose the best checkpoint and the threshold; never the ones reported. Without
            labels they are not used.
        distillation: Loss settings.
        training: Optimiser settings.
        claim: What decides the student, where that is more than these arguments (see `make_student`).

    Returns:
        The student, trained and saved: the best checkpoint where there are validation pairs, else the last.

    Raises:
        BadDataError: If scores or labels that the loss needs are missing or do not fit the pairs.
        MismatchError: If the student gives another number of scores than the task needs, or ``output`` holds a run with
            other settings or data, or anything else.
    """
    distillation, training = distillation or Distillation(), settings_for_head(training or Training(), student)
    output = Path(output)
    _check_student(student, task)
    dataset = _dataset(_with_prompts(train, student), teacher_scores, task, distillation)
    own = {"kind": "student", "task": task.to_dict(), "training": training.to_dict(), "loss": asdict(distillation)}
    own |= {"start": _start(student), "data": data_hashes(teacher_scores, train=train, validation=validation)}
    claim_folder(output, own if claim is None else claim)
    if finished(output):
        return load_trained(student, output)
    if validation is not None:
        validation = validation.select(validation.labelled) if validation.labelled.any() else None
    student.info |= {"task": task.to_dict(), "alpha": distillation.alpha}
    pooler = getattr(student.transformers_model, "pooler", None)
    if pooler is not None:  # BERT's own pooler is not used; a parameter without gradient stops data-parallel training
        pooler.requires_grad_(False)
    loss = DistillationLoss(student, task, distillation)
    weights = [weight for weight in student.head.parameters() if weight.requires_grad]
    if training.head_steps and weights and last_checkpoint(output / "checkpoints") is None:
        start_student_head(student, dataset, loss, training)
    with _held(weights if training.head_steps and is_final(student.head) else []):
        trainer = _trainer(student, dataset, loss, validation, training, output / "checkpoints")
        history = run(trainer, training, "distil")
    if trainer.is_world_process_zero():
        if validation is not None and validation.label is not None and task.kind == "binary":
            scores = student.raw_scores(validation.tuples())[:, 0]
            student.info["threshold"] = best_threshold(scores, validation.label, task)
        student.save_pretrained(str(output))
        write_json(output / "training.json", {"distillation": asdict(distillation), "log": history})
        shutil.rmtree(output / "checkpoints")
    return student


def _trainer(
    student: DSE, dataset: Any, loss: DistillationLoss, validation: Pairs | None, training: Training, checkpoints: Path
) -> SentenceTransformerTrainer:
    task, evaluator = loss.task, None
    if validation is not None:
        evaluator = PairEvaluator(validation, task, lambda model, pairs: model.raw_scores(pairs.tuples()), tuned=True)
    return SentenceTransformerTrainer(
        model=student,
        args=trainer_arguments(
            SentenceTransformerTrainingArguments,
            training,
            checkpoints,
            len(dataset),
            student.device,
            task.main_metric if evaluator else None,
            cast(Any, student.config).hidden_size,
        ),
        train_dataset=dataset,
        loss=loss,
        evaluator=evaluator,
        data_collator=DistillationCollator(preprocess_fn=student.preprocess),
    )


@contextmanager
def _held(weights: Sequence[Tensor]) -> Iterator[None]:
    """Weights that do not train meanwhile."""
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _start(student: DSE) -> dict[str, Any]:
    """What a student is before training. Head and projection start at random, in each process anew."""
    modules = [[type(module).__name__, cast(Any, module).get_config_dict()] for module in student.children()]
    start = {"backbone": weights_hash(student[0]), "modules": modules, "info": student.info}
    return start | ({"prompts": list(student.pair_prompts)} if any(student.pair_prompts) else {})


def load_trained(student: DSE, folder: Path) -> DSE:
    """The student with the weights of a finished run."""
    saved = DSE(str(folder), device="cpu")
    student.load_state_dict(saved.state_dict())
    student.info = saved.info
    return student


def _check_student(student: DSE, task: Task) -> None:
    if student.num_labels != task.num_labels:
        raise MismatchError(
            f"The student gives {student.num_labels} scores per pair, task {task.name!r} ({task.kind}) needs "
            f"{task.num_labels}; build it with num_labels={task.num_labels}."
        )


def _with_prompts(train: Pairs, student: DSE) -> Pairs:
    """The pairs as `predict` reads them: behind the student's prompts for queries and documents, if it has any."""
    query, document = student.pair_prompts
    if not query and not document:
        return train
    return replace(
        train, sentence1=[query + text for text in train.sentence1], sentence2=[document + t for t in train.sentence2]
    )


def _dataset(train: Pairs, scores: np.ndarray | None, task: Task, distillation: Distillation) -> Any:
    """The rows to train on, a `datasets.Dataset`: the sentences and what the loss needs of labels and scores."""
    from datasets import Dataset

    columns: dict[str, Any] = {"sentence1": train.sentence1, "sentence2": train.sentence2}
    if distillation.alpha < 1:
        if train.label is None:
            raise BadDataError(
                f"{train.source} has no labels; add them, or use alpha 1, which learns from scores alone."
            )
        if distillation.alpha == 0:
            need_two_labels(train, task)
        columns["label"] = train.label
        if not train.labelled.all():
            columns["labelled"] = train.labelled
    if distillation.alpha > 0:
        shape = (len(train), task.num_labels)
        if scores is None or scores.shape != shape:
            given = "none" if scores is None else f"an array of shape {scores.shape}"
            raise BadDataError(
                f"Teacher scores of shape {shape} are needed for {train.source}, got {given}; "
                "label the pairs with label_pairs and the same task."
            )
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
            raise BadDataError(f"The teacher's score of row {row + 1} of {train.source} is not finite; label it again.")
        columns["teacher"] = scores.astype(np.float32)
    return Dataset.from_dict(columns)
