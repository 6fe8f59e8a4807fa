"""Out-of-fold teacher scores: no teacher scores a pair whose label it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.runtime import Dtype
from dse.teacher.fit import fit_teacher, further_settings
from dse.teacher.kept_scores import check_score_file
from dse.teacher.labelling import label_pairs
from dse.teacher.load import load_teacher
from dse.training.run_folder import claim_folder, data_hashes, finished
from dse.training.settings import Training


def cross_fit(
    backbone: str,
    pairs: Pairs,
    task: Task,
    output: str | Path,
    *,
    folds: int,
    training: Training | None = None,
    dtype: Dtype = "auto",
    show_progress_bar: bool = False,
    claim: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> np.ndarray:
    """Out-of-fold scores: every pair is scored by a teacher that was not trained on its label.

    Scores of a teacher for its own training pairs are over-confident (Dao et al., ICLR 2021). Trains one teacher
    per fold in `folds_folder(output)`; an interrupted run resumes where it stopped.

    Args:
        backbone: What the teachers are fine-tuned from.
        pairs: Labelled pairs; equal pairs, in either order, share a fold.
        task: What their labels mean.
        output: Parquet file of the scores.
        folds: K, at least 2.
        training: Optimiser settings of each teacher.
        dtype: As in `label_pairs`.
        show_progress_bar: As in `label_pairs`.
        claim: As in `fit_teacher`.
        **kwargs: As `fit_teacher` takes them.

    Returns:
        Float32 logits without activation, (n, C).

    Raises:
        BadDataError: If ``output`` exists and is no file of scores.
        MismatchError: If that folder holds teachers of other settings or data, which may have been trained on any pair.
        ValueError: If there are fewer than 2 folds or more folds than distinct pairs.
    """
    training, output = training or Training(), Path(output)
    fold = assign_folds(pairs, folds, training.seed)
    check_score_file(output)
    claim_folder(folds_folder(output), claim or folds_run(backbone, pairs, task, folds, training, **kwargs))
    scores = np.empty((len(pairs), task.num_labels), np.float32)
    for k in range(folds):
        teacher = _fold_teacher(backbone, pairs.select(fold != k), task, output, k, training, **kwargs)
        own = np.flatnonzero(fold == k)
        scores[own] = label_pairs(
            teacher, pairs.select(own), task, output, dtype=dtype, show_progress_bar=show_progress_bar
        )
    return scores


def folds_folder(output: str | Path) -> Path:
    """Folder of the teachers that `cross_fit` trains for this file of scores: ``OUTPUT.folds``."""
    return Path(output).with_name(Path(output).name + ".folds")


def folds_run(backbone: str, pairs: Pairs, task: Task, folds: int, training: Training, **kwargs: Any) -> dict[str, Any]:
    """Everything that decides the teachers of `cross_fit`."""
    named = {name: kwargs.get(name) for name in ("pooling", "regression_loss", "max_seq_length")}
    run = {"kind": "folds", "folds": folds, "backbone": backbone, "task": task.to_dict(), "settings": named}
    run |= further_settings({name: value for name, value in kwargs.items() if name not in named})
    return run | {"training": training.to_dict(), "data": data_hashes(train=pairs)}


def assign_folds(pairs: Pairs, folds: int, seed: int) -> np.ndarray:
    """The fold of each pair, (n,) in 0..folds-1; equal pairs, in either order, share one.

    Raises:
        ValueError: If there are fewer than 2 folds or more folds than distinct pairs.

    Example:
        >>> assign_folds(Pairs(list("abca"), list("xyzx")), 3, seed=0).tolist()
        [2, 0, 1, 2]
    """
    groups: dict[tuple[str, ...], int] = {}
    group = np.array([groups.setdefault(tuple(sorted(pair)), len(groups)) for pair in pairs.tuples()])  # (n,)
    if not 2 <= folds <= len(groups):
        raise ValueError(
            f"folds is {folds}; choose at least 2 and at most {len(groups)}, the number of distinct pairs."
        )
    fold: np.ndarray = np.random.default_rng(seed).permutation(len(groups))[group] % folds
    return fold


def _fold_teacher(
    backbone: str, train: Pairs, task: Task, output: Path, k: int, training: Training, **kwargs: Any
) -> CrossEncoder:
    folder = folds_folder(output) / str(k)
    if finished(folder):
        return load_teacher(str(folder), task)
    settings = replace(training, seed=training.seed + k)
    return fit_teacher(backbone, train, task, folder, training=settings, **kwargs)
