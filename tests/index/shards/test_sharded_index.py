"""An index in shards answers as one index of all rows does."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import numpy as np
import pyarrow as pa
import pytest
import torch

from dse.errors import BadDataError, DSEError, MismatchError
from dse.index import CandidateIndex, ShardedIndex
from dse.index.shards import process
from dse.index.shards.process import ShardProcess
from dse.index.shards.work import Shard
from dse.index.student import HeadOfStudent
from tests.conftest import SENTENCES, make_student
from tests.index.shards.conftest import split
from tests.index.tables import make_embeddings, prepared

ROWS = [{"id": f"row-{i}", "text": text, "price": i} for i, text in enumerate(SENTENCES[:11])]


def close(hits):
    return [hit | {"score": pytest.approx(hit["score"], abs=1e-5)} for hit in hits]


def test_processes_answer_as_one_index_and_end_with_it(student, tmp_path):
    one = CandidateIndex.create(tmp_path / "one", student)
    one.add(ROWS)
    folders = split(tmp_path, student, [ROWS[:4], ROWS[4:]])
    with ShardedIndex.create(tmp_path / "all", folders, student) as index:
        assert len(index) == 11 and index.version == sum(CandidateIndex(f, student).version for f in folders)
        for options in ({}, {"where": "price > 2"}, {"exact": True}):
            assert index.search("a red bike", 6, **options) == close(one.search("a red bike", 6, **options))
        both = index.search(["a red bike", "a tent"], 3)
        assert both == [close(hits) for hits in one.search(["a red bike", "a tent"], 3)]
        assert index.get(["row-1", "row-9", "no"]) == one.get(["row-1", "row-9"])
        found, expected = index.embeddings(["row-1", "row-9", "no"]), one.embeddings(["row-1", "row-9"])
        assert found.keys() == expected.keys() and all((found[i] == expected[i]).all() for i in found)
        with pytest.raises(BadDataError, match="no column called 'colour'"):
            index.search("x", where="colour = 'red'")
        with pytest.raises(ValueError, match="k is 0"):
            index.search("x", 0)
        os.kill(index._shards[0]._process.pid, signal.SIGKILL)  # started again
        assert index.search("a red bike", 6) == close(one.search("a red bike", 6))
        CandidateIndex(folders[0], student).add([{"id": "new", "text": "a red bike", "price": 0}])
        assert len(index) == 12 and index.search("a red bike", 12)[0]["id"] in {"new", *one.get(["row-1"])}
        shard = index._shards[1]
        shard.begin("get", ["row-1"])  # nobody waits for the answer, as after Ctrl-C
        assert len(index) == 12
        threads = [threading.Thread(target=index.search, args=("a tent",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        processes = [shard._process for shard in index._shards]
        assert [process.poll() for process in processes] == [None, None]
        shard._connection.close()  # what the system does with those of a process that was killed
        assert processes[1].wait(timeout=60) == 0
    assert processes[0].poll() == 0


@pytest.fixture
def environments(monkeypatch):
    """Those that processes of shards are started with."""
    started, popen = [], process.subprocess.Popen
    monkeypatch.setattr(
        process.subprocess, "Popen", lambda *args, **kwargs: started.append(kwargs["env"]) or popen(*args, **kwargs)
    )
    return started


def test_processes_share_the_cores(student, tmp_path, environments, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with ShardedIndex.create(tmp_path / "all", split(tmp_path, student, [ROWS[:4], ROWS[4:]]), student):
        assert [environment["OMP_NUM_THREADS"] for environment in environments] == ["2", "2"]  # torch and numpy read it


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_threads_that_was_set_for_all_is_not_each_ones(name, tmp_path, environments, monkeypatch):
    monkeypatch.setenv(name, "7")
    ShardProcess(str(tmp_path), None, b"", 2).close()
    assert [environment[name] for environment in environments] == ["2"]


def test_a_shard_that_cannot_be_opened_is_one_sentence(student, tmp_path):
    [folder] = split(tmp_path, student, [ROWS])
    index = ShardedIndex.create(tmp_path / "all", [folder], student)
    os.rename(folder, tmp_path / "moved")
    index.close()
    with pytest.raises(BadDataError, match="shard-0 is no index"):
        ShardedIndex(tmp_path / "all", student)
    gone = ShardProcess(str(folder), None, pickle.dumps(HeadOfStudent.of(student)), 1)
    gone.open()
    gone.begin("version")
    worked, error = gone.end()
    assert not worked and isinstance(error, BadDataError) and "shard-0 is no index" in str(error)


def test_another_student_is_refused(student, backbone, tmp_path, here):
    folders = split(tmp_path, student, [ROWS])
    ShardedIndex.create(tmp_path / "all", folders, student)
    with pytest.raises(MismatchError, match="made with another student"):
        ShardedIndex(tmp_path / "all", make_student(backbone, seed=9))
    other = split(tmp_path / "other", make_student(backbone, seed=9), [ROWS[:1]])
    with pytest.raises(MismatchError, match="made with another student than"):
        ShardedIndex.create(tmp_path / "both", [*folders, *other], student)


@pytest.mark.parametrize("sizes", [(1200, 800), (1000, 0, 500), (2000,), (250, 250, 1500)])
def test_the_recall_is_promised_of_the_whole(cosine, tmp_path, here, small_scout, caplog, sizes):
    starts = np.cumsum([0, *sizes])
    tables = [
        prepared(int(n), first=int(start), seed=i) for i, (start, n) in enumerate(zip(starts, sizes, strict=False))
    ]
    folders = split(tmp_path, cosine, tables)
    for folder in folders:
        CandidateIndex(folder, cosine).optimize()
    index = ShardedIndex.create(tmp_path / "all", folders, cosine)
    queries = make_embeddings(80, seed=12).astype(np.float32)
    index.search(queries[:1])
    assert "not calibrated" in caplog.text
    found = index.calibrate(queries, k=5, recall=0.9, confidence=0.9)
    assert found["rows"] == sum(sizes) and found["shortlist"] in (64, 128, 256, 512) and found["measured"] > 0.9
    caplog.clear()
    others = make_embeddings(60, seed=13).astype(np.float32)
    best, exact = index.search(others, 5), index.search(others, 5, exact=True)
    recall = np.mean([len({h["id"] for h in a} & {h["id"] for h in b}) / 5 for a, b in zip(best, exact, strict=True)])
    assert recall > 0.87 and caplog.text == ""
    answer = index.explain(others, 5)[0]
    assert answer["mode"] == "two passes" and "recall@5 of at least 0.9" in answer["promise"]["text"]
    assert answer["scored"] == sum(found["shortlist"] if n > max(300, found["shortlist"]) else n for n in sizes)
    info = index.info()
    assert info["rows"] == sum(sizes) and "recall@5 of at least 0.9" in info["promise"] and info["warning"] == ""
    if len(sizes) > 1:
        assert "for this shard alone" in CandidateIndex(folders[0], cosine).info()["promise"] or sizes[0] <= 300
        fewer = ShardedIndex.create(tmp_path / "fewer", folders[1:], cosine)
        assert "not calibrated" in fewer.info()["promise"] or fewer.info()["mode"] == "exact"
    CandidateIndex(folders[-1], cosine).add(prepared(sum(sizes) // 5, first=9000, seed=7))
    assert "grown from" in index.info()["warning"] and "grown from" in index.explain(others, 5)[0]["promise"]["warning"]


def test_rows_are_found_wherever_they_lie(cosine, tmp_path, here):
    rows = prepared(60)
    one = CandidateIndex.create(tmp_path / "one", cosine)
    one.add(rows)
    queries = make_embeddings(9, seed=3).astype(np.float32)
    expected = [[hit["id"] for hit in hits] for hits in one.search(queries, 7)]
    for seed in range(4):
        place = np.random.default_rng(seed).integers(0, 3, len(rows))
        tables = [rows.take(np.flatnonzero(place == shard)) for shard in range(3)]
        folders = split(tmp_path / str(seed), cosine, tables)
        index = ShardedIndex.create(tmp_path / f"all {seed}", folders, cosine)
        assert [[hit["id"] for hit in hits] for hits in index.search(queries, 7)] == expected


def test_a_row_on_its_way_to_another_shard_is_found_once(cosine, tmp_path, here):
    folders = split(tmp_path, cosine, [prepared(9), prepared(5, first=20)])
    index = ShardedIndex.create(tmp_path / "all", folders, cosine)
    CandidateIndex(folders[1], cosine).add(prepared(9).slice(3, 1))
    hits = index.search(make_embeddings(1).astype(np.float32), 30)[0]
    assert len(hits) == 14 == len({hit["id"] for hit in hits}) and len(index) == 15


def test_a_condition_that_one_shard_cannot_read_names_it(cosine, tmp_path, here):
    numbers, words = prepared(9), prepared(5, first=20)
    words = words.set_column(words.column_names.index("number"), "number", words["number"].cast(pa.string()))
    folders = split(tmp_path, cosine, [numbers, words, prepared(0)])
    with pytest.raises(BadDataError, match=r"^\S*shard-1: .*type string"):
        ShardedIndex.create(tmp_path / "mixed", folders, cosine).search("x", where="number < 5")
    with pytest.raises(BadDataError, match=r"^\S*shard-0: .*type int64"):
        ShardedIndex.create(tmp_path / "mixed", folders, cosine).search("x", where="number = '5'")
    with pytest.raises(BadDataError, match=r"^[^/]*no column called 'colour'"):  # no shard has it
        ShardedIndex.create(tmp_path / "mixed", folders[:2], cosine).search("x", where="colour = 'red'")


def test_a_shard_that_was_never_filled_takes_part_in_every_search(cosine, tmp_path, here):
    CandidateIndex.create(tmp_path / "empty", cosine)
    folders = split(tmp_path, cosine, [prepared(9)])
    index = ShardedIndex.create(tmp_path / "all", [tmp_path / "empty", *folders], cosine)
    expected = CandidateIndex(folders[0], cosine).search(make_embeddings(1).astype(np.float32), 20, where="number < 5")
    assert index.search(make_embeddings(1).astype(np.float32), 20, where="number < 5") == [close(expected[0])]


def test_a_student_that_does_not_fit_is_refused_before_anything_is_written(cosine, backbone, tmp_path):
    folders = split(tmp_path, cosine, [prepared(3), prepared(2, first=3)])
    with pytest.raises(MismatchError, match="made with another student"):
        ShardedIndex.create(tmp_path / "all", folders, make_student(backbone, seed=9))
    assert not (tmp_path / "all").exists()


def test_errors_of_a_shard_are_its_own_sentence(cosine, tmp_path, here, monkeypatch):
    folders = split(tmp_path, cosine, [prepared(9)])
    index = ShardedIndex.create(tmp_path / "all", folders, cosine)
    monkeypatch.setattr(Shard, "version", lambda self: 1 / 0)
    with pytest.raises(DSEError, match="shard-0: ZeroDivisionError: division by zero"):
        index.version  # noqa: B018
