"""The process that was started is killed, and a machine of a cluster goes: the rows stay those of one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dse import encode_files
from dse.bench import scale_cluster
from dse.encoding.runtime import one_thread
from tests.commands import ENV
from tests.conftest import SENTENCES
from tests.processes import finish, kill_when

pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture
def texts(tmp_path):
    """A file of 240 texts."""
    path = tmp_path / "texts.parquet"
    table = {"id": [f"r{i}" for i in range(240)], "text": [f"{text} {i}" for i in range(20) for text in SENTENCES]}
    pq.write_table(pa.table(table), path)
    return path


def test_a_driver_that_is_killed_goes_on_and_gives_the_same_rows(student, texts, tmp_path):
    student.save_pretrained(str(tmp_path / "student"))
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def start():
            command = ["encode", tmp_path / "student", texts, "-o", tmp_path / "ray", "--shard-rows", 1, "--json"]
            return subprocess.Popen(
                [sys.executable, "-m", "dse", *map(str, command), "--ray", "local", "--dtype", "float32"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=ENV | {"RAY_TMPDIR": folder},
            )

        shards = tmp_path / "ray" / "shards"
        kill_when(start(), lambda: shards.is_dir() and len(list(shards.glob("*.parquet"))) > 3)
        assert 3 < len(list(shards.glob("*.parquet"))) < 240
        result = json.loads(finish(start())[0])
    with one_thread():
        whole = encode_files(student, [texts], tmp_path / "one", shard_rows=1)
    assert result["rows"] == whole["rows"] == 240 and result["kept"] > 3
    files = [sorted((tmp_path / name / "shards").iterdir()) for name in ("one", "ray")]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    assert all(pq.read_table(one).equals(pq.read_table(other)) for one, other in zip(*files, strict=True))


def test_a_cluster_that_loses_a_node_gives_the_same_rows(student, texts, tmp_path):
    student.save_pretrained(str(tmp_path / "student"))
    assert scale_cluster.survives(tmp_path, 6)  # in a cluster of four nodes, one of which is removed half-way
