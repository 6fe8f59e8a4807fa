"""How good embeddings are for other tasks: the SentEval protocol (Conneau & Kiela, LREC 2018) with scikit-learn.

The embeddings stay frozen; a logistic regression is trained on them for each data set. Its regularisation is chosen
inside the training rows: on the dev rows where the data set has a test split as well, else on a fifth of the training
rows. Data sets without a split are cross-validated, with that choice made anew in every fold.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tabulate import tabulate

from dse.evaluation import probe
from dse.evaluation.machine import machine, versions
from dse.evaluation.probe import Floats
from dse.evaluation.transfer_tasks import SEVEN, Labelled, TransferTask, choose, read

logger = logging.getLogger(__name__)


class Encoder(Protocol):
    """Anything that turns texts into vectors, such as a student or a `SentenceTransformer`."""

    def encode(self, sentences: list[str], /, *, show_progress_bar: bool) -> Any:
        """Embeddings, (n, d)."""


@dataclass(frozen=True)
class TransferResult:
    """One metric of one data set.

    Attributes:
        task: Name of the data set.
        metric: accuracy, f1, pearson or spearman.
        value: A fraction, 0 to 1 (correlations -1 to 1).
        split: What was reported on: test, dev, or "10-fold".
        train_rows: Rows trained on (of one fold).
        rows: Rows reported on.
    """

    task: str
    metric: str
    value: float
    split: str
    train_rows: int
    rows: int


@dataclass(frozen=True)
class TransferReport:
    """Results of all data sets.

    Attributes:
        results: One per data set and metric.
        dimension: d, width of the embeddings.
        folds: Of the data sets without a split.
        max_rows: Most rows of a file that were used; None if all.
        machine: Where.
        versions: With what.
    """

    results: list[TransferResult]
    dimension: int
    folds: int
    max_rows: int | None
    machine: dict[str, Any] = field(default_factory=machine)
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def average(self) -> float | None:
        """Mean accuracy of the seven classification tasks; None unless all were measured."""
        accuracy = {r.task: r.value for r in self.results if r.metric == "accuracy"}
        return float(np.mean([accuracy[name] for name in SEVEN])) if set(SEVEN) <= accuracy.keys() else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self) | {"average": self.average}

    def table(self) -> str:
        """The results as text for a terminal."""
        rows = [["data set", "metric", "x 100", "reported on", "rows", "trained on"]]
        for r in self.results:
            rows.append([r.task, r.metric, f"{100 * r.value:.1f}", r.split, f"{r.rows:,}", f"{r.train_rows:,}"])
        if self.average is not None:
            rows.append(["mean of 7", "accuracy", f"{100 * self.average:.1f}"])
        align = ["left", "left", "right", "left", "right", "right"]
        text = tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True)
        if self.max_rows is not None:
            text += f"\n\nA subset: at most {self.max_rows:,} rows of each file, drawn at random."
        return text


def transfer(
    model: Encoder,
    data: str | Path,
    tasks: Sequence[str] | None = None,
    *,
    folds: int = 10,
    max_rows: int | None = None,
    seed: int = 0,
    show_progress_bar: bool = False,
) -> TransferReport:
    """Measure a model's embeddings on the data sets of SentEval that a folder holds.

    Args:
        model: A student or any `SentenceTransformer`; only its ``encode`` is used.
        data: Folder with ``mr/all.parquet``, ``trec/train.parquet``, ``trec/test.parquet``, ...; see `TRANSFER_TASKS`.
        tasks: Names; by default all that the folder has files of.
        folds: For data sets without a split.
        max_rows: Use at most so many rows of each file.
        seed: Of folds and samples.
        show_progress_bar: Whether `encode` shows one.

    Raises:
        BadDataError: If the folder lacks what was asked for, or a file cannot be used.

    Example:
        >>> report = transfer(getfixture("student"), getfixture("transfer_data"), ["cr"], folds=2)
        >>> [(r.task, r.metric, r.split, r.rows) for r in report.results]
        [('cr', 'accuracy', '2-fold', 40)]
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; cross-validation needs at least 2.")
    results: list[TransferResult] = []
    embeddings: dict[str, Floats] = {}  # data sets share sentences; each is encoded once
    for task, files in choose(Path(data), tasks).items():
        splits = {split: read(task, file).sample(max_rows, seed) for split, file in files.items()}
        texts = dict.fromkeys(text for rows in splits.values() for side in rows.texts for text in side)
        if new := [text for text in texts if text not in embeddings]:
            vectors = np.asarray(model.encode(new, show_progress_bar=show_progress_bar), np.float32)  # (m, d)
            embeddings |= zip(new, vectors, strict=True)
        sides = {
            split: [np.stack([embeddings[text] for text in side]) for side in rows.texts]
            for split, rows in splits.items()
        }
        new_results = list(_results(task, splits, sides, folds, seed))
        logger.info("%s: %s", task.name, ", ".join(f"{r.metric} {r.value:.4f}" for r in new_results))
        results += new_results
    return TransferReport(results, len(next(iter(embeddings.values()))), folds, max_rows)


def _results(
    task: TransferTask, splits: dict[str, Labelled], sides: dict[str, list[Floats]], folds: int, seed: int
) -> Iterator[TransferResult]:
    """One result per metric."""
    if task.kind == "cosine":
        u, v = sides["test"]
        cosine = (u * v).sum(axis=1) / (np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1) + 1e-12)
        metrics = probe.correlations(cosine, splits["test"].label)
        yield from (TransferResult(task.name, k, v, "test", 0, len(cosine)) for k, v in metrics.items())
        return
    x = {split: _features(task, side) for split, side in sides.items()}
    y = {split: rows.label for split, rows in splits.items()}
    if "train" in x and len(x) > 1:
        split = "test" if "test" in x else "dev"
        held_out = (x["dev"], y["dev"]) if split == "test" and "dev" in x else None
        predicted = probe.fit(task, x["train"], y["train"], held_out, seed)(x[split])
        metrics = probe.metrics(task, predicted, y[split])
        yield from (TransferResult(task.name, k, v, split, len(x["train"]), len(x[split])) for k, v in metrics.items())
        return
    predicted = probe.cross_validated(task, x["all"], y["all"], folds, seed)
    train_rows = len(predicted) - len(predicted) // folds
    for name, value in probe.metrics(task, predicted, y["all"]).items():
        yield TransferResult(task.name, name, value, f"{folds}-fold", train_rows, len(predicted))


def _features(task: TransferTask, sides: list[Floats]) -> Floats:
    """The embedding of a sentence, or [|u - v|, u * v] of a pair, as SentEval has it."""
    if task.kind == "sentence":
        return sides[0]
    u, v = sides
    return np.concatenate([np.abs(u - v), u * v], axis=1)  # (n, 2d)
