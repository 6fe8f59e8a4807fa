"""Any number of threads use one handle: writers beside readers, `optimize` and `rebuild` beside readers."""

from __future__ import annotations

import os
import threading
from datetime import timedelta

import pytest

from dse.index import CandidateIndex, maintenance
from dse.index import candidate_index as handle
from dse.index.snapshot import Snapshot
from tests.conftest import make_student


def together(*jobs):
    """Run jobs in threads of their own, from one moment on; their errors."""
    errors, start = [], threading.Barrier(len(jobs))

    def run(job):
        start.wait()
        try:
            job()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def rows(first, n=5, word="dog"):
    return [{"id": str(i), "text": f"a {word} {i}", "n": i} for i in range(first, first + n)]


def readers(index, done, seen, count=3):
    """Searches, look-ups and counts until a writer is done."""

    def read():
        while True:
            last = done.is_set()
            hits = index.search("a dog", k=1000)
            assert len({hit["id"] for hit in hits}) == len(hits)
            assert all(hit["text"].endswith(f" {hit['metadata']['n']}") for hit in hits)
            assert index.get(["0", "1"]).keys() == {"0", "1"}
            assert index.info()["bytes"] > 0
            seen.append(len(hits))
            if last:
                return

    return [read] * count


def finishing(done, work):
    def run():
        try:
            work()
        finally:
            done.set()

    return run


def test_threads_that_add_the_same_rows_double_none(index):
    def add():
        for first in range(0, 60, 10):
            index.add(rows(first, 15))

    assert together(*[add] * 4) == []
    hits = index.search("a dog", k=1000)
    assert sorted(int(hit["id"]) for hit in hits) == list(range(65)) and len(index) == 65


def test_readers_beside_a_writer_see_whole_batches(index):
    index.add(rows(0))
    done, seen = threading.Event(), []

    def write():
        for first in range(5, 60, 5):
            index.add(rows(first))
        index.upsert(rows(0, 5, "cat"))
        index.delete([str(i) for i in range(10, 15)])

    assert together(finishing(done, write), *readers(index, done, seen)) == []
    assert all(n % 5 == 0 for n in seen) and seen[-1] == 55


def test_readers_beside_optimize(index, small_scout):
    index.add(rows(0, 400))
    done, seen = threading.Event(), []

    def optimize():
        for first in range(400, 420, 5):
            index.add(rows(first))
            index.optimize(keep=timedelta(0))

    assert together(finishing(done, optimize), *readers(index, done, seen, 2)) == []
    assert len(index) == 420


def test_readers_beside_rebuild(index, backbone):
    index.add(rows(0, 20))
    done, seen = threading.Event(), []
    new = make_student(backbone, seed=3, num_layers=2)
    assert together(finishing(done, lambda: index.rebuild(new)), *readers(index, done, seen, 2)) == []
    assert set(seen) == {20} and index.info()["student"] == new.fingerprint


def test_a_read_whose_files_are_removed_begins_again(index, student, tmp_path, monkeypatch):
    """`optimize(keep=0)` of another process, between a search's start and its end."""
    for first in range(0, 20, 5):
        index.add(rows(first))
    other, answer, calls = CandidateIndex(tmp_path / "index", student), handle.answer, []

    def interrupted(snapshot, *args):
        if not calls:
            other.optimize(keep=timedelta(0))
        calls.append(snapshot.data.version)
        return answer(snapshot, *args)

    monkeypatch.setattr(handle, "answer", interrupted)
    assert len(index.search("a dog", k=100)) == 20
    assert len(calls) == 2 and calls[0] < calls[1]


def test_files_that_are_removed_while_they_are_measured(index, monkeypatch):
    index.add(rows(0))
    size, walk = index.info()["bytes"], os.walk
    monkeypatch.setattr(
        "os.walk", lambda top: [(top, folders, [*files, "removed"]) for top, folders, files in walk(top)]
    )
    assert index.info()["bytes"] == size


def test_a_writer_waits_for_another_thread(index, monkeypatch):
    monkeypatch.setattr("dse.index.store.LOCK_SECONDS", 0.05)
    inside = threading.Event()

    def slow(store, keep, train):
        with store.writing():
            inside.set()
            released.wait(10)

    released = threading.Event()
    monkeypatch.setattr(maintenance, "optimize", slow)

    def add():
        inside.wait(10)
        try:
            with pytest.raises(Exception, match="Another thread has been writing"):
                index.add(rows(0))
        finally:
            released.set()

    assert together(index.optimize, add) == []
    assert index.add(rows(0))["added"] == 5


@pytest.mark.parametrize("read", ["find", "scan"])
@pytest.mark.parametrize("write", ["add", "upsert"])
def test_rows_are_written_while_files_they_are_compared_with_are_removed(student, tmp_path, monkeypatch, read, write):
    index = CandidateIndex.create(tmp_path / "index", student)
    for first in (0, 5, 10):
        index.add(rows(first))
    original, met = getattr(Snapshot, read), []

    def meanwhile(self, *args, **options):
        if not met:
            met.append(read)
            CandidateIndex(tmp_path / "index", student).optimize(keep=timedelta(0))
        return original(self, *args, **options)

    monkeypatch.setattr(Snapshot, read, meanwhile)
    done = getattr(index, write)([{"id": "100", "text": "a new dog", "n": 0.5}])  # whole numbers were stored so far
    assert met and done["added"] == 1
    assert index.get(["3", "100"])["100"]["metadata"] == {"n": 0.5}
    assert len(index) == 16
