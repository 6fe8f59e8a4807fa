"""Write tables of pairs in any format, and read them back as rows, for the tests of loading."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dse.data.pairs import load_pairs
from dse.errors import BadDataError

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
NAMES = ("sentence1", "sentence2", "label")
ROWS = [("A cat.", "A dog.", 0), ("Hi", "Hello", 1), ("", "", 1)]


def write(path, rows, names=NAMES):
    """Write rows in the format of the extension; cells of text formats are written with str()."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        columns = zip(*rows, strict=True) if rows else [[] for _ in names]
        pq.write_table(pa.table({name: list(column) for name, column in zip(names, columns, strict=True)}), path)
    elif path.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows)
        path.write_bytes("".join(line + "\n" for line in lines).encode())
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    else:
        path.write_bytes("".join("\t".join(map(str, row)) + "\n" for row in [names, *rows]).encode())
    return path


def as_rows(pairs):
    labels = [None] * len(pairs) if pairs.label is None else pairs.label.tolist()
    return list(zip(pairs.sentence1, pairs.sentence2, labels, strict=True))


def error_of(*args, **kwargs):
    with pytest.raises(BadDataError) as caught:
        load_pairs(*args, **kwargs)
    return str(caught.value)
