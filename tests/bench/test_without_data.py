from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["encoding", "labelling", "training"])
def test_a_benchmark_falls_back_to_the_help_desk_and_says_so(name, tiny_backbone):
    module = import_module(f"dse.bench.{name}")
    result = module.run(data=None, backbone=tiny_backbone, quick=True, command=f"dse bench {name} --quick")
    assert "help-desk questions" in result.table_text()
    assert result.benchmark == name and all(figure.value > 0 for figure in result.figures)
