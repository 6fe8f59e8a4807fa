"""What training a teacher and training a student have in common: settings, batches, checkpoints, progress."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import Tensor
from torch.nn import functional as F
from transformers import PrinterCallback, ProgressCallback

from dse.data.metrics import best_threshold, compute_metrics
from dse.data.tasks import Task
from dse.encoding.runtime import Dtype, resolve_dtype
from dse.training.callbacks import Patience, ProgressBar

if TYPE_CHECKING:
    from sentence_transformers.base.trainer import BaseTrainer
    from sentence_transformers.base.training_args import BaseTrainingArguments

    from dse.data.pairs import Pairs

logger = logging.getLogger(__name__)


REFERENCE_RATE, REFERENCE_WIDTH = 1e-4, 384  # the learning rate that suits MiniLM, and MiniLM's width


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        epochs: Passes over the training rows.
        batch_size: Pairs a forward pass sees.
        accumulation: Batches per optimiser step; the learning-rate schedule counts steps, not batches.
        learning_rate: Peak of the linear schedule; None takes 1e-4 for a backbone 384 wide and less in proportion for
            wider ones (5e-5 at 768); see docs/decisions.md.
        head_learning_rate: Peak for the pair head, which starts from nothing; None takes ``learning_rate``.
        head_steps: Most steps in which the head alone learns, on frozen embeddings, before everything does (see
            `dse.training.head_start`); 0 starts everything at once, as the paper does.
        cosine_steps: Most steps in which an mlp head first learns the cosine of its backbone, before the head alone
            learns from the task; 0 leaves that out. Done only where ``head_steps`` is not 0.
        warmup: Share of the steps in which the rate rises.
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

    def arguments(
        self,
        cls: type[BaseTrainingArguments],
        output: Path,
        rows: int,
        device: torch.device,
        metric: str | None,
        width: int = REFERENCE_WIDTH,
    ) -> Any:  # an instance of cls
        """The settings as a trainer wants them; the model with the best ``metric`` is kept when there is one."""
        rates = {} if self.head_learning_rate is None else {r"pair_head": self.head_learning_rate}
        args = cls(
            output_dir=str(output),
            num_train_epochs=self.epochs,
            per_device_train_batch_size=self.batch_size,
            gradient_accumulation_steps=self.accumulation,
            learning_rate=self.rate(width),
            learning_rate_mapping=rates,
            warmup_steps=self.warmup,
            weight_decay=self.weight_decay,
            seed=self.seed,
            data_seed=self.seed,
            use_cpu=device.type == "cpu",
            bf16=resolve_dtype(self.dtype, device) == torch.bfloat16,
            eval_strategy="no" if metric is None else "steps",
            save_strategy="steps",
            save_total_limit=2,  # the best and the last
            load_best_model_at_end=metric is not None,
            metric_for_best_model=metric,
            greater_is_better=True,
            disable_tqdm=True,
            report_to="none",
            batch_sampler=LengthGroupedBatchSampler,
        )
        size = args.train_batch_size * args.world_size  # of a batch on all devices
        batches = rows // size if args.world_size > 1 else math.ceil(rows / size)  # processes share full batches only
        steps = max(1, math.ceil(batches / self.accumulation))  # of one epoch
        every = math.ceil(steps / math.ceil(steps / self.checkpoint_steps))
        args.eval_steps = args.save_steps = every
        args.logging_steps = min(every, 50)
        return args

    def rate(self, width: int) -> float:
        """Learning rate of a backbone so many values wide.

        Example:
            >>> Training().rate(384), Training().rate(768), Training(learning_rate=3e-5).rate(768)
            (0.0001, 5e-05, 3e-05)
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return REFERENCE_RATE * REFERENCE_WIDTH / max(width, REFERENCE_WIDTH)

    def head_rate(self, width: int) -> float:
        """Learning rate of the pair head on such a backbone."""
        return self.rate(width) if self.head_learning_rate is None else self.head_learning_rate

    def to_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)


