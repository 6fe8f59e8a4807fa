"""How good embeddings are for other jobs: the SentEval protocol (Conneau & Kiela, LREC 2018) with scikit-learn.

The embeddings stay frozen; a logistic regression is trained on them for each data set. Its regularisation is chosen
inside the training rows: on the dev rows where the data set has a test split as well, else on a fifth of the training
rows. Data sets without a split are cross-validated, with that choice made anew in every fold.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from dse.evaluation.machine import machine, versions
from dse.evaluation.transfer_tasks import SEVEN, Labelled, TransferTask, choose, read

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

logger = logging.getLogger(__name__)

GRID = (1e-4, 1e-3, 1e-2, 1e-1)  # C, on features of standard deviation 1
HELD_OUT = 0.2  # of the training rows, to choose C
Floats = NDArray[np.float32]


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
        """Mean accuracy of the seven classification tasks; None unless all are there."""
        found = {r.task: r.value for r in self.results if r.metric == "accuracy"}
        return float(np.mean([found[name] for name in SEVEN])) if set(SEVEN) <= found.keys() else None

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
    """Judge a model's embeddings by the data sets of SentEval that a folder holds.

    Args:
        model: A student or any `SentenceTransformer`; only its ``encode`` is used.
        data: Folder with ``mr/all.parquet``, ``trec/train.parquet``, ``trec/test.parquet``, ...; see `TRANSFER_TASKS`.
        tasks: Names; by default all whose files are there.
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
    known: dict[str, Floats] = {}  # data sets share sentences; each is encoded once
    for task, files in choose(Path(data), tasks).items():
        splits = {split: read(task, file).sample(max_rows, seed) for split, file in files.items()}
        texts = dict.fromkeys(text for rows in splits.values() for side in rows.texts for text in side)
        if new := [text for text in texts if text not in known]:
            vectors = np.asarray(model.encode(new, show_progress_bar=show_progress_bar), np.float32)  # (m, d)
            known |= zip(new, vectors, strict=True)
        sides = {
            split: [np.stack([known[text] for text in side]) for side in rows.texts] for split, rows in splits.items()
        }
        results += _results(task, splits, sides, folds, seed)
        logger.info("%s: %s", task.name, ", ".join(f"{r.metric} {r.value:.4f}" for r in results if r.task == task.name))
    return TransferReport(results, len(next(iter(known.values()))), folds, max_rows)


def _results(
    task: TransferTask, splits: dict[str, Labelled], sides: dict[str, list[Floats]], folds: int, seed: int
) -> Iterator[TransferResult]:
    """One result a metric."""
    if task.kind == "cosine":
        u, v = sides["test"]
        cosine = (u * v).sum(axis=1) / (np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1) + 1e-12)
        metrics = _correlations(cosine, splits["test"].label)
        yield from (TransferResult(task.name, k, v, "test", 0, len(cosine)) for k, v in metrics.items())
        return
    x = {split: _features(task, side) for split, side in sides.items()}
    y = {split: rows.label for split, rows in splits.items()}
    if "train" in x and len(x) > 1:
        split = "test" if "test" in x else "dev"
        held_out = (x["dev"], y["dev"]) if split == "test" and "dev" in x else None
        predicted = _fit(task, x["train"], y["train"], held_out, seed)(x[split])
        metrics = _metrics(task, predicted, y[split])
        yield from (TransferResult(task.name, k, v, split, len(x["train"]), len(x[split])) for k, v in metrics.items())
        return
    predicted = _cross_validated(task, x["all"], y["all"], folds, seed)
    train_rows = len(predicted) - len(predicted) // folds
    for name, value in _metrics(task, predicted, y["all"]).items():
        yield TransferResult(task.name, name, value, f"{folds}-fold", train_rows, len(predicted))


def _features(task: TransferTask, sides: list[Floats]) -> Floats:
    """The embedding of a sentence, or [|u - v|, u * v] of a pair, as SentEval has it."""
    if task.kind == "sentence":
        return sides[0]
    u, v = sides
    return np.concatenate([np.abs(u - v), u * v], axis=1)  # (n, 2d)


Predict = Callable[[Floats], NDArray[Any]]


def _cross_validated(task: TransferTask, x: Floats, y: NDArray[Any], folds: int, seed: int) -> NDArray[Any]:
    from sklearn.model_selection import StratifiedKFold

    predicted = np.empty_like(y)
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        predicted[test] = _fit(task, x[train], y[train], None, seed)(x[test])
    return predicted


def _fit(
    task: TransferTask, x: Floats, y: NDArray[Any], held_out: tuple[Floats, NDArray[Any]] | None, seed: int
) -> Predict:
    """A predictor trained on all these rows, with the C that was best on rows held out."""
    from sklearn.model_selection import train_test_split

    if held_out is None:
        classes = y if task.kind != "relatedness" and np.unique(y, return_counts=True)[1].min() > 1 else None
        parts = train_test_split(x, y, test_size=HELD_OUT, random_state=seed, stratify=classes)
        inner, outer = (parts[0], parts[2]), (parts[1], parts[3])
    else:
        inner, outer = (x, y), held_out
    quality = [
        next(iter(_metrics(task, predict(outer[0]), outer[1]).values())) for predict in _path(task, *inner, GRID)
    ]
    best = GRID[int(np.argmax(quality))]
    return next(_path(task, x, y, (best,)))


def _path(task: TransferTask, x: Floats, y: NDArray[Any], grid: Sequence[float]) -> Iterator[Predict]:
    """Predictors for growing C, each started from the one before; use one before asking for the next."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    weight = None
    if task.kind == "relatedness":
        z, y, weight = _between(z, y)
    model = LogisticRegression(warm_start=True, max_iter=200)
    for c in grid:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # at 200 steps nothing that is predicted changes
            model.set_params(C=c).fit(z, y, sample_weight=weight)
        yield _predictor(task, scaler, model)


def _predictor(task: TransferTask, scaler: Any, model: LogisticRegression) -> Predict:
    def predict(x: Floats) -> NDArray[Any]:
        z = scaler.transform(x)
        if task.kind != "relatedness":
            return np.asarray(model.predict(z))
        return np.asarray(model.predict_proba(z) @ model.classes_.astype(np.float64))  # the expected score

    return predict


def _between(x: Floats, y: NDArray[Any]) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """A score of 3.4 as 0.6 of a 3 and 0.4 of a 4 (Tai et al., ACL 2015): rows, classes, weights."""
    low = np.floor(y)
    share = y - low
    weight = np.concatenate([1 - share, share])
    kept = weight > 0
    return np.concatenate([x, x])[kept], np.concatenate([low, low + 1])[kept].astype(int), weight[kept]


def _metrics(task: TransferTask, predicted: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
    """The main metric first."""
    if task.kind == "relatedness":
        return _correlations(predicted, y)
    metrics = {"accuracy": float(np.mean(predicted == y))}
    if task.kind == "pair" and set(y) == {"0", "1"}:
        from sklearn.metrics import f1_score

        metrics["f1"] = float(f1_score(y, predicted, pos_label="1"))
    return metrics


def _correlations(predicted: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
    from scipy import stats

    if np.ptp(predicted) == 0 or np.ptp(y) == 0:
        return {"pearson": 0.0, "spearman": 0.0}  # undefined
    found = {"pearson": stats.pearsonr(predicted, y), "spearman": stats.spearmanr(predicted, y)}
    return {name: float(test.statistic) for name, test in found.items()}
