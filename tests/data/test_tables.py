"""Every format of table, and every way in which one of its rows can be bad."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.data.collection_files import load_corpus
from dse.data.pairs import load_pairs, read_sentences
from dse.data.tasks import get_task
from dse.data.text_rows import read_texts
from dse.errors import BadDataError, DSEError, MissingExtraError
from tests.pair_files import FORMATS, NAMES, ROWS, as_rows, error_of, write

MRPC, QQP, QNLI, MNLI, SNLI, STSB = map(get_task, ("mrpc", "qqp", "qnli", "mnli", "snli", "stsb"))


# --- formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_pairs(tmp_path, suffix):
    pairs = load_pairs(write(tmp_path / f"x{suffix}", ROWS), MRPC)
    assert as_rows(pairs) == ROWS
    assert (pairs.label.dtype, pairs.skipped, pairs.source) == (np.float32, 0, str(tmp_path / f"x{suffix}"))


def test_upper_case_extension_ndjson_and_str_path(tmp_path):
    write(tmp_path / "x.jsonl", ROWS).rename(tmp_path / "x.NDJSON")
    assert as_rows(load_pairs(str(tmp_path / "x.NDJSON"), MRPC)) == ROWS


def test_csv_quotes_and_newlines_and_the_row_number_after_them(tmp_path):
    file = tmp_path / "x.csv"
    file.write_bytes(b'sentence1,sentence2,label\r\n"a ""b""\r\nc, d",e,1\r\n\r\nf,g,7\r\n')
    assert as_rows(load_pairs(file, MRPC, skip_bad_rows=True)) == [('a "b"\r\nc, d', "e", 1.0)]
    assert f"{file}:5: unknown label '7'" in error_of(file, MRPC)


def test_csv_quote_that_is_never_closed(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text('sentence1,sentence2,label\na,b,1\n"c,d,0\ne,f,1\n')
    assert re.search(r"1 of 2 rows .*x.csv:3: is no valid CSV up to line 4 \(unexpected end", error_of(file, MRPC))


def test_tsv_has_no_quoting(tmp_path):
    rows = [('"unbalanced', "it's \"so", 1), ('""', '"', 0)]
    assert as_rows(load_pairs(write(tmp_path / "x.tsv", rows), MRPC)) == rows


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    for suffix, tab in ((".tsv", b"\t"), (".csv", b",")):
        file = tmp_path / f"x{suffix}"
        file.write_bytes(b"\xef\xbb\xbf" + tab.join([b"sentence1", b"sentence2", b"label\r\na", b"b", b"1\r\n"]))
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
    assert "x.xlsx is in no known format; convert it to one of .parquet .csv" in error_of(tmp_path / "x.xlsx", MRPC)
    assert "x.parquet cannot be read as Parquet" in error_of(tmp_path / "x.parquet", MRPC)
    for missing in (tmp_path / "no.csv", "no.csv", str(tmp_path / "no"), Path("no/folder")):
        assert f"there is no file or folder {missing}" in error_of(missing, MRPC)


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_rows_is_an_error(tmp_path, suffix):
    assert "has no rows" in error_of(write(tmp_path / f"x{suffix}", []), MRPC)


def test_empty_file_and_header_that_is_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"")
    (tmp_path / "x.tsv").write_bytes("sentence1\tsentence2\n".encode("utf-16"))
    assert "x.csv:1: the header is missing: the file is empty" in error_of(tmp_path / "x.csv", MRPC)
    assert "x.tsv:1: the header is not valid UTF-8" in error_of(tmp_path / "x.tsv", MRPC)


# --- bad rows ---------------------------------------------------------------------------------------------------


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


# --- any table, any corruption ----------------------------------------------------------------------------------

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
        sentences.write_bytes("".join(a.replace("\n", "").replace("\r", "") + "\n" for a, _, _ in rows).encode())
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
        csv.writer(stream, lineterminator="", quoting=csv.QUOTE_ALL).writerow(cells if kind != "missing" else [a])
        content = stream.getvalue().encode()
    else:
        content = "\t".join(map(str, cells if kind != "missing" else [a])).encode() or b" "
    if kind in ("bytes", "number"):
        content = content.replace(b"e", b"\xe9", 1) if b"e" in content else content[:1] + b"\xff" + content[1:]
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


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".txt"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"text\rone\rtwo\r", "ends its lines with a carriage return alone; save it with LF or CRLF"),
        (gzip.compress(b"text\none\ntwo\n"), "is compressed by gzip; unpack it"),
    ],
    # gzip writes the time of compression into its bytes, so they cannot name the test.
    ids=["old line ends", "gzip"],
)
def test_old_line_ends_and_compressed_files_are_named(tmp_path, suffix, content, problem):
    file = tmp_path / f"texts{suffix}"
    file.write_bytes(content)
    for read in (read_sentences, load_corpus, lambda path: list(read_texts([path]))):
        with pytest.raises(BadDataError) as error:
            read(file)
        assert problem in str(error.value)


def test_carriage_returns_within_lines_are_text(tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"one\rpart\rmore\ntwo\r\n")
    assert read_sentences(tmp_path / "texts.txt") == ["one\rpart\rmore", "two"]
