"""Settings in files: those that come with the project train, and the command line wins over file and preset."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import typer

from dse import DSE, get_task
from dse.cli import app
from dse.cli.config import PRESETS, read_config
from dse.cli.parsing import ALIASES
from dse.cli.recipe import OF_RANKINGS, setting_types
from dse.data.pairs import Pairs
from dse.encoding.offline import offline_backbone
from dse.errors import BadDataError
from dse.pipeline import Recipe
from dse.training.distill import Distillation
from dse.training.ranking import RankingTraining
from dse.training.settings import Training
from tests.conftest import SENTENCES

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*/*.yaml"))
NAMES = [f"{file.parent.name}-{file.stem}" for file in CONFIGS]

# What the commands made of their options and of the files before there were presets.
TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "accumulation": 1,
    "learning_rate": None,
    "head_learning_rate": 5e-4,
    "head_steps": 256,
    "cosine_steps": 1024,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "patience": None,
    "checkpoint_steps": 500,
    "dtype": "auto",
    "seed": 42,
}
STUDENT = {
    "head": "mlp",
    "num_layers": 4,
    "average_layers": False,
    "pooling": "mean",
    "skip_cls": False,
    "projection": None,
    "freeze_backbone": False,
    "max_seq_length": None,
}
RECIPE = {
    "backbone": offline_backbone(),
    "teacher": None,
    "teacher_labels": None,
    "init": "backbone",
    "folds": 0,
    "extra_pairs": 0.0,
    "student": STUDENT,
    "distillation": {"alpha": 0.5, "divergence": "mse", "temperature": 1.0, "center": True},
    "teacher_pooling": "cls",
    "bootstrap_pairs": 0,
    "training": TRAINING,
    "teacher_training": TRAINING,
}
BERT = "google-bert/bert-large-uncased-whole-word-masking"
TEACHER = {"training": TRAINING, "max_seq_length": None, "pooling": "cls", "bootstrap_pairs": 0}


def expected_recipe(folder, task):
    if folder == "paper":
        training = {"epochs": 8, "accumulation": 2, "learning_rate": 2e-5, "head_learning_rate": 2e-5}
        return RECIPE | {
            "backbone": BERT,
            "student": STUDENT | {"skip_cls": True, "max_seq_length": 128},
            "training": TRAINING | training | {"cosine_steps": 0},
        }
    batch_size, pairs = (32, 20000) if task == "mnli" else (16, 8000)
    return RECIPE | {
        "distillation": RECIPE["distillation"] | {"divergence": "kl"},
        "teacher_pooling": "segments",
        "bootstrap_pairs": pairs,
        "training": TRAINING | {"batch_size": batch_size, "learning_rate": 1e-4},
        "teacher_training": TRAINING | {"batch_size": batch_size},
    }


def expected_teacher(folder, task):
    if folder == "paper":
        training = TRAINING | {"accumulation": 2, "learning_rate": 2e-5}
        return TEACHER | {"backbone": BERT, "max_seq_length": 128, "training": training}
    batch_size, pairs = (32, 20000) if task == "mnli" else (16, 8000)
    training = TRAINING | {"batch_size": batch_size, "learning_rate": 1e-4}
    return TEACHER | {
        "backbone": offline_backbone(),
        "pooling": "segments",
        "bootstrap_pairs": pairs,
        "training": training,
    }


class Stop(Exception):
    """Ends a command where training would begin."""


@pytest.fixture
def recipe(monkeypatch):
    """The recipe that `dse distill` makes of its arguments."""
    monkeypatch.setattr("dse.data.pairs.load_pairs", lambda *_, **__: Pairs(["a"], ["b"], np.zeros(1)))

    def run(*args):
        made = {}

        def keep(train, test, task, recipe, output, **_):
            made.update(asdict(recipe))
            raise Stop

        monkeypatch.setattr("dse.pipeline.make_student", keep)
        with pytest.raises(Stop):
            app(["distill", "--output", "unused", "--task", "mrpc", *map(str, args)], standalone_mode=False)
        return made

    return run


@pytest.fixture
def teacher(monkeypatch):
    """The settings that `dse teacher` makes of its arguments."""
    texts = [str(i) for i in range(20)]
    monkeypatch.setattr("dse.data.pairs.load_pairs", lambda *_, **__: Pairs(texts, texts, np.zeros(20)))

    def run(*args):
        made = {}

        def keep(backbone, train, task, output, *, validation, training, **settings):
            made.update({"backbone": backbone, "training": asdict(training), **settings})
            raise Stop

        monkeypatch.setattr("dse.pipeline.make_teacher", keep)
        with pytest.raises(Stop):
            app(["teacher", "--output", "unused", "--task", "mrpc", *map(str, args)], standalone_mode=False)
        return made

    return run


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    monkeypatch.setattr("dse.evaluation.plots.write_plots", lambda *_: [])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder a task, with pairs enough for two optimiser steps of 2 x 16 pairs."""
    root, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    texts = [text for text in SENTENCES if text]

    def make(name):
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

    return make


