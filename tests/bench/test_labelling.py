from __future__ import annotations

import numpy as np
import pytest

from dse.bench import labelling


def test_max_error_counts_in_standard_deviations_of_each_class():
    reference = np.array([[0.0, 0.0], [2.0, 20.0]])  # standard deviations 1 and 10
    assert labelling.max_error(reference, reference + np.array([0.1, 0.2])) == pytest.approx(0.1)


def test_run(tiny_backbone, data_folder):
    result = labelling.run(data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench labelling")
    figures = {figure.name: figure for figure in result.figures}
    assert list(figures) == ["labelling_speedup", "labelling_max_error", "labelling_max_error_float32"]
    assert figures["labelling_max_error_float32"].value < 1e-3
    assert "pairs/s" in result.table_text()
