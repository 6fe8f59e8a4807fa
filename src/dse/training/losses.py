"""What a student learns from: the task's labels and the teacher's scores.

    loss = (1 - alpha) * task(s, label) + alpha * mean_i sum_c (s_ic - t_ic)^2

t are the teacher's raw logits. alpha = 1 needs no labels, alpha = 0 no teacher (the ablation without distillation).
Pairs without a label have a task loss of 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from dse.data.tasks import Task
from dse.model import DSE

CITATION = """
@inproceedings{barkan2020scalable,
    title = "Scalable Attentive Sentence Pair Modeling via Distilled Sentence Embedding",
    author = "Barkan, Oren and Razin, Noam and Malkiel, Itzik and Katz, Ori and Caciularu, Avi and Koenigstein, Noam",
    booktitle = "Proceedings of the AAAI Conference on Artificial Intelligence",
    volume = "34", number = "04", pages = "3235--3242", year = "2020",
}
"""

TARGETS = ("label", "labelled", "teacher")  # what the loss reads of a pair besides its sentences

Labels = TypeVar("Labels", np.ndarray, Tensor)


def unit_labels(label: Labels, task: Task) -> Labels:
    """Labels of a regression scaled to 0..1, (n,): what a sigmoid of the score can reach.

    Example:
        >>> from dse.data.tasks import get_task
        >>> unit_labels(np.array([1.0, 2.0, 5.0]), get_task("sick")).tolist()
        [0.0, 0.25, 1.0]
    """
    assert task.label_range is not None
    low, high = task.label_range
    return (label - low) / (high - low)


def task_loss(scores: Tensor, label: Tensor, task: Task, linked: bool) -> Tensor:
    """The task's own loss, from labels alone.

    Args:
        scores: Without activation, (n, C).
        label: As `Pairs` holds them, (n,).
        task: Decides the loss: cross-entropy, binary cross-entropy, or for regression the one that fits ``linked``.
        linked: Whether a sigmoid follows the scores: then a regression learns labels scaled to 0..1 by binary
            cross-entropy, else the raw labels by squared error.

    Returns:
        The mean loss of the pairs, a scalar.

    Example:
        >>> from dse.data.tasks import get_task
        >>> import torch
        >>> float(task_loss(torch.tensor([[2.0]]), torch.tensor([5.0]), get_task("stsb"), linked=False))
        9.0
    """
    if task.kind == "multiclass":
        return F.cross_entropy(scores, label.long())
    target = label.float().unsqueeze(1)  # (n, 1)
    if task.kind == "regression":
        if not linked:
            return F.mse_loss(scores, target)
        target = unit_labels(target, task)
    return F.binary_cross_entropy_with_logits(scores, target)


@dataclass(frozen=True)
class Distillation:
    """What the student learns from.

    Attributes:
        alpha: Weight of the teacher: 0 labels only, 1 teacher only.
        divergence: ``"mse"`` between logits (the paper), or ``"kl"`` between probabilities.
        temperature: Softens both sides of ``"kl"``.
        center: Compare logits of several classes up to a shift per pair, which no probability depends on.

    Raises:
        ValueError: If a value is out of range.
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
        +-----------------------------------+--------------------------------------------------+
        | Features                          | Labels                                           |
        +===================================+==================================================+
        | distinct sentences of the batch,  | ``{"label": (n,), "teacher": (n, C)}``, either   |
        | with ``pairs`` (n, 2) naming rows | may be absent where its weight is 0; if not all  |
        |                                   | pairs have a label, also ``"labelled"`` (n,)     |
        +-----------------------------------+--------------------------------------------------+

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
            terms["task"] = (1 - alpha) * self.supervised_loss(scores, labels["label"], labels.get("labelled"))
        if alpha > 0:
            terms["distill"] = alpha * self.distillation_loss(scores, labels["teacher"])
        return terms

    def supervised_loss(self, scores: Tensor, label: Tensor, labelled: Tensor | None = None) -> Tensor:
        """The task's loss, its mean over all pairs; it is 0 for a pair without a label.

        Args:
            scores: (n, C).
            label: (n,); the value of a pair without a label is not used.
            labelled: (n,) bool, which pairs have a label; by default all.
        """
        if labelled is None:
            return task_loss(scores, label, self.task, self.linked)
        if not labelled.any():
            return scores.sum() * 0  # 0, with a gradient
        return task_loss(scores[labelled], label[labelled], self.task, self.linked) * labelled.float().mean()

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
