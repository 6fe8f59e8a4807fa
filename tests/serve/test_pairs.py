"""`/predict`, `/score` and `/similarity`: the scores are those of `DSE.predict`."""

from __future__ import annotations

import pytest

from tests.conftest import make_student
from tests.serve.conftest import QUERY, TEXTS

PAIRS = [[QUERY, text] for text in TEXTS]


def test_predict_takes_one_pair_or_several(client, student):
    expected = [[{"label": "LABEL_0", "score": pytest.approx(score, abs=1e-5)}] for score in student.predict(PAIRS)]
    assert client.post("/predict", json={"inputs": PAIRS}).json() == expected
    assert client.post("/predict", json={"inputs": PAIRS[1]}).json() == expected[1]
    raw = client.post("/predict", json={"inputs": PAIRS, "raw_scores": True}).json()
    assert [row[0]["score"] for row in raw] == pytest.approx(student.raw_scores(PAIRS)[:, 0].tolist(), abs=1e-5)


def test_predict_gives_every_class_its_probability(start, backbone):
    student = make_student(backbone, num_labels=3)
    student.info["task"] = {"labels": ["no", "maybe", "yes"]}
    client = start(student)
    expected = student.predict(PAIRS, apply_softmax=True)
    for row, answer in zip(expected, client.post("/predict", json={"inputs": PAIRS}).json(), strict=True):
        assert {hit["label"]: hit["score"] for hit in answer} == pytest.approx(
            dict(zip(["no", "maybe", "yes"], row.tolist(), strict=True)), abs=1e-5
        )
        assert [hit["score"] for hit in answer] == sorted((hit["score"] for hit in answer), reverse=True)
    refused = client.post("/score", json={"text_1": QUERY, "text_2": TEXTS})
    assert refused.status_code == 422 and "/predict" in refused.json()["message"]


@pytest.mark.parametrize(
    ("asked", "pairs"),
    [
        ({"text_1": QUERY, "text_2": TEXTS[0]}, PAIRS[:1]),
        ({"text_1": QUERY, "text_2": TEXTS}, PAIRS),
        ({"text_1": [QUERY], "text_2": TEXTS}, PAIRS),
        ({"queries": TEXTS, "documents": TEXTS[::-1]}, list(zip(TEXTS, TEXTS[::-1], strict=True))),
        ({"data_1": QUERY, "data_2": TEXTS}, PAIRS),
    ],
)
def test_score_takes_the_shapes_of_vllm(client, student, asked, pairs):
    answer = client.post("/score", json=asked).json()
    assert answer["object"] == "list" and answer["usage"]["total_tokens"] > 0
    assert [row["index"] for row in answer["data"]] == list(range(len(pairs)))
    assert [row["score"] for row in answer["data"]] == pytest.approx(student.predict(pairs).tolist(), abs=1e-5)
    assert client.post("/v1/score", json=asked).json()["data"] == answer["data"]


def test_similarity(client, student):
    asked = {"inputs": {"source_sentence": QUERY, "sentences": TEXTS}}
    answer = client.post("/similarity", json=asked).json()
    assert answer == pytest.approx(student.predict(PAIRS).tolist(), abs=1e-5)
    assert client.post("/similarity", json={"inputs": {"source_sentence": QUERY}}).status_code == 422
