"""`/search`: what `CandidateIndex.search` finds."""

from __future__ import annotations

import pytest

from tests.serve.conftest import QUERY, TEXTS


def close(hits):
    return [hit | {"score": pytest.approx(hit["score"], abs=1e-5)} for hit in hits]


def test_search(client, index):
    answer = client.post("/search", json={"query": QUERY, "k": 3}).json()
    assert answer["hits"] == close(index.search(QUERY, 3))
    assert answer["mode"] == "exact" and answer["scored"] == len(TEXTS) and "every row" in answer["promise"]
    cheap = client.post("/search", json={"query": QUERY, "where": "price < 25", "exact": True}).json()
    assert cheap["hits"] == close(index.search(QUERY, where="price < 25"))
    assert len(cheap["hits"]) == 3


def test_several_queries(client, index):
    answer = client.post("/search", json={"queries": [QUERY, "a cat"], "k": 2}).json()
    assert [found["hits"] for found in answer["results"]] == [close(h) for h in index.search([QUERY, "a cat"], 2)]


@pytest.mark.parametrize(
    "where",
    ["price <", "colour = 'red'", "1; drop table rows", "(" * 5000, "price = 'x'", "id = 'a' -- b", "", "\x00"],
)
def test_a_condition_that_cannot_be_used(client, where):
    refused = client.post("/search", json={"query": QUERY, "where": where})
    assert refused.status_code == 422, refused.text
    assert refused.json()["message"].startswith("where: ")


def test_without_an_index(start, student):
    client = start(student)
    for route, asked in (("/search", {"query": QUERY}), ("/rerank", {"query": QUERY, "ids": ["a"]})):
        refused = client.post(route, json=asked)
        assert refused.status_code == 404 and "--index" in refused.json()["message"]


def test_an_index_rebuilt_with_another_student(start, student, backbone, tmp_path):
    from dse import CandidateIndex
    from tests.conftest import make_student

    index = CandidateIndex.create(tmp_path / "index", student)
    index.add(TEXTS)
    client = start(student, index)
    CandidateIndex(tmp_path / "index", student).rebuild(make_student(backbone, seed=5))
    refused = client.post("/search", json={"query": QUERY})
    assert refused.status_code == 503 and "reloaded" in refused.json()["message"]
