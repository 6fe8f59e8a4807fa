"""From pairs to a reported student: every step kept, a run that was stopped resumes, a folder has one purpose."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from dse import DSE, pipeline
from dse.data.metrics import best_threshold
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.identity import fingerprint
from dse.errors import MismatchError
from dse.evaluation import plots, speed
from dse.pipeline import Recipe, hold_out, make_student
from dse.teacher import cross_fitting, labelling
from dse.teacher.kept_scores import ScoreFile
from dse.teacher.labelling import teacher_name
from dse.teacher.scoring import teacher_scores
from dse.training import distill as distillation
from dse.training.losses import Distillation
from dse.training.settings import Training
from tests.samples import BINARY, NLI, REGRESSION, difference, make_pairs, save_teacher, tensors

QUICK = Training(
    epochs=1, batch_size=16, learning_rate=1e-3, head_learning_rate=1e-2, checkpoint_steps=2, dtype="float32", seed=3
)
SMALL = {"head_dimension": 16, "device": "cpu"}


@pytest.fixture(autouse=True)
def short_report(monkeypatch):
    monkeypatch.setattr(speed, "RUNS", 1)
    monkeypatch.setattr(speed, "SAMPLE", 16)
    monkeypatch.setattr(plots, "write_plots", lambda *args: [])


def recipe_of(backbone: str, **changes) -> Recipe:
    return replace(Recipe(backbone, student=SMALL, training=QUICK, teacher_training=QUICK), **changes)


def make(task: Task, output: Path, recipe: Recipe, **kwargs):
    return make_student(make_pairs(task, 80, 1), make_pairs(task, 24, 2), task, recipe, output, **kwargs)


def fail(*args, **kwargs):
    raise AssertionError("this was done already")


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def check_folder(output: Path, task: Task, report) -> DSE:
    """What every finished folder holds; its student."""
    for name in ("README.md", "dse.json", "training.json", "run.json", "report/report.json", "report/report.md"):
        assert (output / name).stat().st_size > 50, name
    assert not (output / "checkpoints").exists()
    assert not [path for path in output.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    saved = json.loads((output / "report" / "report.json").read_text())
    assert saved["metrics"] == report.metrics and saved["task"] == task.name
    assert saved["rows"] == 24 and saved["split"] == report.split
    student = DSE(str(output), device="cpu")
    assert saved["fingerprints"]["student"] == student.fingerprint
    assert student.info["task"] == task.to_dict()
    assert student.num_labels == task.num_labels
    return student


# ------------------------------------------------------------------------------------------------- from end to end


@pytest.fixture(scope="module")
def binary(tmp_path_factory, backbone):
    """A binary run that makes its own teacher: folder, recipe, report."""
    output, recipe = tmp_path_factory.mktemp("pipeline") / "student", recipe_of(backbone)
    return output, recipe, make(BINARY, output, recipe, split="test", command="dse distill ...")


def test_binary_with_a_teacher_made_here(binary):
    output, _, report = binary
    student = check_folder(output, BINARY, report)
    teacher = CrossEncoder(str(output / "teacher"), device="cpu")
    assert report.metrics.keys() == {"student", "teacher", "cosine"} and report.fidelity
    assert report.command == "dse distill ..." and report.split == "test"
    assert report.fingerprints["teacher"] == fingerprint(teacher)
    assert student.info["teacher"] == teacher_name(teacher, BINARY)
    assert report.threshold == student.threshold and student.raw_threshold == student.info["threshold"]
    # Scores of this teacher: for the training rows, the held-out ones among them, and those reported on.
    learned, held_out = hold_out(make_pairs(BINARY, 80, 1), QUICK.seed)
    assert (len(learned), len(held_out)) == (72, 8)
    scores = ScoreFile(output / "teacher_scores.parquet")
    assert len(scores) == len({*learned.tuples(), *held_out.tuples(), *make_pairs(BINARY, 24, 2).tuples()})
    kept = scores.lookup(learned.tuples(), teacher_name(teacher, BINARY))
    assert np.abs(kept - teacher_scores(teacher, learned.tuples(), BINARY, dtype="float32")).max() < 1e-5
    of_held_out = scores.lookup(held_out.tuples(), teacher_name(teacher, BINARY))[:, 0]
    assert report.teacher_threshold == best_threshold(of_held_out, held_out.label, BINARY)
    assert "same-subject" in (output / "README.md").read_text()


def test_second_call_only_reports(binary, monkeypatch):
    output, recipe, report = binary
    before = tensors(DSE(str(output)))
    for module, name in [
        (pipeline.student, "distill"),
        (pipeline.teacher, "fit_teacher"),
        (labelling, "teacher_scores"),
    ]:
        monkeypatch.setattr(module, name, fail)
    again = make(BINARY, output, recipe, split="test")
    assert again.metrics == report.metrics and again.fidelity == report.fidelity
    assert again.fingerprints == report.fingerprints
    assert difference(before, tensors(DSE(str(output)))) == 0.0
    check_folder(output, BINARY, again)


def test_same_settings_same_student(binary, tmp_path):
    output, recipe, _ = binary
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - what other code leaves behind must not matter
    make(BINARY, tmp_path / "again", recipe)
    assert difference(tensors(DSE(str(output))), tensors(DSE(str(tmp_path / "again")))) == 0.0


@pytest.mark.parametrize("linear", [False, True])
def test_regression_with_a_given_teacher(tmp_path, backbone, linear):
    """The student speaks its teacher's scale: through a sigmoid or none."""
    activation = {"activation_fn": torch.nn.Identity()} if linear else {}
    given = save_teacher(tmp_path / "teacher", backbone, ("score",), **activation)
    report = make(REGRESSION, tmp_path / "s", recipe_of(backbone, teacher=given))
    student = check_folder(tmp_path / "s", REGRESSION, report)
    assert isinstance(student.activation_fn, torch.nn.Identity if linear else torch.nn.Sigmoid)
    assert not (tmp_path / "s" / "teacher").exists()
    assert "threshold" not in student.info and report.threshold is None
    assert report.metrics.keys() == {"student", "teacher", "cosine"}