@pytest.fixture
def write(tmp_path):
    """Writes a file of settings."""

    def write(text):
        file = tmp_path / "settings.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_there_is_a_file_for_every_task_of_the_tables():
    tasks = {"mrpc", "stsb", "qqp", "mnli", "qnli", "allnli"}
    assert {(c.parent.name, c.stem) for c in CONFIGS} == {(folder, t) for folder in ("paper", "small") for t in tasks}


# ------------------------------------------------------------------------------------- what the settings amount to


def test_without_settings_the_recipe_is_the_one_it_was(recipe, teacher):
    assert recipe() == RECIPE
    assert teacher() == TEACHER | {"backbone": offline_backbone(), "regression_loss": "bce"}


@pytest.mark.parametrize("file", CONFIGS, ids=NAMES)
def test_the_configurations_give_the_recipes_they_gave(file, recipe, teacher):
    assert recipe("--config", file) == expected_recipe(file.parent.name, file.stem)
    made = teacher("--config", file)
    loss = made.pop("regression_loss")
    assert made == expected_teacher(file.parent.name, file.stem)
    if file.stem == "stsb":  # a regression; the others do not use it
        assert loss == ("mse" if file.parent.name == "paper" else "bce")


def test_presets(recipe, teacher):
    paper, best, fast = (recipe("--preset", name) for name in ("paper", "best", "fast"))
    expected = expected_recipe("paper", "mrpc")
    for name in ("training", "teacher_training"):
        expected[name] = expected[name] | {"head_steps": 0}
    assert paper == expected
    expected = expected_recipe("small", "mrpc")
    assert best == expected | {"training": expected["training"] | {"learning_rate": None}}
    assert fast == best | {
        "bootstrap_pairs": 2000,
        "training": best["training"] | {"epochs": 1},
        "teacher_training": best["teacher_training"] | {"epochs": 1},
    }
    assert teacher("--preset", "paper")["regression_loss"] == "mse"
    assert teacher("--preset", "fast")["training"]["epochs"] == 1
    assert {file.stem for file in PRESETS.glob("*.yaml")} == {"fast", "best", "paper"}


@pytest.mark.parametrize("preset_first", [True, False])
def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(recipe, write, preset_first):
    file = write("epochs: 5\nalpha: 0.25\nextra_pairs: 1\n")
    both = [["--preset", "best"], ["--config", file]]
    first, second = both if preset_first else both[::-1]
    made = recipe(*first, "--alpha", "0.75", *second)
    assert made["distillation"]["alpha"] == 0.75  # command line
    assert made["training"]["epochs"] == 5  # file
    assert made["extra_pairs"] == 1.0  # file, without an option
    assert made["teacher_training"]["epochs"] == 3  # preset, without an option
    assert made["bootstrap_pairs"] == 8000  # preset


def test_a_preset_on_the_command_line_replaces_the_one_in_the_file(recipe, write):
    file = write("preset: paper\nalpha: 0.25\n")
    assert recipe("--config", file)["training"]["epochs"] == 8
    made = recipe("--config", file, "--preset", "fast")
    assert (made["training"]["epochs"], made["distillation"]["alpha"]) == (1, 0.25)
    assert made["training"]["accumulation"] == 1


def test_a_file_may_merge_mappings(write):
    file = write("distill: &own\n  epochs: 7\nteacher:\n  <<: *own\n  seed: 3\n")
    assert read_config(file, "teacher") == {"epochs": 7, "seed": 3}


def test_a_section_wins_over_the_top(write):
    file = write("epochs: 5\nseed: 1\nteacher:\n  epochs: 7\n")
    assert read_config(file, "teacher") == {"epochs": 7, "seed": 1}
    assert read_config(file, "distill") == {"epochs": 5, "seed": 1}


def test_settings_without_an_option_stand_in_a_file(recipe, teacher, write):
    file = write(
        "weight-decay: 1e-3\npatience: 2\naccumulation: 4\ndistill:\n  init: teacher\n  temperature: 2\n"
        "  center: false\n  layers: 2\n  head_dimension: 64\n  projection: 32\n  freeze_backbone: true\n"
        "  teacher_learning_rate: 3.0e-5\n  teacher_epochs: 7\n  teacher_labels: [no match, match]\n"
    )
    made = recipe("--config", file)
    assert made == RECIPE | {
        "init": "teacher",
        "teacher_labels": ("no match", "match"),
        "distillation": {"alpha": 0.5, "divergence": "mse", "temperature": 2.0, "center": False},
        "student": STUDENT | {"num_layers": 2, "head_dimension": 64, "projection": 32, "freeze_backbone": True},
        "training": TRAINING | {"weight_decay": 1e-3, "patience": 2, "accumulation": 4},
        "teacher_training": TRAINING | {"epochs": 7, "learning_rate": 3e-5, "patience": 2},
    }
    training = teacher("--config", file)["training"]
    assert training == TRAINING | {"weight_decay": 1e-3, "patience": 2, "accumulation": 4}


