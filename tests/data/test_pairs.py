"""Pairs, their labels and their split, and single sentences."""

from __future__ import annotations

import io
import sys

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.data.pairs import Pairs, load_pairs, need_two_labels, read_sentences, split_pairs
from dse.data.tasks import Task, get_task
from dse.errors import BadDataError
from tests.pair_files import FORMATS, NAMES, ROWS, as_rows, error_of, write

MRPC, QQP, QNLI, MNLI, SNLI, STSB = map(get_task, ("mrpc", "qqp", "qnli", "mnli", "snli", "stsb"))


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


# --- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_by_name_and_by_id(tmp_path, suffix):
    names = write(tmp_path / f"n{suffix}", [("a", "b", "Contradiction"), ("c", "d", "0"), ("e", "f", "entail")])
    ids = write(tmp_path / f"i{suffix}", [("a", "b", 2), ("c", "d", 0), ("e", "f", 0)])
    for file in (names, ids):
        pairs = load_pairs(file, MNLI)
        assert (pairs.label.tolist(), pairs.label.dtype) == ([2, 0, 0], np.int64)


def test_labels_of_a_task_of_ones_own(tmp_path):
    task = Task("clicks", "binary", labels=("no", "yes"))
    file = write(tmp_path / "x.jsonl", [("a", "b", "YES"), ("c", "d", False), ("e", "f", True), ("g", "h", 0)])
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


# --- pairs and their split --------------------------------------------------------------------------------------


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
    assert all(rows[i] == pair for part in (rest, held_out) for *pair_, i in as_rows(part) for pair in [tuple(pair_)])
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
    with pytest.raises(BadDataError, match="give more distinct pairs, or another fraction"):
        split_pairs(Pairs(list("abc"), list("def")), fraction, 0)


# --- standard input ---------------------------------------------------------------------------------------------


def test_stdin_is_jsonl(stdin):
    stdin(b'{"sentence1": "a", "sentence2": "b", "label": 1}\n\n{"label": 0, "sentence2": "d", "sentence1": "c"}')
    assert as_rows(load_pairs("-", MRPC)) == [("a", "b", 1.0), ("c", "d", 0.0)]


# --- sentences --------------------------------------------------------------------------------------------------


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
    with pytest.raises(BadDataError, match="no column of sentences, only left, right"):
        read_sentences(write(tmp_path / "y.csv", [("a", "b")], ("left", "right")))


def test_a_column_of_blank_lines_is_a_column_of_empty_sentences(tmp_path):
    assert read_sentences(write(tmp_path / "x.tsv", [("a",), ("",), ("b",)], ("text",))) == ["a", "", "b"]


def test_bad_sentences(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"ok\nbad \xff\nok\n")
    with pytest.raises(BadDataError, match=r"1 of 3 rows cannot be used: .*x.txt:2: sentence is not valid UTF-8"):
        read_sentences(tmp_path / "x.txt")
    with pytest.raises(BadDataError, match=r"x.jsonl:2: text is 5, not text"):
        read_sentences(write(tmp_path / "x.jsonl", [("a",), (5,)], ("text",)))
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(BadDataError, match="has no sentences"):
        read_sentences(tmp_path / "empty.txt")
    with pytest.raises(BadDataError, match="there is no file"):
        read_sentences(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        (Task("t", "binary", labels=("no", "yes")), [1.0] * 3, "all 3 labels in memory are 'yes'; give pairs of both"),
        (Task("t", "binary", labels=("yes", "no"), positive="yes"), [0.0] * 3, "all 3 labels in memory are 'no'"),
        (Task("t", "multiclass", labels=("a", "b", "c")), [2, 2, 2], "are 'c'; give pairs of several classes"),
        (Task("t", "regression", label_range=(0, 5)), [2.5] * 3, "are 2.5; give pairs with different scores"),
    ],
)
def test_labels_that_are_all_the_same_teach_nothing(kind, labels, message):
    pairs = Pairs(list("abc"), list("def"), np.array(labels))
    with pytest.raises(BadDataError, match=message):
        need_two_labels(pairs, kind)
    need_two_labels(Pairs(list("abc"), list("def"), np.array([*labels[:2], 1 - labels[2]])), kind)
    need_two_labels(Pairs(list("abc"), list("def")), kind)  # without labels that is no matter
    masked = Pairs(list("abc"), list("def"), np.array([*labels[:2], 1 - labels[2]]), labelled=np.array([1, 1, 0], bool))
    with pytest.raises(BadDataError, match="all 2 labels"):
        need_two_labels(masked, kind)