def test_multiclass_with_a_teacher_in_another_order(tmp_path, backbone):
    names = ("contradiction", "entailment", "neutral")
    given = save_teacher(tmp_path / "teacher", backbone, names)
    report = make(NLI, tmp_path / "s", recipe_of(backbone, teacher=given))
    student = check_folder(tmp_path / "s", NLI, report)
    assert student.label_names == list(NLI.labels)
    teacher = CrossEncoder(given, device="cpu")
    learned, _ = hold_out(make_pairs(NLI, 80, 1), QUICK.seed)
    kept = ScoreFile(tmp_path / "s" / "teacher_scores.parquet").lookup(learned.tuples(), teacher_name(teacher, NLI))
    z = teacher.predict(learned.tuples(), activation_fn=torch.nn.Identity())
    assert np.abs(kept - z[:, [1, 2, 0]]).max() < 1e-5


def test_names_of_a_teachers_outputs(tmp_path, backbone):
    given = save_teacher(tmp_path / "teacher", backbone, ("LABEL_0", "LABEL_1", "LABEL_2"))
    with pytest.raises(MismatchError, match=r"LABEL_0, LABEL_1, LABEL_2.*--teacher-labels"):
        make(NLI, tmp_path / "s", recipe_of(backbone, teacher=given))
    named = recipe_of(backbone, teacher=given, teacher_labels=("neutral", "entailment", "contradiction"))
    report = make(NLI, tmp_path / "named", named)
    check_folder(tmp_path / "named", NLI, report)
    again = make(NLI, tmp_path / "named", named)  # the tuple is a list in run.json
    assert again.metrics == report.metrics


def test_alpha_0_needs_no_teacher(tmp_path, backbone, monkeypatch):
    monkeypatch.setattr(pipeline.teacher, "fit_teacher", fail)
    monkeypatch.setattr(pipeline.teacher, "load_teacher", fail)
    report = make(BINARY, tmp_path / "s", recipe_of(backbone, distillation=Distillation(alpha=0.0)))
    student = check_folder(tmp_path / "s", BINARY, report)
    assert report.metrics.keys() == {"student", "cosine"} and not report.has_teacher
    assert student.info["alpha"] == 0 and "teacher" not in student.info
    assert not (tmp_path / "s" / "teacher").exists() and not (tmp_path / "s" / "teacher_scores.parquet").exists()


