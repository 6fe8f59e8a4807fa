"""The benchmark of the server, its processes replaced by threads of this one."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi")

from dse import DSE, CandidateIndex
from dse.bench import cross_encoder_server, exported, serving, soak
from dse.bench.server_process import Server
from dse.serve import create_app
from tests.serve.threads import running


@contextmanager
def in_thread(log, *arguments, program=None, **environment):
    if program is not None:
        app = cross_encoder_server.create_app(arguments[2])
    elif "serve" in arguments:
        student = DSE(arguments[3], device="cpu")
        app = create_app(lambda: (student, CandidateIndex(arguments[5], student)))
    else:
        app = cross_encoder_server.create_app(arguments[2])
    with running(app) as port:
        yield Server(None, port, 1.0)


def test_run(tiny_backbone, data_folder, monkeypatch):
    monkeypatch.setattr(serving, "serving", in_thread)
    monkeypatch.setattr(serving.shutil, "which", "/bin/{}".format)
    monkeypatch.setattr(exported, "LITE", data_folder / "absent")  # a fresh environment takes a minute
    monkeypatch.setattr(soak, "KINDS", 2)
    for name, value in (("IDS", 20), ("TEXTS", 10), ("SHORT", 4), ("CLIENTS", 2), ("MANY", 4)):
        monkeypatch.setattr(serving, name, value)
    result = serving.run(
        data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench serving", soak_minutes=0.01
    )
    figures = {figure.name: figure.value for figure in result.figures}
    assert figures["requests_not_answered"] == 0 and figures["rerank_ids_p50_ms"] > 0
    assert figures["rerank_ids_mlp_p50_ms"] > 0 and figures["rerank_ids_onnx_p50_ms"] > 0
    assert "dse serve, mlp, 20 ids" in result.table_text()
    assert {"rerank_over_crossencoder_ids", "rerank_over_crossencoder_texts", "p99_over_p50_32_clients"} <= set(figures)
    assert figures["soak_wrong_answers"] == 0 and figures["encode_onnx_int8_over_torch_fp32"] > 0
    assert "cross-encoder, 10 texts" in result.table_text()
    assert {"rerank_over_infinity_ids", "rerank_over_infinity_texts"} <= set(figures)


def test_memory_grows_by_what_it_is_above_that_after_the_first_minute():
    seen = soak.Soak(memory=[(float(t), 300.0 if t > 55 else 100.0) for t in range(100)])
    assert seen.growth == 0
    seen.memory += [(100.0 + t, 330.0) for t in range(10)]
    assert seen.growth == pytest.approx(10)


def test_a_wrong_answer_is_counted():
    right = soak._ranked([0.1, 0.9])
    hits = [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]
    assert right(hits) and not right(hits[::-1]) and not right(hits[:1])
    assert not right([{"index": 0, "score": 0.9}, {"index": 1, "score": 0.1}])


def test_infinity_is_compared_with_where_it_is_installed(tmp_path, monkeypatch):
    for found, names in ((None, ["cross-encoder"]), ("/bin/infinity_emb", ["cross-encoder", "infinity_emb"])):
        monkeypatch.setattr(serving.shutil, "which", lambda name, found=found: found)
        assert list(serving._others(tmp_path, "teacher")) == names
