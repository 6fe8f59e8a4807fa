"""Sentence pairs and sentences from parquet, csv, tsv and jsonl files, folders of them, and the hub.

Every row is checked before any work starts, and a bad one is reported as `file:row: what is wrong`.

Example:
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from dse.data.tasks import get_task
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "pairs.jsonl")
    ...     _ = file.write_text('{"question1": "Who?", "question2": "Which one?", "is_duplicate": 1}')
    ...     pairs = load_pairs(file, get_task("qqp"))
    >>> pairs.sentence1, pairs.sentence2, pairs.label
    (['Who?'], ['Which one?'], array([1.], dtype=float32))
"""

from __future__ import annotations

import io
import logging
import os
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.data import tables
from dse.data.sources import open_source, pair_rows, sentence_column
from dse.data.task import Task, is_missing
from dse.data.text_files import NOT_UTF8, check_plain, is_text, need_file
from dse.errors import BadDataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sentence pairs, each with or without a label.

    Attributes:
        sentence1: The first sentences.
        sentence2: The second ones, as many.
        label: (n,) float32 or, for a multiclass task, int64 as `Task.target` gives them, 0 where a pair has no label;
            None if no pair has one.
        source: Where they come from, for messages and reports.
        skipped: How many bad rows `load_pairs` left out.
        labelled: (n,) bool, which pairs have a label. If not given: all pairs where there are labels, else none.

    Raises:
        BadDataError: If the columns have different lengths, or there are labels and ``labelled`` marks no pair.

    Example:
        >>> pairs = Pairs(["a", "b"], ["c", "d"], np.array([0.0, 1.0]))
        >>> len(pairs), pairs.select([1]).to_dict()
        (2, {'sentence1': ['b'], 'sentence2': ['d'], 'label': array([1.])})
        >>> Pairs(["a", "b"], ["c", "d"], np.array([0.0, 1.0]), labelled=np.array([False, True])).labelled.tolist()
        [False, True]
    """

    sentence1: list[str]
    sentence2: list[str]
    label: NDArray[Any] | None = None
    source: str = "memory"
    skipped: int = 0
    labelled: NDArray[np.bool_] = field(default=cast(Any, None), kw_only=True)

    def __post_init__(self) -> None:
        """Fill in the mask, and refuse columns of different lengths, which would pair the wrong sentences."""
        if self.label is None or self.labelled is None:
            object.__setattr__(self, "labelled", np.full(len(self), self.label is not None))
        lengths = {len(column) for column in (*self.to_dict().values(), self.labelled)}
        if len(lengths) > 1:
            raise BadDataError(f"pairs from {self.source} have columns of unequal lengths {sorted(lengths)}; fix them")
        if len(self) and self.label is not None and not self.labelled.any():
            raise BadDataError(f"pairs from {self.source} have labels, but labelled marks none; give both, or neither")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.sentence1)

    def select(self, indices: ArrayLike) -> Pairs:
        """Return the pairs at these positions, in this order; a mask of n booleans works too."""
        rows = np.arange(len(self))[np.asarray(indices, dtype=None if np.size(indices) else np.int64)]
        labelled = self.labelled[rows]
        return replace(
            self,
            sentence1=[self.sentence1[row] for row in rows],
            sentence2=[self.sentence2[row] for row in rows],
            label=self.label[rows] if self.label is not None and (labelled.any() or not len(rows)) else None,
            labelled=labelled,
        )

    def tuples(self) -> list[tuple[str, str]]:
        """Return the pairs one by one, as `predict` takes them."""
        return list(zip(self.sentence1, self.sentence2, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the columns by name, `label` only if there are any: what `datasets.Dataset.from_dict` takes."""
        columns: dict[str, Any] = {"sentence1": self.sentence1, "sentence2": self.sentence2}
        return columns if self.label is None else columns | {"label": self.label}


