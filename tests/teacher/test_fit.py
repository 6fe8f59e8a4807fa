"""Teachers: fine-tuned here or taken ready, their outputs matched to the task by name, their raw scores."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.special import expit
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task, get_task
from dse.encoding.fast_copy import FastCopy
from dse.errors import BadDataError, MismatchError
from dse.teacher import check_outputs, fit, fit_teacher, load_teacher, segments, teacher_scores
from dse.teacher.segments import segment_teacher
from dse.training.settings import Training
from tests.samples import BINARY, GRADE, NLI, REGRESSION, difference, make_pairs, tensors

RAW = torch.nn.Identity()
ANSWERS = Task("answers", "binary", labels=("entailment", "not_entailment"), positive="entailment")


def make_teacher(backbone: str, *names: str, num_labels: int | None = None) -> CrossEncoder:
    """A random cross-encoder whose outputs have these names."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        teacher = CrossEncoder(backbone, num_labels=num_labels or len(names), device="cpu")
        teacher.model.classifier.weight *= 5  # scores that differ more than rounding does
    if names:
        teacher.config.id2label = dict(enumerate(names))
        teacher.config.label2id = {name: i for i, name in enumerate(names)}
    return teacher


def rows_read(teacher: CrossEncoder) -> list[int]:
    """A list that grows by the number of rows of each batch the transformer reads."""
    rows: list[int] = []
    teacher[0].register_forward_pre_hook(lambda module, args: rows.append(len(args[0]["input_ids"])))
    return rows


# ------------------------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize("num_labels", [1, 2, 3])
def test_scores_are_those_of_cross_encoder(backbone, pairs, num_labels):
    teacher = make_teacher(backbone, num_labels=num_labels)
    expected = teacher.predict(pairs, activation_fn=RAW, convert_to_numpy=True).reshape(len(pairs), num_labels)
    assert expected.std(axis=0).min() > 0.05  # rows differ
    scores = teacher_scores(teacher, pairs, dtype="float32", batch_size=2)
    assert scores.dtype == np.float32 and scores.shape == (len(pairs), num_labels)
    assert np.abs(scores - expected).max() < 1e-5
    rough = teacher_scores(teacher, pairs, dtype="bfloat16")
    assert 0 < np.abs(rough - expected).max() < 0.05 * np.abs(expected).max()


def test_one_output_never_goes_through_a_sigmoid(backbone, pairs):
    teacher = make_teacher(backbone, num_labels=1)
    with torch.no_grad():
        teacher.model.classifier.bias += 10
    assert isinstance(teacher.activation_fn, torch.nn.Sigmoid)
    assert teacher_scores(teacher, pairs, BINARY, dtype="float32").max() > 1


@pytest.mark.parametrize("names", [("entailment", "not_entailment"), ("NOT-ENTAILMENT", "Entailment")])
def test_two_outputs_become_one_logit_by_name(backbone, pairs, names):
    teacher = make_teacher(backbone, *names)
    z = teacher.predict(pairs, activation_fn=RAW)
    positive = [name.lower() for name in names].index("entailment")
    expected = z[:, positive] - z[:, 1 - positive]
    scores = teacher_scores(teacher, pairs, ANSWERS, dtype="float32")
    assert scores.shape == (len(pairs), 1)
    assert np.abs(scores[:, 0] - expected).max() < 1e-5
    other = Task("other", "binary", labels=("entailment", "not_entailment"), positive="not_entailment")
    assert np.abs(teacher_scores(teacher, pairs, other, dtype="float32") + scores).max() < 1e-5


def test_classes_come_in_the_order_of_the_task(backbone, pairs):
    teacher = make_teacher(backbone, "contradiction", "entailment", "neutral")
    z = teacher.predict(pairs, activation_fn=RAW)
    scores = teacher_scores(teacher, pairs, NLI, dtype="float32")
    assert np.abs(scores - z[:, [1, 2, 0]]).max() < 1e-5
    assert np.abs(scores - z).max() > 0.1


