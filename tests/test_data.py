"""Loading pairs and sentences: every format, layout and source, and every way in which a row can be bad."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import sys
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.data import Pairs, load_pairs, read_sentences, split_pairs
from dse.errors import BadDataError, DSEError, MissingExtraError
from dse.tasks import Task, get_task

MRPC, QQP, QNLI, MNLI, SNLI, STSB = map(get_task, ("mrpc", "qqp", "qnli", "mnli", "snli", "stsb"))
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
NAMES = ("sentence1", "sentence2", "label")
ROWS = [("A cat.", "A dog.", 0), ("Hi", "Hello", 1), ("", "", 1)]


def write(path, rows, names=NAMES):
    """Write rows in the format of the extension; cells of text formats are written with str()."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        columns = zip(*rows, strict=True) if rows else [[] for _ in names]
        pq.write_table(
            pa.table({name: list(column) for name, column in zip(names, columns, strict=True)}), path
        )
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


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


# --- formats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_pairs(tmp_path, suffix):
    pairs = load_pairs(write(tmp_path / f"x{suffix}", ROWS), MRPC)
    assert as_rows(pairs) == ROWS
    assert (pairs.label.dtype, pairs.skipped, pairs.source) == (np.float32, 0, str(tmp_path / f"x{suffix}"))


def test_upper_case_extension_ndjson_and_str_path(tmp_path):
    write(tmp_path / "x.jsonl", ROWS).rename(tmp_path / "x.NDJSON")
    assert as_rows(load_pairs(str(tmp_path / "x.NDJSON"), MRPC)) == ROWS


def test_stdin_is_jsonl(stdin):
    stdin(
        b'{"sentence1": "a", "sentence2": "b", "label": 1}\n\n{"label": 0, "sentence2": "d", "sentence1": "c"}'
    )
    assert as_rows(load_pairs("-", MRPC)) == [("a", "b", 1.0), ("c", "d", 0.0)]


def test_csv_quotes_and_newlines_and_the_row_number_after_them(tmp_path):
    file = tmp_path / "x.csv"
    file.write_bytes(b'sentence1,sentence2,label\r\n"a ""b""\r\nc, d",e,1\r\n\r\nf,g,7\r\n')
    assert as_rows(load_pairs(file, MRPC, skip_bad_rows=True)) == [('a "b"\r\nc, d', "e", 1.0)]
    assert f"{file}:5: unknown label '7'" in error_of(file, MRPC)


