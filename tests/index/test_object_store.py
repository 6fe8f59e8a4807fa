"""An index in an object store: a real S3 server on this machine."""

from __future__ import annotations

import pytest

from dse.errors import DSEError
from dse.index import CandidateIndex, ShardedIndex
from tests.conftest import SENTENCES
from tests.index.object_store import bucket

ROWS = [{"id": f"row-{i}", "text": text, "price": i} for i, text in enumerate(SENTENCES[:11])]


@pytest.fixture(scope="module")
def options():
    with bucket("shop") as given:
        yield given


def test_shards_in_a_bucket_answer_as_a_folder_does(student, tmp_path, options):
    one = CandidateIndex.create(tmp_path / "one", student)
    one.add(ROWS)
    for number, rows in enumerate((ROWS[:4], ROWS[4:])):
        shard = CandidateIndex.create(f"s3://shop/shards/{number}", student, storage_options=options)
        assert shard.add(rows) == {"added": len(rows), "unchanged": 0} and len(shard) == len(rows)
        assert shard.add(rows) == {"added": 0, "unchanged": len(rows)}
        assert shard.optimize()["rows"] == len(rows) and shard.info()["bytes"] is None
    names = ["s3://shop/shards/0", "s3://shop/shards/1"]
    with ShardedIndex.create(tmp_path / "all", names, student, storage_options=options) as index:
        expected = one.search("a red bike", 6, where="price > 1")
        found = index.search("a red bike", 6, where="price > 1")
        assert found == [hit | {"score": pytest.approx(hit["score"], abs=1e-5)} for hit in expected]
    with ShardedIndex(tmp_path / "all", student, storage_options=options) as again:
        assert len(again) == 11 and again.info()["bytes"] is None
    again = CandidateIndex(names[0], student, storage_options=options)
    assert again.delete(["row-0"]) == 1 and again.upsert([{**ROWS[1], "price": 7}])["updated"] == 1
    assert again.get(["row-1"])["row-1"]["metadata"] == {"price": 7}


def test_a_bucket_without_an_index_is_one_sentence(student, options):
    with pytest.raises(DSEError) as refused:
        CandidateIndex("s3://shop/nothing", student, storage_options=options)
    assert "s3://shop/nothing" in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(DSEError) as refused:
        CandidateIndex.create("s3://no-such-bucket/x", student, storage_options=options)
    assert "s3://no-such-bucket/x" in str(refused.value) and "\n" not in str(refused.value)
