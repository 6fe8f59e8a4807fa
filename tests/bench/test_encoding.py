from __future__ import annotations

import numpy as np

from dse.bench import encoding
from dse.model import DSE


def test_the_reference_has_the_students_own_vectors(tiny_backbone):
    student = DSE.from_backbone(tiny_backbone, dtype="float32", device="cpu")
    sentences = ["the red bicycle", "where is my parcel ?", "a small dog runs under the bridge"]
    reference = encoding.as_sentence_transformer(student)
    assert reference.encode(sentences).shape == (3, 64)
    np.testing.assert_allclose(encoding.agreement(reference, student, sentences), 1, atol=1e-6)


def test_run(tiny_backbone, data_folder):
    result = encoding.run(data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench encoding")
    figures = {figure.name: figure for figure in result.figures}
    assert list(figures) == ["encoding_speedup", "encoding_cosine_min", "encoding_cosine_mean"]
    assert figures["encoding_cosine_min"].value > 0.99
    assert "sentences/s" in result.table_text()
