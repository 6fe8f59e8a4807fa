"""The teacher beside the student."""

from __future__ import annotations

import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from dse import DSE
from dse.serve import create_app
from dse.serve.teaching import MOST_TEXTS, Teacher, read_teacher
from tests.serve.conftest import QUERY, TEXTS


def by_length(query, texts):
    return np.array([len(text) for text in texts], np.float32)


@pytest.fixture
def taught(student):
    with TestClient(create_app(lambda: (student, None), teacher=Teacher("by length", by_length))) as client:
        yield client


def test_its_ranking(taught):
    hits = taught.post("/teacher", json={"query": QUERY, "texts": TEXTS}).json()
    assert [hit["index"] for hit in hits] == sorted(range(len(TEXTS)), key=lambda i: -len(TEXTS[i]))
    assert hits[0]["score"] == max(map(len, TEXTS))
    assert taught.get("/info").json()["teacher"] == "by length"


@pytest.mark.parametrize("texts, status", [([], 400), (["a"] * (MOST_TEXTS + 1), 413), (["\ud800"], 422), ("a", 422)])
def test_bad_requests(taught, texts, status):
    body = json.dumps({"query": QUERY, "texts": texts}).encode()
    assert taught.post("/teacher", content=body, headers={"Content-Type": "application/json"}).status_code == status


def test_without_one(client):
    answer = client.post("/teacher", json={"query": QUERY, "texts": TEXTS})
    assert answer.status_code == 404 and "--teacher" in answer.json()["message"]


def test_a_score_that_is_no_number(student):
    nan = Teacher("nan", lambda query, texts: np.full(len(texts), np.nan))
    with TestClient(create_app(lambda: (student, None), teacher=nan)) as client:
        assert client.post("/teacher", json={"query": QUERY, "texts": TEXTS}).status_code == 422


def test_an_encoder_and_a_student_can_teach(served, encoder):
    for folder in (served, encoder):
        scores = read_teacher(str(folder))._score(QUERY, TEXTS)
        assert scores.shape == (len(TEXTS),)
    assert read_teacher(served)._score(QUERY, TEXTS) == pytest.approx(
        DSE(served).predict([(QUERY, text) for text in TEXTS]), abs=1e-5
    )
