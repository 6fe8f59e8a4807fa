"""`dse serve --backend`: what runs the encoder is an export, everything else stays."""

from __future__ import annotations

import httpx
import pytest

pytest.importorskip("onnxruntime")

from dse import DSE, CandidateIndex
from dse.bench.server_process import serving
from dse.cli.serve import name_of
from tests.commands import dse
from tests.serve.conftest import QUERY, ROWS, TEXTS


def test_an_export_answers_with_an_index_of_the_torch_student(exported, tmp_path):
    index = str(tmp_path / "index")
    CandidateIndex.create(index, exported).add(ROWS)
    student, ids = DSE(exported, dtype="float32"), [row["id"] for row in ROWS]
    expected = {hit["corpus_id"]: pytest.approx(float(hit["score"]), abs=5e-3) for hit in student.rank(QUERY, TEXTS)}
    command = ["-m", "dse", "serve", exported, "--index", index, "--backend", "onnx", "--port", "0"]
    with serving(tmp_path / "log", *command) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        for content in ({"texts": TEXTS}, {"documents": TEXTS}, {"ids": ids}):
            answer = client.post("/rerank", json={"query": QUERY, **content}).json()
            hits = answer if isinstance(answer, list) else answer["results"]
            assert {hit["index"]: hit.get("score", hit.get("relevance_score")) for hit in hits} == expected
        found = client.post("/search", json={"query": QUERY, "k": len(ROWS), "exact": True}).json()["hits"]
        assert {ids.index(hit["id"]): hit["score"] for hit in found} == expected


def test_a_student_without_that_export_is_refused(served):
    refused = dse("serve", served, "--port", 0, "--backend", "onnx")
    assert refused.returncode == 4 and "dse export" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_an_export_in_a_students_folder_is_called_as_the_student(tmp_path):
    for folder in ("mine/onnx", "exports/onnx", "mine/other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mine" / "dse.json").touch()
    names = [name_of(str(tmp_path / folder)) for folder in ("mine", "mine/onnx", "mine/onnx/", "exports/onnx")]
    assert names == ["mine", "mine", "mine", "onnx"]
    assert name_of(str(tmp_path / "mine" / "other")) == "other" and name_of("team/student") == "team/student"
