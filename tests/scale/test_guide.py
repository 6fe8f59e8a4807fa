"""The commands of docs/scale.md, on a local Ray and, in place of a bucket of S3, on a server of this machine."""

from __future__ import annotations

import shlex
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentence_transformers import CrossEncoder

from dse.cli import app
from dse.scale import unit_costs
from dse.scale.ray_pool import LOCAL
from tests.conftest import SENTENCES, make_student
from tests.docs.pages import ROOT, blocks
from tests.index.object_store import bucket

ray = pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture
def cluster():
    """For all commands: to start one for each takes longer than the command."""
    ray.init(include_dashboard=False, num_cpus=2, _system_config=LOCAL, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def folder(backbone, tmp_path, monkeypatch):
    """What the guide assumes: student, teacher, tables."""
    make_student(backbone).save_pretrained(str(tmp_path / "student"), create_model_card=False)
    CrossEncoder(str(backbone), num_labels=1).save_pretrained(str(tmp_path / "teacher"))
    texts = SENTENCES[:11]
    for number, name in enumerate(("questions", "customers", "companies", "north", "south")):
        ids = [f"{number}-{i}" for i in range(len(texts))]
        pq.write_table(pa.table({"id": ids, "text": texts}), tmp_path / f"{name}.parquet")
    lines = [f'"{a}","{b}"' for a, b in pairwise(texts)]
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2\n" + "\n".join(lines) + "\n", "utf-8")
    (tmp_path / "queries.txt").write_text("".join(f"query {i}\n" for i in range(350)), "utf-8")
    for name, value in {"TEXTS": 16, "PAIRS": 8, "QUERIES": 2, "SIDE": 64}.items():
        monkeypatch.setattr(unit_costs, name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guide(folder, cluster, monkeypatch, capsys):
    with bucket("catalogue") as options:
        for name, value in options.items():
            monkeypatch.setenv(name.upper(), value)
        for block in blocks(ROOT / "docs" / "scale.md"):
            for line in block.text.strip().splitlines() if block.language == "bash" and not block.not_run else ():
                command = shlex.split(line)
                if command[:2] in (["pip", "install"], ["dse", "serve"]):  # serve: tests/serve/test_server.py
                    continue
                capsys.readouterr()
                app(command[1:], standalone_mode=False)
                assert capsys.readouterr().out.strip(), line
    here, there = (
        [pq.read_table(file) for file in sorted((folder / name / "shards").iterdir())]
        for name in ("embeddings", "embeddings-ray")
    )
    assert [a.equals(b) for a, b in zip(here, there, strict=True)] == [True]