def test_duplicates_are_read_once_and_come_back_everywhere(teacher, pairs):
    alone = teacher_scores(teacher, pairs, BINARY, dtype="float32")
    rows = rows_read(teacher)
    many = teacher_scores(teacher, [*pairs, *reversed(pairs), pairs[3]], BINARY, dtype="float32")
    assert sum(rows) == len(set(pairs)) == len(pairs)
    assert np.abs(many - np.concatenate([alone, alone[::-1], alone[3:4]])).max() < 1e-6


def test_order_within_a_pair_matters(teacher):
    scores = teacher_scores(teacher, [("a red bicycle", "the old dog"), ("the old dog", "a red bicycle")], BINARY)
    assert abs(scores[0, 0] - scores[1, 0]) > 1e-3


@pytest.mark.parametrize(("task", "columns"), [(None, 1), (BINARY, 1)])
def test_no_pairs(teacher, task, columns):
    assert teacher_scores(teacher, [], task).shape == (0, columns)


def test_bfloat16_leaves_the_weights_alone(teacher, pairs):
    before, fast = tensors(teacher), FastCopy()
    teacher_scores(teacher, pairs, dtype="bfloat16", fast=fast)
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}
    assert difference(before, tensors(teacher)) == 0.0
    with torch.no_grad():
        teacher.model.classifier.bias += 2  # as training does
    shifted = teacher_scores(teacher, pairs, dtype="bfloat16", fast=fast)
    assert np.abs(shifted - teacher_scores(teacher, pairs, dtype="float32")).max() < 0.5  # no stale copy


# ----------------------------------------------------------------------------------------------------- outputs


def test_generic_names_are_refused(backbone, pairs, tmp_path):
    teacher = make_teacher(backbone, num_labels=3)
    teacher.save_pretrained(str(tmp_path / "t"))
    rows = rows_read(teacher)
    with pytest.raises(MismatchError, match=r"LABEL_0, LABEL_1, LABEL_2.*entailment, neutral, contradiction"):
        teacher_scores(teacher, pairs, NLI)
    assert rows == []
    with pytest.raises(MismatchError, match=r"LABEL_0.*entailment"):
        load_teacher(str(tmp_path / "t"), NLI)
    named = load_teacher(str(tmp_path / "t"), NLI, ("neutral", "contradiction", "entailment"), device="cpu")
    z = teacher.predict(pairs, activation_fn=RAW)
    assert np.abs(teacher_scores(named, pairs, NLI, dtype="float32") - z[:, [2, 0, 1]]).max() < 1e-5


def test_wrong_names_are_overruled(backbone, tmp_path):
    make_teacher(backbone, "entailment", "neutral", "contradiction").save_pretrained(str(tmp_path / "t"))
    teacher = load_teacher(str(tmp_path / "t"), NLI, ["contradiction", "neutral", "entailment"])
    assert check_outputs(teacher, NLI) == [2, 1, 0]
    with pytest.raises(MismatchError, match=r"has 3 outputs, 2 names were given \(yes, no\)"):
        load_teacher(str(tmp_path / "t"), NLI, ("yes", "no"))
    with pytest.raises(MismatchError, match=r"yes, no, maybe.*entailment, neutral, contradiction"):
        load_teacher(str(tmp_path / "t"), NLI, ("yes", "no", "maybe"))


@pytest.mark.parametrize(
    ("task", "outputs", "needs"),
    [(BINARY, 3, "1 or 2"), (REGRESSION, 2, "1"), (REGRESSION, 3, "1"), (NLI, 1, "3"), (NLI, 2, "3")],
)
def test_wrong_number_of_outputs_is_found_before_any_work(backbone, pairs, task, outputs, needs):
    teacher = make_teacher(backbone, num_labels=outputs)
    rows = rows_read(teacher)
    with pytest.raises(MismatchError, match=rf"gives {outputs} scores per pair, .*{task.kind}\) needs {needs}; "):
        teacher_scores(teacher, pairs, task)
    assert rows == []


