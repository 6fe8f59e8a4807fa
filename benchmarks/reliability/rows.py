"""10,000 mutated rows: each is accepted as another reader understands it, or named with file and row."""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.reliability.judges import MeaninglessError, is_kept, meant, parquet_rows, readings
from benchmarks.reliability.mutations import CLASSES, KINDS, Case, parquet_case, score_rows, text_case
from dse.data import Collection, Task, Texts, load_corpus, load_judgements, load_pairs, load_queries
from dse.data.pairs import read_sentences
from dse.errors import DSEError
from dse.index.layout import ID, TEXT, Manifest
from dse.index.store import Store
from dse.index.write import Writer
from dse.teacher.kept_scores import SCHEMA, ScoreFile, score_key

Row = tuple[Any, ...]
SCORE = Task("score", "regression", label_range=(0.0, 5.0))
CLASS = Task("nli", "multiclass", labels=CLASSES)
FORMATS = {kind: [".csv", ".tsv", ".jsonl", ".parquet"] for kind in KINDS}
FORMATS |= {name: [*FORMATS[name], ".txt"] for name in ("sentences", "corpus", "queries")}
FORMATS["judgements"] = [*FORMATS["judgements"], ".trec"]


def read(kind: str, path: Path) -> list[Row]:
    """The rows as the library reads them."""
    if kind in ("pairs", "classes"):
        pairs = load_pairs(path, SCORE if kind == "pairs" else CLASS)
        return list(zip(pairs.sentence1, pairs.sentence2, map(np.float32, pairs.label), strict=True))
    if kind == "sentences":
        return [(text,) for text in read_sentences(path)]
    if kind == "judgements":
        names = [str(i) for i in range(-10, 10)]
        known = Collection(
            Texts([*(f"d{i}" for i in range(5)), *names], ["x"] * 25),
            Texts([*(f"q{i}" for i in range(5)), *names], ["x"] * 25),
        )
        judged = load_judgements(path, known)
        return [(query, doc, grade) for query, grades in judged.items() for doc, grade in grades.items()]
    if kind == "index":
        return _stored(path)
    texts = load_corpus(path) if kind == "corpus" else load_queries(path)
    return list(zip(texts.ids, texts.texts, strict=True))