def load_pairs(
    source: str | os.PathLike[str] | None,
    task: Task | None = None,
    split: str = "train",
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    label_required: bool = True,
) -> Pairs:
    """Read sentence pairs and check every row.

    Args:
        source: A file (.parquet .csv .tsv .txt .jsonl .ndjson; .tsv and .txt are split at tabs, without
            quoting, as GLUE ships them); `"-"` for jsonl on standard input; a folder with
            `<task>/<split>.<ext>` as `task.splits` says, or with `<split>.<ext>`; a hub data set, `NAME` or
            `NAME:CONFIG`; None for the task's own hub data set.
        task: Says what the labels mean. Without a task labels are not read.
        split: Which split of a folder or hub data set; `dev` is also found as `validation` or `dev_matched`.
        columns: The source's own names for `sentence1`, `sentence2`, `label`, where they are not recognised.
        skip_bad_rows: Leave bad rows out, with a warning, instead of raising.
        label_required: If False, a source in which no row has a label gives `label=None`.

    Returns:
        The pairs in the order of the source. Class labels are matched by name; plain integers are ids in
        the order of `task.labels`. Rows marked as having no gold label (SNLI's `-` or -1) are left out.

    Raises:
        BadDataError: If the source cannot be read, columns are missing, rows are bad, or none is left.
        MissingExtraError: If the source is on the hub and `datasets` is not installed.
    """
    opened = open_source(source, task, split)
    rows = [(table.name, *row) for table in opened for row in pair_rows(table, task, columns, label_required)]
    label_task = task if label_required or any(_has_label(task, cells) for _, _, cells in rows) else None
    good: list[tuple[str, str, Any]] = []
    bad: list[str] = []
    for name, number, cells in rows:
        try:
            sentence1, sentence2, label = _checked(cells, ("sentence1", "sentence2"))
            if not (label_task and label_task.has_no_gold(label)):
                good.append((sentence1, sentence2, label_task.target(label) if label_task else None))
        except ValueError as error:
            bad.append(f"{name}:{number}: {error}")
    origin = ", ".join(table.name for table in opened)
    if bad and not skip_bad_rows:
        raise BadDataError(f"{_summary(bad, len(rows))}; {_advice(bad, len(good))}")
    if bad:
        logger.warning("left out: %s", _summary(bad, len(rows)))
    if no_gold := len(rows) - len(good) - len(bad):
        logger.info("left out %d of %d rows of %s without a gold label", no_gold, len(rows), origin)
    if not good:
        found = f"no usable row among {len(rows)}" if rows else "no rows"
        raise BadDataError(f"{origin} has {found}; give a source of {'labelled ' * bool(label_task)}pairs")
    first, second, labels = (list(column) for column in zip(*good, strict=True))
    dtype = np.int64 if label_task and label_task.kind == "multiclass" else np.float32
    return Pairs(first, second, np.array(labels, dtype) if label_task else None, origin, len(bad))


def read_sentences(source: str | os.PathLike[str], column: str | None = None) -> list[str]:
    r"""Read single sentences: queries, candidates.

    Args:
        source: A .txt file with one sentence a line (blank lines are empty sentences), `"-"` for the same on
            standard input, or a .parquet .csv .tsv .jsonl .ndjson file.
        column: The column that holds them; by default the only one, or one called `sentence`, `text`, ...

    Returns:
        The sentences in the order of the source.

    Raises:
        BadDataError: If the source cannot be read, has no such column, or any row is no text.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "candidates.txt")
        ...     _ = file.write_text("one\ntwo\n")
        ...     read_sentences(file)
        ['one', 'two']
    """
    path = Path(source)
    need_file(source)
    if source == "-":
        table = tables.open_lines(sys.stdin.buffer, "standard input")
    elif path.suffix.lower() == ".txt":
        check_plain(path)
        table = tables.open_lines(io.BytesIO(path.read_bytes()), str(path))
    else:
        table = tables.open_table(path)
    name = sentence_column(table, column)
    sentences: list[str] = []
    bad: list[str] = []
    for number, cells in table.read([name]):
        try:
            sentences += _checked(cells, (name,))
        except ValueError as error:
            bad.append(f"{table.name}:{number}: {error}")
    if bad:
        raise BadDataError(f"{_summary(bad, len(bad) + len(sentences))}; correct them")
    if not sentences:
        raise BadDataError(f"{table.name} has no sentences; give a file with one a row")
    return sentences


