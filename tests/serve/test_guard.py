"""Token, request id, limits of number and time, unexpected errors, and the lines of the log."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from tests.serve.conftest import QUERY, TEXTS

RERANK = {"query": QUERY, "texts": TEXTS}


def bearer(token):
    return {"Authorization": token}


def test_a_token_is_needed_where_one_is_set(start, student):
    client = start(student, api_key="sésame")
    right = b"Bearer s\xc3\xa9same"
    assert client.post("/rerank", json=RERANK, headers=bearer(right)).status_code == 200
    for wrong in (
        b"",
        b"Bearer",
        b"Bearer sesame",
        b"s\xc3\xa9same",
        b"Basic s\xc3\xa9same",
        b"Bearer s\xc3\xa9same "[:-2],
    ):
        refused = client.post("/rerank", json=RERANK, headers=bearer(wrong))
        assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.json()["error_type"] == "Unauthorized"
    for route in ("/info", "/metrics", "/v1/models"):
        assert client.get(route).status_code == 401
    assert client.get("/health").status_code == 200


def test_the_token_is_compared_in_constant_time(start, student, monkeypatch):
    import hmac

    lengths = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: lengths.append((len(a), len(b))) or compare(a, b))
    client = start(student, api_key="secret")
    client.post("/rerank", json=RERANK, headers=bearer("Bearer s"))
    client.post("/rerank", json=RERANK, headers=bearer("Bearer secret"))
    assert lengths == [(32, 32)] * 2


@pytest.mark.parametrize(("given", "kept"), [("abc-123", True), ("a b", False), ("x" * 65, False), ('"}{', False)])
def test_the_request_id_is_the_clients_where_it_is_plain(client, given, kept):
    answer = client.get("/health", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) == kept


def test_the_log_has_a_line_for_each_request_and_nothing_that_the_client_sent(client, caplog):
    secret = "zebra-quux"
    with caplog.at_level(logging.DEBUG):
        client.post("/rerank", json={"query": secret, "texts": [secret]}, headers={"X-Request-Id": "one"})
        client.post("/rerank", json={"query": secret, "texts": secret})
        client.post("/search", json={"query": secret, "where": f"colour = '{secret}'"})
        client.post(f"/{secret}", json={})
        client.get("/health", headers={"User-Agent": secret, "X-Request-Id": f"{secret}\\"})
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name.startswith("dse.serve")]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/rerank", 200),
        ("/rerank", 422),
        ("/search", 422),
        ("none", 404),
        ("/health", 200),
    ]
    assert lines[0] | {"ms": 0} == {
        "event": "request",
        "request_id": "one",
        "route": "/rerank",
        "status": 200,
        "ms": 0,
        "texts": 2,
        "cached": 0,
        "truncated": 0,
    }
    assert not [r for r in caplog.records if r.name.startswith(("dse", "uvicorn")) and secret in r.getMessage()]


def test_an_unexpected_error_is_logged_without_its_message(start, student, caplog, monkeypatch):
    client = start(student)
    serving = client.app.state.serving

    def broken(texts, prompt):
        raise RuntimeError(f"cannot read {texts}")

    monkeypatch.setattr(serving.queue, "_encode", broken)
    with caplog.at_level(logging.INFO):
        answer = client.post("/rerank", json=RERANK)
    assert answer.status_code == 500 and answer.headers["X-Request-Id"] in answer.json()["error"]
    [line] = [
        json.loads(r.getMessage()) for r in caplog.records if "event" in r.getMessage() and r.levelname == "ERROR"
    ]
    assert line["error"] == "RuntimeError" and line["request_id"] == answer.headers["X-Request-Id"]
    assert not any(TEXTS[2] in r.getMessage() for r in caplog.records)


class Held:
    """An encoder that waits until it is let go."""

    def __init__(self, client, monkeypatch):
        serving = client.app.state.serving
        self.started, self.go, encode = threading.Event(), threading.Event(), serving.queue._encode

        def held(texts, prompt):
            self.started.set()
            assert self.go.wait(30)
            return encode(texts, prompt)

        monkeypatch.setattr(serving.queue, "_encode", held)


def test_a_request_that_takes_too_long_is_given_up(start, student, monkeypatch):
    client = start(student, timeout=0.05)
    held = Held(client, monkeypatch)
    answer = client.post("/rerank", json=RERANK)
    held.go.set()
    assert answer.status_code == 504 and "0.05 s" in answer.json()["error"]
    monkeypatch.undo()
    assert len(client.app.state.serving.queue) == 0
    assert client.get("/health").status_code == 200


def test_requests_beyond_the_limits_are_told_to_come_again(start, student, monkeypatch):
    client = start(student, max_waiting=4, max_requests=3)
    held = Held(client, monkeypatch)
    answers = []

    def ask(texts):
        answers.append(client.post("/rerank", json={"query": QUERY, "texts": texts}))

    threads = [threading.Thread(target=ask, args=([f"a {word}"],)) for word in ("dog", "cat")]
    threads[0].start()
    assert held.started.wait(30)  # the first is being encoded
    threads[1].start()
    while len(client.app.state.serving.queue) < 2:  # the second waits, with the query
        threading.Event().wait(0.001)
    full = client.post("/rerank", json={"query": QUERY, "texts": ["a car", "a man", "a bike", "a train"]})
    assert full.status_code == 429 and int(full.headers["Retry-After"]) > 0
    assert full.json()["error_type"] == "Overloaded" and "wait" in full.json()["error"]
    threads.append(threading.Thread(target=ask, args=(["a bird"],)))
    threads[2].start()
    while len(client.app.state.serving.queue) < 4:
        threading.Event().wait(0.001)
    busy = client.post("/v2/rerank", json={"query": QUERY, "documents": ["a car"]})
    assert busy.status_code == 429 and busy.json()["error"]["type"] == "rate_limit_error"
    assert client.get("/health").status_code == 200
    held.go.set()
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200] * 3