def _stored(path: Path) -> list[Row]:
    """The rows that an index holds after adding a file; none if it was refused."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(f"{folder}/index", Manifest("student", 2), pa.schema([]))
        try:
            Writer(store, lambda texts: np.ones((len(texts), 2), np.float16), replace=False).write(
                path, ID, TEXT, 8192, show_progress_bar=False
            )
        finally:
            store.refresh()
            rows = store.data.to_table().to_pylist()
            if rows and len(store.data.versions()) < 2:
                raise AssertionError("rows without a commit")
        return [(row[ID], row[TEXT], row.get("price"), row.get("lang")) for row in rows]


def problem(case: Case, path: Path) -> tuple[str | None, bool]:
    """What is wrong with how the library reads a file, and whether it refuses it."""
    path.write_bytes(case.content)
    wanted = [] if case.suffix == ".parquet" else readings(case)
    try:
        rows = read(case.kind, path)
    except DSEError as error:
        message = str(error)
        last = case.first_line + max(case.raw.count(b"\n") - 1, 0)
        places = [f"{path}:{line}:" for line in range(case.first_line, last + 1)]
        if case.is_text:
            return f"refuses a row of texts: {message}", True
        # Of a column that fits no type, or whose name none can have, another row may be the one that is named.
        if case.suffix == ".parquet" or "cannot be read as" in message or "no column can be called" in message:
            places = [str(path)]
        named = any(place in message for place in places)
        return (None if named else f"does not name row {case.first_line}: {message}"), True
    except Exception as error:
        return f"{type(error).__name__}: {error}", True
    if case.suffix == ".parquet":
        try:
            wanted = [parquet_rows(case)]
        except MeaninglessError:
            return "accepts bytes that are no text", False
    else:
        wanted = [[*case.before, *reading, *case.after] for reading in wanted]
    if any(_agree(case, rows, reading) for reading in wanted):
        return None, False
    return f"reads {rows!r:.600} where {wanted!r:.600} was meant", False


def _agree(case: Case, rows: list[Row], wanted: list[list[Any]]) -> bool:
    if case.kind == "classes":  # annotators did not agree on a label: the row is left out
        wanted = [cells for cells in wanted if str(cells[2]).strip() not in ("-", "-1")]
    if len(rows) != len(wanted):
        return False
    try:
        expected = [meant(case.kind, cells, number) for number, cells in enumerate(wanted, start=1)]
    except MeaninglessError:
        return False
    if case.kind != "index":
        return sorted(rows, key=repr) == sorted(expected, key=repr)
    is_text = case.suffix in (".csv", ".tsv")
    by_id = {row[0]: row for row in rows}
    return len(by_id) == len(expected) and all(
        row[0] in by_id
        and row[1] == by_id[row[0]][1]
        and all(is_kept(cell, value, is_text) for cell, value in zip(row[2:], by_id[row[0]][2:], strict=True))
        for row in expected
    )


def problem_of_scores(generator: random.Random, path: Path) -> tuple[str | None, bool]:
    """The same of a file of kept scores: a row is found as it was meant, or counts as not scored, or is named."""
    rows = score_rows(generator)
    pairs = [(row["sentence1"], row["sentence2"]) for row in rows]
    for row, pair in zip(rows, pairs, strict=True):
        row |= {"key": score_key("t", *pair), "teacher": "t"}
    kind = pa.list_(pa.float64()) if generator.random() < 0.3 else pa.list_(pa.float32())
    schema = SCHEMA.set(SCHEMA.get_field_index("scores"), pa.field("scores", kind))
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    try:
        file = ScoreFile(path)
        missing = set(file.missing("t", pairs))
        for row, pair in zip(rows, pairs, strict=True):
            good = [score is not None and np.isfinite(np.float32(score)) for score in row["scores"] or [None]]
            if (pair in missing) == all(good):
                return f"{row['scores']} is {'missing' if pair in missing else 'found'}", False
            if pair not in missing and file.lookup([pair], "t").tolist() != [np.float32(row["scores"]).tolist()]:
                return f"{row['scores']} is read as {file.lookup([pair], 't').tolist()}", False
        if kept := [pair for pair in pairs if pair not in missing]:
            file.lookup(kept, "t")
    except DSEError as error:
        return (None if str(path) in str(error) else f"does not name the file: {error}"), True
    except Exception as error:
        return f"{type(error).__name__}: {error}", True
    return None, False


def campaign(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Read so many files with one mutated row each; yields what is known after every 500."""
    generator, refused, misread = random.Random(seed), 0, list[str]()
    # A file added to an index takes a commit, a hundred times as long as reading one.
    kinds, read_as = [*KINDS, "scores", *list(KINDS)[:-1]], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, count + 1):
            kind = kinds[number % len(kinds)]
            suffix = ".parquet" if kind == "scores" else generator.choice(FORMATS[kind])
            path = Path(folder, f"rows{'.txt' if suffix == '.trec' else suffix}")
            wrong, was_refused = _one(generator, kind, suffix, path)
            refused += was_refused
            read_as[kind] += 1
            if wrong:
                misread.append(f"{kind}{suffix}, file {number}: {wrong}")
                print(misread[-1][:700], file=sys.stderr)
            path.unlink()
            if number % 500 == 0 or number == count:
                yield {
                    "mutated_rows": number,
                    "mutated_rows_read_as": dict(read_as),
                    "refused_rows": refused,
                    "misread_rows": len(misread),
                    "first_misread_row": misread[0] if misread else None,
                }


def _one(generator: random.Random, kind: str, suffix: str, path: Path) -> tuple[str | None, bool]:
    """Make a file, read it: what is wrong, and whether it was refused."""
    if kind == "scores":
        return problem_of_scores(generator, path)
    return problem(parquet_case(generator, kind) if suffix == ".parquet" else text_case(generator, kind, suffix), path)
