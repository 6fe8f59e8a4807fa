"""Every command and every line of Python in docs/export.md runs."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from dse.cli import app
from dse.export import gate
from tests.conftest import make_student

GUIDE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_guide_runs(tmp_path, backbone, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gate, "QUERIES", 3)
    monkeypatch.setattr(gate, "CANDIDATES", 10)
    make_student(backbone).save_pretrained("my-student", create_model_card=False)
    rows = [{"sentence1": "a red bicycle", "sentence2": "a bike"}, {"sentence1": "a tent", "sentence2": "a house"}]
    Path("my-pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert [language for language, _ in BLOCKS].count("bash") == 1
    for language, block in BLOCKS:
        if language == "python":
            exec(block, {})
        for line in block.strip().splitlines() if language == "bash" else ():
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            app(shlex.split(line)[1:], standalone_mode=False)
    out = capsys.readouterr().out.strip().splitlines()
    assert out[0].startswith("my-student/onnx is ready: scores differ by up to ")
    comparison = json.loads(out[-1])
    assert comparison["folder"] == "my-export" and comparison["queries"] == comparison["candidates"] == 2
    assert comparison["passed"] and comparison["sentences"].endswith("my-pairs.jsonl")


def test_wrong_use(tmp_path, backbone, monkeypatch):
    student = tmp_path / "s"
    make_student(backbone).save_pretrained(str(student), create_model_card=False)
    monkeypatch.setattr(gate, "FLOAT_TOLERANCE", -1.0)
    monkeypatch.setattr(gate, "QUERIES", 2)
    monkeypatch.setattr(gate, "CANDIDATES", 3)
    with pytest.raises(gate.WorseExportError) as refused:
        app(["export", str(student)], standalone_mode=False)
    assert refused.value.exit_code == 6 and "without --int8" not in str(refused.value)
    assert not (student / "onnx").exists()