def test_start_from_the_teachers_layers(tmp_path, backbone, monkeypatch):
    starts = []
    monkeypatch.setattr(pipeline.student, "distill", lambda student, *args, **kwargs: starts.append(student) or stop())
    for init in ("teacher", "backbone"):
        with pytest.raises(KeyboardInterrupt):
            make(BINARY, tmp_path / init, recipe_of(backbone, init=init))
    fine_tuned = CrossEncoder(str(tmp_path / "teacher" / "teacher"), device="cpu").model.bert.encoder.state_dict()
    first, second = (student.transformers_model.encoder.state_dict() for student in starts)
    assert difference(first, fine_tuned) == 0.0
    assert difference(second, fine_tuned) > 1e-4
    assert difference(starts[0].head.state_dict(), starts[1].head.state_dict()) == 0.0


def test_out_of_fold_scores(tmp_path, backbone, monkeypatch):
    recorded = []
    monkeypatch.setattr(
        pipeline.student, "distill", lambda *a, teacher_scores, **k: recorded.append(teacher_scores) or stop()
    )
    with pytest.raises(KeyboardInterrupt):
        make(BINARY, tmp_path / "s", recipe_of(backbone, folds=2))
    learned, _ = hold_out(make_pairs(BINARY, 80, 1), QUICK.seed)
    kept = ScoreFile(tmp_path / "s" / "teacher_scores.parquet")
    assert np.array_equal(recorded[0], kept.lookup(learned.tuples()))
    assert len({kept.teachers[pair] for pair in learned.tuples()}) == 2


def test_folds_share_what_needs_no_labels(tmp_path, backbone, monkeypatch):
    """The cosine is learned once, and both teachers start from it."""
    learned, started, learn, fit = [], [], pipeline.teacher.bootstrap, cross_fitting.fit_teacher

    def bootstrap_recording(*args):
        learned.append(learn(*args))
        return learned[-1]

    def fit_recording(backbone, *args, **kwargs):
        started.append(backbone)
        return fit(backbone, *args, **kwargs)

    monkeypatch.setattr(pipeline.teacher, "bootstrap", bootstrap_recording)
    monkeypatch.setattr(cross_fitting, "fit_teacher", fit_recording)
    monkeypatch.setattr(pipeline.student, "distill", stop)
    recipe = recipe_of(backbone, folds=2, teacher_pooling="segments", bootstrap_pairs=16)
    for _ in range(2):  # the second run resumes
        with pytest.raises(KeyboardInterrupt):
            make(BINARY, tmp_path / "s", recipe)
    of_folds = str(tmp_path / "s" / "teacher_scores.parquet.folds" / "bootstrap")
    assert learned == [str(tmp_path / "s" / "teacher" / "bootstrap"), of_folds, of_folds]
    assert started == [of_folds] * 2
    assert not (tmp_path / "s" / "teacher" / "bootstrap").exists()


def test_teachers_that_judge_by_cls_cannot_be_bootstrapped(tmp_path, backbone):
    given = save_teacher(tmp_path / "teacher", backbone, ("score",))
    for teacher, folds in [(None, 0), (given, 2)]:
        recipe = recipe_of(backbone, teacher=teacher, folds=folds, bootstrap_pairs=16)
        with pytest.raises(ValueError, match="needs pooling 'segments'"):
            make(BINARY, tmp_path / f"{folds}", recipe)


@pytest.mark.parametrize("task", [BINARY, NLI])
def test_extra_pairs_are_judged_by_the_teacher_alone(tmp_path, backbone, monkeypatch, task):
    given = save_teacher(tmp_path / "teacher", backbone, task.labels if task.kind == "multiclass" else ("score",))
    recipe = recipe_of(backbone, teacher=given, extra_pairs=0.5)
    report = make(task, tmp_path / "s", recipe)
    check_folder(tmp_path / "s", task, report)
    recorded = []
    with monkeypatch.context() as patch:
        patch.setattr(
            pipeline.student,
            "distill",
            lambda student, *args, **k: recorded.append((args[0], k["teacher_scores"])) or stop(),
        )
        with pytest.raises(KeyboardInterrupt):
            make(task, tmp_path / "again", recipe, scores=tmp_path / "s" / "teacher_scores.parquet")
    train, scores = recorded[0]
    learned, _ = hold_out(make_pairs(task, 80, 1), QUICK.seed)
    n = len(learned)
    # A recombined pair that is reported on is left out.
    assert n + n // 4 < len(train) == len(scores) <= n + n // 2 and train.tuples()[:n] == learned.tuples()
    assert train.labelled[:n].all() and not train.labelled[n:].any()
    teacher = CrossEncoder(given, device="cpu")
    z = teacher_scores(teacher, train.tuples(), task, dtype="float32")
    assert np.abs(scores - z).max() < 1e-5