def test_one_output_needs_no_name(teacher):
    assert check_outputs(teacher, BINARY) == check_outputs(teacher, REGRESSION) == [0]
    assert check_outputs(teacher, get_task("qnli")) == [0]


# ------------------------------------------------------------------------------------------------- fine-tuning

QUICK = Training(epochs=2, batch_size=8, learning_rate=2e-3, dtype="float32")


@pytest.mark.parametrize("task", [BINARY, REGRESSION, NLI], ids=lambda task: task.kind)
def test_a_teacher_made_here(tmp_path, backbone, task):
    train, validation = make_pairs(task, 40, 1), make_pairs(task, 16, 2)
    made = fit_teacher(
        backbone, train, task, tmp_path / "t", validation=validation, training=QUICK, max_seq_length=48, device="cpu"
    )
    names = {"binary": ["same"], "regression": ["score"], "multiclass": list(NLI.labels)}[task.kind]
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    assert list(config["id2label"].values()) == names
    assert config["label2id"] == {name: i for i, name in enumerate(names)}
    teacher = load_teacher(str(tmp_path / "t"), task, device="cpu")  # fits the task as it is
    assert difference(tensors(made), tensors(teacher)) == 0.0
    assert teacher.max_seq_length == 48
    assert isinstance(teacher.activation_fn, RAW.__class__ if task.num_labels > 1 else torch.nn.Sigmoid)
    rows = validation.tuples()
    assert np.abs(teacher_scores(teacher, rows, task) - teacher_scores(made, rows, task)).max() < 1e-6
    assert not (tmp_path / "t" / "checkpoints").exists()
    assert not [path for path in (tmp_path / "t").rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    log = json.loads((tmp_path / "t" / "training.json").read_text())["log"]
    evaluations = [entry[f"eval_{task.main_metric}"] for entry in log if f"eval_{task.main_metric}" in entry]
    assert len(evaluations) == 2
    untrained = CrossEncoder(backbone, num_labels=task.num_labels, device="cpu")
    moved = [not one.equal(other) for one, other in zip(made.parameters(), untrained.parameters(), strict=True)]
    assert sum(moved) > 20


@pytest.mark.parametrize("pooling", ["cls", "segments"])
@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_labels_a_regression_learns(tmp_path, backbone, monkeypatch, loss, pooling):
    """Scaled to 0..1 by both ends of their range, or as they are; by training and by the head start alike."""
    pairs, recorded = make_pairs(GRADE, 40), {}

    def stop(trainer, *args):
        recorded["label"] = np.array(trainer.train_dataset["label"])
        raise KeyboardInterrupt

    def record(parameters, loss, rows, training, width):
        recorded["loss"] = float(loss(torch.arange(rows)).detach())

    monkeypatch.setattr(fit, "run", stop)
    monkeypatch.setattr(segments, "fit_head", record)
    with pytest.raises(KeyboardInterrupt):
        fit_teacher(backbone, pairs, GRADE, tmp_path / "t", training=QUICK, regression_loss=loss, pooling=pooling)
    target = pairs.label if loss == "mse" else (pairs.label - 1) / 4
    assert 0 < len(set(target.tolist())) <= 5 and recorded["label"] == pytest.approx(target)
    if pooling == "segments":
        torch.manual_seed(QUICK.seed)
        s = teacher_scores(segment_teacher(backbone, 1), pairs.tuples(), dtype="float32")[:, 0].astype(float)
        p = expit(s)
        expected = (s - target) ** 2 if loss == "mse" else -target * np.log(p) - (1 - target) * np.log(1 - p)
        assert recorded["loss"] == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_scale_of_a_regression(tmp_path, backbone, loss):
    """Every label but one is 2 of 1 to 5: a teacher that learned it predicts 2, or sigmoid(z) = 0.25."""
    task, pairs = GRADE, make_pairs(GRADE, 48)
    pairs = Pairs(pairs.sentence1, pairs.sentence2, np.array([3.0] + [2.0] * 47, np.float32))
    settings = Training(epochs=6, batch_size=8, learning_rate=5e-2, dtype="float32")
    fit_teacher(backbone, pairs, task, tmp_path / "t", training=settings, regression_loss=loss, device="cpu")
    teacher = load_teacher(str(tmp_path / "t"), task, device="cpu")
    assert isinstance(teacher.activation_fn, torch.nn.Identity if loss == "mse" else torch.nn.Sigmoid)
    predicted = np.median(teacher.predict(pairs.tuples()))
    assert predicted == pytest.approx(2 if loss == "mse" else 0.25, rel=0.2)
    raw = np.median(teacher_scores(teacher, pairs.tuples(), task, dtype="float32"))
    assert raw == pytest.approx(predicted if loss == "mse" else np.log(predicted / (1 - predicted)), abs=1e-4)


def test_high_scores_stand_for_the_positive_class(tmp_path, backbone):
    """Whichever of the labels comes first."""
    task = Task("answers", "binary", labels=("yes", "no"), positive="yes")
    pairs = make_pairs(BINARY, 48)
    labels = ["no"] + ["yes"] * 47
    pairs = Pairs(pairs.sentence1, pairs.sentence2, np.array([task.target(label) for label in labels], np.float32))
    settings = Training(epochs=3, batch_size=8, learning_rate=1e-2, dtype="float32")
    teacher = fit_teacher(backbone, pairs, task, tmp_path / "t", training=settings, device="cpu")
    assert np.median(teacher_scores(teacher, pairs.tuples(), task)) > 1
    assert teacher.config.id2label == {0: "yes"}


def test_same_seed_same_teacher(tmp_path, backbone):
    pairs, made = make_pairs(BINARY, 16), []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        settings = Training(epochs=1, batch_size=8, learning_rate=1e-3, dtype="float32", seed=seed)
        torch.manual_seed(len(made))  # whatever came before
        made.append(tensors(fit_teacher(backbone, pairs, BINARY, tmp_path / name, training=settings, device="cpu")))
    assert difference(made[0], made[1]) == 0.0
    assert difference(made[0], made[2]) > 1e-3


def test_scores_of_a_returned_teacher_do_not_depend_on_how_it_was_trained(tmp_path, backbone, pairs):
    settings = Training(epochs=1, batch_size=8, learning_rate=1e-3, dtype="bfloat16")
    teacher = fit_teacher(backbone, make_pairs(BINARY, 16), BINARY, tmp_path / "t", training=settings, device="cpu")
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}
    loaded = CrossEncoder(str(tmp_path / "t"), device="cpu")
    exact = loaded.predict(pairs, activation_fn=RAW)
    assert np.abs(teacher.predict(pairs, activation_fn=RAW) - exact).max() < 1e-6
    assert np.abs(teacher_scores(teacher, pairs, BINARY, dtype="float32")[:, 0] - exact).max() < 1e-5


