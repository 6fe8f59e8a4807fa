"""`/health`, `/info`, `/v1/models`, `/metrics` and the description of the routes."""

from __future__ import annotations

from tests.serve.conftest import QUERY, TEXTS


def test_health(client):
    assert client.get("/health").json() == {"status": "ok"}


def test_info(client, student, start):
    info = client.get("/info").json()
    assert info["model_sha"] == student.fingerprint and info["max_input_length"] == 64
    assert list(info["model_type"]) == ["reranker"] and info["dimension"] == 32
    assert info["index"]["rows"] == len(TEXTS) and info["index"]["columns"] == {"price": "int64"}
    assert "path" not in info["index"]
    assert start(student).get("/info").json()["index"] is None


def test_models(client):
    assert client.get("/v1/models").json()["data"][0]["id"] == "student"


def test_metrics(start, student):
    client = start(student)
    for _ in range(2):
        client.post("/rerank", json={"query": QUERY, "texts": TEXTS})
    client.post("/rerank", json={"query": QUERY})
    client.get("/no/such/address")
    lines = client.get("/metrics").text.splitlines()
    assert 'dse_requests_total{route="/rerank",status="200"} 2.0' in lines
    assert 'dse_requests_total{route="/rerank",status="422"} 1.0' in lines
    assert 'dse_requests_total{route="none",status="404"} 1.0' in lines
    assert "dse_cache_hit_ratio 0.5" in lines and f"dse_cache_entries {len(TEXTS) + 1}.0" in lines
    assert "dse_queue_sentences 0.0" in lines and "dse_batch_sentences_count 1.0" in lines


def test_the_description_lists_every_route(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/rerank", "/v1/rerank", "/v2/rerank", "/predict", "/score", "/embed", "/v1/embeddings"} <= set(paths)
    assert {"/search", "/info", "/metrics", "/health"} <= set(paths)
    assert client.get("/docs").status_code == 200
