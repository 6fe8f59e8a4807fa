"""The tables of a source (a file, a folder, a hub data set), and the columns of pairs and sentences in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from dse.data.hub import open_hub
from dse.data.tables import FORMATS, Row, Table, open_jsonl, open_table
from dse.data.task import Task
from dse.errors import BadDataError

# Column names of public data sets, in lower case. The first that a table has is taken.
_SENTENCE_COLUMNS = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("#1 string", "#2 string"),
    ("question", "sentence"),
    ("query", "document"),
    ("query", "passage"),
    ("query", "answer"),
    ("question", "answer"),
)
_CLASS_COLUMNS = (
    "label",
    "labels",
    "gold_label",
    "is_duplicate",
    "quality",
    "entailment_label",
    "entailment_judgment",
)
_SCORE_COLUMNS = ("label", "labels", "score", "relatedness_score", "similarity_score", "similarity")
_TEXT_COLUMNS = (
    "sentence",
    "text",
    "candidate",
    "document",
    "passage",
    "answer",
    "query",
    "question",
    "sentence1",
)
_SPLIT_NAMES = {
    "dev": ("dev", "validation", "dev_matched", "validation_matched"),
    "dev_matched": ("dev_matched", "validation_matched"),
    "dev_mismatched": ("dev_mismatched", "validation_mismatched"),
}


def open_source(source: str | os.PathLike[str] | None, task: Task | None, split: str) -> list[Table]:
    """Open the tables of a source, which is one of those that `dse.data.pairs.load_pairs` takes."""
    if source is None:
        if task is None or split not in task.hub:
            name = f"task {task.name!r}" if task else "no task"
            raise BadDataError(
                f"{name} has no {split!r} split on the hub; pass a file, a folder or a hub data set as the source"
            )
        return [open_hub(hub.path, hub.config, (hub.split,)) for hub in task.hub[split]]
    if source == "-":
        return [open_jsonl(sys.stdin.buffer, "standard input")]
    path = Path(source)
    if path.is_dir():
        return [open_table(file) for file in _files_in(path, task, split)]
    if path.exists():
        return [open_table(path)]
    if path.is_absolute() or path.suffix.lower() in FORMATS or not isinstance(source, str):
        raise BadDataError(f"there is no file or folder {path}; check the path")
    name, _, config = source.partition(":")
    return [open_hub(name, config or None, _SPLIT_NAMES.get(split, (split,)))]


def has_splits(source: str | os.PathLike[str] | None) -> bool:
    """Whether a source holds several splits, as folders and hub data sets do; a file is one set of rows.

    Example:
        >>> has_splits(None), has_splits("nyu-mll/glue:mrpc"), has_splits("-"), has_splits(__file__)
        (True, True, False, False)
    """
    return source is None or (source != "-" and not Path(source).is_file())


def _files_in(folder: Path, task: Task | None, split: str) -> list[Path]:
    stems = task.splits.get(split, (f"{task.name}/{split}",)) if task else ()
    files = {stem: _file(folder, stem) for stem in stems}
    direct = _file(folder, split)
    if direct and not any(files.values()):
        return [direct]
    # All files of a split must exist: AllNLI without SNLI would train without an error.
    if missing := [stem for stem in stems if not files[stem]] or [split] * (not stems):
        raise BadDataError(
            f"{folder} has no {' or '.join(f'{stem}.*' for stem in missing)} ({' '.join(FORMATS)}); "
            f"add it, choose another split than {split!r}, or pass a file"
        )
    return [file for file in files.values() if file]


def _file(folder: Path, stem: str) -> Path | None:
    parent, name = (folder / stem).parent, Path(stem).name
    for alias in _SPLIT_NAMES.get(name, (name,)):
        files = [file for file in (parent / (alias + suffix) for suffix in FORMATS) if file.is_file()]
        if len(files) > 1:
            raise BadDataError(f"{files[0]} and {files[1]} are the same split; pass one of the files or remove one")
        if files:
            return files[0]
    return None


def pair_rows(
    table: Table, task: Task | None, columns: Mapping[str, str] | None, label_required: bool
) -> Iterator[Row]:
    """Yield rows of (sentence1, sentence2, label); the label is None where there is no such column."""
    mapping = dict(columns or {})
    if unknown := [key for key in mapping if key not in ("sentence1", "sentence2", "label")]:
        raise BadDataError(f"there is no column role {unknown[0]!r}; map sentence1, sentence2 and label")
    if absent := [name for name in mapping.values() if name not in table.columns]:
        _missing_columns(table, f"column {absent[0]!r}", list(mapping))
    own = _spellings(table)
    ours = [(mapping.get("sentence1", a), mapping.get("sentence2", b)) for a, b in _SENTENCE_COLUMNS]
    known = [[own[a], own[b]] for a, b in ours if a in own and b in own]
    label: list[str] = []
    if task:
        usual = _SCORE_COLUMNS if task.kind == "regression" else _CLASS_COLUMNS
        candidates = [mapping["label"]] if "label" in mapping else [task.label_column.lower(), *usual]
        label = [own[column] for column in candidates if column in own][:1]
    missing = ["label"] if task and label_required and not label else []
    if not known:
        _missing_columns(table, "two columns known to hold sentences", ["sentence1", "sentence2", *missing])
    if missing:
        _missing_columns(table, "column known to hold labels", missing)
    names = known[0] + label
    for number, cells in table.read(names):
        yield number, cells if isinstance(cells, str) or len(cells) == 3 else (*cells, None)


def _spellings(table: Table) -> dict[str, str]:
    """Map each column's name, and its name in lower case, to its name; exact names win."""
    return {name.lower(): name for name in table.columns} | {name: name for name in table.columns}


def _missing_columns(table: Table, what: str, roles: Sequence[str]) -> NoReturn:
    raise BadDataError(
        f"{table.name} has no {what}, only {', '.join(table.columns) or 'nothing'}; map {', '.join(roles)} with "
        f'--columns "{",".join(f"{role}=NAME" for role in roles)}" (columns={{...}})'
    )


def sentence_column(table: Table, column: str | None, option: str = "--column") -> str:
    """Return the column to read sentences from: the one asked for, a usual name, or the only one.

    Raises:
        BadDataError: If there is none; ``option`` is how one is named.
    """
    own = _spellings(table)
    known = [own[name] for name in _TEXT_COLUMNS if name in own] or table.columns[: len(table.columns) == 1]
    name = column or next(iter(known), None)
    if name not in table.columns:
        missing = f"column {name!r}" if name else "column of sentences"
        raise BadDataError(
            f"{table.name} has no {missing}, only {', '.join(table.columns) or 'nothing'}; name the column that holds "
            f"the sentences with {option}"
        )
    return name
