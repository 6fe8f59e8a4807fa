"""Tasks: the registry, targets, and the label names of a teacher."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest

from dse.data.tasks import TASKS, Task, align_labels, check_meaning, get_task, is_missing
from dse.errors import DSEError, MismatchError

BINARY = Task("own", "binary", labels=("no", "yes"))
NAN = float("nan")


# --- the registry -----------------------------------------------------------------------------------------------


def test_registry_has_the_promised_tasks():
    assert list(TASKS) == ["mrpc", "qqp", "qnli", "stsb", "mnli", "snli", "allnli", "sick", "sick-e"]
    assert all(name == task.name for name, task in TASKS.items())


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(DSEError, match=r"no task 'mprc'; choose one of mrpc, qqp, .*sick-e"):
        get_task("mprc")


@pytest.mark.parametrize(
    ("name", "labels", "positive"),
    [
        ("mrpc", ("not_equivalent", "equivalent"), "equivalent"),
        ("qqp", ("not_duplicate", "duplicate"), "duplicate"),
        ("qnli", ("entailment", "not_entailment"), "entailment"),
        ("mnli", ("entailment", "neutral", "contradiction"), None),
        ("sick-e", ("entailment", "neutral", "contradiction"), None),
        ("stsb", (), None),
    ],
)
def test_labels_are_in_glue_order(name, labels, positive):
    assert (get_task(name).labels, get_task(name).positive) == (labels, positive)


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("mrpc", ("f1", "accuracy", "average_precision")),
        ("qqp", ("f1", "accuracy", "average_precision")),
        ("qnli", ("accuracy", "average_precision")),
        ("mnli", ("accuracy",)),
        ("stsb", ("spearman", "pearson")),
        ("sick", ("spearman", "pearson")),
    ],
)
def test_main_metric_comes_first(name, metrics):
    assert get_task(name).metrics == metrics
    assert get_task(name).main_metric == metrics[0]


def test_symmetry_and_width():
    assert {name for name, task in TASKS.items() if task.symmetric} == {"mrpc", "qqp", "stsb", "sick"}
    assert {task.num_labels for task in TASKS.values() if task.kind == "multiclass"} == {3}
    assert {task.num_labels for task in TASKS.values() if task.kind != "multiclass"} == {1}


def test_splits_join_files_and_hub_sources():
    allnli = get_task("allnli")
    assert allnli.splits["train"] == ("mnli/train", "snli/train")
    assert [(h.path, h.config, h.split) for h in allnli.hub["dev"]] == [
        ("stanfordnlp/snli", None, "validation"),
        ("nyu-mll/glue", "mnli", "validation_matched"),
    ]
    assert set(get_task("mnli").splits) == {"train", "dev", "dev_mismatched"}
    assert all(set(task.hub) <= set(task.splits) for task in TASKS.values())


# --- tasks of one's own -----------------------------------------------------------------------------------------


def test_defaults_of_a_binary_task():
    assert (BINARY.positive, BINARY.metrics) == ("yes", ("accuracy", "f1", "average_precision"))
    assert Task("own", "binary").labels == ("0", "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "ranking"}, "kind 'ranking' is unknown; use one of binary"),
        ({"kind": "regression"}, "needs label_range"),
        ({"kind": "regression", "label_range": (5.0, 1.0)}, "needs label_range"),
        ({"kind": "regression", "label_range": (0.0, 1.0), "labels": ("a", "b")}, "cannot have labels"),
        ({"kind": "multiclass"}, "needs its class names"),
        ({"kind": "binary", "labels": ("a", "b", "c")}, "needs two labels"),
        ({"kind": "binary", "labels": ("a", "b"), "positive": "c"}, "needs two labels"),
        ({"kind": "multiclass", "labels": ("not_it", "Not It", "it")}, "differ in case or punctuation"),
        (
            {"kind": "multiclass", "labels": ("a", "b", "c"), "metrics": ("f1",)},
            "cannot have the metric 'f1'",
        ),
    ],
)
def test_contradictory_tasks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Task("own", **arguments)


def test_a_task_survives_pickle_hash_and_json():
    for task in (*TASKS.values(), BINARY):
        task.target(task.labels[0] if task.labels else 1.0)  # fills the cache that must not get in the way
        assert pickle.loads(pickle.dumps(task)) == task
        assert hash(task) == hash(pickle.loads(pickle.dumps(task)))
        restored = Task(**json.loads(json.dumps(task.to_dict())))
        assert restored.to_dict() == task.to_dict()
        assert restored.labels == task.labels


# --- targets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "label", "target"),
    [
        ("mrpc", 1, 1.0),
        ("mrpc", "0", 0.0),
        ("mrpc", 1.0, 1.0),
        ("mrpc", "1.0", 1.0),
        ("mrpc", "Not Equivalent", 0.0),
        ("mrpc", True, 1.0),
        ("mrpc", "False", 0.0),
        ("mrpc", np.int64(1), 1.0),
        ("qnli", 0, 1.0),
        ("qnli", "not-entailment", 0.0),
        ("qnli", "non_entailment", 0.0),
        ("qnli", True, 1.0),  # true is the positive class, whatever its id
        ("mnli", "contradiction", 2),
        ("mnli", " ENTAILMENT ", 0),
        ("mnli", "contradict", 2),
        ("mnli", 1, 1),
        ("stsb", "4.25", 4.25),
        ("stsb", 0, 0.0),
        ("stsb", 5.0, 5.0),
    ],
)
def test_target(task, label, target):
    result = get_task(task).target(label)
    assert result == target
    assert type(result) is type(target)


@pytest.mark.parametrize(
    ("task", "label", "message"),
    [
        ("mrpc", None, "the label is missing"),
        ("mrpc", "", "the label is missing"),
        ("mrpc", NAN, "the label is missing"),
        ("stsb", NAN, "the label is missing"),
        ("mrpc", 2, r"unknown label 2 \(known: not_equivalent, equivalent, or ids from 0\)"),
        ("mrpc", -1, "unknown label -1"),
        ("mrpc", 0.5, "unknown label 0.5"),
        ("mnli", True, "unknown label True"),
        ("mnli", "paraphrase", "unknown label 'paraphrase'"),
        ("mnli", ["neutral"], "unknown label"),
        ("mnli", "x" * 10_000, r"unknown label '.{1,40}' "),
        ("stsb", 5.01, "label 5.01 is outside 0 to 5"),
        ("stsb", -1, "label -1 is outside 0 to 5"),
        ("stsb", "high", "label 'high' is not a number"),
        ("stsb", "nan", "not a number"),
        ("stsb", "inf", "outside"),
        ("stsb", True, "not a number"),
        ("stsb", [3.0], "not a number"),
        ("stsb", 10**400, "not a number"),
        ("sick", 0.5, "outside 1 to 5"),
    ],
)
def test_bad_labels(task, label, message):
    with pytest.raises(ValueError, match=message):
        get_task(task).target(label)


def test_names_win_over_ids():
    swapped = Task("own", "multiclass", labels=("1", "0", "x"))
    assert [swapped.target(label) for label in ("1", 0, "x", 2)] == [0, 1, 2, 2]
    signed = Task("own", "binary", labels=("-1", "1"))
    assert [signed.target(label) for label in (-1, 1, "-1", -1.0)] == [0.0, 1.0, 0.0, 0.0]
    assert not Task("own", "multiclass", labels=("-1", "0", "1")).has_no_gold(-1)


def test_no_gold_label_is_a_mark_of_classes_only():
    assert all(get_task(name).has_no_gold(label) for name in ("snli", "mnli") for label in (-1, "-1", "-"))
    assert get_task("mrpc").has_no_gold("-")
    assert not get_task("mrpc").has_no_gold(-1)
    assert not any(get_task("stsb").has_no_gold(label) for label in (-1, "-"))


def test_is_missing():
    assert all(map(is_missing, (None, NAN, "", " \t", np.float64("nan"))))
    assert not any(map(is_missing, (0, False, "-", 0.0, "nan?")))


# --- label names of a teacher -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_align_labels_finds_every_permutation(order):
    task = get_task("mnli")
    model_labels = [task.labels[i].upper() for i in order]
    permutation = align_labels(model_labels, task)
    assert [model_labels[p].lower() for p in permutation] == list(task.labels)


@pytest.mark.parametrize(
    ("task", "model_labels", "permutation"),
    [
        ("qnli", ["Non-Entailment", "entail"], [1, 0]),
        ("qnli", ["entailment", "not entailment"], [0, 1]),
        ("qqp", ["DUPLICATE", "not-duplicate"], [1, 0]),
        ("mnli", ["contradict", "entail", "Neutral"], [1, 2, 0]),
    ],
)
def test_align_labels_ignores_spelling(task, model_labels, permutation):
    assert align_labels(model_labels, get_task(task)) == permutation


@pytest.mark.parametrize(
    ("task", "model_labels"),
    [
        ("mrpc", ["LABEL_0", "LABEL_1"]),
        ("mrpc", ["0", "1"]),
        ("mrpc", ["LABEL_0"]),
        ("mrpc", ["duplicate", "not_duplicate"]),
        ("mnli", ["entailment", "not_entailment"]),
        ("mnli", ["entailment", "neutral", "neutral"]),
        ("mnli", []),
    ],
)
def test_align_labels_refuses_to_guess(task, model_labels):
    with pytest.raises(MismatchError) as caught:
        align_labels(model_labels, get_task(task))
    message = str(caught.value)
    assert "--teacher-labels" in message
    assert ", ".join(get_task(task).labels) in message
    assert ", ".join(model_labels) in message


@pytest.mark.parametrize("label", ["1_0", "0_1", b"1", [1], {}])
def test_a_score_that_only_python_reads_as_a_number_is_refused(label):
    with pytest.raises(ValueError, match="is not a number"):
        get_task("stsb").target(label)


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        (("binary", ("no", "yes"), None), ("binary", ("Yes", "No"), None), "give --labels no,yes$"),
        (("binary", ("yes", "no"), "yes"), ("binary", ("yes", "no"), None), "give --labels yes,no --positive yes$"),
        (("multiclass", ("a", "b", "c"), None), ("multiclass", ("b", "a", "c"), None), "give --labels a,b,c$"),
        (("binary", ("no", "yes"), None), ("binary", ("yes", "no"), "yes"), None),  # the same class, in another order
        (("binary", ("no", "yes"), None), ("binary", ("0", "1"), None), None),  # other names say nothing
        (("binary", ("no", "yes"), None), ("multiclass", ("yes", "no"), None), None),
    ],
)
def test_labels_that_mean_another_class_are_refused(own, other, message):
    trained, asked = (Task("t", kind, labels, positive) for kind, labels, positive in (own, other))
    if message is None:
        check_meaning(asked, trained.to_dict())
    else:
        with pytest.raises(MismatchError, match=message):
            check_meaning(asked, trained.to_dict())
    check_meaning(asked, None)