def test_every_setting_in_python_has_one_name_in_a_file():
    student = set(signature(DSE.from_backbone).parameters) - {"backbone", "num_labels", "kwargs"}
    recipe = {field.name for field in fields(Recipe)} - {"student", "distillation", "training", "teacher_training"}
    distillation, training = ({field.name for field in fields(cls)} for cls in (Distillation, Training))
    teacher = {f"teacher_{name}" for name in training}
    rankings = {field.name for field in fields(RankingTraining)} - distillation - training
    assert rankings == set(OF_RANKINGS)
    groups = [student, recipe, distillation, training, teacher, rankings]
    assert set(setting_types("distill")) == set.union(*groups)
    assert len(setting_types("distill")) == sum(map(len, groups))  # no name means two things
    assert set(setting_types("teacher")) == training


@pytest.mark.parametrize("setting", OF_RANKINGS)
def test_a_setting_of_rankings_is_refused_for_pairs(recipe, tmp_path, setting):
    file = tmp_path / "settings.yaml"
    file.write_text(f"{setting}: 3\n", encoding="utf-8")
    with pytest.raises(BadDataError, match=f"{setting} .*--corpus"):
        recipe("--config", file)


@pytest.mark.parametrize("text", ["teacher: somewhere", "teacher: [somewhere]"])
def test_a_teacher_may_stand_in_a_file(recipe, tmp_path, text):
    file = tmp_path / "settings.yaml"
    file.write_text(f"{text}\n", encoding="utf-8")
    assert recipe("--config", file)["teacher"] == "somewhere"
    assert recipe("--config", file, "--teacher", "elsewhere")["teacher"] == "elsewhere"


def test_an_option_may_stand_in_a_file_under_its_own_name():
    commands = typer.main.get_command(app).commands
    for command in (commands["teacher"], commands["distill"]):
        for param in command.params:
            long = next(option for option in param.opts if option.startswith("--")).lstrip("-").replace("-", "_")
            assert ALIASES.get(long, long) == param.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "epoch: 3",
            r"settings.yaml.*no setting 'epoch' \(did you mean epochs\?\); choose from .*alpha,.* epochs,.* folds,",
        ),
        ("- a", "holds no settings"),
        ("a: [", "cannot be read"),
        ("preset: quick", "settings.yaml.*no known preset 'quick'; choose one of best, fast, paper"),
        ("folds: two", "settings.yaml: folds is 'two'"),
        ("head: mpl", "settings.yaml: head is 'mpl'"),
        ("3: 4", "no setting '3'"),
        ("epochs: true", "settings.yaml: epochs is True, yes or no; give a number"),
        ("distill:\n  learning_rate: no", "settings.yaml: learning_rate is False, yes or no; give a number"),
        ("folds: yes", "settings.yaml: folds is True, yes or no; give a number"),
        ("seed: 1\nepochs: 2\nseed: 3", "line 3: 'seed' stands there twice"),
        ("distill:\n  epochs: 2\n  epochs: 2", "line 3: 'epochs' stands there twice"),
        ("{[1]: 2}", "cannot be read"),
        ("batch-size: 2\nbatch_size: 3", "settings.yaml: batch_size stands there twice, spelled in two ways"),
        ("layers: 2\nnum_layers: 3", "settings.yaml: num_layers stands there twice, spelled in two ways"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, write, text, message):
    args = ["distill", "--config", str(write(text)), "--task", "mrpc", "--output", str(tmp_path / "x")]
    with pytest.raises(BadDataError, match=message):
        app(args, standalone_mode=False)
    assert not (tmp_path / "x").exists()


# --------------------------------------------------------------------------------------------------- they do train


@pytest.mark.parametrize("file", CONFIGS, ids=NAMES)
def test_two_steps_of_teacher_and_student(file, data, backbone, tmp_path, capsys):
    common = ["--config", str(file), "--backbone", backbone, "--data", data(file.stem), "--epochs", "1", "--json"]
    app(["teacher", *common, "--output", str(tmp_path / "teacher")], standalone_mode=False)
    rest = ["--teacher", str(tmp_path / "teacher"), "--no-speed", "--output", str(tmp_path / "student")]
    app(["distill", *common, *rest], standalone_mode=False)
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
    assert student[1].num_layers == settings["num_layers"]
    assert (student[1].skip_token_id is not None) == settings.get("skip_cls", False)
    assert run["recipe"]["student"]["max_seq_length"] == settings.get("max_seq_length")
