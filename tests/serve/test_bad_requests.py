"""Whatever a client sends: the right status and one sentence, in the shape that it parses."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.conftest import QUERY, TEXTS

RERANK = {"query": QUERY, "texts": TEXTS}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("route", "asked", "status", "part"),
    [
        ("/rerank", {"texts": TEXTS}, 422, "Give query"),
        ("/rerank", RERANK | {"queries": ["a"]}, 422, "Give query"),
        ("/rerank", {"query": QUERY}, 422, "texts, documents or ids"),
        ("/rerank", RERANK | {"documents": TEXTS}, 422, "texts, documents or ids"),
        ("/rerank", {"query": QUERY, "texts": []}, 400, "texts is empty"),
        ("/v2/rerank", {"query": QUERY, "documents": []}, 400, "documents is empty"),
        ("/rerank", {"query": QUERY, "ids": []}, 400, "ids is empty"),
        ("/rerank", {"queries": [], "texts": TEXTS}, 400, "queries is empty"),
        ("/rerank", {"query": 7, "texts": TEXTS}, 422, "query"),
        ("/rerank", {"query": None, "texts": TEXTS}, 422, "Give query"),
        ("/rerank", {"query": QUERY, "texts": "a"}, 422, "texts"),
        ("/rerank", {"query": QUERY, "texts": ["a", None]}, 422, "texts.1"),
        ("/v2/rerank", {"query": QUERY, "documents": [{"title": "a"}]}, 422, "documents.0"),
        ("/v2/rerank", {"query": QUERY, "documents": [{"text": 3}]}, 422, "documents.0"),
        ("/rerank", {"query": QUERY, "ids": ["row-0", "no such row"]}, 422, "ids.1"),
        ("/rerank", {"query": QUERY, "ids": ["row-0' or '1'='1"]}, 422, "ids.0"),
        ("/rerank", RERANK | {"top_n": -1}, 422, "top_n"),
        ("/rerank", RERANK | {"top_n": "2"}, 422, "top_n"),
        ("/rerank", RERANK | {"top_n": True}, 422, "top_n"),
        ("/rerank", RERANK | {"raw_scores": "yes"}, 422, "raw_scores"),
        ("/rerank", RERANK | {"score_threshold": float("nan")}, 422, "score_threshold"),
        ("/rerank", RERANK | {"score_threshold": "nan"}, 422, "score_threshold"),
        ("/rerank", RERANK | {"score_threshold": 1e999}, 422, "score_threshold"),
        ("/rerank", {"query": "\ud800", "texts": TEXTS}, 422, "query"),
        ("/rerank", {"query": QUERY, "texts": ["a", "b\udfff"]}, 422, "texts.1"),
        ("/rerank", {"query": QUERY, "ids": ["\ud800"]}, 422, "ids.0"),
        ("/rerank", [1], 422, "JSON object"),
        ("/rerank", "text", 422, "JSON object"),
        ("/rerank", None, 422, "JSON object"),
        ("/predict", {"inputs": "a"}, 422, "inputs"),
        ("/predict", {"inputs": []}, 400, "inputs is empty"),
        ("/predict", {"inputs": ["a"]}, 422, "pair 0 has 1"),
        ("/predict", {"inputs": [["a", "b"], ["a", "b", "c"]]}, 422, "pair 1 has 3"),
        ("/predict", {"inputs": [["a", "b"], "c"]}, 422, "inputs"),
        ("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, 422, "text_1 holds 2"),
        ("/score", {"text_1": "a", "text_2": []}, 400, "text_2 is empty"),
        ("/score", {"text_1": [], "text_2": []}, 400, "empty"),
        ("/score", {"text_1": [], "text_2": "a"}, 422, "text_1 holds 0"),
        ("/score", {"text_1": "a"}, 422, "text_2"),
        ("/embed", {"inputs": []}, 400, "inputs is empty"),
        ("/embed", {}, 422, "inputs"),
        ("/v1/embeddings", {"input": {}}, 422, "input"),
        ("/v1/embeddings", {"input": []}, 400, "input is empty"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 422, "encoding_format"),
        ("/search", {"query": QUERY, "k": 0}, 422, "k"),
        ("/search", {"query": QUERY, "k": 10**30}, 413, "k"),
        ("/search", {"queries": []}, 400, "queries is empty"),
        ("/search", {"query": QUERY, "where": 1}, 422, "where"),
        ("/search", {"query": QUERY, "where": "x" * 10_001}, 422, "where"),
    ],
)
def test_what_does_not_fit(client, route, asked, status, part):
    answer = client.post(route, content=json.dumps(asked), headers=JSON)
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert part in content["message"] and content["detail"] == content["message"]
    assert "\n" not in content["message"] and content["message"].endswith(".")
    if route in ("/predict", "/embed") or (route == "/rerank" and isinstance(content["error"], str)):
        assert content["error"] == content["message"]
    else:
        assert content["error"]["message"] == content["message"] and content["error"]["code"] == status


@pytest.mark.parametrize("body", [b"", b"{", b"{'query': 1}", b"\xff\xfe{}", b'{"query": "\xe4"}', b"[" * 100_000])
def test_a_body_that_is_no_json(client, body):
    answer = client.post("/v2/rerank", content=body, headers=JSON)
    assert answer.status_code in (400, 422), answer.text
    assert "JSON" in answer.json()["error"]["message"]


def test_a_body_of_another_kind(client):
    answer = client.post("/rerank", content=json.dumps(RERANK), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422 and "application/json" in answer.json()["error"]


def test_addresses_and_methods(client):
    assert client.get("/rerank").status_code == 405
    for path in ("/no", "/rerank/../../etc/passwd", "/%00", "/v1/indexes/%2e%2e"):
        answer = client.post(path, json=RERANK)
        assert answer.status_code == 404 and "/docs" in answer.json()["error"]["message"]


def test_too_much_of_something(start, student, index):
    client = start(student, index, max_texts=4, max_tokens=20, max_pairs=6, max_body=400)
    for route, asked, status in (
        ("/rerank", {"query": "a", "texts": ["a"] * 5}, 413),
        ("/rerank", {"query": "a", "ids": ["row-0"] * 5}, 413),
        ("/rerank", {"queries": ["a"] * 3, "texts": ["a"] * 3}, 413),
        ("/embed", {"inputs": ["a bike"] * 5}, 413),
        ("/rerank", {"query": "a", "texts": ["a red bicycle"] * 4}, 422),
        ("/embed", {"inputs": ["a"] * 100}, 413),
        ("/search", {"query": "a", "k": 5}, 413),
        ("/rerank", {"query": "a", "texts": ["x" * 400]}, 413),
    ):
        answer = client.post(route, json=asked)
        assert answer.status_code == status, answer.text
    assert client.post("/rerank", json={"query": "a", "texts": ["a"] * 4}).status_code == 200

    def in_pieces():
        yield b'{"query": "a", "texts": ["'
        for _ in range(100):
            yield b"x" * 10

    assert client.post("/rerank", content=in_pieces(), headers=JSON).status_code == 413


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "row-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "id"]), inner, max_size=2),
    max_leaves=6,
)
fields = st.sampled_from(
    "query queries texts documents ids top_n return_text raw_scores score_threshold truncate inputs text_1 text_2 "
    "input encoding_format dimensions k where exact normalize prompt_name max_tokens_per_doc model".split()
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/rerank", "/predict", "/score", "/embed", "/v1/embeddings", "/search"]),
    st.dictionaries(fields, values, max_size=6),
    st.booleans(),
)
def test_no_body_makes_the_server_fail(client, route, asked, likely):
    if likely:  # reach what lies behind the first check
        texts = {"query": QUERY, "inputs": TEXTS, "text_1": QUERY, "text_2": TEXTS, "input": TEXTS, "texts": TEXTS}
        asked = texts | asked
    answer = client.post(route, content=json.dumps(asked), headers=JSON)
    assert answer.status_code in (200, 400, 413, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["message"].count("\n") == 0
