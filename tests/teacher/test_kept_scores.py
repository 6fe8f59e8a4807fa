"""Teacher scores on disk: always those of the right pair and teacher."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

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
    assert [path.name for path in tmp_path.iterdir()] == ["s.parquet"]
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["key", "sentence1", "sentence2", "teacher", "scores"]
    assert table["sentence1"].to_pylist() == ["a", "b", ""] and set(table["teacher"].to_pylist()) == {"t"}
