"""Shards on Ray workers, one local Ray for all tests: the same results, however many workers die."""

from __future__ import annotations

import os
from unittest.mock import ANY

import pyarrow.parquet as pq
import pytest

import dse.scale.ray_pool as pool
from dse import encode_files
from dse.errors import DSEError, MismatchError
from dse.scale import ray_map
from tests.conftest import SENTENCES
from tests.scale.deadly import Deadly, Square

pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture(scope="module")
def run():
    with ray_map(workers=2) as run:
        yield run


def test_a_worker_that_is_killed_loses_nothing_and_order_stays(run, tmp_path):
    results = list(run(Square(tmp_path / "flag", 7), range(20)))
    assert [square for square, _ in results] == [n**2 for n in range(20)] and (tmp_path / "flag").exists()
    assert len({process for _, process in results}) >= 2


def test_a_death_counts_for_the_shard_at_which_it_happened(run, tmp_path, monkeypatch):
    """The first shard then waits behind the second one, at which the other worker dies."""
    monkeypatch.setattr(pool, "RETRIES", 1)
    assert list(run(Deadly(tmp_path), range(8))) == list(range(8)) and len(list(tmp_path.iterdir())) == 2


def test_too_many_deaths_at_one_shard_end_the_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "RETRIES", 0)
    with pytest.raises(DSEError, match="died 1 times at the same shard"):
        list(run(Square(tmp_path / "flag", 2), range(6)))
    assert list(run(Square(tmp_path / "flag", 2), range(3))) == [(n**2, ANY) for n in range(3)]  # the pool goes on


def test_no_more_tasks_are_taken_than_workers_have_in_hand(run, tmp_path):
    taken: list[int] = []
    results = run(Square(tmp_path / "flag", None), (taken.append(n) or n for n in range(50)))
    next(results)
    assert len(taken) <= 2 * pool.IN_HAND + 1
    assert len(list(results)) == 49


def test_errors_of_workers_are_those_of_dse(run, tmp_path, monkeypatch):
    with pytest.raises(DSEError, match=r"^a number below zero\.$"):
        list(run(Square(tmp_path / "flag", None), [1, -1]))
    monkeypatch.setattr(pool.dse, "__version__", "0.0.9")
    with pytest.raises(MismatchError, match=r"A worker has dse 0\.1\.0, this process 0\.0\.9"):
        list(run(Square(tmp_path / "flag", None), [1]))


def test_embeddings_are_those_of_one_machine_bit_for_bit(run, student, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(SENTENCES[:11]) + "\n", "utf-8")
    one = encode_files(student, [texts], tmp_path / "one", shard_rows=3)
    assert encode_files(student, [texts], tmp_path / "ray", shard_rows=3, run=run) == one
    for a, b in zip(*(sorted((tmp_path / n / "shards").iterdir()) for n in ("one", "ray")), strict=True):
        assert a.name == b.name and pq.read_table(a).equals(pq.read_table(b))


def test_an_address_nobody_answers_is_one_sentence():
    with pytest.raises(DSEError, match=r"Nobody answers at 127\.0\.0\.1:9 "), ray_map("127.0.0.1:9"):
        pass


@pytest.mark.parametrize(
    ("token", "mode", "expected"), [(True, None, "token"), (True, "disabled", "disabled"), (False, None, None)]
)
def test_a_token_is_shown_where_the_user_has_one(tmp_path, monkeypatch, token, mode, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    if token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("secret")
    pool._use_token()
    assert os.environ.get("RAY_AUTH_MODE") == expected
    os.environ.pop("RAY_AUTH_MODE", None)