def split_pairs(pairs: Pairs, fraction: float, seed: int) -> tuple[Pairs, Pairs]:
    """Hold out a random part of the pairs.

    Rows with the same two sentences, in either order, stay on one side, so that nothing held out is also
    in the rest. Rows keep their order.

    Args:
        pairs: The pairs to split.
        fraction: Share of the rows to hold out, between 0 and 1.
        seed: The same seed gives the same split.

    Returns:
        The rest and the held-out pairs; neither is empty.

    Raises:
        BadDataError: If the fraction of these pairs leaves one side empty.

    Example:
        >>> rest, held_out = split_pairs(Pairs(list("abcd"), list("efgh")), 0.25, seed=0)
        >>> len(rest), len(held_out)
        (3, 1)
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (a, b) in enumerate(zip(pairs.sentence1, pairs.sentence2, strict=True)):
        groups.setdefault((min(a, b), max(a, b)), []).append(row)
    members = list(groups.values())
    remaining = round(fraction * len(pairs)) if 0 < fraction < 1 else 0
    held_out = np.zeros(len(pairs), dtype=bool)
    for group in np.random.default_rng(seed).permutation(len(members)):
        if len(members[group]) <= remaining:
            held_out[members[group]] = True
            remaining -= len(members[group])
    if held_out.all() or not held_out.any():
        raise BadDataError(
            f"holding out {fraction:g} of {len(pairs)} pairs ({len(members)} distinct) from {pairs.source} "
            "leaves one side empty; give more distinct pairs, or another fraction"
        )
    return pairs.select(~held_out), pairs.select(held_out)


def need_two_labels(pairs: Pairs, task: Task) -> None:
    """Refuse to learn from labels that are all the same, which any score fits.

    Raises:
        BadDataError: If they are.

    Example:
        >>> need_two_labels(Pairs(["a", "b"], ["c", "d"], np.array([1.0, 1.0])), Task("same", "binary"))
        Traceback (most recent call last):
        dse.errors.BadDataError: all 2 labels in memory are '1'; give pairs of both classes
    """
    known = None if pairs.label is None else pairs.label[pairs.labelled]
    if known is None or len(np.unique(known)) != 1:
        return
    if task.kind == "regression":
        label, wanted = f"{float(known[0]):g}", "pairs with different scores"
    else:
        positive = task.labels.index(str(task.positive)) if task.kind == "binary" else 0
        place = int(known[0]) if task.kind == "multiclass" else positive if known[0] == 1 else 1 - positive
        label = repr(task.labels[place])
        wanted = "pairs of both classes" if task.kind == "binary" else "pairs of several classes"
    raise BadDataError(f"all {len(known):,} labels in {pairs.source} are {label}; give {wanted}")


def _checked(cells: tuple[Any, ...] | str, names: Sequence[str]) -> tuple[Any, ...]:
    """Return the cells if the row could be read and those with names are text; else raise what is wrong."""
    if isinstance(cells, str):
        raise ValueError(cells)
    for name, cell in zip(names, cells, strict=False):
        if cell is None:
            raise ValueError(f"{name} is missing")
        if not isinstance(cell, str):
            raise ValueError(f"{name} is {reprlib.repr(cell)}, not text")
        if not is_text(cell):
            raise ValueError(f"{name} {NOT_UTF8}")
    return cells


def _has_label(task: Task | None, cells: tuple[Any, ...] | str) -> bool:
    if task is None or isinstance(cells, str):
        return False
    return not (is_missing(cells[2]) or task.has_no_gold(cells[2]))


def _advice(bad: list[str], good: int) -> str:
    if good:
        return "correct them, or leave them out with --skip-bad-rows (skip_bad_rows=True)"
    if all("unknown label" in reason for reason in bad):
        return "correct them, or name the labels, with --kind and --labels (Task)"
    return "correct them"


def _summary(bad: list[str], total: int) -> str:
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    return f"{len(bad)} of {total} rows cannot be used: {'; '.join(bad[:5])}{more}"
