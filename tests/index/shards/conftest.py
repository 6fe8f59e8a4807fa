"""Shards in the test's own process, where two passes can begin at 300 rows, and as many rows in one index."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from dse.index import CandidateIndex
from dse.index.shards import sharded_index
from dse.index.shards.work import Shard, answered
from tests.conftest import make_student


class HereProcess:
    """What `ShardProcess` does, without a process."""

    def __init__(self, path: str, options: Any, student: bytes, threads: int) -> None:
        self.path, self.shard = path, Shard(CandidateIndex(path, pickle.loads(student), storage_options=options))

    def open(self) -> None:
        pass

    def begin(self, name: str, *arguments: Any) -> None:
        self.asked = (name, arguments)

    def end(self) -> tuple[bool, Any]:
        name, arguments = self.asked
        return answered(getattr(self.shard, name), arguments)

    def close(self) -> None:
        pass


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(sharded_index, "ShardProcess", HereProcess)


@pytest.fixture
def cosine(backbone):
    return make_student(backbone, head="cosine")


def split(folder, student, tables):
    """One index a table, and their folders."""
    folders = [folder / f"shard-{number}" for number in range(len(tables))]
    for path, table in zip(folders, tables, strict=True):
        CandidateIndex.create(path, student).add(table)
    return folders