def test_unlabelled_pairs_are_judged_by_the_teacher_alone(tmp_path, backbone, monkeypatch):
    """Those that train or validation hold in either order are left out, and their labels are not used."""
    given = save_teacher(tmp_path / "teacher", backbone, ("score",))
    learned, held_out = hold_out(make_pairs(BINARY, 80, 1), QUICK.seed)
    known = [*learned.tuples()[:3], *held_out.tuples()[:2]]
    new = [("a is a new sentence", "b is a new sentence"), ("c nor this", "d nor this")]
    pairs = [*((b, a) for a, b in known), *new]
    unlabelled = Pairs([a for a, _ in pairs], [b for _, b in pairs], np.ones(len(pairs), np.float32))
    recipe = recipe_of(backbone, teacher=given)
    report = make(BINARY, tmp_path / "s", recipe, unlabelled=unlabelled)
    check_folder(tmp_path / "s", BINARY, report)
    recorded = []
    with monkeypatch.context() as patch:
        patch.setattr(
            pipeline.student,
            "distill",
            lambda student, *args, **k: recorded.append((args[0], k["teacher_scores"])) or stop(),
        )
        with pytest.raises(KeyboardInterrupt):
            make(BINARY, tmp_path / "again", recipe, unlabelled=unlabelled)
    train, scores = recorded[0]
    n = len(learned)
    assert train.tuples() == [*learned.tuples(), *new] and len(scores) == n + 2
    assert np.array_equal(train.label[:n], learned.label)
    assert train.labelled[:n].all() and not train.labelled[n:].any()
    z = teacher_scores(CrossEncoder(given, device="cpu"), train.tuples(), BINARY, dtype="float32")
    assert np.abs(scores - z).max() < 1e-5
    with pytest.raises(MismatchError, match=r"data\.unlabelled was"):
        make(BINARY, tmp_path / "s", recipe, unlabelled=unlabelled.select([5]))


def test_pairs_of_the_report_are_not_learned_from(tmp_path, backbone, monkeypatch, caplog):
    """Neither among the unlabelled pairs, in either order, nor among those recombined."""
    given = save_teacher(tmp_path / "teacher", backbone, ("score",))
    test = make_pairs(BINARY, 24, 2)
    shared = [(b, a) if i % 2 else (a, b) for i, (a, b) in enumerate(test.tuples()[:6])]
    new = [("a is a new sentence", "b is a new sentence")]
    unlabelled = Pairs([a for a, _ in [*shared, *new]], [b for _, b in [*shared, *new]], source="more.csv")
    recorded = []
    monkeypatch.setattr(pipeline.student, "distill", lambda student, *args, **k: recorded.append(args[0]) or stop())
    monkeypatch.setattr(pipeline.student, "recombine", lambda train, *args: test.select([7, 8]))
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING, "dse"):
        make(BINARY, tmp_path / "s", recipe_of(backbone, teacher=given, extra_pairs=0.1), unlabelled=unlabelled)
    assert "more.csv: 6 of 7 pairs are left out, because the report is on them" in caplog.text
    learned, _ = hold_out(make_pairs(BINARY, 80, 1), QUICK.seed)
    assert recorded[0].tuples() == [*learned.tuples(), *new]


def test_training_pairs_in_the_report_are_spoken_of(tmp_path, backbone, monkeypatch, caplog):
    monkeypatch.setattr(pipeline.student, "distill", stop)
    train = make_pairs(BINARY, 40, 1)
    turned = Pairs(train.sentence2[:5], train.sentence1[:5], train.label[:5], "test.csv")
    recipe = recipe_of(backbone, distillation=Distillation(alpha=0.0))
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING, "dse"):
        make_student(train, turned, BINARY, recipe, tmp_path / "s")
    assert "test.csv: 5 of 5 pairs reported on are training pairs too" in caplog.text


