"""The numbers of dse-lite are those of dse on the same export; run by the suite of dse too."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dse_lite

pytest.importorskip("dse")
from tests.conftest import BACKBONES, SENTENCES, build_backbone, make_student

from dse import DSE
from dse.export import export_student, gate
from dse.scoring import HEAD_KINDS
from dse_lite import ExportError, Student

PAIRS = [(SENTENCES[i], SENTENCES[j]) for i, j in ((0, 1), (1, 0), (2, 2), (3, 7), (6, 4), (5, 9), (8, 10), (11, 3))]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(backbone, options) -> a student's folder with an export in it."""
    root = tmp_path_factory.mktemp("lite")

    def make(name, **options):
        number = len(list(root.iterdir()))
        student = make_student(build_backbone(name, root / f"{number}b"), **options)
        student.info = {"threshold": 0.2}
        student.save_pretrained(str(root / f"{number}s"), create_model_card=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gate, "QUERIES", 3)
            patch.setattr(gate, "CANDIDATES", 10)
            export_student(root / f"{number}s")
        return root / f"{number}s"

    return make


@pytest.fixture(scope="module")
def folder(exported):
    return exported("bert", prompts={"query": "red ", "passage": "blue "}, max_seq_length=12)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone(name, exported):
    folder = exported(name)
    lite, full = Student(folder), DSE(str(folder), backend="onnx")
    np.testing.assert_allclose(lite.encode(SENTENCES), full.encode(SENTENCES), atol=1e-4)
    np.testing.assert_allclose(lite.predict(PAIRS), full.predict(PAIRS), atol=1e-4)


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_every_head(kind, exported):
    folder = exported("bert", head=kind, num_labels=3)
    lite, full = Student(folder), DSE(str(folder), backend="onnx")
    np.testing.assert_allclose(lite.predict(PAIRS), full.predict(PAIRS), atol=1e-4)
    with pytest.raises(ValueError, match="gives 3"):
        lite.topk(["a"], SENTENCES)


def test_ranks_as_dse_does(folder):
    lite, full = Student(folder), DSE(str(folder), backend="onnx")
    assert lite.threshold == pytest.approx(full.threshold) and lite.max_length == full.max_seq_length
    assert lite.predict(PAIRS[0]) == pytest.approx(full.predict(PAIRS[0]), abs=1e-5)
    np.testing.assert_allclose(lite.predict(PAIRS, raw=True), full.raw_scores(PAIRS)[:, 0], atol=1e-4)
    ours = lite.rank(SENTENCES[0], SENTENCES, top_k=4, return_documents=True)
    theirs = full.rank(SENTENCES[0], SENTENCES, top_k=4, return_documents=True)
    assert [r["text"] for r in ours] == [r["text"] for r in theirs]
    vectors = lite.encode_document(SENTENCES)
    np.testing.assert_allclose(vectors, full.prepare(SENTENCES, dtype="float32").embeddings, atol=1e-4)
    hits = lite.topk(SENTENCES[:2], vectors, k=3)
    expected = full.topk(SENTENCES[:2], SENTENCES, k=3)
    assert [[h["corpus_id"] for h in row] for row in hits] == [[h["corpus_id"] for h in row] for row in expected]
    assert lite.rank("a", vectors) == lite.rank("a", SENTENCES)


def test_little_input(folder):
    lite = Student(folder)
    assert lite.encode([]).shape == (0, lite.dimension) and lite.encode("a").shape == (lite.dimension,)
    assert lite.predict([]).shape == (0,) and lite.rank("a", []) == [] and lite.topk([], SENTENCES) == []
    assert lite.rank("a", SENTENCES, top_k=0) == []


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s: s.encode([1]), "row 0 is 1"),
        (lambda s: s.encode(b"a"), "give a list"),
        (lambda s: s.predict([("a", "b", "c")]), "pairs of texts"),
        (lambda s: s.predict([("a", 1)]), "pairs of texts"),
        (lambda s: s.rank(["a"], SENTENCES), "give one text"),
        (lambda s: s.rank("a", SENTENCES, top_k=-1), "top_k is -1"),
        (lambda s: s.topk("a", SENTENCES, 0), "k is 0"),
        (lambda s: s.topk("a", np.zeros((2, 3))), "expected embeddings"),
        (lambda s: s.topk("a", np.full((2, s.dimension), np.nan)), "NaN"),
        (lambda s: s.encode(["a"], batch_size=0), "batch_size"),
    ],
)
def test_what_is_refused(folder, call, message):
    with pytest.raises(ValueError, match=message):
        call(Student(folder))


def test_a_folder_without_an_export(folder, tmp_path):
    student = tmp_path / "student"
    shutil.copytree(folder, student, ignore=shutil.ignore_patterns("onnx"))
    with pytest.raises(ExportError, match="dse export"):
        Student(student)
    with pytest.raises(ExportError, match="cannot be read"):
        Student(tmp_path / "nothing")
    shutil.copytree(folder / "onnx", tmp_path / "e")
    (tmp_path / "e" / "head.onnx").write_bytes(b"x")
    with pytest.raises(ExportError, match=r"head\.onnx"):
        Student(tmp_path / "e")
    (tmp_path / "e" / "head.onnx").write_bytes((folder / "onnx" / "head.onnx").read_bytes())
    info = json.loads((tmp_path / "e" / "dse.json").read_text())
    (tmp_path / "e" / "dse.json").write_text(json.dumps(info | {"activation": "Softplus"}))
    with pytest.raises(ExportError, match="Softplus"):
        Student(tmp_path / "e")


def test_torch_is_not_imported():
    code = "import sys, dse_lite; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'dse')))"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(Path(dse_lite.__file__).parents[1])}
    )
