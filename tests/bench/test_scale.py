"""The benchmark's own functions, with `map` in place of Ray and stages that are not killed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from dse import DSE
from dse.bench import scale, scale_cluster, scale_kills, shards
from dse.bench.scale_kills import Deadly, Outcome
from dse.data.pairs import Pairs
from dse.errors import MismatchError
from dse.index.shards import sharded_index
from tests.commands import dse
from tests.conftest import SENTENCES
from tests.index.shards.conftest import HereProcess

SMALL = scale.Sizes(40, 20, 16, 2, ("encode", "match"), 2, 1, 12, 20_000, 300, 500)


@contextmanager
def here():
    yield map, map


def test_run(tiny_backbone, data_folder, monkeypatch):
    monkeypatch.setattr(scale, "QUICK", SMALL)
    monkeypatch.setattr(scale, "workers", here)
    monkeypatch.setattr(scale_kills, "survive", lambda stage, *_: Outcome(2, 1, True))
    monkeypatch.setattr(scale_cluster, "survives", lambda *_: True)
    monkeypatch.setattr(sharded_index, "ShardProcess", HereProcess)
    monkeypatch.setattr(shards, "QUICK_PROMISE", (0.5, 0.5))
    result = scale.run(data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench scale --quick")
    figures = {figure.name: figure for figure in result.figures}
    assert set(figures) == {
        "ray_overhead", "ray_scaling_efficiency", "kills_survived", "cluster_node_removed", "object_store_gib",
        "match_speedup", "match_recall", "sharded_search_p50_ms", "sharded_search_over_one", "sharded_recall",
    }  # fmt: skip
    assert figures["ray_overhead"].runs == 2 and figures["kills_survived"].value == 6
    assert figures["sharded_recall"].value == 1 and figures["sharded_search_over_one"].value > 0
    assert figures["match_recall"].value == 1 and figures["match_speedup"].value > 0
    text = " ".join(result.table_text().split())
    for part in (
        "one process, two threads",
        "4 of workers and 2 of the process",
        "130 are sentences, 170 more grown",
        "500 rows in 4 shards",
    ):
        assert part in text


def test_deaths_count_only_where_no_row_changed():
    assert scale._survived({"encode": Outcome(22, 3, True), "match": Outcome(22, 3, True)}, True)[0].value == 50
    assert scale._survived({"encode": Outcome(22, 3, True), "match": Outcome(1, 0, False)}, False)[0].value == 0


@pytest.fixture
def prepared(tiny_backbone, tmp_path):
    student = DSE.from_backbone(tiny_backbone, head="cosine", dtype="float32", device="cpu")
    teacher = CrossEncoder(tiny_backbone, num_labels=1, device="cpu")
    scale_kills.prepare(tmp_path, student, teacher, SENTENCES[:11], Pairs(SENTENCES[:6], SENTENCES[6:]))
    return tmp_path


@pytest.mark.parametrize("stage", scale_kills.STAGES)
def test_rows_of_every_stage_are_compared(stage, prepared, monkeypatch):
    wrong = []

    def changed(function, tasks):
        for task in tasks:
            result = function(task)
            if isinstance(result, np.ndarray):
                yield result * (2 if wrong else 1)
            else:
                yield result._replace(scores=result.scores - (0.5 if wrong else 0))

    def killed(stage, folder, output, deaths, after):
        scale_kills.work(stage, folder, output, changed)
        (folder / f"{stage} deaths" / "one").touch()
        return False

    monkeypatch.setattr(scale_kills, "_killed", killed)
    assert scale_kills.survive(stage, prepared, 1, 0) == Outcome(1, 0, True)
    (prepared / f"{stage} deaths" / "one").unlink()
    (prepared / f"{stage} deaths").rmdir()
    wrong.append(True)
    assert not scale_kills.survive(stage, prepared, 1, 0).same


def test_a_shard_kills_two_workers_at_most(tmp_path, monkeypatch):
    deaths: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, signal: deaths.append(signal))
    monkeypatch.setattr("dse.bench.scale_kills.random.random", lambda: 0.0)
    work = Deadly(len, tmp_path, 5)
    assert [work("abc") for _ in range(4)] == [3] * 4 and len(deaths) == 2
    assert [work(text) for text in ("a", "b", "c", "d")] == [1] * 4 and len(deaths) == 5


def test_without_ray_it_says_so_before_any_work(monkeypatch):
    monkeypatch.setattr("dse.errors.find_spec", lambda package: None)
    done = dse("bench", "scale", "--quick")
    assert done.returncode == 5 and 'ray is not installed; run: pip install "dse[ray]"' in done.stderr


def test_a_part_that_was_measured_is_not_measured_again(tiny_backbone, data_folder, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("killed")

    fail_once = iter([broken])
    monkeypatch.setattr(scale, "QUICK", SMALL)
    monkeypatch.setattr(scale, "workers", here)
    monkeypatch.setattr(scale_kills, "survive", lambda *_: Outcome(2, 1, True))
    monkeypatch.setattr(scale_cluster, "survives", lambda *_: next(fail_once, lambda *_: True)())
    monkeypatch.setattr(sharded_index, "ShardProcess", HereProcess)
    monkeypatch.setattr(shards, "QUICK_PROMISE", (0.5, 0.5))
    settings = {"data": data_folder, "backbone": tiny_backbone, "quick": True, "command": "", "work": tmp_path / "w"}
    with pytest.raises(RuntimeError, match="killed"):
        scale.run(**settings)
    monkeypatch.setattr(scale, "_timed", broken)
    monkeypatch.setattr(scale_kills, "survive", broken)
    first = scale.run(**settings)
    monkeypatch.setattr(scale, "match", broken)
    monkeypatch.setattr(shards, "measure", broken)
    assert scale.run(**settings).to_dict() == first.to_dict()
    monkeypatch.setattr(scale, "QUICK", replace(SMALL, killed=8))
    with pytest.raises(MismatchError, match=r"sizes.killed was 12, now 8.*choose another folder"):
        scale.run(**settings)
