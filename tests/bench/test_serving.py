"""The benchmark of the server, its processes replaced by threads of this one."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi")

from dse import DSE, CandidateIndex
from dse.bench import cross_encoder_server, serving
from dse.bench.server_process import Server
from dse.serve import create_app
from tests.serve.threads import running


@contextmanager
def in_thread(log, *arguments):
    if "serve" in arguments:
        student = DSE(arguments[3], device="cpu")
        app = create_app(lambda: (student, CandidateIndex(arguments[5], student)))
    else:
        app = cross_encoder_server.create_app(arguments[2])
    with running(app) as port:
        yield Server(None, port, 1.0)


def test_run(tiny_backbone, data_folder, monkeypatch):
    monkeypatch.setattr(serving, "serving", in_thread)
    for name, value in (("IDS", 20), ("TEXTS", 10), ("SHORT", 4), ("CLIENTS", 2), ("MANY", 4)):
        monkeypatch.setattr(serving, name, value)
    result = serving.run(data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench serving --quick")
    figures = {figure.name: figure.value for figure in result.figures}
    assert figures["requests_not_answered"] == 0 and figures["rerank_ids_p50_ms"] > 0
    assert {"rerank_over_crossencoder_ids", "rerank_over_crossencoder_texts", "p99_over_p50_32_clients"} <= set(figures)
    assert "cross-encoder, 10 texts" in result.table_text()
