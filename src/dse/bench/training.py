"""How fast a student trains: the step of `dse.distill` against that of the original code, same model and loss.

The original (github.com/microsoft/Distilled-Sentence-Embedding) pads every sentence to 128 tokens, runs left and right
sentences as two passes, in float32, in random batches. Its features are tokenized beforehand, and so are they here:
only our side tokenizes within the time.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from dse.bench.harness import Figure, Result
from dse.bench.sentences import bench_pairs
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.offline import offline_backbone
from dse.encoding.runtime import resolve_dtype
from dse.evaluation.timing import alternate, rate, ratios
from dse.model import DSE
from dse.training.distill import DistillationCollator
from dse.training.loop import LengthGroupedBatchSampler
from dse.training.losses import Distillation, DistillationLoss

BATCH, MAX_LENGTH = 16, 128  # the original's
SMOOTHED = 0.9  # probability of the true class in the teacher scores made from labels
Batch = tuple[dict[str, Any], dict[str, Tensor]]  # features and targets


def run(*, data: Path | None, backbone: str | None, quick: bool, command: str) -> Result:
    """Measure training steps: forward, backward, clipping, AdamW.

    Args:
        data: Folder of data sets; None takes pairs of help-desk questions.
        backbone: Folder or hub id; None takes the offline one.
        quick: Fewer batches.
        command: The command line, for the record.

    Returns:
        `training_speedup`: examples a second over the original's.
    """
    pairs, task, origin = bench_pairs(data, "mrpc")
    torch.manual_seed(0)
    student = new_student(backbone or offline_backbone())
    slow, fast, runs = (1, 8, 3) if quick else (3, 24, 4)  # batches of each in a round, rounds
    rows = make_rows(pairs)
    theirs = original_training(student, task, rows, batches=slow * (runs + 1))
    ours = dse_training(student, task, rows)
    rounds = alternate(lambda: take_steps(theirs, slow), lambda: take_steps(ours, fast), runs=runs)
    speedups = [ratio * fast / slow for ratio in ratios(rounds)]
    dtype = str(resolve_dtype("auto", student.device)).removeprefix("torch.")
    return Result(
        "training",
        command,
        [Figure.from_runs(speedups, "training_speedup", "x", target=6.0)],
        [
            _row("original: padded to 128, two passes, float32", rate(slow * BATCH, rounds, 0), [1.0]),
            _row(f"dse: length-grouped, one joint pass, {dtype}", rate(fast * BATCH, rounds, 1), speedups),
        ],
        [
            f"Pairs: {len(pairs):,} distinct ones, {origin}; {slow * BATCH} of the original's examples against "
            f"{fast * BATCH} of dse's in every run.",
            f"Both: batches of {BATCH}, alpha 0.5, dropout, gradients clipped to norm 1, one AdamW step a batch. "
            f"Teacher scores: log-odds of the labels smoothed to {SMOOTHED}; their values do not change the speed.",
            "The original's features are tokenized beforehand, as its code does; dse tokenizes within the time.",
        ],
    )


def new_student(backbone: str, **kwargs: Any) -> DSE:
    """An untrained student as `distill` prepares it: BERT's own pooler gets no gradient."""
    student = DSE.from_backbone(backbone, max_seq_length=MAX_LENGTH, **kwargs)
    pooler = getattr(student.transformers_model, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)
    return student


def make_rows(pairs: Pairs) -> list[dict[str, Any]]:
    """Training rows of binary pairs, with teacher scores that stand for a sure and right teacher."""
    assert pairs.label is not None
    logit = math.log(SMOOTHED / (1 - SMOOTHED))
    columns = zip(pairs.sentence1, pairs.sentence2, pairs.label.tolist(), strict=True)
    return [
        {"sentence1": a, "sentence2": b, "label": y, "teacher": [logit if y > 0.5 else -logit]} for a, b, y in columns
    ]


# ------------------------------------------------------------------------------------------------- the two sides


