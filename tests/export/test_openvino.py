"""Exports that OpenVINO runs, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from dse import DSE
from dse.export import export_student, gate, read_comparison
from tests.conftest import SENTENCES, backbones, make_student
from tests.export.sharing import check_threads_share

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def few_sentences(monkeypatch):
    """The bundled questions take a second to encode."""
    monkeypatch.setattr(gate, "QUERIES", 5)
    monkeypatch.setattr(gate, "CANDIDATES", 20)


def in_float32(folder, **kwargs):
    return DSE(str(folder), dtype="float32", device="cpu", **kwargs)


@backbones
@pytest.mark.parametrize("int8", [False, True])
def test_every_backbone(name, models, tmp_path, int8):
    student = make_student(models(name))
    student.save_pretrained(str(tmp_path / "s"), create_model_card=False)
    assert export_student(tmp_path / "s", to="openvino", int8=int8).passed
    comparison = read_comparison(tmp_path / "s" / "openvino")
    assert (comparison["backend"], comparison["int8"]) == ("openvino", int8)
    exported = in_float32(tmp_path / "s", backend="openvino")
    expected = in_float32(tmp_path / "s").encode(SENTENCES)
    atol = 0.08 * np.abs(expected).max() if int8 else 1e-4
    np.testing.assert_allclose(exported.encode(SENTENCES), expected, atol=atol)
    for text, row in zip(SENTENCES, expected, strict=True):  # each alone: other lengths, other batches
        np.testing.assert_allclose(exported.encode(text), row, atol=atol)
    assert exported.fingerprints[: len(student.fingerprints)] == student.fingerprints


def test_the_precision_is_that_of_the_student(tmp_path, backbone, monkeypatch):
    make_student(backbone).save_pretrained(str(tmp_path / "s"), create_model_card=False)
    export_student(tmp_path / "s", to="openvino")
    exact, rounded = (DSE(str(tmp_path / "s/openvino"), dtype=dtype) for dtype in ("float32", "bfloat16"))
    expected = in_float32(tmp_path / "s").encode(SENTENCES)
    np.testing.assert_allclose(exact.encode(SENTENCES), expected, atol=1e-4)
    np.testing.assert_allclose(rounded.encode(SENTENCES), expected, atol=0.05 * np.abs(expected).max())


def test_threads_share_an_export(tmp_path, backbone):
    make_student(backbone).save_pretrained(str(tmp_path / "s"), create_model_card=False)
    export_student(tmp_path / "s", to="openvino")
    exported = DSE(str(tmp_path / "s"), backend="openvino", dtype="float32")
    check_threads_share(exported)
