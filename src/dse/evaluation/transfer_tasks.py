"""The data sets of SentEval (Conneau & Kiela, LREC 2018): what they are, and how they are read from a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dse.data.tables import FORMATS, open_table
from dse.data.text_files import is_text
from dse.errors import BadDataError

logger = logging.getLogger(__name__)

Kind = Literal["sentence", "pair", "relatedness", "cosine"]


@dataclass(frozen=True)
class TransferTask:
    """A data set that frozen embeddings are judged by.

    Attributes:
        name: Name, and the folder of its files.
        kind: `sentence`: a class for each sentence; `pair`: a class for each pair; `relatedness`: a score for each
            pair, learned; `cosine`: a score for each pair, without training.
        folder: Folder of its files, if not its name.
        label: Column of the label.
        what: What is predicted, in words.
    """

    name: str
    kind: Kind
    what: str
    folder: str = ""
    label: str = "label"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read, the label last."""
        texts = ("sentence",) if self.kind == "sentence" else ("sentence1", "sentence2")
        return (*texts, self.label)


TRANSFER_TASKS: dict[str, TransferTask] = {
    task.name: task
    for task in (
        TransferTask("mr", "sentence", "sentiment of film reviews"),
        TransferTask("cr", "sentence", "sentiment of product reviews"),
        TransferTask("subj", "sentence", "subjective or objective"),
        TransferTask("mpqa", "sentence", "polarity of opinions"),
        TransferTask("sst2", "sentence", "sentiment of film reviews, whole sentences"),
        TransferTask("trec", "sentence", "six kinds of question"),
        TransferTask("mrpc", "pair", "paraphrase or not"),
        TransferTask("sick-e", "pair", "entailment, three classes", folder="sick", label="entailment"),
        TransferTask("sick-r", "relatedness", "relatedness, 1 to 5", folder="sick"),
        TransferTask("stsb", "relatedness", "similarity, 0 to 5"),
        *(TransferTask(f"sts{year}", "cosine", "similarity, 0 to 5") for year in range(12, 17)),
    )
}
SEVEN = ("mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc")  # whose mean accuracy the literature quotes


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows of one file: the texts of each side, and one label per row."""

    texts: tuple[list[str], ...]
    label: NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    def sample(self, max_rows: int | None, seed: int) -> Labelled:
        """At most so many rows, at random, in their order."""
        if max_rows is None or len(self) <= max_rows:
            return self
        kept = np.sort(np.random.default_rng(seed).permutation(len(self))[:max_rows])
        return Labelled(tuple([side[i] for i in kept] for side in self.texts), self.label[kept])


def find_files(task: TransferTask, data: Path) -> dict[str, Path]:
    """The files of a task by split (`all`, or `train`, `dev`, `test`); empty if the folder lacks them.

    Example:
        >>> find_files(TRANSFER_TASKS["mr"], Path("nowhere"))
        {}
    """
    folder = data / (task.folder or task.name)
    names = {split: [folder / f"{split}{suffix}" for suffix in FORMATS] for split in ("all", "train", "dev", "test")}
    first = {split: next((file for file in files if file.is_file()), None) for split, files in names.items()}
    present = {split: file for split, file in first.items() if file is not None}
    if task.kind == "cosine":
        usable = "test" in present
    else:
        usable = "all" in present or ("train" in present and len(present) > 1)
    return present if usable else {}


def choose(data: Path, names: Sequence[str] | None) -> dict[TransferTask, dict[str, Path]]:
    """The tasks asked for, or all that the folder has, with their files.

    Raises:
        BadDataError: If a task is unknown or its files are missing, or if the folder has none at all.
    """
    if not data.is_dir():
        raise BadDataError(f"{data} is not a folder; give the one that holds mr/all.parquet, trec/train.parquet, ...")
    for name in names or ():
        if name not in TRANSFER_TASKS:
            raise BadDataError(f"unknown transfer task {name!r}; choose from {', '.join(TRANSFER_TASKS)}")
        if not find_files(TRANSFER_TASKS[name], data):
            folder = data / (TRANSFER_TASKS[name].folder or name)
            raise BadDataError(f"{folder} has no {name} data (all.*, or train.* with dev.* or test.*); add its files")
    wanted = [TRANSFER_TASKS[name] for name in names or TRANSFER_TASKS]
    chosen = {task: files for task in wanted if (files := find_files(task, data))}
    if not chosen:
        raise BadDataError(
            f"{data} has none of the transfer data sets ({', '.join(TRANSFER_TASKS)}); give a folder that holds "
            "mr/all.parquet, trec/train.parquet, ..."
        )
    left_out = [task.name for task in wanted if task not in chosen]
    if left_out:
        logger.info("not in %s, left out: %s", data, ", ".join(left_out))
    return chosen


def read(task: TransferTask, file: Path) -> Labelled:
    """Read and check every row.

    Raises:
        BadDataError: If a column is missing or a row cannot be used.
    """
    table = open_table(file)
    missing = [name for name in task.columns if name not in table.columns]
    if missing:
        raise BadDataError(f"{file} has no column {missing[0]!r} (it has {', '.join(table.columns)}); add it")
    rows: list[tuple[Any, ...]] = []
    for number, cells in table.read(task.columns):
        problem = cells if isinstance(cells, str) else _problem(task, cells)
        if problem:
            raise BadDataError(f"{file}:{number}: {problem}; correct the row")
        rows.append(cells)  # type: ignore[arg-type]  # a tuple, as there is no problem
    if not rows:
        raise BadDataError(f"{file} has no rows; give a file with data")
    *texts, label = (list(column) for column in zip(*rows, strict=True))
    if task.kind in ("relatedness", "cosine"):
        return Labelled(tuple(texts), np.array([float(value) for value in label]))
    return Labelled(tuple(texts), np.array([str(value) for value in label]))


def _problem(task: TransferTask, cells: tuple[Any, ...]) -> str | None:
    for name, cell in zip(task.columns[:-1], cells, strict=False):
        if not (isinstance(cell, str) and is_text(cell)):
            return f"{name} is {cell!r}, not text"
    if cells[-1] is None:
        return f"{task.label} is missing"
    if task.kind in ("relatedness", "cosine"):
        try:
            if not np.isfinite(float(cells[-1])):
                raise ValueError
        except (TypeError, ValueError):
            return f"{task.label} is {cells[-1]!r}, not a number"
    return None
