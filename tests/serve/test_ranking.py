"""`/rerank` in both shapes: the order and the scores are those of `DSE.rank`."""

from __future__ import annotations

import pytest

from tests.conftest import make_student
from tests.serve.conftest import QUERY, TEXTS

ROUTES = ["/rerank", "/v1/rerank", "/v2/rerank"]


@pytest.fixture(scope="module")
def expected(student):
    return [(hit["corpus_id"], pytest.approx(hit["score"], abs=1e-5)) for hit in student.rank(QUERY, TEXTS)]


@pytest.mark.parametrize("route", ROUTES)
def test_texts_are_answered_as_tei_does(client, expected, route):
    answer = client.post(route, json={"query": QUERY, "texts": TEXTS, "model": "any", "unknown": 1})
    assert answer.status_code == 200
    assert [(hit["index"], hit["score"]) for hit in answer.json()] == expected
    assert all(set(hit) == {"index", "score"} for hit in answer.json())


@pytest.mark.parametrize("route", ROUTES)
def test_documents_are_answered_as_cohere_does(client, expected, route):
    documents = [TEXTS[0], {"text": TEXTS[1]}, *TEXTS[2:]]
    answer = client.post(route, json={"query": QUERY, "documents": documents}).json()
    assert [(hit["index"], hit["relevance_score"]) for hit in answer["results"]] == expected
    assert answer["object"] == "rerank" and answer["id"] and answer["model"] == "student"
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"] > len(TEXTS)
    assert answer["meta"]["api_version"] == {"version": "1" if route == "/v1/rerank" else "2"}


def test_rows_are_named_by_their_ids_and_not_read_again(client, index):
    ids = [f"row-{i}" for i in range(len(TEXTS))]
    asked = {"query": QUERY, "ids": ids, "return_documents": True}
    client.post("/rerank", json=asked)
    answer = client.post("/rerank", json=asked)
    results = answer.json()["results"]
    expected = [(hit["id"], pytest.approx(hit["score"], abs=1e-5), hit["text"]) for hit in index.search(QUERY)]
    assert [(hit["id"], hit["relevance_score"], hit["document"]["text"]) for hit in results] == expected
    assert [ids[hit["index"]] for hit in results] == [hit["id"] for hit in results]
    assert answer.headers["X-DSE-Cache"] == "6/6"


def test_rows_that_change_are_not_taken_from_the_cache(start, student, tmp_path):
    from dse import CandidateIndex

    index = CandidateIndex.create(tmp_path / "index", student)
    index.add([{"id": "a", "text": "a tent"}])
    client = start(student, index)
    asked = {"query": QUERY, "ids": ["a"], "raw_scores": True, "return_documents": True}
    before = client.post("/rerank", json=asked).json()["results"][0]
    index.upsert([{"id": "a", "text": "a red bicycle"}])
    after = client.post("/rerank", json=asked).json()["results"][0]
    assert after["document"]["text"] == "a red bicycle"
    assert after["relevance_score"] != before["relevance_score"]


def test_several_queries_in_one_request(client, student):
    queries = [QUERY, "a cat"]
    lists = client.post("/rerank", json={"queries": queries, "texts": TEXTS}).json()
    ranked = client.post("/rerank", json={"queries": queries, "documents": TEXTS}).json()["results"]
    for query, hits, documents in zip(queries, lists, ranked, strict=True):
        expected = [hit["corpus_id"] for hit in student.rank(query, TEXTS)]
        assert [hit["index"] for hit in hits] == [hit["index"] for hit in documents] == expected
    [one] = client.post("/rerank", json={"queries": [QUERY], "texts": TEXTS}).json()
    assert len(one) == len(TEXTS)