def test_settings_of_a_student_serve_a_teacher_too(tmp_path, backbone):
    """A rate for the pair head is of no concern to it."""
    settings = Training(epochs=1, batch_size=8, head_learning_rate=1e-2, dtype="float32")
    fit_teacher(backbone, make_pairs(BINARY, 8), BINARY, tmp_path / "t", training=settings, device="cpu")
    assert json.loads((tmp_path / "t" / "training.json").read_text())["training"]["epochs"] == 1


def test_no_labels(tmp_path, backbone):
    with pytest.raises(BadDataError, match=r"x.csv has no labels; a teacher is fine-tuned on labelled pairs"):
        fit_teacher(backbone, Pairs(["a"], ["b"], None, "x.csv"), BINARY, tmp_path / "t")
    mask = np.array([True, False])
    with pytest.raises(BadDataError, match=r"row 2 of x.csv has no label"):
        fit_teacher(backbone, Pairs(["a"] * 2, ["b"] * 2, 1.0 * mask, "x.csv", labelled=mask), BINARY, tmp_path / "t")


# ---------------------------------------------------------------------------------- judging by the two sentences


def test_a_segment_teacher_trains_saves_and_loads(backbone, pairs, tmp_path):
    settings = Training(epochs=1, batch_size=8, learning_rate=1e-3, head_learning_rate=1e-2)
    train = make_pairs(NLI, 60)
    teacher = fit_teacher(backbone, train, NLI, tmp_path / "t", training=settings, pooling="segments")
    loaded = load_teacher(str(tmp_path / "t"), NLI)
    assert loaded.num_labels == 3 and check_outputs(loaded, NLI) == [0, 1, 2]
    assert difference(tensors(teacher), tensors(loaded)) == 0.0
    scores = teacher_scores(loaded, pairs, NLI, dtype="float32")
    assert np.abs(scores - teacher_scores(teacher, pairs, NLI, dtype="float32")).max() == 0.0
    expected = loaded.predict(pairs, activation_fn=RAW)
    assert np.abs(scores - expected).max() < 1e-5 and expected.std(axis=0).min() > 0
    torch.manual_seed(settings.seed)
    before = tensors(segment_teacher(backbone, 3))
    moved = {name.split(".")[0] for name, value in tensors(teacher).items() if not torch.equal(value, before[name])}
    assert moved == {"transformer", "pair_head_1", "pair_head_2"}


