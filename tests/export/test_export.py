from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from dse import DSE
from dse.errors import BadDataError, MismatchError, MissingExtraError
from dse.export import WorseExportError, export_student, gate, read_comparison
from dse.scoring import HEAD_KINDS
from tests.conftest import SENTENCES, backbones, make_student
from tests.export.sharing import check_threads_share

PAIRS = [(SENTENCES[i], SENTENCES[j]) for i, j in ((0, 1), (1, 0), (2, 2), (3, 7), (6, 4), (5, 9), (8, 10), (11, 3))]


def saved(folder, *args, **kwargs):
    student = make_student(*args, **kwargs)
    student.save_pretrained(str(folder), create_model_card=False)
    return student


@pytest.fixture
def few_sentences(monkeypatch):
    """The bundled questions take a second to encode."""
    monkeypatch.setattr(gate, "QUERIES", 5)
    monkeypatch.setattr(gate, "CANDIDATES", 20)


@backbones
def test_every_backbone(name, models, tmp_path, few_sentences):
    student = saved(tmp_path / "s", models(name))
    comparison = export_student(tmp_path / "s")
    assert comparison.passed and comparison.largest_difference < 1e-4
    exported = DSE(str(tmp_path / "s"), backend="onnx")
    np.testing.assert_allclose(exported.encode(SENTENCES), student.encode(SENTENCES), atol=1e-4)
    for text in SENTENCES:  # each alone: other lengths, other batches
        np.testing.assert_allclose(exported.encode(text), student.encode(text), atol=1e-4)