def test_csv_quote_that_is_never_closed(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text('sentence1,sentence2,label\na,b,1\n"c,d,0\ne,f,1\n')
    assert re.search(
        r"1 of 2 rows .*x.csv:3: is no valid CSV up to line 4 \(unexpected end", error_of(file, MRPC)
    )


def test_tsv_has_no_quoting(tmp_path):
    rows = [('"unbalanced', "it's \"so", 1), ('""', '"', 0)]
    assert as_rows(load_pairs(write(tmp_path / "x.tsv", rows), MRPC)) == rows


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    for suffix, tab in ((".tsv", b"\t"), (".csv", b",")):
        file = tmp_path / f"x{suffix}"
        file.write_bytes(
            b"\xef\xbb\xbf" + tab.join([b"sentence1", b"sentence2", b"label\r\na", b"b", b"1\r\n"])
        )
        assert as_rows(load_pairs(file, MRPC)) == [("a", "b", 1.0)]


def test_parquet_with_large_and_dictionary_strings(tmp_path):
    table = pa.table(
        {
            "sentence1": pa.array(["a", "b"]).dictionary_encode(),
            "sentence2": pa.array(["c", "d"], pa.large_string()),
            "label": pa.array(["equivalent", "not_equivalent"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    assert as_rows(load_pairs(tmp_path / "x.parquet", MRPC)) == [("a", "c", 1.0), ("b", "d", 0.0)]


def test_unknown_format_missing_file_and_broken_parquet(tmp_path):
    (tmp_path / "x.xlsx").write_text("?")
    (tmp_path / "x.parquet").write_text("not parquet")
    assert "x.xlsx is in no known format; convert it to one of .parquet .csv" in error_of(
        tmp_path / "x.xlsx", MRPC
    )
    assert "x.parquet cannot be read as Parquet" in error_of(tmp_path / "x.parquet", MRPC)
    for missing in (tmp_path / "no.csv", "no.csv", str(tmp_path / "no"), Path("no/folder")):
        assert f"there is no file or folder {missing}" in error_of(missing, MRPC)


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_rows_is_an_error(tmp_path, suffix):
    assert "no usable row among 0" in error_of(write(tmp_path / f"x{suffix}", []), MRPC)


def test_empty_file_and_header_that_is_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"")
    (tmp_path / "x.tsv").write_bytes("sentence1\tsentence2\n".encode("utf-16"))
    assert "x.csv:1: the header is missing: the file is empty" in error_of(tmp_path / "x.csv", MRPC)
    assert "x.tsv:1: the header is not valid UTF-8" in error_of(tmp_path / "x.tsv", MRPC)


# --- columns and the layouts of public data sets ------------------------------------------------------------------

LAYOUTS = [
    ("mrpc", "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\tA\tB", 1.0),
    ("qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t1\t2\tA\tB\t1", 1.0),
    ("qnli", "index\tquestion\tsentence\tlabel", "0\tA\tB\tentailment", 1.0),
    ("qnli", "index\tquestion\tsentence\tlabel", "0\tA\tB\tnot_entailment", 0.0),
    (
        "stsb",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain\tMSR\t2012\t1\tnone\tnone\tA\tB\t3.800",
        3.8,
    ),
    (
        "mnli",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse"
        "\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t1\t2\tgov\t(A)\t(B)\t(A)\t(B)\tA\tB\tneutral\tcontradiction",
        2,
    ),
    (
        "sick",
        "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score",
        "1\tA\tB\tNEUTRAL\t4.5",
        4.5,
    ),
    (
        "sick-e",
        "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score",
        "1\tA\tB\tNEUTRAL\t4.5",
        1,
    ),
]


@pytest.mark.parametrize(("task", "header", "row", "label"), LAYOUTS)
@pytest.mark.parametrize("suffix", [".tsv", ".txt"])
def test_published_tsv_layouts(tmp_path, task, header, row, label, suffix):
    file = tmp_path / f"x{suffix}"
    file.write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert as_rows(load_pairs(file, get_task(task))) == [("A", "B", pytest.approx(label))]


def test_snli_jsonl_layout_and_rows_without_gold_label(tmp_path, caplog):
    keys = ("annotator_labels", "gold_label", "sentence1", "sentence1_parse", "sentence2")
    rows = [
        (["neutral"], "neutral", "A", "(A)", "B"),
        (["neutral", "entailment"], "-", "C", "", "D"),
        ([], "entailment", "E", "", "F"),
    ]
    with caplog.at_level(logging.INFO):
        pairs = load_pairs(write(tmp_path / "x.jsonl", rows, keys), SNLI)
    assert (as_rows(pairs), pairs.skipped) == ([("A", "B", 1), ("E", "F", 0)], 0)
    assert "left out 1 of 3 rows" in caplog.text
    assert "without a gold label" in caplog.text


def test_only_rows_without_gold_label(tmp_path):
    file = write(tmp_path / "x.parquet", [("a", "b", -1)])
    assert "no usable row among 1" in error_of(file, SNLI)
    assert as_rows(load_pairs(file, SNLI, label_required=False)) == [("a", "b", None)]
    assert "unknown label -1" in error_of(file, MRPC)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("text1", "text2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("query", "document"),
        ("query", "passage"),
        ("query", "answer"),
        ("Sentence1", "SENTENCE2"),
    ],
)
@pytest.mark.parametrize("label", ["label", "labels", "is_duplicate", "Quality"])
def test_known_column_names(tmp_path, first, second, label):
    file = write(tmp_path / "x.csv", [("1", "a", "x", "b")], (label, first, "other", second))
    assert as_rows(load_pairs(file, MRPC)) == [("a", "b", 1.0)]


def test_mapped_columns_win(tmp_path):
    file = write(
        tmp_path / "x.csv",
        [("a", "b", "c", "d", 0, 1)],
        ("sentence1", "sentence2", "q1", "q2", "label", "dup"),
    )
    mapping = {"sentence1": "q1", "sentence2": "q2", "label": "dup"}
    assert as_rows(load_pairs(file, MRPC, columns=mapping)) == [("c", "d", 1.0)]
    assert as_rows(load_pairs(file, MRPC, columns={"sentence1": "q1"})) == [("c", "b", 0.0)]
    assert as_rows(load_pairs(file, MRPC, columns={"sentence1": "sentence2", "sentence2": "sentence2"})) == [
        ("b", "b", 0.0)
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_columns_are_listed(tmp_path, suffix):
    file = write(tmp_path / f"x{suffix}", [("a", "b")], ("left", "right"))
    assert re.search(
        r"no two columns known to hold sentences, only left, right; map .*--columns", error_of(file, MRPC)
    )
    mapping = {"sentence1": "left", "sentence2": "right"}
    assert re.search(
        "no column known to hold labels, only left, right; map label", error_of(file, MRPC, columns=mapping)
    )
    assert "no column 'rihgt'" in error_of(file, MRPC, columns=mapping | {"sentence2": "rihgt"})
    assert "no column role 'sentence3'" in error_of(file, MRPC, columns={"sentence3": "left"})
    with_label = mapping | {"label": "dup"}
    assert "no column 'dup'" in error_of(file, MRPC, columns=with_label)


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_by_name_and_by_id(tmp_path, suffix):
    names = write(
        tmp_path / f"n{suffix}", [("a", "b", "Contradiction"), ("c", "d", "0"), ("e", "f", "entail")]
    )
    ids = write(tmp_path / f"i{suffix}", [("a", "b", 2), ("c", "d", 0), ("e", "f", 0)])
    for file in (names, ids):
        pairs = load_pairs(file, MNLI)
        assert (pairs.label.tolist(), pairs.label.dtype) == ([2, 0, 0], np.int64)


def test_labels_of_a_task_of_ones_own(tmp_path):
    task = Task("clicks", "binary", labels=("no", "yes"))
    file = write(
        tmp_path / "x.jsonl", [("a", "b", "YES"), ("c", "d", False), ("e", "f", True), ("g", "h", 0)]
    )
    assert load_pairs(file, task).label.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_regression_labels_stay_raw(tmp_path):
    pairs = load_pairs(write(tmp_path / "x.csv", [("a", "b", "4.25"), ("c", "d", "0")]), STSB)
    assert (pairs.label.tolist(), pairs.label.dtype) == ([4.25, 0.0], np.float32)


def test_labels_are_optional_if_the_caller_says_so(tmp_path):
    bare = write(tmp_path / "bare.csv", [("a", "b")], NAMES[:2])
    blank = write(tmp_path / "blank.csv", [("a", "b", ""), ("c", "d", "")])
    some = write(tmp_path / "some.csv", [("a", "b", ""), ("c", "d", "1")])
    assert load_pairs(bare, MRPC, label_required=False).label is None
    assert load_pairs(blank, MRPC, label_required=False).label is None
    assert len(load_pairs(blank, MRPC, label_required=False)) == 2
    assert "1 of 2 rows cannot be used" in error_of(some, MRPC, label_required=False)
    assert "no column known to hold labels" in error_of(bare, MRPC)
    assert "2 of 2 rows" in error_of(blank, MRPC)
    full = write(tmp_path / "full.csv", ROWS)
    assert load_pairs(full, MRPC, label_required=False).label.tolist() == [0, 1, 1]


def test_without_a_task_labels_are_not_read(tmp_path):
    assert load_pairs(write(tmp_path / "x.csv", [("a", "b", "whatever")])).label is None


# --- bad rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "line", "problem"),
    [
        (".csv", b"a,b", "has 2 columns where the header has 3"),
        (".csv", b"a,b,1,c", "has 4 columns where the header has 3"),
        (".csv", b'"a"b,c,1', "is no valid CSV"),
        (".csv", b"a\xff,b,1", "is not valid UTF-8"),
        (".csv", b"a,b,", "the label is missing"),
        (".csv", b"a,b,maybe", "unknown label 'maybe'"),
        (".tsv", b"a\tb", "has 2 columns where the header has 3"),
        (".tsv", b"a\tb\t1\t", "has 4 columns where the header has 3"),
        (".tsv", b"\xed\xa0\x80\tb\t1", "is not valid UTF-8"),
        (".tsv", b"a\tb\tnan", "unknown label 'nan'"),
        (".jsonl", b'{"sentence1": "a", "sentence2": "b", "label": 1', "is no valid JSON"),
        (".jsonl", b'["a", "b", 1]', "is no JSON object"),
        (".jsonl", b"[" * 100_000, "is no valid JSON"),
        (".jsonl", b'{"sentence1": "a\xe9", "sentence2": "b", "label": 1}', "is not valid UTF-8"),
        (".jsonl", b'{"sentence1": "\\ud800", "sentence2": "b", "label": 1}', "sentence1 is not valid UTF-8"),
        (".jsonl", b'{"sentence1": "a", "label": 1}', "sentence2 is missing"),
        (".jsonl", b'{"sentence1": null, "sentence2": "b", "label": 1}', "sentence1 is missing"),
        (".jsonl", b'{"sentence1": "a", "sentence2": 5, "label": 1}', "sentence2 is 5, not text"),
        (".jsonl", b'{"sentence1": ["a"], "sentence2": "b", "label": 1}', "sentence1 is ['a'], not text"),
        (".jsonl", b'{"sentence1": "a", "sentence2": "b", "label": NaN}', "the label is missing"),
        (".jsonl", b'{"sentence1": "a", "sentence2": "b", "label": null}', "the label is missing"),
        (".jsonl", b'{"sentence1": "a", "sentence2": "b", "label": {}}', "unknown label {}"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_spoils_no_other(tmp_path, suffix, line, problem, caplog):
    file = write(tmp_path / f"x{suffix}", ROWS)
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]))
    message = error_of(file, MRPC)
    assert message.startswith(f"1 of 4 rows cannot be used: {file}:3: {problem}")
    assert message.endswith("leave them out with --skip-bad-rows (skip_bad_rows=True)")
    pairs = load_pairs(file, MRPC, skip_bad_rows=True)
    assert (as_rows(pairs), pairs.skipped) == (ROWS, 1)
    assert f"{file}:3: {problem}" in caplog.text


@pytest.mark.parametrize(
    ("column", "cells", "problem"),
    [
        ("sentence1", ["a", None], "sentence1 is missing"),
        ("sentence2", [None, 4], "sentence2 is missing"),
        ("label", [1, None], "the label is missing"),
        ("label", [1.0, float("nan")], "the label is missing"),
        ("label", [0, 2], "unknown label 2"),
    ],
)
def test_bad_parquet_rows(tmp_path, column, cells, problem):
    columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]} | {column: cells}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert f"x.parquet:{cells.index(None) + 1 if None in cells else 2}: {problem}" in error_of(
        tmp_path / "x.parquet", MRPC
    )


def test_parquet_text_that_is_no_text(tmp_path):
    broken = pa.array([b"ok", b"caf\xe9", None]).cast(pa.binary()).view(pa.string())
    table = pa.table({"sentence1": broken, "sentence2": [b"x", b"y", b"z"], "label": [0, 1, 1]})
    pq.write_table(table, tmp_path / "x.parquet")
    message = error_of(tmp_path / "x.parquet", MRPC, columns={"sentence2": "sentence1"})
    assert "x.parquet:2: sentence1 is not valid UTF-8" in message
    assert "x.parquet:3: sentence1 is missing" in message
    assert "x.parquet:1: sentence2 is b'x', not text" in error_of(tmp_path / "x.parquet", MRPC)


@pytest.mark.parametrize("value", ["5.01", "-1", "high", "inf", "nan", ""])
def test_bad_scores(tmp_path, value):
    file = write(tmp_path / "x.tsv", [("a", "b", "3"), ("c", "d", value)])
    assert f"1 of 2 rows cannot be used: {file}:3: " in error_of(file, STSB)


def test_at_most_five_bad_rows_are_shown_and_all_are_counted(tmp_path):
    file = write(tmp_path / "x.csv", [("a", "b", "x")] * 7 + [("a", "b", "1")])
    message = error_of(file, MRPC)
    assert re.findall(r"x\.csv:(\d+):", message) == ["2", "3", "4", "5", "6"]
    assert "7 of 8 rows cannot be used" in message
    assert "; and 2 more; correct them" in message
    assert "\n" not in message


def test_a_file_of_bad_rows_only(tmp_path):
    file = write(tmp_path / "x.csv", [("a", "b", "x")])
    assert "no usable row among 1" in error_of(file, MRPC, skip_bad_rows=True)
    (tmp_path / "x.jsonl").write_text("[\n  1\n]\n")
    assert "3 of 3 rows cannot be used: " in error_of(tmp_path / "x.jsonl", MRPC)


def test_exit_codes():
    assert (DSEError.exit_code, BadDataError.exit_code, MissingExtraError.exit_code) == (1, 4, 5)
    assert issubclass(BadDataError, ValueError)
    assert issubclass(MissingExtraError, ImportError)


def test_missing_package_names_what_to_install(tmp_path, monkeypatch):
    file = write(tmp_path / "x.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="needs the package pyarrow; install it: pip install pyarrow"):
        load_pairs(file, MRPC)
    with pytest.raises(MissingExtraError, match="pip install datasets"):
        load_pairs(None, MRPC)


# --- folders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mrpc/dev.csv", "mrpc/validation.tsv", "dev.jsonl", "validation.parquet"])
def test_a_split_in_a_folder(tmp_path, name):
    write(tmp_path / name, ROWS)
    write(tmp_path / "mrpc/train.csv", [("x", "y", 0)])
    if "/" not in name:
        (tmp_path / "mrpc/train.csv").unlink()
    assert as_rows(load_pairs(tmp_path, MRPC, "dev")) == ROWS


def test_the_folder_of_the_task_itself(tmp_path):
    write(tmp_path / "dev_matched.csv", [("a", "b", 0)])
    write(tmp_path / "validation_mismatched.csv", [("c", "d", 1)])
    assert as_rows(load_pairs(tmp_path, MNLI, "dev")) == [("a", "b", 0)]
    assert as_rows(load_pairs(tmp_path, MNLI, "dev_mismatched")) == [("c", "d", 1)]


def test_a_split_of_several_files_keeps_their_order_and_their_names(tmp_path):
    write(tmp_path / "mnli/train.tsv", [("a", "b", "neutral"), ("c", "d", "?")])
    write(tmp_path / "snli/train.jsonl", [("e", "f", 2), ("g", "h", -1)])
    allnli = get_task("allnli")
    pairs = load_pairs(tmp_path, allnli, skip_bad_rows=True)
    assert (as_rows(pairs), pairs.skipped) == ([("a", "b", 1), ("e", "f", 2)], 1)
    assert pairs.source == f"{tmp_path}/mnli/train.tsv, {tmp_path}/snli/train.jsonl"
    assert f"1 of 4 rows cannot be used: {tmp_path}/mnli/train.tsv:3: unknown label '?'" in error_of(
        tmp_path, allnli
    )


def test_half_a_split_is_refused(tmp_path):
    write(tmp_path / "mnli/train.csv", [("a", "b", 1)])
    write(tmp_path / "train.csv", [("c", "d", 1)])
    assert f"{tmp_path} has no snli/train.* (.parquet .csv" in error_of(tmp_path, get_task("allnli"))


def test_a_split_that_is_not_there_or_there_twice(tmp_path):
    write(tmp_path / "mrpc/train.csv", ROWS)
    assert "has no mrpc/dev.* " in error_of(tmp_path, MRPC, "dev")
    assert "has no mrpc/extra.* " in error_of(tmp_path, MRPC, "extra")
    assert "has no train.* " in error_of(tmp_path)
    write(tmp_path / "mrpc/train.tsv", ROWS)
    assert re.search(r"train.csv and .*train.tsv are the same split", error_of(tmp_path, MRPC))


def test_two_tasks_share_the_sick_files(tmp_path):
    write(tmp_path / "sick/train.parquet", [("a", "b", 4.5, 1)], (*NAMES, "entailment"))
    assert as_rows(load_pairs(tmp_path, get_task("sick"))) == [("a", "b", 4.5)]
    assert as_rows(load_pairs(tmp_path, get_task("sick-e"))) == [("a", "b", 1)]


# --- the hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A hub of data sets in memory: {(path, config): {split: columns}}; class names may be given for labels."""
    content = {}

    def load_dataset(path, name=None):
        if (path, name) not in content:
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset {path!r} doesn't exist\nand more")
        return datasets.DatasetDict(content[path, name])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return content


def hub_split(columns, class_names=None):
    data = datasets.Dataset.from_dict(columns)
    return data.cast_column("label", datasets.ClassLabel(names=class_names)) if class_names else data


def test_hub_labels_are_mapped_by_name(hub):
    columns = {
        "idx": [0, 1, 2, 3],
        "premise": list("abcd"),
        "hypothesis": list("efgh"),
        "label": [0, 1, 2, -1],
    }
    data = hub_split(columns, ["contradiction", "entailment", "neutral"])
    hub["nyu-mll/glue", "mnli"] = {"train": data, "validation_matched": data.select([0, 3])}
    assert as_rows(load_pairs(None, MNLI)) == [("a", "e", 2), ("b", "f", 0), ("c", "g", 1)]
    assert as_rows(load_pairs(None, MNLI, "dev")) == [("a", "e", 2)]
    assert load_pairs(None, MNLI).source == "nyu-mll/glue:mnli/train"


def test_hub_binary_labels_in_another_order(hub):
    columns = {"question": list("ab"), "sentence": list("cd"), "label": [0, 1]}
    hub["me/qnli", None] = {"train": hub_split(columns, ["not_entailment", "entailment"])}
    assert load_pairs("me/qnli", QNLI).label.tolist() == [0.0, 1.0]
    hub["nyu-mll/glue", "qnli"] = {"train": hub_split(columns, ["entailment", "not_entailment"])}
    assert load_pairs(None, QNLI).label.tolist() == [1.0, 0.0]


def test_hub_string_labels_config_and_split_names(hub):
    columns = {"query": ["a"], "passage": ["b"], "label": ["duplicate"]}
    hub["me/own", "v2"] = {"train": hub_split(columns), "validation": hub_split(columns | {"query": ["z"]})}
    assert as_rows(load_pairs("me/own:v2", QQP, "dev")) == [("z", "b", 1.0)]
    assert "no split 'test'; choose one of train, validation" in error_of("me/own:v2", QQP, "test")


def test_hub_bad_rows_have_their_number(hub):
    rows = 2_500  # more than one batch
    columns = {"sentence1": ["a"] * rows, "sentence2": ["b"] * rows, "label": [1] * rows}
    columns["sentence1"][2_100] = None
    hub["me/own", None] = {"train": hub_split(columns)}
    assert "1 of 2500 rows cannot be used: me/own/train:2101: sentence1 is missing" in error_of(
        "me/own", MRPC
    )
    assert len(load_pairs("me/own", MRPC, skip_bad_rows=True)) == rows - 1


def test_hub_classes_that_are_not_those_of_the_task(hub):
    columns = {"sentence1": ["a"], "sentence2": ["b"], "label": [1]}
    hub["me/own", None] = {"train": hub_split(columns, ["negative", "positive"])}
    assert "me/own/train:1: unknown label 'positive'" in error_of("me/own", MRPC)


def test_hub_joins_the_sources_of_a_split(hub):
    nli = ["entailment", "neutral", "contradiction"]
    for path, config, text in (("nyu-mll/glue", "mnli", "m"), ("stanfordnlp/snli", None, "s")):
        columns = {"premise": [text], "hypothesis": [text], "label": [1]}
        hub[path, config] = {"train": hub_split(columns, nli)}
    assert load_pairs(None, get_task("allnli")).sentence1 == ["m", "s"]


def test_hub_problems_say_what_to_do(hub):
    message = error_of("me/nothing", MRPC)
    assert (
        "'me/nothing' is no file or folder here and cannot be loaded from the hub (Dataset 'me/nothing'"
        in message
    )
    assert "\n" not in message
    assert "task 'sick' has no 'train' split on the hub; pass a file" in error_of(None, get_task("sick"))
    assert "no task has" in error_of(None)


# --- sentences ----------------------------------------------------------------------------------------------------


def test_sentences_from_text_lines(tmp_path, stdin):
    content = "\ufeffone\r\n\n two \nthree\u2028still three".encode()
    (tmp_path / "x.txt").write_bytes(content)
    stdin(content)
    expected = ["one", "", " two ", "three\u2028still three"]
    assert read_sentences(tmp_path / "x.txt") == read_sentences("-") == expected


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["sentence", "Text", "document", "anything"])
def test_sentences_from_tables(tmp_path, suffix, name):
    assert read_sentences(write(tmp_path / f"x{suffix}", [("a",), ("b",)], (name,))) == ["a", "b"]


def test_sentences_from_a_named_column(tmp_path):
    file = write(tmp_path / "x.csv", [("a", "b")], ("text", "title"))
    assert (read_sentences(file), read_sentences(file, "title")) == (["a"], ["b"])
    with pytest.raises(BadDataError, match="no column 'tilte', only text, title"):
        read_sentences(file, "tilte")
    with pytest.raises(BadDataError, match="no column 'of sentences', only left, right"):
        read_sentences(write(tmp_path / "y.csv", [("a", "b")], ("left", "right")))


def test_a_column_of_blank_lines_is_a_column_of_empty_sentences(tmp_path):
    assert read_sentences(write(tmp_path / "x.tsv", [("a",), ("",), ("b",)], ("text",))) == ["a", "", "b"]


def test_bad_sentences(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"ok\nbad \xff\nok\n")
    with pytest.raises(
        BadDataError, match=r"1 of 3 rows cannot be used: .*x.txt:2: sentence is not valid UTF-8"
    ):
        read_sentences(tmp_path / "x.txt")
    with pytest.raises(BadDataError, match=r"x.jsonl:2: text is 5, not text"):
        read_sentences(write(tmp_path / "x.jsonl", [("a",), (5,)], ("text",)))
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(BadDataError, match="has no sentences"):
        read_sentences(tmp_path / "empty.txt")
    with pytest.raises(BadDataError, match="there is no file"):
        read_sentences(tmp_path / "none.txt")


# --- pairs and their split ----------------------------------------------------------------------------------------


def test_select_keeps_rows_together():
    pairs = Pairs(list("abc"), list("def"), np.array([0, 1, 2]), "here", 4)
    chosen = pairs.select(np.array([2, 0]))
    assert (as_rows(chosen), chosen.source, chosen.skipped) == ([("c", "f", 2), ("a", "d", 0)], "here", 4)
    assert as_rows(pairs.select([True, False, False])) == [("a", "d", 0)]
    assert as_rows(pairs.select([])) == []
    assert as_rows(Pairs(["a"], ["b"]).select([0, 0])) == [("a", "b", None)] * 2


def test_pairs_as_columns_and_tuples():
    pairs = Pairs(list("ab"), list("cd"), np.array([0.0, 1.0], np.float32))
    assert datasets.Dataset.from_dict(pairs.to_dict())["label"][:] == [0.0, 1.0]
    assert pairs.tuples() == [("a", "c"), ("b", "d")]
    assert list(Pairs(["a"], ["b"]).to_dict()) == ["sentence1", "sentence2"]


def test_columns_of_different_lengths_are_refused():
    for arguments in ((["a"], []), (["a"], ["b"], np.zeros(2))):
        with pytest.raises(BadDataError, match="unequal lengths"):
            Pairs(*arguments)


words = st.sampled_from("abcd")


@given(st.lists(st.tuples(words, words), min_size=2, max_size=40), st.floats(0.05, 0.95), st.integers(0, 99))
def test_split_pairs(rows, fraction, seed):
    pairs = Pairs([a for a, _ in rows], [b for _, b in rows], np.arange(len(rows)))
    try:
        rest, held_out = split_pairs(pairs, fraction, seed)
    except BadDataError as error:
        assert "leaves one side empty" in str(error)
        return
    assert not {frozenset(pair) for pair in rest.tuples()} & {frozenset(pair) for pair in held_out.tuples()}
    assert sorted(rest.label.tolist() + held_out.label.tolist()) == list(range(len(rows)))
    assert all(
        rows[i] == pair for part in (rest, held_out) for *pair_, i in as_rows(part) for pair in [tuple(pair_)]
    )
    assert all(part.label.tolist() == sorted(part.label) for part in (rest, held_out))
    assert len(held_out) <= round(fraction * len(rows))
    again = split_pairs(pairs, fraction, seed)[1]
    assert again.label.tolist() == held_out.label.tolist()


def test_split_pairs_hits_the_fraction_and_follows_the_seed():
    pairs = Pairs([str(i) for i in range(1000)], ["x"] * 1000, np.arange(1000))
    held_out = [split_pairs(pairs, 0.1, seed)[1] for seed in (0, 1)]
    assert [len(part) for part in held_out] == [100, 100]
    assert held_out[0].label.tolist() != held_out[1].label.tolist()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_split_pairs_refuses_an_empty_side(fraction):
    with pytest.raises(BadDataError, match="choose another fraction"):
        split_pairs(Pairs(list("abc"), list("def")), fraction, 0)


# --- any table, any corruption ------------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
line_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), max_size=20)