@pytest.mark.parametrize("name", ["bert", "electra", "deberta-v2", "roberta", "mpnet", "modernbert"])
def test_segments_are_pooled_apart_whatever_the_padding(models, name):
    """By the tokenizer's marks; by the first separator where it has none (RoBERTa, MPNet, ModernBERT)."""
    teacher = segment_teacher(models(name), 1).eval()
    pair, longer = ("a red bicycle", "the tent"), ("a red bicycle", "the old woman reads a new book by the river")
    alone = teacher.predict([pair], activation_fn=RAW)
    padded = teacher.predict([pair, longer], activation_fn=RAW)[:1]
    assert np.abs(alone - padded).max() < 1e-5
    with torch.no_grad():
        features = teacher.preprocess([pair])
        ids = features["input_ids"][0].tolist()
        end = ids.index(teacher.tokenizer.sep_token_id) + 1  # of the first sentence
        if "token_type_ids" in features:
            assert features["token_type_ids"][0].tolist() == [int(i >= end) for i in range(len(ids))]
        tokens = teacher[0](features)
        u, v = (tokens["token_embeddings"][0][part].mean(dim=0) for part in (slice(0, end), slice(end, None)))
        pooled = teacher[1](tokens)["sentence_embedding"][0]
    assert torch.allclose(torch.cat([u, v]), pooled[: 2 * len(u)], atol=1e-5)


def test_a_teacher_without_marks_is_pooled_apart_when_it_is_loaded(models, pairs, tmp_path):
    teacher = segment_teacher(models("mpnet"), 1)
    teacher.save_pretrained(str(tmp_path / "t"))
    loaded = load_teacher(str(tmp_path / "t"))
    expected = teacher.predict(pairs, activation_fn=RAW)
    assert np.abs(loaded.predict(pairs, activation_fn=RAW) - expected).max() < 1e-6
    assert loaded[1].separator == teacher.tokenizer.sep_token_id


def test_segments_need_a_tokenizer_that_tells_them_apart(models, tmp_path):
    shutil.copytree(models("modernbert"), tmp_path / "none")
    file = tmp_path / "none/tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "sep_token"}))
    with pytest.raises(MismatchError, match="does not tell the two sentences of a pair apart"):
        segment_teacher(str(tmp_path / "none"), 1)
