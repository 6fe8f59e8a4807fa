"""How a model is trained: steps, learning rates, early stopping. Teachers and students of pairs share theirs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dse.encoding.runtime import Dtype

REFERENCE_RATE, REFERENCE_WIDTH = 1e-4, 384  # the learning rate that suits MiniLM, and MiniLM's width


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        epochs: Passes over the training rows.
        batch_size: Pairs a forward pass sees.
        accumulation: Batches per optimiser step; the learning-rate schedule counts steps, not batches.
        learning_rate: Peak of the linear schedule; None takes 1e-4 for a backbone 384 wide and less in proportion for
            wider ones (5e-5 at 768); see docs/decisions/learning.md.
        head_learning_rate: Peak for the pair head, which starts at random; None takes ``learning_rate``.
        head_steps: Most steps of the head start, in which the pair head alone learns, on frozen embeddings (see
            `dse.training.head_start`); 0 trains everything at once, as the paper does.
        cosine_steps: Most steps in which an mlp head first learns the cosine of its backbone, before it learns the
            task; 0 leaves that out. Part of the head start: without effect where ``head_steps`` is 0.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: AdamW's.
        patience: Stop after so many evaluations without a better one; None trains to the end.
        checkpoint_steps: Most optimiser steps between two checkpoints (each with an evaluation); at least one an epoch.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it; weights stay float32.
        seed: Of initialisation, order and dropout.
    """

    epochs: int = 3
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float | None = None
    head_learning_rate: float | None = 5e-4
    head_steps: int = 256
    cosine_steps: int = 1024
    warmup: float = 0.1
    weight_decay: float = 0.01
    patience: int | None = None
    checkpoint_steps: int = 500
    dtype: Dtype = "auto"
    seed: int = 42

    def rate(self, width: int) -> float:
        """Learning rate of a backbone whose hidden states have ``width`` values.

        Example:
            >>> Training().rate(384), Training().rate(768), Training(learning_rate=3e-5).rate(768)
            (0.0001, 5e-05, 3e-05)
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return REFERENCE_RATE * REFERENCE_WIDTH / max(width, REFERENCE_WIDTH)

    def head_rate(self, width: int) -> float:
        """Learning rate of the pair head on a backbone of that width."""
        return self.rate(width) if self.head_learning_rate is None else self.head_learning_rate

    def to_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)


@dataclass(frozen=True)
class RankingTraining:
    """How a student learns to rank.

    Attributes:
        steps: Optimiser steps; None takes three passes over the texts, at least 200 and at most 2,000 steps.
        batch_size: Texts encoded in a step.
        learning_rate: Peak of the linear schedule.
        temperature: T of both softmaxes; None takes 0.1 for scored lists, and the mean of the losses at 0.1 and 0.05
            for an encoder's lists.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: AdamW's.
        kept: Share of the first weights in the last ones, w = kept w_start + (1 - kept) w_trained: queries unlike those
            of the training are ranked better so (Wortsman et al., 2022, "Robust fine-tuning of zero-shot models").
        refreshes: How often, at even distances, the whole bank is encoded again; no more often than passes are made.
        checkpoint_steps: Steps between two checkpoints.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it; weights stay float32.
        seed: Of the order of the texts.

    Raises:
        ValueError: If a setting cannot train.
    """

    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 1e-4
    temperature: float | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    kept: float = 0.25
    refreshes: int = 3
    checkpoint_steps: int = 50
    dtype: Dtype = "auto"
    seed: int = 42

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in ("steps", "batch_size", "learning_rate", "temperature", "checkpoint_steps"):
            value = getattr(self, name)
            if (value is None and name not in ("steps", "temperature")) or (value is not None and not value > 0):
                raise ValueError(f"{name} is {value}; it must be positive.")
        for name in ("weight_decay", "refreshes", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        for name in ("warmup", "kept"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1.")

    def steps_for(self, texts: int) -> int:
        """How many steps train on so many texts.

        Example:
            >>> RankingTraining().steps_for(9600), RankingTraining(steps=7).steps_for(9600)
            (900, 7)
        """
        return self.steps or min(2000, max(200, 3 * texts // self.batch_size))