class TwoPasses(nn.Module):
    """A student that reads the left sentences, then the right ones."""

    def __init__(self, student: DSE) -> None:
        super().__init__()
        self.student = student

    def forward(self, features: dict[str, Any], pairs: bool = True) -> dict[str, Any]:
        """``scores`` (n, C) of ``features["left"]`` and ``features["right"]``."""
        u, v = (self.student(features[side])["sentence_embedding"] for side in ("left", "right"))  # (n, d)
        index = torch.arange(2 * len(u), device=u.device).view(2, -1).T  # row i of u with row i of v
        joined = {"sentence_embedding": torch.cat([u, v]), "pairs": index}
        return cast("dict[str, Any]", self.student.head(joined, pairs=True))


def original_batch(student: DSE, rows: list[dict[str, Any]]) -> Batch:
    """Both sides apart, every sentence padded to 128 tokens."""
    padded = {"text": {"padding": "max_length", "max_length": MAX_LENGTH, "truncation": True}}
    sides = {"left": "sentence1", "right": "sentence2"}
    features = {
        side: student.preprocess([row[column] for row in rows], processing_kwargs=padded)
        for side, column in sides.items()
    }
    return features, {name: torch.tensor([row[name] for row in rows]) for name in ("label", "teacher")}


def joint_batch(student: DSE, rows: list[dict[str, Any]]) -> Batch:
    """Distinct sentences of both sides together, as the trainer hands them to the loss."""
    batch = DistillationCollator(preprocess_fn=student.preprocess)(rows)
    targets = batch.pop("label")
    return {name.removeprefix("sentence_"): value for name, value in batch.items()}, targets


def make_loss(student: DSE, task: Task, *, two_passes: bool) -> DistillationLoss:
    """The same loss, over one joint pass of the sentences or over two."""
    loss = DistillationLoss(student, task, Distillation(alpha=0.5))
    if two_passes:
        loss.model = TwoPasses(student)  # type: ignore[assignment]
    return loss


def original_training(student: DSE, task: Task, rows: list[dict[str, Any]], batches: int) -> Iterator[float]:
    """Training as the original does it, on a copy of the student; each item is a step done, its loss the value."""
    student = copy.deepcopy(student)
    order = np.resize(np.random.default_rng(0).permutation(len(rows)), batches * BATCH).reshape(batches, BATCH)
    prepared = [original_batch(student, [rows[i] for i in batch]) for batch in order]
    return _train(make_loss(student, task, two_passes=True), iter(prepared), torch.float32)


def dse_training(student: DSE, task: Task, rows: list[dict[str, Any]]) -> Iterator[float]:
    """Training as `distill` does it, on a copy of the student, epoch after epoch."""
    student = copy.deepcopy(student)
    columns = {name: [row[name] for row in rows] for name in ("sentence1", "sentence2")}
    sampler = LengthGroupedBatchSampler(columns, batch_size=BATCH, drop_last=True, seed=0)

    def batches() -> Iterator[Batch]:
        for epoch in count():
            sampler.set_epoch(epoch)
            for batch in sampler:
                yield joint_batch(student, [rows[i] for i in batch])

    return _train(make_loss(student, task, two_passes=False), batches(), resolve_dtype("auto", student.device))


def _train(loss: DistillationLoss, batches: Iterator[Batch], dtype: torch.dtype) -> Iterator[float]:
    """Training as both sides do it; the arguments hold what differs."""
    loss.train()
    parameters = [p for p in loss.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-5, weight_decay=0.01, fused=True)
    device = parameters[0].device
    for features, targets in batches:
        features, targets = _to(features, device), _to(targets, device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = torch.stack(list(loss([features], targets).values())).sum()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield float(value.detach())


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _to(item, device) for name, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def take_steps(training: Iterator[float], steps: int) -> list[float]:
    """Train for so many batches; returns their losses."""
    return list(islice(training, steps))


def _row(name: str, per_second: float, speedups: list[float]) -> dict[str, object]:
    return {"way": name, "examples/s": per_second, "speed-up": f"{median(speedups):.2f}"}
