"""The benchmark's own functions, with shards in this process."""

from __future__ import annotations

import pytest

from dse import DSE
from dse.bench import shards
from dse.errors import MismatchError
from dse.index import CandidateIndex
from dse.index.shards import sharded_index
from tests.index.shards.conftest import HereProcess


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(sharded_index, "ShardProcess", HereProcess)
    monkeypatch.setattr(shards, "QUICK_PROMISE", (0.5, 0.5))
    monkeypatch.setattr(shards, "QUICK_ROWS", 300)


def test_run(tiny_backbone, data_folder, tmp_path, monkeypatch):
    settings = {"data": data_folder, "backbone": tiny_backbone, "quick": True, "command": "", "work": tmp_path / "w"}
    result = shards.run(**settings)
    figures = {figure.name: figure.value for figure in result.figures}
    assert set(figures) == {"sharded_search_p50_ms", "sharded_search_over_one", "sharded_recall"}
    assert figures["sharded_recall"] == 1 and figures["sharded_search_over_one"] > 0
    assert [row["index"] for row in result.table] == ["one", "4 shards, merged"]
    assert all(0 < row["p50 ms"] <= row["p95 ms"] for row in result.table)
    assert "300 rows in 4 shards" in " ".join(result.table_text().split())
    monkeypatch.setattr(shards, "QUICK_ROWS", 301)
    with pytest.raises(MismatchError, match=r"rows was 300, now 301.*choose another folder"):
        shards.run(**settings)


def test_an_index_half_made_is_made_anew_and_a_whole_one_is_kept(tiny_backbone, data_folder, tmp_path, monkeypatch):
    build, made = shards.catalogue.build, []

    def killed(path, student, rows):
        if path.name == "shard-1" and not made:
            made.append(path)
            list(rows)
            CandidateIndex.create(path, student)
            raise RuntimeError("killed")
        return build(path, student, rows)

    monkeypatch.setattr(shards.catalogue, "build", killed)
    with pytest.raises(RuntimeError, match="killed"):
        shards.measure(data_folder, tiny_backbone, 300, True, tmp_path)
    whole = (tmp_path / "one.json").stat().st_mtime_ns
    measured = shards.measure(data_folder, tiny_backbone, 300, True, tmp_path)
    assert measured.rows == 300 and measured.recall == 1
    assert (tmp_path / "one.json").stat().st_mtime_ns == whole
    student = DSE(str(tmp_path / "student"))
    assert [len(CandidateIndex(tmp_path / f"shard-{number}", student)) for number in range(4)] == [75] * 4
