"""`/embed` and `/v1/embeddings`: what `DSE.encode` gives, at length one unless asked otherwise."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.conftest import make_student
from tests.serve.conftest import TEXTS


def test_embed(client, student):
    expected = student.encode(TEXTS)
    plain = client.post("/embed", json={"inputs": TEXTS, "normalize": False}).json()
    assert np.allclose(plain, expected, atol=1e-5)
    unit = client.post("/embed", json={"inputs": TEXTS}).json()
    assert np.allclose(unit, student.encode(TEXTS, normalize_embeddings=True), atol=1e-5)
    assert np.allclose(client.post("/embed", json={"inputs": TEXTS[0]}).json(), unit[:1], atol=1e-6)


def test_embed_with_a_prompt(start, backbone):
    student = make_student(backbone)
    student.prompts = {"query": "who is ", "document": ""}
    client = start(student)
    answer = client.post("/embed", json={"inputs": TEXTS, "prompt_name": "query", "normalize": False}).json()
    assert np.allclose(answer, student.encode(TEXTS, prompt_name="query"), atol=1e-5)
    refused = client.post("/embed", json={"inputs": TEXTS, "prompt_name": "other"})
    assert refused.status_code == 422 and "only query" in refused.json()["error"]


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_of_openai(client, student, encoding):
    answer = client.post("/v1/embeddings", json={"input": TEXTS, "model": "x", "encoding_format": encoding}).json()
    vectors = [row["embedding"] for row in answer["data"]]
    if encoding == "base64":
        vectors = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in vectors]
    assert np.allclose(vectors, student.encode(TEXTS, normalize_embeddings=True), atol=1e-5)
    assert [row["index"] for row in answer["data"]] == list(range(len(TEXTS)))
    assert answer["object"] == "list" and answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("given", [[1, 2], [[1, 2], [3]]])
def test_numbers_of_tokens_are_refused(client, given):
    refused = client.post("/v1/embeddings", json={"input": given})
    assert refused.status_code == 422 and "send texts" in refused.json()["error"]["message"]


def test_a_part_of_the_dimensions_is_refused(client):
    assert client.post("/v1/embeddings", json={"input": "a", "dimensions": 32}).status_code == 200
    refused = client.post("/v1/embeddings", json={"input": "a", "dimensions": 8})
    assert refused.status_code == 422 and "32 only" in refused.json()["error"]["message"]
