"""The training loop that teachers and students share: arguments, batches, evaluation, checkpoints, resuming."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import DefaultBatchSampler
from transformers import PrinterCallback, ProgressCallback

from dse.data.metrics import best_threshold, compute_metrics
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.runtime import resolve_dtype
from dse.training.callbacks import EarlyStopping, ProgressBar
from dse.training.progress import diverged
from dse.training.settings import REFERENCE_WIDTH, Training

if TYPE_CHECKING:
    from sentence_transformers.base.trainer import BaseTrainer
    from sentence_transformers.base.training_args import BaseTrainingArguments

logger = logging.getLogger(__name__)


def trainer_arguments(
    cls: type[BaseTrainingArguments],
    training: Training,
    output: Path,
    rows: int,
    device: torch.device,
    metric: str | None,
    width: int = REFERENCE_WIDTH,
) -> Any:  # an instance of cls
    """The settings as a trainer of sentence-transformers takes them.

    Args:
        cls: The trainer's class of arguments.
        training: The settings.
        output: Folder of the checkpoints.
        rows: n, how many pairs are trained on.
        device: Where the model is.
        metric: The model with the best value of it is kept; None evaluates nothing.
        width: Of the backbone's hidden states.
    """
    rates = {} if training.head_learning_rate is None else {r"pair_head": training.head_learning_rate}
    args = cls(
        output_dir=str(output),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulation,
        learning_rate=training.rate(width),
        learning_rate_mapping=rates,
        warmup_steps=training.warmup,
        weight_decay=training.weight_decay,
        seed=training.seed,
        data_seed=training.seed,
        use_cpu=device.type == "cpu",
        bf16=resolve_dtype(training.dtype, device) == torch.bfloat16,
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
    args.eval_steps = args.save_steps = _checkpoint_steps(training, rows, args.train_batch_size, args.world_size)
    args.logging_steps = min(args.save_steps, 50)
    return args


def _checkpoint_steps(training: Training, rows: int, batch_size: int, processes: int) -> int:
    """Steps between two checkpoints: at most `Training.checkpoint_steps`, and an epoch is divided evenly."""
    size = batch_size * processes
    batches = rows // size if processes > 1 else math.ceil(rows / size)  # processes share full batches only
    steps = max(1, math.ceil(batches / training.accumulation))  # of one epoch
    return math.ceil(steps / math.ceil(steps / training.checkpoint_steps))


class LengthGroupedBatchSampler(DefaultBatchSampler):
    """Shuffles, then forms batches of pairs of similar length: half the padding, and a new order every epoch."""

    POOL = 50  # batches whose rows are sorted together; a quarter of all batches if that is less

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
            checkpoint that orders pairs better can have the worse metric, because its scores have shifted.
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
        found = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        logger.info("step %s, on %d held-out pairs: %s", steps, len(self.pairs), found)
        return metrics


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a folder, or None; incomplete ones are deleted.

    The trainer writes `trainer_state.json` last, so a checkpoint whose writing was killed has none, or half of one.
    """
    newest_first = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for path in newest_first:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning("%s is incomplete; resuming from the checkpoint before it.", path)
            shutil.rmtree(path)
            continue
        return path
    return None


def run(trainer: BaseTrainer, training: Training, description: str) -> list[dict[str, Any]]:
    """Train, resuming from the last complete checkpoint of the trainer's folder if it has one.

    Returns:
        The log: losses, metrics and learning rates by step.

    Raises:
        DSEError: If the weights are no longer finite.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressBar(description))
    if training.patience is not None:
        trainer.add_callback(EarlyStopping(training.patience))
    if not trainer.is_world_process_zero():  # transformers calls it in all, and sentence-transformers writes in all
        trainer._save = lambda *args, **kwargs: None  # type: ignore[method-assign]
    checkpoint = last_checkpoint(Path(trainer.args.output_dir))
    if checkpoint is not None:
        logger.info("%s: resuming from %s", description, checkpoint.name)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except ValueError:  # of an evaluation, for what such weights compute
        _check_finite(trainer)
        raise
    _check_finite(trainer)
    trainer.accelerator.wait_for_everyone()  # to have read the best checkpoint, before it is deleted
    # Mixed precision wrapped `forward`; what is returned must compute as it will after saving and loading.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    history: list[dict[str, Any]] = trainer.state.log_history
    return history


def _check_finite(trainer: BaseTrainer) -> None:
    weights: Any = trainer.model
    if not all(bool(torch.isfinite(weight).all()) for weight in weights.parameters()):
        raise diverged(trainer.state.global_step, trainer.args.learning_rate)
