"""What is gathered for the table of rankings, and that rows of another machine are not lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks.ranking import summary
from benchmarks.ranking.plan import Setup

from benchmarks import records


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()


def measured(tmp_path, work, rows):
    """The summary of a work folder that holds these values of one query each: (collection, row) -> values."""
    for (collection, row), values in rows.items():
        folder = tmp_path / work / collection / "mpnet" / f"{row}_42"
        folder.mkdir(parents=True)
        about = {"collection": collection, "teacher": "mpnet", "row": row, "seed": 42}
        result = [about | {"metric": "nDCG@10", "values": values}]
        (folder / "row.json").write_text(json.dumps({"results": result}))
    summary.write(Setup(tmp_path, "b", "e", None, tmp_path / work, 42))
    return records.load("ranking")


def test_rows_of_another_work_folder_stay(tmp_path, results):
    low, high = [0.1, 0.2, 0.3, 0.2], [0.4, 0.6, 0.5, 0.7]
    first = measured(
        tmp_path, "one", {("med", row): high if row == "teacher" else low for row in ("cosine", "teacher")}
    )
    assert [entry["collection"] for entry in first["summaries"]] == ["med"]
    second = measured(
        tmp_path, "two", {("med", "no_distillation"): high, ("med", "cosine"): high, ("npl", "bm25"): low}
    )
    values = {(row["collection"], row["row"]): row["value"] for row in second["rows"]}
    assert values == pytest.approx(
        {
            ("med", "teacher"): np.mean(high),
            ("med", "cosine"): np.mean(high),  # measured again
            ("med", "no_distillation"): np.mean(high),
            ("npl", "bm25"): np.mean(low),
        }
    )
    assert second["summaries"] == first["summaries"]  # of values that lie together
