"""`dse serve` on an exported student where torch is not installed."""

from __future__ import annotations

import json
import sys
import urllib.request

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")

from dse import DSE
from dse.bench.server_process import serving
from tests.commands import dse
from tests.serve.conftest import QUERY, TEXTS

ABSENT = ("torch", "transformers", "sentence_transformers", "sklearn", "scipy", "pyarrow", "lance", "safetensors")
CODE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
from dse.cli import main
sys.argv = ["dse", "serve", sys.argv[1], "--port", "0"]
main()
"""


def ask(url, path, content=None):
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_an_export_is_served(exported, tmp_path):
    student = DSE(str(exported), backend="onnx")
    with serving(tmp_path / "log", "-c", CODE, str(exported), PYTHONPATH=":".join(filter(None, sys.path))) as server:
        hits = ask(server.url, "/rerank", {"query": QUERY, "texts": TEXTS})
        expected = student.rank(QUERY, TEXTS)
        assert [hit["index"] for hit in hits] == [hit["corpus_id"] for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([float(hit["score"]) for hit in expected], abs=1e-4)
        predicted = ask(server.url, "/predict", {"inputs": [[QUERY, TEXTS[0]]]})
        assert predicted[0][0]["score"] == pytest.approx(float(student.predict((QUERY, TEXTS[0]))), abs=1e-4)
        (vector,) = ask(server.url, "/embed", {"inputs": TEXTS[:1], "normalize": False})
        assert vector == pytest.approx(student.encode(TEXTS[0]).tolist(), abs=1e-4)
        info = ask(server.url, "/info")
        assert info["model_sha"] == student.fingerprint and info["max_input_length"] == 12 and info["index"] is None


def test_what_needs_torch_is_refused(exported, monkeypatch):
    monkeypatch.setattr("dse.cli.serve.find_spec", lambda name: None if name == "torch" else name)
    for options, why in ((["--index", exported], "--index needs torch"), (["--backend", "torch"], "another --backend")):
        refused = dse("serve", exported, "--port", 0, *options)
        assert refused.returncode == 5 and why in refused.stderr