@settings(deadline=None)
@given(st.data(), st.sampled_from([*FORMATS, ".txt"]))
def test_any_text_survives_every_format(data, suffix):
    text = line_text if suffix in (".tsv", ".txt") else any_text
    rows = data.draw(st.lists(st.tuples(text, text, st.integers(0, 2)), min_size=1, max_size=8))
    with tempfile.TemporaryDirectory() as folder:
        assert as_rows(load_pairs(write(Path(folder, f"x{suffix}"), rows), MNLI)) == rows
        sentences = Path(folder, "lines.txt")
        sentences.write_bytes(
            "".join(a.replace("\n", "").replace("\r", "") + "\n" for a, _, _ in rows).encode()
        )
        if not rows[0][0].startswith("\ufeff"):  # a byte order mark there is none of the text
            assert read_sentences(sentences) == [a.replace("\n", "").replace("\r", "") for a, _, _ in rows]


def spoil(suffix, kind, row):
    """The bytes of a spoiled row of a text format."""
    a, b, label = row
    cells = {
        "label": (a, b, "maybe"),
        "no label": (a, b, ""),
        "range": (a, b, 3),
        "columns": (a, b, label, "more"),
    }.get(kind, row)
    if suffix == ".jsonl":
        line = json.dumps(dict(zip((*NAMES, "more"), cells, strict=False)))
        line = {
            "columns": "[" + line + "]",
            "missing": '{"sentence1": "a", "sentence2": null, "label": 1}',
            "number": line.replace("{", "{{"),
        }.get(kind, line)
        content = line.encode()
    elif suffix == ".csv":
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="", quoting=csv.QUOTE_ALL).writerow(
            cells if kind != "missing" else [a]
        )
        content = stream.getvalue().encode()
    else:
        content = "\t".join(map(str, cells if kind != "missing" else [a])).encode() or b" "
    if kind in ("bytes", "number"):
        content = (
            content.replace(b"e", b"\xe9", 1) if b"e" in content else content[:1] + b"\xff" + content[1:]
        )
    return content


