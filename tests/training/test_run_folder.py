"""A folder holds one run: whatever resumes refuses another run's folder, and anything that is no run, before work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import DSE
from dse.data.pairs import Pairs
from dse.errors import DSEError, MismatchError, MissingModelError, refuse_unwritable
from dse.pipeline import Recipe, make_student, make_teacher
from dse.scale.shards import claimed
from dse.teacher import cross_fit, fit_teacher
from dse.teacher.bootstrap import bootstrap
from dse.training.distill import distill
from dse.training.losses import Distillation
from dse.training.run_folder import claim_folder
from dse.training.settings import Training
from tests.conftest import build_backbone
from tests.conftest import make_student as untrained
from tests.samples import BINARY, REGRESSION, difference, make_pairs, make_scores, tensors

QUICK = Training(epochs=1, batch_size=8, dtype="float32", head_steps=0)
OTHER = replace(QUICK, learning_rate=7e-4)
TRAIN, TEST = make_pairs(BINARY, 24, 1), make_pairs(BINARY, 12, 2)
TURNED = replace(TRAIN, label=1 - TRAIN.label)  # another label for every pair


class Stop(Exception):
    """Stands for a kill at the first step."""


@pytest.fixture
def stopped(monkeypatch):
    """Whatever would train stops instead."""

    def stop(*args, **kwargs):
        raise Stop

    for module in ("dse.training.distill", "dse.teacher.fit"):
        monkeypatch.setattr(f"{module}.run", stop)


@pytest.fixture(scope="module")
def other_backbone(tmp_path_factory):
    """Of the same shape, with other weights."""
    folder = build_backbone("bert", tmp_path_factory.mktemp("other") / "bert")
    student = DSE.from_backbone(folder)
    with torch.no_grad():
        for weight in student.transformers_model.parameters():
            weight.mul_(0.9)
    student.transformers_model.save_pretrained(folder)
    return folder


Call = Callable[..., object]


def student_by_distill(output, backbone, train=TRAIN, training=QUICK, seed=0, scores=None, **kwargs):
    student = untrained(backbone, seed=seed)
    scores = make_scores(train, BINARY) if scores is None else scores
    return distill(student, train, BINARY, output, teacher_scores=scores, training=training, **kwargs)


def teacher_by_fit(output, backbone, train=TRAIN, training=QUICK, task=BINARY, **kwargs):
    return fit_teacher(backbone, train, task, output, training=training, device="cpu", **kwargs)


def teacher_after_bootstrap(output, backbone, train=TRAIN, training=QUICK, bootstrap_pairs=8, **kwargs):
    settings = {"training": training, "bootstrap_pairs": bootstrap_pairs, "pooling": "segments"}
    return make_teacher(backbone, train, BINARY, output, **settings, **kwargs)


def scores_by_folds(output, backbone, train=TRAIN, training=QUICK, folds=2, **kwargs):
    file = output.with_name(output.name.removesuffix(".folds"))
    return cross_fit(backbone, train, BINARY, file, folds=folds, training=training, device="cpu", **kwargs)


def bootstrapped(output, backbone, train=TRAIN, training=QUICK, count=8):
    return bootstrap(backbone, train, output, count, training)


def student_by_recipe(output, backbone, train=TRAIN, training=QUICK, **recipe):
    made = Recipe(backbone, training=training, teacher_training=QUICK, **recipe)
    return make_student(train, TEST, BINARY, made, output)


PROMPTED = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
CASES = [
    (student_by_distill, {"train": TURNED}, "data.train"),
    (student_by_distill, {"training": OTHER}, "training.learning_rate"),
    (student_by_distill, {"training": replace(QUICK, seed=1)}, "training.seed"),
    (student_by_distill, {"scores": make_scores(TRAIN, BINARY, seed=9)}, "data.scores"),
    (student_by_distill, {"validation": TEST}, "data.validation"),
    (student_by_distill, {"distillation": Distillation(alpha=0.9)}, "loss.alpha"),
    (teacher_by_fit, {"train": TURNED}, "data.train"),
    (teacher_by_fit, {"training": OTHER}, "training.learning_rate"),
    (teacher_by_fit, {"validation": TEST}, "data.validation"),
    (teacher_by_fit, {"pooling": "segments"}, "pooling"),
    (teacher_by_fit, {"train": make_pairs(REGRESSION, 24, 1), "task": REGRESSION}, "task.kind"),
    (teacher_by_fit, PROMPTED, "start"),
    (teacher_by_fit, {"max_seq_length": 16}, "start"),
    (teacher_after_bootstrap, {"bootstrap_pairs": 9}, "bootstrap_pairs"),
    (teacher_after_bootstrap, {"train": TURNED}, "data.train"),
    (teacher_after_bootstrap, {"max_seq_length": 16}, "max_seq_length"),
    (scores_by_folds, {"folds": 3}, "folds"),
    (scores_by_folds, {"train": TURNED}, "data.train"),
    (scores_by_folds, {"training": OTHER}, "training.learning_rate"),
    (scores_by_folds, {"pooling": "segments"}, "settings.pooling"),
    (scores_by_folds, PROMPTED, r"further\.default_prompt_name"),
    (teacher_after_bootstrap, PROMPTED, r"further\.default_prompt_name"),
    (bootstrapped, {"count": 9}, "count"),
    (bootstrapped, {"train": TRAIN.select(range(20))}, "data.train"),
    (student_by_recipe, {"train": TURNED}, "data.train"),
    (student_by_recipe, {"extra_pairs": 0.5}, "recipe.extra_pairs"),
]
FUNCTIONS = list(dict.fromkeys(case[0] for case in CASES))


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "scores.parquet.folds"  # the name that the folds need; any other suits the rest


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("call", "changed", "name"), CASES, ids=[f"{c.__name__}-{n}" for c, _, n in CASES])
def test_another_run_is_refused_before_any_work(tmp_path, backbone, stopped, call: Call, changed, name):
    output = folder_of(tmp_path)
    with pytest.raises(Stop):
        call(output, backbone)
    before = contents(tmp_path)
    with pytest.raises(MismatchError, match=rf"{output} holds a run with other settings \(.*{name} was"):
        call(output, backbone, **changed)
    assert contents(tmp_path) == before
    with pytest.raises(Stop):  # the same run goes on
        call(output, backbone)


@pytest.mark.parametrize("call", [student_by_distill, teacher_by_fit])
def test_another_backbone_of_the_same_shape_is_another_run(tmp_path, backbone, other_backbone, stopped, call: Call):
    with pytest.raises(Stop):
        call(tmp_path / "run", backbone)
    with pytest.raises(MismatchError, match="start"):
        call(tmp_path / "run", other_backbone)


def test_a_head_at_random_is_no_other_run(tmp_path, backbone, stopped):
    for seed in (0, 1):
        with pytest.raises(Stop):
            student_by_distill(tmp_path / "run", backbone, seed=seed)


@pytest.mark.parametrize("call", FUNCTIONS)
@pytest.mark.parametrize("holding", ["README.md", "run.json", "model", "checkpoints", "a file"])
def test_what_is_no_run_is_refused_and_left_alone(tmp_path, backbone, stopped, call: Call, holding):
    output = folder_of(tmp_path)
    if holding == "a file":
        output.write_text("mine")
    elif holding == "checkpoints":  # of an unknown run
        (output / "checkpoints" / "checkpoint-2").mkdir(parents=True)
        (output / "checkpoints" / "checkpoint-2" / "trainer_state.json").write_text("{}")
    elif holding == "model":  # a finished one, of which nobody knows how it was made
        untrained(backbone).save(str(output))
        (output / "training.json").write_text('{"log": []}')
    else:
        output.mkdir()
        (output / holding).write_text('{"mine": 1}')
    before = contents(tmp_path)
    with pytest.raises(MismatchError, match=str(output)):
        call(output, backbone)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("call", FUNCTIONS)
def test_hidden_files_are_no_concern_of_a_run(tmp_path, backbone, stopped, call: Call):
    output = folder_of(tmp_path)
    (output / ".git").mkdir(parents=True)
    (output / ".gitignore").write_text("*.safetensors")
    with pytest.raises(Stop):
        call(output, backbone)
    assert (output / ".gitignore").read_text() == "*.safetensors"


@pytest.mark.parametrize("holding", ["table", "folder"])
def test_a_file_of_scores_that_is_none_is_refused_before_a_teacher_is_trained(tmp_path, backbone, stopped, holding):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "scores.parquet"
    table = pa.table({"sentence1": ["mine"]})
    if holding == "folder":
        file.mkdir()
    pq.write_table(table, file / "part.parquet" if holding == "folder" else file)
    before = contents(tmp_path)
    recipe = Recipe(backbone, training=QUICK, teacher_training=QUICK)
    for folds in (0, 2):
        with pytest.raises(DSEError, match=r"scores\.parquet"):
            make_student(TRAIN, TEST, BINARY, replace(recipe, folds=folds), tmp_path / f"s{folds}", scores=file)
    with pytest.raises(DSEError, match=r"scores\.parquet"):
        cross_fit(backbone, TRAIN, BINARY, file, folds=2, training=QUICK)
    assert {name: data for name, data in contents(tmp_path).items() if not name.startswith("s0/")} | before
    assert pq.read_table(file).column_names == ["sentence1"]


def test_folds_of_other_settings_are_refused_before_a_teacher_is_trained(tmp_path, backbone, stopped):
    file = tmp_path / "scores.parquet"
    with pytest.raises(Stop):
        cross_fit(backbone, TRAIN, BINARY, file, folds=2, training=QUICK)
    recipe = Recipe(backbone, folds=3, training=QUICK, teacher_training=QUICK)
    with pytest.raises(MismatchError, match=r"scores\.parquet\.folds holds a run with other settings .*folds was 2"):
        make_student(TRAIN, TEST, BINARY, recipe, tmp_path / "s", scores=file)
    assert not (tmp_path / "s" / "teacher").exists()


@pytest.mark.parametrize("call", [student_by_distill, teacher_by_fit])
def test_a_finished_run_is_taken_as_it_is(tmp_path, backbone, call: Call, monkeypatch):
    first = tensors(call(tmp_path / "run", backbone))
    before = contents(tmp_path)
    for module in ("dse.training.distill", "dse.teacher.fit"):
        monkeypatch.setattr(f"{module}.run", lambda *args: pytest.fail("trained again"))
    assert difference(tensors(call(tmp_path / "run", backbone)), first) == 0.0
    assert contents(tmp_path) == before
    with pytest.raises(MismatchError, match="learning_rate"):
        call(tmp_path / "run", backbone, training=OTHER)
    assert contents(tmp_path) == before


VALUES = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text(), max_size=3)
RUNS = st.fixed_dictionaries({"seed": VALUES, "data": st.fixed_dictionaries({"train": VALUES, "test": VALUES})})


@settings(deadline=None, max_examples=50)
@given(RUNS, RUNS)
def test_a_folder_is_claimed_by_equal_settings_only(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("claims") / "run"
    claim_folder(folder, one)
    claim_folder(folder, one)
    if one == other:
        claim_folder(folder, other)
    else:
        with pytest.raises(MismatchError, match=r"(seed|data\.train|data\.test) was"):
            claim_folder(folder, other)
    assert json.loads((folder / "run.json").read_text()) == one


@pytest.mark.parametrize("exists", [False, True])
def test_a_refused_teacher_leaves_the_folder_as_it_was(tmp_path, backbone, encoder, exists):
    output = tmp_path / "run"
    if exists:
        output.mkdir()
    for wrong, message in ((backbone, "no trained classifier"), (encoder, "is a sentence encoder")):
        with pytest.raises(DSEError, match=message):
            make_student(make_pairs(BINARY, 30), make_pairs(BINARY, 4), BINARY, Recipe(backbone, teacher=wrong), output)
        assert output.exists() == exists and not (exists and list(output.iterdir()))


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_backbone_that_is_not_there_leaves_the_folder_as_it_was(tmp_path, exists, alpha):
    output = tmp_path / "run"
    if exists:
        output.mkdir()
    recipe = Recipe("some/where", distillation=Distillation(alpha=alpha))
    with pytest.raises(MissingModelError, match="There is no encoder at some/where"):
        make_student(make_pairs(BINARY, 30), make_pairs(BINARY, 4), BINARY, recipe, output)
    assert output.exists() == exists and not (exists and list(output.iterdir()))


def test_pairs_that_are_never_equal_have_other_hashes():
    from dse.training.run_folder import data_hashes

    pairs = Pairs(["a", "b"], ["c", "d"], np.array([0.0, 1.0], np.float32))
    variants = [
        pairs,
        replace(pairs, label=None, labelled=None),
        replace(pairs, label=1 - pairs.label),
        replace(pairs, labelled=np.array([True, False])),
        replace(pairs, sentence1=pairs.sentence2, sentence2=pairs.sentence1),
        pairs.select([1, 0]),
        pairs.select([0]),
    ]
    assert len({data_hashes(train=variant)["train"] for variant in variants}) == len(variants)


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(tmp_path, monkeypatch):
    """Root may write everywhere, so the answer of the system is replaced."""
    claim_folder(tmp_path / "done", {"seed": 1})
    monkeypatch.setattr("dse.errors.os.access", lambda path, mode: False)
    claim_folder(tmp_path / "done", {"seed": 1})  # whose model is only read
    for call in (
        lambda: claim_folder(tmp_path / "new", {"seed": 1}),
        lambda: refuse_unwritable(tmp_path / "a" / "b"),
        lambda: claimed(tmp_path / "shards", {"seed": 1}).__enter__(),
    ):
        with pytest.raises(MismatchError, match=r"cannot be written to; change its permissions or choose another"):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done"]
