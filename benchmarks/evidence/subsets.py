"""The rows that a size of the tables uses, written as Parquet where `dse ... --data` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dse.data.pairs import Pairs, load_pairs
from dse.data.tasks import get_task
from dse.files import write_json, write_table


@dataclass(frozen=True)
class Size:
    """How much is used; None takes all rows, and epochs and bootstrap pairs of the configurations."""

    train: int | None = None  # most training rows of a task
    dev: int | None = None  # most rows that are reported on
    transfer: int | None = None  # most rows of each transfer file
    epochs: int | None = None  # of teachers and students
    bootstrap: int | None = None  # pairs on which a teacher first learns the cosine of its backbone
    unlabelled: int = 0  # most further training rows that a student learns from without their labels


SIZES = {
    "tiny": Size(500, 300, 300, 2, 1_000, 1_000),
    "small": Size(1_000, 1_500, 1_000, 2, 4_000, 3_000),
    "medium": Size(3_000, 3_000, 3_000, unlabelled=9_000),
    "full": Size(),
}
SEED = 0
UNLABELLED = "unlabelled.parquet"


def prepare(source: str | None, task: str, splits: tuple[str, ...], size: Size, folder: Path) -> Path:
    """Write the rows of a task once, from a folder or else the hub; returns the folder for `--data`."""
    own = folder / task
    if (own / "about.json").exists():
        return own
    own.mkdir(parents=True, exist_ok=True)
    counts: dict[str, Any] = {}
    for split in ("train", *splits):
        pairs = _allnli(source, split) if task == "allnli" else load_pairs(source, get_task(task), split)
        most = size.train if split == "train" else size.dev
        if task == "allnli" and split == "train" and most is not None:
            most *= 2  # two data sets
        kept = _sample(pairs, most)
        write_table(own / f"{split}.parquet", _table(kept, task))
        counts[split] = {"rows": len(kept), "of": len(pairs), "source": pairs.source}
    write_json(own / "about.json", counts)
    return own


def prepare_unlabelled(source: str | None, task: str, most: int, own: Path) -> int:
    """Write further training rows of a task without labels, once; returns how many, 0 if none is left over."""
    file = own / UNLABELLED
    if not file.exists() and most:
        pairs = load_pairs(source, get_task(task), "train")
        used = {frozenset(pair) for pair in load_pairs(own, get_task(task), "train").tuples()}
        rest = _sample(pairs.select(np.array([frozenset(pair) not in used for pair in pairs.tuples()])), most)
        if len(rest):
            write_table(file, pa.table({"sentence1": rest.sentence1, "sentence2": rest.sentence2}))
    return pq.read_metadata(file).num_rows if file.exists() else 0


def _allnli(source: str | None, split: str) -> Pairs:
    """MNLI and SNLI together; where SNLI's training rows are absent its dev rows are trained on, test reported on."""
    parts = {"train": (("mnli", "train"), ("snli", "train" if source is None else "dev")), "dev": (("snli", "test"),)}
    every = [load_pairs(source, get_task(name), part) for name, part in parts[split]]
    return Pairs(
        [text for pairs in every for text in pairs.sentence1],
        [text for pairs in every for text in pairs.sentence2],
        np.concatenate([pairs.label for pairs in every if pairs.label is not None]),
        ", ".join(pairs.source for pairs in every),
    )


def _sample(pairs: Pairs, most: int | None) -> Pairs:
    """At most so many rows, at random, in their order."""
    if most is None or len(pairs) <= most:
        return pairs
    return pairs.select(np.sort(np.random.default_rng(SEED).permutation(len(pairs))[:most]))


def _table(pairs: Pairs, name: str) -> pa.Table:
    """Columns as `load_pairs` reads them back: class labels by name, scores as numbers."""
    task = get_task(name)
    assert pairs.label is not None
    labels: list[Any] = pairs.label.tolist()
    if task.kind == "multiclass":
        labels = [task.labels[int(label)] for label in labels]
    elif task.kind == "binary":
        negative = next(label for label in task.labels if label != task.positive)
        labels = [task.positive if label else negative for label in labels]
    return pa.table({"sentence1": pairs.sentence1, "sentence2": pairs.sentence2, "label": labels})