@pytest.mark.parametrize("kind", HEAD_KINDS)
@pytest.mark.parametrize("labels", [1, 3])
def test_every_head(kind, labels, backbone, tmp_path, few_sentences):
    student = saved(tmp_path / "s", backbone, head=kind, num_labels=labels)
    export_student(tmp_path / "s", tmp_path / "e")
    exported = DSE(str(tmp_path / "e"))
    np.testing.assert_allclose(exported.predict(PAIRS), student.predict(PAIRS), atol=1e-5)
    u, v = student.encode([a for a, _ in PAIRS]), student.encode([b for _, b in PAIRS])
    import onnxruntime

    head = onnxruntime.InferenceSession(str(tmp_path / "e" / "head.onnx"))
    got = head.run(None, {"left": u, "right": v})[0]
    np.testing.assert_allclose(got, student.raw_scores(PAIRS), atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    """A student with prompts and a threshold, and its export inside its folder."""
    folder = tmp_path_factory.mktemp("student") / "s"
    student = make_student(backbone, prompts={"query": "red ", "document": "blue "}, max_seq_length=12)
    student.info = {"threshold": 0.3, "activation": "identity"}
    student.save_pretrained(str(folder), create_model_card=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "QUERIES", 5)
        patch.setattr(gate, "CANDIDATES", 20)
        export_student(folder)
    return folder


@pytest.fixture
def both(folder):
    return DSE(str(folder), dtype="float32", device="cpu"), DSE(str(folder), backend="onnx")


def test_all_that_scores_is_as_in_the_student(both):
    student, exported = both
    assert exported.max_seq_length == 12 and exported.threshold == student.threshold
    np.testing.assert_allclose(exported.predict(PAIRS), student.predict(PAIRS), atol=1e-5)
    np.testing.assert_allclose(exported.predict(PAIRS[0]), student.predict(PAIRS[0]), atol=1e-5)
    np.testing.assert_allclose(
        exported.encode(SENTENCES, prompt="a ", batch_size=2), student.encode(SENTENCES, prompt="a "), atol=1e-5
    )
    ours, theirs = (s.rank(SENTENCES[0], SENTENCES[1:], return_documents=True) for s in (exported, student))
    assert [r["text"] for r in ours] == [r["text"] for r in theirs]
    assert exported.encode([]).shape[0] == 0 and exported.predict([]).shape == (0,)
    short = {"processing_kwargs": {"text": {"max_length": 4}}}
    np.testing.assert_allclose(exported.encode(SENTENCES, **short), student.encode(SENTENCES, **short), atol=1e-5)


def test_an_export_takes_the_students_place_in_files(both):
    student, exported = both
    assert exported.fingerprints[: len(student.fingerprints)] == student.fingerprints
    candidates = student.prepare(SENTENCES, dtype="float32")
    assert len(exported.rank("a red bicycle", candidates)) == len(SENTENCES)


@pytest.mark.parametrize("change", ["length", "prompt", "weights", "activation"])
def test_a_changed_export_is_another_student(both, change):
    student, exported = both
    if change == "length":
        exported.max_seq_length = 7
    elif change == "prompt":
        exported.prompts["query"] = "green "
    elif change == "weights":
        exported.head.out.weight.data.mul_(2)
    else:
        exported.activation_fn = torch.nn.Sigmoid()
    assert exported.fingerprint not in student.fingerprints


def test_an_export_is_saved_and_copied(both, tmp_path):
    _, exported = both
    exported.save_pretrained(str(tmp_path / "copy"))
    for copied in (DSE(str(tmp_path / "copy")), copy.deepcopy(exported), pickle.loads(pickle.dumps(exported))):
        np.testing.assert_array_equal(copied.encode(SENTENCES), exported.encode(SENTENCES))
        assert copied.fingerprint == exported.fingerprint


def test_threads_share_an_export(both):
    _, exported = both
    check_threads_share(exported)


def test_the_comparison_lies_beside_the_files(folder):
    comparison = read_comparison(folder / "onnx")
    assert comparison["passed"] and comparison["backend"] == "onnx" and not comparison["int8"]
    assert comparison["first_ten_kept"] == 1 and comparison["queries"] == 5


def test_an_export_that_scores_otherwise_is_refused(folder, tmp_path, monkeypatch, few_sentences):
    monkeypatch.setattr(gate, "FLOAT_TOLERANCE", -1.0)
    with pytest.raises(WorseExportError, match="--force"):
        export_student(folder, tmp_path / "e")
    assert not list(tmp_path.iterdir())
    assert not export_student(folder, tmp_path / "e", force=True).passed
    assert not read_comparison(tmp_path / "e")["passed"]
    assert [file.name for file in tmp_path.iterdir()] == ["e"]


def test_what_cannot_be_exported_or_run_is_refused(folder, backbone, tmp_path, monkeypatch):
    with pytest.raises(
        BadDataError, match="is an export already; to make another, export the student that was trained"
    ):
        export_student(folder / "onnx", tmp_path / "e")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(BadDataError, match="holds no export"):
        export_student(folder, tmp_path / "mine")
    with pytest.raises(MismatchError, match=r"thesis.txt is a file; give the name of a folder\.$"):
        export_student(folder, tmp_path / "mine" / "thesis.txt" / "e")
    with pytest.raises(BadDataError, match="-o"):
        export_student("me/student")
    saved(tmp_path / "plain", backbone)
    with pytest.raises(BadDataError, match="dse export"):
        DSE(str(tmp_path / "plain"), backend="onnx")
    with pytest.raises(BadDataError, match="dse export"):
        DSE(str(folder / "onnx"), backend="torch")
    with pytest.raises(ValueError, match="choose torch"):
        DSE(str(folder), backend="tensorrt")
    monkeypatch.setattr("dse.errors.find_spec", lambda package: None)
    with pytest.raises(MissingExtraError, match=r"dse\[onnx\]"):
        export_student(folder, tmp_path / "e")
    with pytest.raises(MissingExtraError, match=r"dse\[onnx\]"):
        DSE(str(folder), backend="onnx")


def test_a_broken_graph_is_named(folder, tmp_path):
    import shutil

    shutil.copytree(folder / "onnx", tmp_path / "e")
    (tmp_path / "e" / "0_GraphEncoder" / "encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(BadDataError, match=r"encoder\.onnx cannot be read"):
        DSE(str(tmp_path / "e"))
    (tmp_path / "e" / "0_GraphEncoder" / "encoder.onnx").unlink()
    with pytest.raises(BadDataError, match="does not exist"):
        DSE(str(tmp_path / "e"))


def test_labels_are_measured(folder, tmp_path, few_sentences):
    from dse import get_task
    from dse.data.pairs import Pairs

    pairs = Pairs([a for a, _ in PAIRS], [b for _, b in PAIRS], np.linspace(0, 5, len(PAIRS)))
    comparison = export_student(folder, tmp_path / "e", pairs=pairs, task=get_task("stsb"))
    assert set(comparison.metrics["float32"]) == set(comparison.metrics["exported"]) == {"pearson", "spearman"}
    assert json.loads((tmp_path / "e" / "export.json").read_text())["metrics"]


def matrices(file):
    import onnx

    return {node.op_type for node in onnx.load(str(file)).graph.node}


@pytest.mark.parametrize("tolerance, way", [(1.0, "MatMulInteger"), (None, "MatMulNBits")])
def test_eight_bits_are_as_coarse_as_the_gate_lets_them_be(
    folder, tmp_path, monkeypatch, few_sentences, tolerance, way
):
    tried = []
    compare = gate.compare

    def noted(*args):
        tried.append(compare(*args))
        return tried[-1]

    monkeypatch.setattr(gate, "compare", noted)
    monkeypatch.setattr(gate, "REDUCED_TOLERANCE", tolerance if tolerance is not None else 0.0)
    comparison = export_student(folder, tmp_path / "e", int8=True, force=tolerance is None)
    assert way in matrices(tmp_path / "e" / "0_GraphEncoder" / "encoder.onnx")
    assert len(tried) == (1 if tolerance else 3) and comparison == tried[-1]
    assert tried[-1].largest_difference <= tried[0].largest_difference
    exported = DSE(str(tmp_path / "e"))
    assert np.isfinite(exported.predict(PAIRS)).all()
    assert json.loads((tmp_path / "e" / "export.json").read_text())["int8"] is True
