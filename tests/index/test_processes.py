"""Real processes: killed at random moments, writing at once, reading meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dse.errors import DSEError
from dse.index import store as storing
from dse.index.store import Store
from tests.index.tables import prepared
from tests.index.worker import BATCH, create, writer

ROOT = Path(__file__).parents[2]
ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


def start(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.index.worker", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV, cwd=ROOT)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=480)
    assert process.returncode == 0, err[-3000:]
    return out


def test_kills_lose_and_double_nothing(tmp_path):
    result = json.loads(finish(start("kills", tmp_path, 20, 0)))
    assert result["killed"] == 20
    assert result["in"]["add"] >= 2  # many of them in the middle of something


def test_two_writers_and_a_reader(tmp_path):
    path = tmp_path / "index"
    create(str(path))
    reader = start("read", path, 12 * BATCH)
    while not (tmp_path / "index.read").exists():  # on a busy machine it might begin when all is written
        assert reader.poll() is None, reader.communicate()[1]
    writers = [start("add", path, 0, 8), start("add", path, 4 * BATCH, 8)]  # half of the rows are the same
    for process in writers:
        finish(process)
    assert int(finish(reader)) > 1
    ids = Store(path).data.to_table(columns=["id"])["id"].to_pylist()
    assert sorted(ids) == sorted(f"row {n}" for n in range(12 * BATCH))


def test_a_writer_that_does_not_end_is_named(tmp_path, monkeypatch):
    create(str(tmp_path / "index"))
    one, other = Store(tmp_path / "index"), Store(tmp_path / "index")
    monkeypatch.setattr(other._lock, "timeout", 0.1)
    with one.writing(), pytest.raises(DSEError, match="Another process has been writing"), other.writing():
        pass
    assert storing.LOCK_SECONDS >= 30


def test_a_search_under_way_keeps_its_commit(tmp_path):
    create(str(tmp_path / "index"))
    reader = Store(tmp_path / "index")
    writer(Store(tmp_path / "index")).write(prepared(BATCH), "id", "text", BATCH, False)
    reader.refresh()
    view = reader.snapshot()
    scan = view.scan(["id"], batch_size=10)
    first = next(scan).num_rows
    with Store(tmp_path / "index").writing():
        Store(tmp_path / "index").delete_where("number >= 0")
    reader.refresh()
    assert reader.count() == 0
    assert first + sum(batch.num_rows for batch in scan) == BATCH == view.count()
