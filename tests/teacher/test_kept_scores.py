"""Teacher scores on disk: always those of the right pair and teacher."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import MismatchError
from dse.teacher import kept_scores
from dse.teacher.kept_scores import ScoreFile, score_key

# ------------------------------------------------------------------------------------------------------- keys


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.text(max_size=3)] * 3), min_size=2, max_size=30, unique=True))
def test_keys_of_different_things_differ(things):
    assert len({score_key(*thing) for thing in things}) == len(things)


def test_key_of_the_whole_text():
    assert score_key("t", "a\ud800", "b") != score_key("t", "a", "b")  # half a surrogate pair is no error
    assert len({score_key("t", "a", "b"), score_key("t", "b", "a"), score_key("u", "a", "b")}) == 3


# ------------------------------------------------------------------------------------------------------- files


def test_round_trip(tmp_path):
    file, pairs = ScoreFile(tmp_path / "s.parquet"), [("a", "b"), ("b", "a"), ("", "é\n")]
    scores = np.array([[1.5, -2], [3, 1e-7], [0, -0.0]], np.float32)
    file.add("t", pairs[:2], scores[:2])
    file.add("t", pairs[2:], scores[2:])
    assert np.array_equal(ScoreFile(tmp_path / "s.parquet").lookup(pairs, "t"), scores)  # before it is finished
    file.finish()
    again = ScoreFile(tmp_path / "s.parquet")
    assert np.array_equal(again.lookup(pairs[::-1], "t"), scores[::-1])
    assert np.array_equal(again.lookup([pairs[1]] * 3, "t"), scores[[1, 1, 1]])
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["s.parquet"]
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["key", "sentence1", "sentence2", "teacher", "scores"]
    assert table.schema.equals(SCHEMA)
    assert table["sentence1"].to_pylist() == ["a", "b", ""] and set(table["teacher"].to_pylist()) == {"t"}


# What files hold, written down so that no change of the code changes it.
SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        ("sentence1", pa.string()),
        ("sentence2", pa.string()),
        ("teacher", pa.string()),
        ("scores", pa.list_(pa.float32())),
    ]
)


def test_a_file_made_of_plain_lists_is_read(tmp_path):
    """Several row groups, a pair scored by two teachers, a row written twice; the last one counts."""
    rows = [("t", "a", "b", [1.0]), ("u", "a", "b", [2.0]), ("t", "c", "d", [3.0]), ("t", "a", "b", [4.0])]
    columns = [[score_key(*row[:3]) for row in rows], *([row[i] for row in rows] for i in (1, 2, 0, 3))]
    pq.write_table(pa.table(columns, schema=SCHEMA), tmp_path / "s.parquet", row_group_size=2)
    file = ScoreFile(tmp_path / "s.parquet")
    assert len(file) == 3
    assert file.lookup([("a", "b"), ("c", "d")], "t").tolist() == [[4.0], [3.0]]
    assert file.lookup([("a", "b")], "u").tolist() == [[2.0]]
    assert file.lookup([("c", "d"), ("a", "b")]).tolist() == [[3.0], [4.0]]  # each pair's latest teacher
    file.add("u", [("c", "d")], np.array([[5.0]], np.float32))
    assert file.lookup([("c", "d")]).tolist() == [[5.0]] and len(file) == 4
    file.finish()
    assert len(ScoreFile(tmp_path / "s.parquet")) == pq.read_table(tmp_path / "s.parquet").num_rows == 4


@pytest.mark.parametrize("scores", [None, [], [None], [float("nan")], [float("inf")]])
def test_a_row_without_finite_scores_counts_as_not_scored(tmp_path, scores):
    pairs = [("a", "b"), ("c", "d"), ("e", "f")]
    columns = [[score_key("t", *pair) for pair in pairs], *zip(*pairs, strict=True), ["t"] * 3, [[1.0], scores, [2.0]]]
    pq.write_table(pa.table(list(map(list, columns)), schema=SCHEMA), tmp_path / "s.parquet")
    file = ScoreFile(tmp_path / "s.parquet")
    assert file.missing("t", pairs) == [("c", "d")] and len(file) == 2
    assert file.lookup([pairs[2], pairs[0]], "t").tolist() == [[2.0], [1.0]]


def test_two_that_label_into_one_file_lose_nothing(tmp_path, monkeypatch):
    """The second writes and joins its shards while the first is about to replace the file."""
    path, write, threads = tmp_path / "s.parquet", kept_scores.write_table, []
    one, other = ScoreFile(path), ScoreFile(path)

    def second() -> None:
        other.add("t", [("c", "d")], np.array([[2.0]], np.float32))
        other.finish()

    def slow(file, table):
        if file == path and not threads:
            threads.append(threading.Thread(target=second))
            threads[0].start()
            threads[0].join(0.2)  # before it was locked out, it ended here
        write(file, table)

    monkeypatch.setattr(kept_scores, "write_table", slow)
    one.add("t", [("a", "b")], np.array([[1.0]], np.float32))
    one.finish()
    threads[0].join()
    assert ScoreFile(path).lookup([("a", "b"), ("c", "d")], "t").tolist() == [[1.0], [2.0]]
    assert [file.name for file in tmp_path.glob("[!.]*")] == ["s.parquet"]


def test_pairs_with_different_numbers_of_scores(tmp_path):
    file = ScoreFile(tmp_path / "s.parquet")
    file.add("t", [("a", "b")], np.array([[1.0, 2.0, 3.0]], np.float32))
    file.add("u", [("c", "d")], np.array([[1.0]], np.float32))
    with pytest.raises(MismatchError, match="the pairs have 3 and 1 scores"):
        file.lookup([("a", "b"), ("c", "d")])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.lists(st.integers(0, 20), max_size=40), st.integers(1, 7))
def test_lookup_gives_each_pair_its_row(tmp_path_factory, classes, rows, shard):
    pairs = [(f"{i}", f"{i + 1}") for i in range(21)]
    scores = np.random.default_rng(classes).normal(size=(21, classes)).astype(np.float32)
    file = ScoreFile(tmp_path_factory.mktemp("scores") / "s.parquet")
    for start in range(0, 21, shard):
        file.add("t", pairs[start : start + shard], scores[start : start + shard])
    kept = file.lookup([pairs[row] for row in rows], "t")
    assert kept.dtype == np.float32 and kept.flags.writeable
    assert kept.shape[0] == len(rows) and np.array_equal(kept.ravel(), scores[rows].ravel())
