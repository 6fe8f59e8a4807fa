"""What the tests with real processes run: `python -m tests.index.worker COMMAND ...`, without torch."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from dse.data.arrow_vectors import matrix
from dse.index import maintenance, scout
from dse.index.layout import EMBEDDING, Manifest
from dse.index.store import Store
from dse.index.write import Writer
from tests.index.tables import prepared

BATCH = 60  # rows a commit


def create(path: str) -> None:
    Store.create(path, Manifest("f" * 32, 32), pa.schema([]))


def writer(store: Store) -> Writer:
    def embed(texts):
        raise AssertionError("the rows have embeddings")

    return Writer(store, embed, replace=False)


def busy(path: str, journal: str, first: int, seed: int) -> None:
    """Add, delete and optimise until killed; what is about to happen and what has happened goes to a journal."""
    scout.EXACT_ROWS = 200
    generator, store = random.Random(seed), Store(path)
    with open(journal, "a", buffering=1) as note:
        number = first
        while True:
            action = generator.choice(["add", "add", "add", "delete", "optimize"])
            if action == "add":
                note.write(f"start add {number}\n")
                writer(store).write(prepared(BATCH, number), "id", "text", BATCH, False)
                note.write(f"end add {number}\n")
                number += BATCH
            elif action == "delete" and number > first:
                victim = generator.randrange(number)
                note.write(f"start delete {victim}\n")
                with store.writing():
                    store.delete([f"row {victim}"])
                note.write(f"end delete {victim}\n")
            elif action == "optimize":
                maintenance.optimize(store, timedelta(0), scout.Scout.cosine)


def check(path: str, journal: str) -> None:
    """Nothing committed is lost, nothing is doubled, batches are whole, and every vector is its row's."""
    store = Store(path)
    table = store.data.to_table(columns=["id", "number", EMBEDDING])
    stored = table["number"].to_pylist()
    assert len(set(stored)) == len(stored), "doubled"
    assert [f"row {n}" for n in stored] == table["id"].to_pylist()
    added, started, removed, removing = set(), set(), set(), set()
    for line in Path(journal).read_text().splitlines():
        phase, action, number = line.split()
        rows = range(int(number), int(number) + BATCH) if action == "add" else [int(number)]
        {"add": {"end": added, "start": started}, "delete": {"end": removed, "start": removing}}[action][phase].update(
            rows
        )
    present = set(stored)
    assert added - removing <= present, "lost"
    assert present <= started - removed, "came back"
    for first in {n - n % BATCH for n in started}:
        batch = set(range(first, first + BATCH)) - removing
        assert batch <= present or not batch & present, "half a batch"
    expected = {
        n: row
        for first in {n - n % BATCH for n in stored}
        for n, row in zip(range(first, first + BATCH), matrix(prepared(BATCH, first)[EMBEDDING]), strict=True)
    }
    for number, row in zip(stored, matrix(table[EMBEDDING]), strict=True):
        assert (row == expected[number]).all(), "wrong vector"
    if store.manifest.scout is not None:
        vector = store.load_scout().queries(np.ones((1, 32)))[0]
        if store.manifest.indexed_rows:
            rows = store.nearest(vector, 20, 8)
            assert len(rows) == min(20, len(stored)) and len(set(rows.tolist())) == len(rows)
            store.take(rows, ["id"])


def in_child(work: Callable[[], None], after: float | None = None) -> int:
    """Fork, run, and kill after so many seconds; the exit code. The parent never calls Lance, so it may fork."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kills(folder: str, times: int, seed: int) -> None:
    """Kill -9 at random moments, check, go on with the same index."""
    path, journal = f"{folder}/index", f"{folder}/journal"
    generator = random.Random(seed)
    assert in_child(lambda: create(path)) == 0
    Path(journal).touch()
    killed, in_action = 0, {"add": 0, "delete": 0, "none": 0}
    for round_ in range(times):
        lines = Path(journal).read_text().splitlines()
        first = max((int(line.split()[2]) + BATCH for line in lines if " add " in line), default=0)
        code = in_child(partial(busy, path, journal, first, seed + round_), generator.uniform(0.02, 0.5))
        killed += code == -signal.SIGKILL
        last = (Path(journal).read_text().splitlines() or ["end none 0"])[-1].split()
        in_action[last[1] if last[0] == "start" else "none"] += 1
        assert in_child(lambda: check(path, journal)) == 0, f"round {round_}"
    print(json.dumps({"killed": killed, "in": in_action}))


def add(path: str, first: str, batches: str) -> None:
    """Add batches, one commit each."""
    store = Store(path)
    for number in range(int(batches)):
        writer(store).write(prepared(BATCH, int(first) + number * BATCH), "id", "text", BATCH, False)


def read(path: str, until: str) -> None:
    """Search until the index has so many rows; never see fewer than before, nor one twice."""
    store, count, scans = Store(path), 0, 0
    while count < int(until):
        store.refresh()
        view = store.snapshot()
        ids = [name for batch in view.scan(["id"]) for name in batch["id"].to_pylist()]
        assert len(ids) == len(set(ids)) >= count and len(ids) % BATCH == 0
        count, scans = len(ids), scans + 1
        Path(f"{path}.read").touch()
    print(scans)


if __name__ == "__main__":
    if sys.argv[1] == "kills":
        kills(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        globals()[sys.argv[1]](*sys.argv[2:])
