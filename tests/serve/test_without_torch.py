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
from dse.export import export_student, gate
from tests.commands import dse
from tests.conftest import make_student
from tests.serve.conftest import QUERY, TEXTS

ABSENT = ("torch", "transformers", "sentence_transformers", "sklearn", "scipy", "pyarrow", "lance", "safetensors")
CODE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
from dse.cli import main
sys.argv = ["dse", "serve", sys.argv[1], "--port", "0"]
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("lite") / "s"
    make_student(backbone, prompts={"query": "red "}, max_seq_length=12).save_pretrained(
        str(folder), create_model_card=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "QUERIES", 3)
        patch.setattr(gate, "CANDIDATES", 10)
        export_student(folder)
    return folder


def ask(url, path, content=None):
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_an_export_is_served(folder, tmp_path):
    student = DSE(str(folder), backend="onnx")
    with serving(tmp_path / "log", "-c", CODE, str(folder), PYTHONPATH=":".join(filter(None, sys.path))) as server:
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


def test_what_needs_torch_is_refused(folder, monkeypatch):
    monkeypatch.setattr("dse.cli.serve.find_spec", lambda name: None if name == "torch" else name)
    for options, why in ((["--index", folder], "--index needs torch"), (["--backend", "torch"], "another --backend")):
        refused = dse("serve", folder, "--port", 0, *options)
        assert refused.returncode == 5 and why in refused.stderr