def test_unlabelled_pairs_need_one_teacher(tmp_path, backbone):
    with pytest.raises(ValueError, match="leave out folds"):
        make(BINARY, tmp_path / "s", recipe_of(backbone, folds=2), unlabelled=make_pairs(BINARY, 8))


def test_invalid_extra_pairs(backbone):
    with pytest.raises(ValueError, match="extra_pairs is -1"):
        recipe_of(backbone, extra_pairs=-1)
    with pytest.raises(ValueError, match="leave out folds"):
        recipe_of(backbone, extra_pairs=1.0, folds=2)


def test_validation_given(tmp_path, backbone, monkeypatch):
    recorded = {}
    monkeypatch.setattr(
        pipeline.student, "distill", lambda student, train, *a, **k: recorded.update(k, train=train) or stop()
    )
    validation = make_pairs(BINARY, 20, 9)
    with pytest.raises(KeyboardInterrupt):
        make(
            BINARY,
            tmp_path / "s",
            recipe_of(backbone, distillation=Distillation(alpha=0.0)),
            validation=validation,
        )
    assert recorded["validation"] is validation
    assert recorded["train"].tuples() == make_pairs(BINARY, 80, 1).tuples()


# ----------------------------------------------------------------------------------------- one folder, one purpose


def other_label(pairs: Pairs) -> Pairs:
    label = pairs.label.copy()
    label[5] = 1 - label[5]
    return replace(pairs, label=label)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"distillation": Distillation(alpha=0.7)}, r"recipe.distillation.alpha was 0.5, now 0.7"),
        ({"training": replace(QUICK, seed=4)}, r"recipe.training.seed was 3, now 4"),
        ({"teacher_training": replace(QUICK, epochs=9)}, r"recipe.teacher_training.epochs was 1, now 9"),
        ({"student": SMALL | {"num_layers": 2}}, r"recipe.student.num_layers was None, now 2"),
        ({"teacher": "elsewhere"}, r"recipe.teacher was None, now 'elsewhere'"),
        ({"init": "teacher"}, r"recipe.init was 'backbone', now 'teacher'"),
        ({"folds": 3}, r"recipe.folds was 0, now 3"),
        ({"extra_pairs": 2.0}, r"recipe.extra_pairs was 0.0, now 2.0"),
    ],
)
def test_other_settings_in_the_same_folder(binary, monkeypatch, changes, named):
    output, recipe, _ = binary
    for module, name in [
        (pipeline.teacher, "load_teacher"),
        (pipeline.teacher, "fit_teacher"),
        (pipeline.student, "distill"),
        (pipeline.student, "DSE"),
    ]:
        monkeypatch.setattr(module, name, fail)
    with pytest.raises(MismatchError, match=rf"holds a run with other settings \(.*{named}"):
        make(BINARY, output, replace(recipe, **changes))


@pytest.mark.parametrize(
    "change", [other_label, lambda pairs: pairs.select(range(70)), lambda pairs: pairs.select(range(80)[::-1])]
)
def test_other_data_in_the_same_folder(binary, monkeypatch, change):
    output, recipe, _ = binary
    monkeypatch.setattr(pipeline.teacher, "load_teacher", fail)
    with pytest.raises(MismatchError, match=r"data\.(train|validation) was '\d+ rows \w+', now"):
        make_student(change(make_pairs(BINARY, 80, 1)), make_pairs(BINARY, 24, 2), BINARY, recipe, output)


def test_another_task_in_the_same_folder(binary, monkeypatch):
    output, recipe, _ = binary
    monkeypatch.setattr(pipeline.teacher, "load_teacher", fail)
    with pytest.raises(MismatchError, match=r"task.name was 'same-subject', now 'other'"):
        make(replace(BINARY, name="other"), output, recipe)


def test_other_rows_to_report_on_are_no_other_run(binary):
    output, recipe, report = binary
    other = make_student(make_pairs(BINARY, 80, 1), make_pairs(BINARY, 12, 8), BINARY, recipe, output)
    assert other.rows == 12 and other.fingerprints == report.fingerprints


# --------------------------------------------------------------------------------------------------- interruptions


def at_batch(number: int):
    """A collator that stops everything at its n-th batch."""
    collate, count = distillation.DistillationCollator.__call__, 0

    def counting(self, rows):
        nonlocal count
        count += 1
        return stop() if count == number else collate(self, rows)

    return counting