def test_what_is_returned_can_be_chosen(client, student, expected):
    asked = {"query": QUERY, "texts": TEXTS}
    best = client.post("/rerank", json=asked | {"top_n": 2, "return_text": True}).json()
    assert [(hit["index"], hit["text"]) for hit in best] == [(i, TEXTS[i]) for i, _ in expected[:2]]
    assert len(client.post("/rerank", json=asked | {"top_k": 1}).json()) == 1
    assert len(client.post("/rerank", json=asked | {"top_n": 0}).json()) == len(TEXTS)
    assert len(client.post("/rerank", json=asked | {"top_n": 10**30}).json()) == len(TEXTS)
    threshold = expected[1][1].expected - 1e-6
    assert len(client.post("/rerank", json=asked | {"score_threshold": threshold}).json()) == 2
    raw = client.post("/rerank", json=asked | {"raw_scores": True}).json()
    wanted = student.raw_scores([(QUERY, TEXTS[hit["index"]]) for hit in raw])[:, 0]
    assert [hit["score"] for hit in raw] == pytest.approx(wanted.tolist(), abs=1e-5)


def test_texts_seen_before_are_taken_from_the_cache_with_the_same_scores(client):
    asked = {"query": "a new child", "texts": ["a bird", "a bird", "the train"]}
    first, second = (client.post("/rerank", json=asked) for _ in range(2))
    assert first.headers["X-DSE-Cache"] == "0/4" and second.headers["X-DSE-Cache"] == "4/4"
    assert first.json() == second.json()


def test_truncation_is_said_and_can_be_refused(client):
    long = " ".join(["tent"] * 200)
    asked = {"query": QUERY, "documents": ["a cat", long]}
    answer = client.post("/v2/rerank", json=asked)
    assert answer.json()["meta"]["warnings"] == ["Read to 64 tokens only, the rest left out: document 1."]
    assert answer.headers["X-DSE-Truncated"] == "1"
    assert client.post("/rerank", json={"query": long, "texts": ["a cat"]}).headers["X-DSE-Truncated"] == "1"
    refused = client.post("/rerank", json={"query": QUERY, "texts": ["a cat", long], "truncate": False})
    assert refused.status_code == 422 and "longer than the 64 tokens" in refused.json()["error"]
    short = client.post("/v2/rerank", json={"query": QUERY, "documents": ["a cat"], "max_tokens_per_doc": 8})
    assert "max_tokens_per_doc" in short.json()["meta"]["warnings"][0]


def test_a_student_of_several_classes_ranks_by_the_class_of_its_index(start, backbone, tmp_path):
    from dse import CandidateIndex

    student = make_student(backbone, num_labels=3)
    refused = start(student).post("/rerank", json={"query": QUERY, "texts": TEXTS})
    assert refused.status_code == 422 and "3 scores per pair" in refused.json()["message"]
    index = CandidateIndex.create(tmp_path / "index", student, label="1")
    index.add([{"id": str(i), "text": text} for i, text in enumerate(TEXTS)])
    client = start(student, index)
    hits = client.post("/rerank", json={"query": QUERY, "texts": TEXTS}).json()
    pairs = [(QUERY, TEXTS[hit["index"]]) for hit in hits]
    wanted = student.predict(pairs, apply_softmax=True)[:, 1].tolist()
    assert [hit["score"] for hit in hits] == pytest.approx(wanted, abs=1e-5)
    assert wanted == sorted(wanted, reverse=True)
    rows = client.post("/rerank", json={"query": QUERY, "ids": ["0", "1", "2", "3", "4"]}).json()["results"]
    assert [row["index"] for row in rows] == [hit["index"] for hit in hits]
    found = client.post("/search", json={"query": QUERY, "k": 5}).json()["hits"]
    assert [hit["id"] for hit in found] == [row["id"] for row in rows]


def test_prompts_stand_before_queries_and_documents(start, backbone):
    student = make_student(backbone)
    student.prompts = {"query": "who is ", "document": "the house of "}
    answer = start(student).post("/rerank", json={"query": QUERY, "texts": [QUERY, *TEXTS]}).json()
    expected = student.rank(QUERY, [QUERY, *TEXTS])
    assert [hit["index"] for hit in answer] == [hit["corpus_id"] for hit in expected]
    assert [hit["score"] for hit in answer] == pytest.approx([hit["score"] for hit in expected], abs=1e-5)