KINDS = ("label", "no label", "range", "columns", "missing", "bytes", "number")


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_exactly_the_spoiled_lines_are_reported(data, suffix):
    text = any_text if suffix != ".tsv" else line_text
    row = st.tuples(text, text, st.integers(0, 2))
    rows = data.draw(st.lists(st.tuples(row, st.none() | st.sampled_from(KINDS)), min_size=1, max_size=12))
    header = {
        ".csv": b"sentence1,sentence2,label\n",
        ".tsv": b"sentence1\tsentence2\tlabel\n",
        ".jsonl": b"",
    }[suffix]
    content, expected, line = header, [], header.count(b"\n") + 1
    for cells, kind in rows:
        added = spoil(suffix, kind, cells) + b"\n"
        if kind:
            expected.append(line)
        content += added
        line += added.count(b"\n")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"x{suffix}")
        file.write_bytes(content)
        check_reported(file, expected, [cells for cells, kind in rows if kind is None], len(rows))


@settings(deadline=None)
@given(st.data())
def test_exactly_the_spoiled_parquet_rows_are_reported(data):
    row = st.tuples(any_text, any_text, st.integers(0, 2))
    bad_row = st.one_of(
        st.tuples(st.none(), any_text, st.integers(0, 2)),
        st.tuples(any_text, st.none(), st.integers(0, 2)),
        st.tuples(any_text, any_text, st.none() | st.sampled_from([3, -2])),
    )
    rows = data.draw(
        st.lists(st.tuples(st.just(True), row) | st.tuples(st.just(False), bad_row), min_size=1, max_size=12)
    )
    expected = [number for number, (good, _) in enumerate(rows, start=1) if not good]
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder, "x.parquet"), [cells for _, cells in rows])
        check_reported(file, expected, [cells for good, cells in rows if good], len(rows))


def check_reported(file, bad, good, total):
    if bad:
        message = error_of(file, MNLI)
        assert message.startswith(f"{len(bad)} of {total} rows cannot be used")
        assert re.findall(rf"{re.escape(str(file))}:(\d+): ", message) == [str(number) for number in bad[:5]]
    if good:
        pairs = load_pairs(file, MNLI, skip_bad_rows=True)
        assert (as_rows(pairs), pairs.skipped) == (good, len(bad))
    else:
        assert "no usable row" in error_of(file, MNLI, skip_bad_rows=True)