@pytest.mark.parametrize(
    ("where", "name", "made"),
    [
        (labelling, "teacher_scores", lambda: stop),  # the teacher is finished, none of its scores
        (pipeline.student, "distill", lambda: stop),  # its scores too
        (distillation.DistillationCollator, "__call__", lambda: at_batch(4)),  # a checkpoint too
        (distillation, "best_threshold", lambda: stop),  # trained to the end, not saved
    ],
    ids=["labelling", "distilling", "training", "saving"],
)
def test_stopped_and_run_again_gives_the_same_student(binary, tmp_path, monkeypatch, where, name, made):
    output, recipe, report = binary
    with monkeypatch.context() as patch:
        patch.setattr(where, name, made())
        with pytest.raises(KeyboardInterrupt):
            make(BINARY, tmp_path / "s", recipe)
    assert not (tmp_path / "s" / "training.json").exists()
    assert (tmp_path / "s" / "checkpoints").exists() == (name in ("__call__", "best_threshold"))
    monkeypatch.setattr(pipeline.teacher, "fit_teacher", fail)
    again = make(BINARY, tmp_path / "s", recipe)
    student = check_folder(tmp_path / "s", BINARY, again)
    assert difference(tensors(DSE(str(output))), tensors(student)) == 0.0
    assert student.info == DSE(str(output)).info
    assert again.metrics == report.metrics


@pytest.mark.parametrize("state", ["finished", "checkpoint"])
def test_a_teacher_that_was_trained_anew_in_the_same_place(tmp_path, backbone, monkeypatch, state):
    given, output = save_teacher(tmp_path / "teacher", backbone, ("score",)), tmp_path / "s"
    recipe = recipe_of(backbone, teacher=given)
    with monkeypatch.context() as patch:
        if state == "checkpoint":
            patch.setattr(distillation.DistillationCollator, "__call__", at_batch(4))
        with pytest.raises(KeyboardInterrupt) if state == "checkpoint" else contextlib.nullcontext():
            make(BINARY, output, recipe)
    other = CrossEncoder(given, device="cpu")
    with torch.no_grad():
        other.model.classifier.bias += 1
    other.save_pretrained(given)
    with pytest.raises(MismatchError, match=rf"{output} holds a student that learns from another teacher"):
        make(BINARY, output, recipe)
    with torch.no_grad():
        other.model.classifier.bias -= 1
    other.save_pretrained(given)
    make(BINARY, output, recipe)


def test_stopped_while_the_teacher_was_trained(binary, tmp_path, monkeypatch):
    """Its checkpoint is used, and the folder of an unfinished teacher is not taken for a teacher."""
    from sentence_transformers import CrossEncoderTrainer

    output, recipe, _ = binary
    step, steps = CrossEncoderTrainer.training_step, []

    def counting(self, *args, **kwargs):
        steps.append(self.state.global_step)
        return stop() if len(steps) == 4 else step(self, *args, **kwargs)

    monkeypatch.setattr(CrossEncoderTrainer, "training_step", counting)
    with pytest.raises(KeyboardInterrupt):
        make(BINARY, tmp_path / "s", recipe)
    make(BINARY, tmp_path / "s", recipe)
    assert steps == [0, 1, 2, 3, 2, 3, 4]  # 72 pairs by 16: 5 steps, a checkpoint after 2
    one, other = (CrossEncoder(str(folder / "teacher"), device="cpu") for folder in (output, tmp_path / "s"))
    assert difference(tensors(one), tensors(other)) == 0.0
    assert difference(tensors(DSE(str(output))), tensors(DSE(str(tmp_path / "s")))) == 0.0


def test_stopped_while_reporting(binary, tmp_path, monkeypatch):
    """Also where the checkpoints were not deleted any more."""
    output, recipe, report = binary
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "shutil", SimpleNamespace(rmtree=stop))
        with pytest.raises(KeyboardInterrupt):
            make(BINARY, tmp_path / "s", replace(recipe, teacher=str(output / "teacher")))
    assert (tmp_path / "s" / "training.json").exists() and (tmp_path / "s" / "checkpoints").exists()
    monkeypatch.setattr(pipeline.student, "distill", fail)
    again = make(BINARY, tmp_path / "s", replace(recipe, teacher=str(output / "teacher")))
    assert again.metrics == report.metrics
    check_folder(tmp_path / "s", BINARY, again)
