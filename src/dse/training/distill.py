"""Distil a teacher's scores into a student.

    loss = (1 - alpha) * task(s, label) + alpha * mean_i sum_c (s_ic - t_ic)^2

t are the teacher's raw logits. alpha = 1 needs no labels, alpha = 0 no teacher (the ablation without distillation).
Pairs without a label (see `dse.data.mining`) have a task loss of 0.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor, nn
from torch.nn import functional as F

from dse.data.metrics import best_threshold
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.errors import BadDataError, MismatchError
from dse.files import write_json
from dse.model import DSE
from dse.training.head_start import BATCH, fit_cosine, fit_head, fit_scale, some_rows
from dse.training.settings import PairEvaluator, Training, last_checkpoint, run, task_loss

logger = logging.getLogger(__name__)

CITATION = """
@inproceedings{barkan2020scalable,
    title = "Scalable Attentive Sentence Pair Modeling via Distilled Sentence Embedding",
    author = "Barkan, Oren and Razin, Noam and Malkiel, Itzik and Katz, Ori and Caciularu, Avi and Koenigstein, Noam",
    booktitle = "Proceedings of the AAAI Conference on Artificial Intelligence",
    volume = "34", number = "04", pages = "3235--3242", year = "2020",
}
"""


@dataclass(frozen=True)
class Distillation:
    """What the student learns from.

    Attributes:
        alpha: Weight of the teacher: 0 labels only, 1 teacher only.
        divergence: ``"mse"`` between logits (the paper), or ``"kl"`` between probabilities.
        temperature: Softens both sides of ``"kl"``.
        center: Compare logits of several classes up to a shift per pair, which no probability depends on.
    """

    alpha: float = 0.5
    divergence: Literal["mse", "kl"] = "mse"
    temperature: float = 1.0
    center: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha}; it must lie between 0 (labels only) and 1 (teacher only).")
        if self.divergence not in ("mse", "kl"):
            raise ValueError(f"Unknown divergence {self.divergence!r}; choose mse or kl.")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be positive.")


class DistillationLoss(nn.Module):
    """The loss of the paper, its two terms reported one by one.

    Inputs:
        +----------------------------------+-----------------------------------------------+
        | Features                         | Labels                                        |
        +==================================+===============================================+
        | distinct sentences of the batch, | ``{"label": (n,), "teacher": (n, C)}``, either |
        | with ``pairs`` (n, 2) naming rows | may be absent where its weight is 0           |
        +----------------------------------+-----------------------------------------------+

    Args:
        model: The student.
        task: Decides the task loss: binary cross-entropy, cross-entropy, or for regression the loss that fits the
            student's activation (sigmoid: cross-entropy with the label scaled to 0..1; none: squared error).
        distillation: Weights and divergence.

    Reference:
        Barkan et al., AAAI 2020, https://arxiv.org/abs/1908.05161
    """

    def __init__(self, model: DSE, task: Task, distillation: Distillation) -> None:
        super().__init__()
        self.model, self.task, self.distillation = model, task, distillation
        self.linked = isinstance(model.activation_fn, nn.Sigmoid)

    def forward(self, features: list[dict[str, Tensor]], labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms; the trainer adds them up and logs each."""
        return self.terms(self.model(features[0], pairs=True)["scores"].float(), labels)

    def terms(self, scores: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms of scores (n, C)."""
        alpha, terms = self.distillation.alpha, {}
        if alpha < 1:
            terms["task"] = (1 - alpha) * self.supervised_loss(scores, labels["label"])
        if alpha > 0:
            terms["distill"] = alpha * self.distillation_loss(scores, labels["teacher"])
        return terms

    def supervised_loss(self, scores: Tensor, label: Tensor) -> Tensor:
        """The task's loss, (n, C) and (n,) to its mean over the pairs; NaN, or -1 as a class, stands for no label."""
        known = ~label.isnan() if label.is_floating_point() else label >= 0
        if not known.any():
            return scores.sum() * 0
        return task_loss(scores[known], label[known], self.task, self.linked) * known.float().mean()

    def distillation_loss(self, s: Tensor, t: Tensor) -> Tensor:
        """How far the student's scores s are from the teacher's t, both (n, C)."""
        if self.distillation.divergence == "kl":
            temperature = self.distillation.temperature
            s, t = s / temperature, t / temperature
            if s.shape[1] == 1:  # one logit is the log-odds of two classes
                s, t = F.pad(s, (0, 1)), F.pad(t, (0, 1))
            divergence = F.kl_div(s.log_softmax(1), t.log_softmax(1), log_target=True, reduction="batchmean")
            return divergence * temperature**2  # keeps the gradient's size (Hinton et al., 2015)
        if self.distillation.center and s.shape[1] > 1:
            s, t = s - s.mean(dim=1, keepdim=True), t - t.mean(dim=1, keepdim=True)
        return (s - t).square().sum(dim=1).mean()  # mean_i sum_c (s_ic - t_ic)^2

    def get_config_dict(self) -> dict[str, Any]:
        """For the model card."""
        return {"task": self.task.name} | asdict(self.distillation)

    @property
    def citation(self) -> str:
        """For the model card."""
        return CITATION


@dataclass
class DistillationCollator(SentenceTransformerDataCollator):
    """Makes one batch of the distinct sentences of both sides: one tokenizer call, one forward pass.

    Rows have ``sentence1``, ``sentence2`` and, as far as the loss needs them, ``label`` and ``teacher``.
    """

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Features under the prefix ``sentence_`` and the targets as a dict under ``label``."""
        index: dict[str, int] = {}
        pairs = [[index.setdefault(row[side], len(index)) for side in ("sentence1", "sentence2")] for row in rows]
        features = self.preprocess_fn(list(index))
        batch: dict[str, Any] = {f"sentence_{k}": v for k, v in features.items() if isinstance(v, Tensor)}
        batch["sentence_pairs"] = torch.tensor(pairs)  # (n, 2)
        names = [name for name in ("label", "teacher") if name in rows[0]]
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
) -> DSE:
    """Train a student on pairs a teacher has scored, and save it.

    Goes on from the last checkpoint of an interrupted run with the same output, to the same weights, bit for bit.

    Args:
        student: As `DSE.from_backbone` builds it.
        train: Pairs; labels are needed unless alpha is 1.
        task: What the labels mean.
        output: Folder of the student; checkpoints live in ``output/checkpoints`` until it is done.
        teacher_scores: Raw logits of those pairs, (n, C), from `label_pairs`; not needed when alpha is 0.
        validation: Labelled pairs that choose the best checkpoint and the threshold; never the ones reported. Without
            labels they are not used.
        distillation: Loss settings.
        training: Optimiser settings.

    Returns:
        The student, trained and saved: the best checkpoint where there are validation pairs, else the last.

    Raises:
        BadDataError: If scores or labels that the loss needs are missing or do not fit the pairs.
        MismatchError: If the student gives another number of scores than the task needs.
    """
    distillation, training = distillation or Distillation(), training or Training()
    output = Path(output)
    if student.num_labels != task.num_labels:
        raise MismatchError(
            f"The student gives {student.num_labels} scores per pair, task {task.name!r} ({task.kind}) needs "
            f"{task.num_labels}; build it with num_labels={task.num_labels}."
        )
    dataset = _dataset(train, teacher_scores, task, distillation, student.num_labels)
    student.info["task"] = task.to_dict()
    student.info["alpha"] = distillation.alpha
    pooler = getattr(student.transformers_model, "pooler", None)
    if pooler is not None:  # BERT's own pooler is not used; a parameter without gradient stops data-parallel training
        pooler.requires_grad_(False)
    if validation is not None and validation.label is None:
        validation = None  # nothing to choose by
    evaluator = PairEvaluator(validation, task, _raw_scores, tuned=True) if validation is not None else None
    loss = DistillationLoss(student, task, distillation)
    training = _for_head(training, student)
    learning = [weight for weight in student.head.parameters() if weight.requires_grad]
    if training.head_steps and learning and last_checkpoint(output / "checkpoints") is None:
        warm_up(student, dataset, loss, training)
    held = learning if training.head_steps and student.head.formula.has_one_weight else []
    for weight in held:
        weight.requires_grad_(False)  # fitted; from here on the embeddings move, not their scale
    trainer = SentenceTransformerTrainer(
        model=student,
        args=training.arguments(
            SentenceTransformerTrainingArguments,
            output / "checkpoints",
            len(train),
            student.device,
            task.main_metric if evaluator else None,
            cast(Any, student.config).hidden_size,
        ),
        train_dataset=dataset,
        loss=loss,
        evaluator=evaluator,
        data_collator=DistillationCollator(preprocess_fn=student.preprocess),
    )
    history = run(trainer, training, "distil")
    for weight in held:
        weight.requires_grad_(True)
    if trainer.is_world_process_zero():
        if validation is not None and task.kind == "binary" and validation.label is not None:
            student.info["threshold"] = best_threshold(
                student.raw_scores(validation.tuples())[:, 0], validation.label, task
            )
        student.save_pretrained(str(output))
        write_json(output / "training.json", {"distillation": asdict(distillation), "log": history})
        shutil.rmtree(output / "checkpoints")
    return student


def _raw_scores(student: DSE, pairs: Pairs) -> np.ndarray:
    return student.raw_scores(pairs.tuples())


def warm_up(student: DSE, dataset: Any, loss: DistillationLoss, training: Training) -> None:
    """Fit the head to some of the rows on embeddings of the student as it is."""
    rows = some_rows(len(dataset), training.seed)
    chosen = dataset[rows]
    labels = {name: torch.tensor(chosen[name]) for name in ("label", "teacher") if name in chosen}
    texts = [*chosen["sentence1"], *chosen["sentence2"]]
    embeddings = student.encode(texts, convert_to_tensor=True, show_progress_bar=False)
    left, right = embeddings.float().clone().split(len(rows))  # (n, d) each, out of inference mode
    head = student.head

    def total(scores: Tensor, some: Tensor | slice = slice(None)) -> Tensor:
        terms = loss.terms(scores, {name: value[some].to(scores.device) for name, value in labels.items()})
        return torch.stack(list(terms.values())).sum()

    def mean_loss(some: Tensor) -> Tensor:
        u, v = (F.dropout(side[some], head.dropout) for side in (left, right))  # (b, d)
        return total(head.score(u, v), some)

    width = cast(Any, student.config).hidden_size
    guesses = not head.formula.has_hidden_layer  # whether its scores say something before they are fitted to the task
    if head.formula.has_hidden_layer and training.cosine_steps and training.head_rate(width):
        fit_cosine(head, left, right, training, width)
        guesses = True
    if guesses:
        with torch.no_grad():
            start = torch.cat([head.score(u, v) for u, v in zip(left.split(BATCH), right.split(BATCH), strict=True)])
        head.rescale(*fit_scale(start, total))
    if head.formula.has_one_weight:
        return
    fit_head(head.parameters(), mean_loss, len(rows), training, width)


def _for_head(training: Training, student: DSE) -> Training:
    """The rate that suits the head: AdamW moves every weight by it, whatever the gradient.

    A score of u' M v adds up d * d weights, a hidden unit of the mlp 4d: its rate would throw M about.
    """
    factor = student.head.formula.learning_rate_factor(student.head)
    if factor == 1:
        return training
    return replace(training, head_learning_rate=factor * training.head_rate(cast(Any, student.config).hidden_size))


def _dataset(
    train: Pairs, scores: np.ndarray | None, task: Task, distillation: Distillation, num_labels: int
) -> Any:  # datasets.Dataset
    from datasets import Dataset

    columns: dict[str, Sequence[Any]] = {"sentence1": train.sentence1, "sentence2": train.sentence2}
    if distillation.alpha < 1:
        if train.label is None:
            raise BadDataError(
                f"{train.source} has no labels; add them, or use alpha 1, which learns from scores alone."
            )
        columns["label"] = train.label.tolist()
    if distillation.alpha > 0:
        if scores is None or scores.shape != (len(train), num_labels):
            found = "none" if scores is None else f"an array of shape {scores.shape}"
            raise BadDataError(
                f"Teacher scores of shape ({len(train)}, {num_labels}) are needed for {train.source}, got {found}; "
                "label the pairs with label_pairs and the same task."
            )
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
            raise BadDataError(f"The teacher's score of row {row + 1} of {train.source} is not finite; label it again.")
        columns["teacher"] = scores.astype(np.float32).tolist()
    return Dataset.from_dict(columns)