def task_loss(scores: Tensor, label: Tensor, task: Task, linked: bool) -> Tensor:
    """What the task itself asks for.

    Args:
        task: Decides the loss: cross-entropy, binary cross-entropy, or for regression the one that fits ``linked``.
        scores: Without activation, (n, C).
        label: As `Pairs` holds them, (n,).
        linked: Whether a sigmoid follows the scores: then a regression learns labels scaled to 0..1, else raw ones.

    Example:
        >>> from dse.data.tasks import get_task
        >>> float(task_loss(torch.tensor([[2.0]]), torch.tensor([5.0]), get_task("stsb"), linked=False))
        9.0
    """
    if task.kind == "multiclass":
        return F.cross_entropy(scores, label.long())
    target = label.float().unsqueeze(1)  # (n, 1)
    if task.kind == "regression":
        if not linked:
            return F.mse_loss(scores, target)
        assert task.label_range is not None
        low, high = task.label_range
        target = (target - low) / (high - low)
    return F.binary_cross_entropy_with_logits(scores, target)


class LengthGroupedBatchSampler(DefaultBatchSampler):
    """Shuffles, then forms batches of pairs of like length: half the padding, still another order every epoch."""

    POOL = 50  # batches whose rows are sorted together; fewer where the rows would fill no four such pools

    def __init__(self, dataset: Any, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        texts = zip(dataset["sentence1"], dataset["sentence2"], strict=True)
        self.lengths = np.array([max(len(a), len(b)) for a, b in texts])

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths))
        batches: list[np.ndarray] = []
        size = self.batch_size * max(1, min(self.POOL, len(self) // 4))
        for start in range(0, len(order), size):
            pool = order[start : start + size]
            pool = pool[np.argsort(-self.lengths[pool], kind="stable")]
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        if self.drop_last:
            batches = [batch for batch in batches if len(batch) == self.batch_size]
        for i in generator.permutation(len(batches)):
            yield batches[i].tolist()

    def __len__(self) -> int:
        n = len(self.lengths)
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)


class PairEvaluator(BaseEvaluator):
    """The task's metrics on held-out pairs, as the trainer asks for them.

    Args:
        pairs: Labelled pairs.
        task: Names the metrics; its first one chooses the checkpoint.
        score: From model and pairs to raw scores, (n, C).
        tuned: Whether the model will be used at the threshold that is best on these pairs, as a student is. At 0 a
            checkpoint that orders pairs better can look worse, because its scores have shifted.
    """

    def __init__(
        self, pairs: Pairs, task: Task, score: Callable[[Any, Pairs], np.ndarray], tuned: bool = False
    ) -> None:
        super().__init__()
        self.pairs, self.task, self.score = pairs, task, score
        self.tuned = tuned and task.kind == "binary"
        self.primary_metric = task.main_metric

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Metrics of the model as it is now."""
        scores, label = self.score(model, self.pairs), self.pairs.label
        assert label is not None
        if self.task.kind == "regression":  # values are compared on the scale the model predicts
            scores = model.activation_fn(torch.from_numpy(scores)).numpy()
        threshold = best_threshold(scores, label, self.task) if self.tuned else 0.0
        metrics = compute_metrics(scores, label, self.task, threshold)
        logger.info("step %s: %s", steps, " ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        return metrics


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end, or None.

    The trainer writes `trainer_state.json` last, so a checkpoint whose writing was killed has none, or half of one.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning("%s was not written to its end; going back to the checkpoint before it.", path)
            shutil.rmtree(path)
            continue
        return path
    return None


def run(trainer: BaseTrainer, training: Training, description: str) -> list[dict[str, Any]]:
    """Train, going on from the last whole checkpoint of the trainer's folder if there is one.

    Returns:
        The log: losses, metrics and learning rates by step.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressBar(description))
    if training.patience is not None:
        trainer.add_callback(Patience(training.patience))
    checkpoint = last_checkpoint(Path(trainer.args.output_dir))
    if checkpoint is not None:
        logger.info("%s: going on from %s", description, checkpoint.name)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    # Mixed precision wrapped `forward`; what is returned must compute as it will after saving and loading.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    history: list[dict[str, Any]] = trainer.state.log_history
    return history
