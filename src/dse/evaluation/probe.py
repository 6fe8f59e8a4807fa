"""Logistic regression on frozen embeddings (a linear probe), its regularisation C chosen within the training rows.

scikit-learn's `LogisticRegressionCV` does not fit this protocol: for relatedness it would judge C by the doubled rows
of soft labels instead of the real scores, and for all tasks on features scaled with the held-out rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

from dse.evaluation.transfer_tasks import TransferTask

GRID = (1e-4, 1e-3, 1e-2, 1e-1)  # C, on features of standard deviation 1
HELD_OUT = 0.2  # of the training rows, to choose C
Floats = NDArray[np.float32]
Predict = Callable[[Floats], NDArray[Any]]


def cross_validated(task: TransferTask, x: Floats, y: NDArray[Any], folds: int, seed: int) -> NDArray[Any]:
    """Predictions for every row, (n,), by the predictor of the fold that was not trained on it."""
    predicted = np.empty_like(y)
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        predicted[test] = fit(task, x[train], y[train], None, seed)(x[test])
    return predicted


def fit(
    task: TransferTask, x: Floats, y: NDArray[Any], held_out: tuple[Floats, NDArray[Any]] | None, seed: int
) -> Predict:
    """A predictor trained on all these rows, with the C that was best on held-out rows."""
    if held_out is None:
        classes = y if task.kind != "relatedness" and np.unique(y, return_counts=True)[1].min() > 1 else None
        parts = train_test_split(x, y, test_size=HELD_OUT, random_state=seed, stratify=classes)
        inner, outer = (parts[0], parts[2]), (parts[1], parts[3])
    else:
        inner, outer = (x, y), held_out
    values = [next(iter(metrics(task, predict(outer[0]), outer[1]).values())) for predict in _path(task, *inner, GRID)]
    best = GRID[int(np.argmax(values))]
    return next(_path(task, x, y, (best,)))


def _path(task: TransferTask, x: Floats, y: NDArray[Any], grid: Sequence[float]) -> Iterator[Predict]:
    """Predictors for growing C, each started from the one before; use one before asking for the next."""
    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    weight = None
    if task.kind == "relatedness":
        z, y, weight = _soft_labels(z, y)
    model = LogisticRegression(warm_start=True, max_iter=200)
    for c in grid:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # after 200 steps no prediction changes
            model.set_params(C=c).fit(z, y, sample_weight=weight)
        yield _predictor(task, scaler, model)


def _predictor(task: TransferTask, scaler: Any, model: LogisticRegression) -> Predict:
    def predict(x: Floats) -> NDArray[Any]:
        z = scaler.transform(x)
        if task.kind != "relatedness":
            return np.asarray(model.predict(z))
        return np.asarray(model.predict_proba(z) @ model.classes_.astype(np.float64))  # the expected score

    return predict


def _soft_labels(x: Floats, y: NDArray[Any]) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """A score of 3.4 as 0.6 of a 3 and 0.4 of a 4 (Tai et al., ACL 2015): rows, classes, weights."""
    low = np.floor(y)
    share = y - low
    weight = np.concatenate([1 - share, share])
    kept = weight > 0
    return np.concatenate([x, x])[kept], np.concatenate([low, low + 1])[kept].astype(int), weight[kept]


def metrics(task: TransferTask, predicted: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
    """The metrics of a task, the one that decides first."""
    if task.kind == "relatedness":
        return correlations(predicted, y)
    values = {"accuracy": float(np.mean(predicted == y))}
    if task.kind == "pair" and set(y) == {"0", "1"}:
        values["f1"] = float(f1_score(y, predicted, pos_label="1"))
    return values


def correlations(predicted: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
    """Pearson and Spearman correlation; 0 where one side is constant and they are undefined."""
    if np.ptp(predicted) == 0 or np.ptp(y) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    tests = {"pearson": stats.pearsonr(predicted, y), "spearman": stats.spearmanr(predicted, y)}
    return {name: float(test.statistic) for name, test in tests.items()}
