"""Settings in files: the ones that come with the project train, and a flag wins over the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dse import DSE, get_task
from dse.cli import app
from dse.cli.config import read_config
from dse.errors import BadDataError
from tests.conftest import SENTENCES

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*/*.yaml"))


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    monkeypatch.setattr("dse.evaluation.plots.write_plots", lambda *_: [])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder a task, with pairs enough for two optimiser steps of 2 x 16 pairs."""
    root, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    texts = [text for text in SENTENCES if text]

    def of(name):
        task, folder = get_task(name), root / name
        folder.mkdir(exist_ok=True)
        for split, rows in (("train", 60), ("dev", 12)):
            lines = []
            for i in range(rows):
                a, b = draw.choice(texts, 2)
                label = draw.uniform(0, 5) if task.kind == "regression" else task.labels[i % len(task.labels)]
                lines.append({"sentence1": str(a), "sentence2": str(b), "label": label})
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        return str(folder)

    return of


def test_there_is_a_file_for_every_task_of_the_tables():
    tasks = {"mrpc", "stsb", "qqp", "mnli", "qnli", "allnli"}
    assert {(c.parent.name, c.stem) for c in CONFIGS} == {(folder, t) for folder in ("paper", "small") for t in tasks}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_two_steps_of_teacher_and_student(file, data, backbone, tmp_path, capsys):
    common = ["--config", str(file), "--backbone", backbone, "--data", data(file.stem), "--epochs", "1", "--json"]
    app(["teacher", *common, "--output", str(tmp_path / "teacher")], standalone_mode=False)
    more = ["--teacher", str(tmp_path / "teacher"), "--no-speed", "--output", str(tmp_path / "student")]
    app(["distill", *common, *more], standalone_mode=False)
    settings, run = read_config(file, "distill"), json.loads((tmp_path / "student/run.json").read_text())
    assert run["task"]["name"] == file.stem
    assert run["recipe"]["training"]["learning_rate"] == settings["learning_rate"]
    assert run["recipe"]["training"]["accumulation"] == settings.get("accumulation", 1)
    for name, expected in (("teacher", read_config(file, "teacher")), ("student", settings)):
        log = json.loads((tmp_path / name / "training.json").read_text())["log"]
        steps = max(entry["step"] for entry in log)
        assert steps >= 2
        assert max(e["learning_rate"] for e in log if "learning_rate" in e) <= expected["learning_rate"]
    student = DSE(str(tmp_path / "student"))
    assert student.head.kind == settings["head"]
    assert student[1].num_layers == settings["layers"]
    assert (student[1].skip_token_id is not None) == settings.get("skip_cls", False)
    assert run["recipe"]["student"]["max_seq_length"] == settings.get("max_seq_length")


def test_a_flag_wins_over_the_file_and_a_section_over_the_top(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("epochs: 5\nseed: 1\nteacher:\n  epochs: 7\n", encoding="utf-8")
    assert read_config(file, "teacher") == {"epochs": 7, "seed": 1}
    assert read_config(file, "distill") == {"epochs": 5, "seed": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [("epoch: 3", "no option 'epoch'"), ("- a", "holds no settings"), ("a: [", "cannot be read")],
)
def test_a_bad_file_is_refused(tmp_path, text, said):
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadDataError, match=said):
        app(
            ["distill", "--config", str(file), "--task", "mrpc", "--output", str(tmp_path / "x")], standalone_mode=False
        )
    assert not (tmp_path / "x").exists()
