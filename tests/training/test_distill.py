"""The loss against plain numpy, the collator, and what training does to a student."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax
from sentence_transformers import CrossEncoder

from dse import DSE
from dse.data.metrics import best_threshold
from dse.data.pairs import Pairs
from dse.errors import BadDataError, DSEError, MismatchError
from dse.training import loop
from dse.training.distill import DistillationCollator, _with_prompts, distill
from dse.training.losses import Distillation, DistillationLoss
from dse.training.settings import Training
from tests.conftest import make_student
from tests.samples import BINARY, GRADE, NLI, REGRESSION, difference, make_pairs, make_scores, tensors

SIGMOID, NONE = torch.nn.Sigmoid(), torch.nn.Identity()

# -------------------------------------------------------------------------------------------------------- loss


def loss_of(task, settings, scores, labels, link=NONE) -> dict[str, float]:
    """Terms of the loss for given raw scores."""
    scores = torch.tensor(scores, requires_grad=True)

    class Fixed:
        activation_fn = link

        def __call__(self, features, pairs):
            assert pairs and features == {"input": "features"}
            return {"scores": scores}

    labels = {name: torch.tensor(values) for name, values in labels.items()}
    terms = DistillationLoss(Fixed(), task, settings)([{"input": "features"}], labels)
    return {name: term.item() for name, term in terms.items()}


def numpy_task_loss(task, scores, label, link) -> float:
    if task.kind == "multiclass":
        return float(np.mean([-log_softmax(row)[y] for row, y in zip(scores, label, strict=True)]))
    s, y = scores[:, 0].astype(np.float64), label.astype(np.float64)
    if task.kind == "regression":
        if link is NONE:
            return float(np.mean((s - y) ** 2))
        y = (y - task.label_range[0]) / (task.label_range[1] - task.label_range[0])
    return float(np.mean(-y * np.log(expit(s)) - (1 - y) * np.log(expit(-s))))


def numpy_distillation_loss(settings, s, t) -> float:
    s, t = s.astype(np.float64), t.astype(np.float64)
    if settings.divergence == "mse":
        if settings.center and s.shape[1] > 1:
            s, t = s - s.mean(axis=1, keepdims=True), t - t.mean(axis=1, keepdims=True)
        return float(np.mean(np.sum((s - t) ** 2, axis=1)))

    def probabilities(z):
        z = z / settings.temperature
        if z.shape[1] == 1:
            return np.hstack([expit(z), expit(-z)])
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    p, q = probabilities(t), probabilities(s)
    return float(settings.temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=1)))


DISTILLATIONS = {
    "centred": Distillation(),
    "not-centred": Distillation(center=False),
    "kl": Distillation(divergence="kl"),
    "kl-warm": Distillation(divergence="kl", temperature=3.0),
}


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", DISTILLATIONS)
@pytest.mark.parametrize(
    ("task", "link"),
    [(BINARY, SIGMOID), (REGRESSION, SIGMOID), (REGRESSION, NONE), (GRADE, SIGMOID), (GRADE, NONE), (NLI, NONE)],
)
def test_loss_is_that_of_numpy(task, link, name, alpha):
    from dataclasses import replace

    settings = replace(DISTILLATIONS[name], alpha=alpha)
    random = np.random.default_rng(0)
    n, classes = 7, task.num_labels
    s, t = (2 * random.normal(size=(2, n, classes)) + 0.5).astype(np.float32)
    label = make_pairs(task, n).label
    expected = {}
    if alpha < 1:
        expected["task"] = (1 - alpha) * numpy_task_loss(task, s, label, link)
    if alpha > 0:
        expected["distill"] = alpha * numpy_distillation_loss(settings, s, t)
    targets = {"label": label, "teacher": t}
    assert loss_of(task, settings, s, targets, link) == pytest.approx(expected, rel=1e-5)
    absent = {1.0: "label", 0.0: "teacher"}.get(alpha)
    if absent:
        del targets[absent]
        assert loss_of(task, settings, s, targets, link) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("task", [BINARY, NLI, REGRESSION])
def test_pairs_without_a_label_have_loss_0_and_count_in_the_mean(student, task):
    loss = DistillationLoss(student, task, Distillation(alpha=0.25))
    scores = torch.randn(6, task.num_labels, requires_grad=True)
    label = torch.tensor([0, 1, 0, 1, 1, 0], dtype=torch.long if task.kind == "multiclass" else torch.float32)
    labelled = torch.tensor([True, False, True, True, False, True])
    labels = {"label": label, "labelled": labelled, "teacher": torch.zeros(6, task.num_labels)}
    alone = loss.supervised_loss(scores[labelled], label[labelled])
    value = loss.terms(scores, labels)["task"]
    assert value.item() == pytest.approx(0.75 * alone.item() * 4 / 6, abs=1e-6)
    value.backward()
    assert torch.isfinite(scores.grad).all() and not scores.grad[~labelled].any()
    assert scores.grad[labelled].any(dim=1).all()
    none = loss.supervised_loss(scores, label, torch.zeros(6, dtype=torch.bool))
    assert float(none.detach()) == 0 and none.requires_grad


@pytest.mark.parametrize("task", [BINARY, NLI], ids=lambda task: task.kind)
def test_the_value_of_a_missing_label_has_no_effect(tmp_path, backbone, task):
    pairs, weights = make_pairs(task, 32), []
    labelled = np.arange(32) % 3 > 0
    for other in (0, 1):
        label = np.where(labelled, pairs.label, other).astype(pairs.label.dtype)
        student = make_student(backbone, num_labels=task.num_labels)
        train = Pairs(pairs.sentence1, pairs.sentence2, label, labelled=labelled)
        # Of the held-out pairs, too, only the labelled ones count.
        distill(
            student,
            train,
            task,
            tmp_path / f"{other}",
            teacher_scores=make_scores(pairs, task),
            validation=train,
            training=QUICK,
        )
        weights.append(tensors(student))
    assert difference(*weights) == 0.0
    one, other = (json.loads((tmp_path / name / "training.json").read_text())["log"] for name in "01")
    metric = f"eval_{task.main_metric}"
    assert [entry.get(metric) for entry in one] == [entry.get(metric) for entry in other]


@pytest.mark.parametrize(("name", "same"), [("centred", True), ("not-centred", False), ("kl", True), ("kl-warm", True)])
def test_a_shift_of_all_logits_of_a_pair_has_no_effect(name, same):
    random = np.random.default_rng(1)
    s, t = random.normal(size=(2, 6, 3)).astype(np.float32)
    shift = random.normal(size=(2, 6, 1)).astype(np.float32) * 3

    def distance(s, t):
        return DistillationLoss(SimpleNamespace(activation_fn=NONE), NLI, DISTILLATIONS[name]).distillation_loss(
            torch.tensor(s), torch.tensor(t)
        )

    shifted = distance(s + shift[0], t + shift[1])
    assert (abs(shifted - distance(s, t)) < 1e-4) == same


@pytest.mark.parametrize("name", DISTILLATIONS)
@pytest.mark.parametrize("task", [BINARY, NLI], ids=lambda task: task.kind)
def test_equal_scores_have_loss_0_and_one_logit_is_never_centred(task, name):
    loss = DistillationLoss(SimpleNamespace(activation_fn=SIGMOID), task, DISTILLATIONS[name])
    t = torch.randn(5, task.num_labels)
    assert loss.distillation_loss(t, t) == pytest.approx(0, abs=1e-6)
    assert loss.distillation_loss(t + torch.eye(task.num_labels)[0], t) > 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5; it must lie between 0"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"divergence": "huber"}, "Unknown divergence 'huber'; choose mse or kl"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive"),
    ],
)
def test_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**settings)


# ---------------------------------------------------------------------------------------------------- collator


def test_collator_has_each_distinct_sentence_once(student, pairs):
    rows = [
        {"sentence1": a, "sentence2": b, "label": float(i % 2), "teacher": [0.5 * i]} for i, (a, b) in enumerate(pairs)
    ]
    batch = DistillationCollator(preprocess_fn=student.preprocess)(rows)
    distinct = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
    assert len(distinct) < 2 * len(pairs)
    assert batch["sentence_input_ids"].shape[0] == len(distinct)
    alone = [student.tokenizer(text)["input_ids"] for text in distinct]
    for row, mask, expected in zip(batch["sentence_input_ids"], batch["sentence_attention_mask"], alone, strict=True):
        assert row[mask.bool()].tolist() == expected
    assert [(distinct[i], distinct[j]) for i, j in batch["sentence_pairs"].tolist()] == pairs
    assert batch["label"].keys() == {"label", "teacher"}
    assert batch["label"]["label"].tolist() == [row["label"] for row in rows]
    assert batch["label"]["teacher"].tolist() == [row["teacher"] for row in rows]
    assert not [key for key, value in batch.items() if key != "label" and not isinstance(value, torch.Tensor)]


def test_collator_takes_what_the_rows_have(student):
    collator = DistillationCollator(preprocess_fn=student.preprocess)
    row = {"sentence1": "a red bicycle", "sentence2": "a blue tent"}
    assert collator([row])["label"] == {}
    assert list(collator([row | {"teacher": [1.0, 2.0, 3.0]}])["label"]) == ["teacher"]
    assert collator([row | {"label": 2}])["label"]["label"].dtype == torch.int64
    assert collator([row | {"label": 2, "labelled": False}])["label"]["labelled"].dtype == torch.bool


@pytest.mark.parametrize("num_labels", [1, 3])
def test_joint_forward_scores_as_predict_does(backbone, pairs, num_labels):
    student = make_student(backbone, num_labels=num_labels).eval()
    rows = [{"sentence1": a, "sentence2": b} for a, b in pairs]
    batch = DistillationCollator(preprocess_fn=student.preprocess)(rows)
    features = {k.removeprefix("sentence_"): v for k, v in batch.items() if k != "label"}
    with torch.no_grad():
        scores = student(features, pairs=True)["scores"]
    expected = student.predict(pairs, activation_fn=NONE).reshape(len(pairs), num_labels)
    assert np.abs(scores.numpy() - expected).max() < 1e-5
    assert np.array_equal(student.raw_scores(pairs), expected)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("task", [BINARY, NLI], ids=lambda task: task.kind)
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_unusable_scores(tmp_path, backbone, task, alpha):
    student, pairs = make_student(backbone, num_labels=task.num_labels), make_pairs(task, 10)
    scores, classes = make_scores(pairs, task), task.num_labels
    nan, infinite = scores.copy(), scores.copy()
    nan[3, -1], infinite[7, 0] = np.nan, -np.inf
    wrong = rf"shape \(10, {classes}\) are needed for samples, got an array of shape"
    for bad, message in [
        (None, rf"shape \(10, {classes}\) are needed for samples, got none"),
        (scores[:9], wrong),
        (scores[:, 0], wrong),
        (np.hstack([scores, scores]), wrong),
        (nan, "score of row 4 of samples is not finite"),
        (infinite, "score of row 8 of samples is not finite"),
    ]:
        with pytest.raises(BadDataError, match=message):
            distill(student, pairs, task, tmp_path / "s", teacher_scores=bad, distillation=Distillation(alpha=alpha))
    assert not (tmp_path / "s").exists()


def test_no_labels(tmp_path, student):
    pairs = make_pairs(BINARY, 10)
    scores = make_scores(pairs, BINARY)
    pairs = Pairs(pairs.sentence1, pairs.sentence2, None, "questions.csv")
    with pytest.raises(BadDataError, match=r"questions.csv has no labels; add them, or use alpha 1"):
        distill(student, pairs, BINARY, tmp_path / "s", teacher_scores=scores)


@pytest.mark.parametrize(("task", "num_labels"), [(BINARY, 3), (REGRESSION, 3), (NLI, 1)])
def test_a_student_for_another_task(tmp_path, backbone, task, num_labels):
    student, pairs = make_student(backbone, num_labels=num_labels), make_pairs(task, 10)
    with pytest.raises(MismatchError, match=rf"gives {num_labels} .* needs {task.num_labels}"):
        distill(student, pairs, task, tmp_path / "s", teacher_scores=None, distillation=Distillation(alpha=0.0))


# ---------------------------------------------------------------------------------------------------- training

QUICK = Training(epochs=1, batch_size=16, learning_rate=1e-3, head_learning_rate=1e-2, dtype="float32")


def train(student: DSE, folder: Path, task=BINARY, settings=QUICK, n=32, **kwargs) -> DSE:
    pairs = make_pairs(task, n)
    return distill(student, pairs, task, folder, teacher_scores=make_scores(pairs, task), training=settings, **kwargs)


def moved(before: dict[str, torch.Tensor], student: DSE) -> set[str]:
    """Names of the modules of which a tensor has changed."""
    return {name.split(".")[0] for name, tensor in student.state_dict().items() if not tensor.equal(before[name])}


@pytest.mark.parametrize(
    ("rate", "head_rate", "which"), [(0.0, 1e-2, {"pair_head"}), (1e-2, 0.0, {"transformer"}), (0.0, None, set())]
)
def test_head_and_backbone_have_rates_of_their_own(tmp_path, student, rate, head_rate, which):
    before = tensors(student)
    settings = Training(epochs=1, batch_size=16, learning_rate=rate, head_learning_rate=head_rate, dtype="float32")
    assert moved(before, train(student, tmp_path / "s", settings=settings)) == which


def test_rates_rise_and_fall_by_optimiser_steps(tmp_path, student):
    settings = Training(
        epochs=5,
        batch_size=8,
        accumulation=2,
        checkpoint_steps=1,
        warmup=0.2,
        learning_rate=1e-3,
        dtype="float32",
        head_learning_rate=None,
    )
    train(student, tmp_path / "s", settings=settings, n=32)  # 4 batches, 2 steps an epoch
    log = json.loads((tmp_path / "s" / "training.json").read_text())["log"]
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    steps = [entry["step"] for entry in log if "learning_rate" in entry]
    assert steps == list(range(1, 11))
    assert rates == pytest.approx([0, 5e-4, *(1e-3 * (8 - i) / 8 for i in range(8))])


class InOrder(loop.LengthGroupedBatchSampler):
    """Rows as they come: else the batches of 16 would hold other rows than two batches of 8."""

    def __iter__(self):
        n = len(self.lengths)
        yield from (list(range(i, min(i + self.batch_size, n))) for i in range(0, n, self.batch_size))


def test_two_batches_of_8_are_one_of_16(tmp_path, backbone, monkeypatch):
    monkeypatch.setattr(loop, "LengthGroupedBatchSampler", InOrder)
    common = {"epochs": 2, "learning_rate": 1e-3, "head_learning_rate": 1e-2, "dtype": "float32"}
    students = {}
    for size, accumulation in [(16, 1), (8, 2), (8, 1)]:
        student = make_student(backbone, head_dropout=0.0)
        student.transformers_model.apply(lambda m: isinstance(m, torch.nn.Dropout) and setattr(m, "p", 0.0))
        settings = Training(batch_size=size, accumulation=accumulation, **common)
        students[size, accumulation] = tensors(
            train(student, tmp_path / f"{size}-{accumulation}", settings=settings, n=64)
        )
        # The gradient of a key's bias is zero but for rounding, which Adam blows up to a step of full length.
        for name in [name for name in students[size, accumulation] if name.endswith("key.bias")]:
            del students[size, accumulation][name]
    log = json.loads((tmp_path / "8-2" / "training.json").read_text())["log"]
    assert log[-1]["step"] == 8
    assert difference(students[16, 1], students[8, 2]) < 1e-4
    assert difference(students[16, 1], students[8, 1]) > 1e-2


@pytest.fixture(scope="module")
def trained(tmp_path_factory, backbone):
    """A binary student trained with validation, its folder, the untrained tensors."""
    folder, student = tmp_path_factory.mktemp("distilled") / "student", make_student(backbone)
    before = tensors(student)
    student = train(student, folder, validation=make_pairs(BINARY, 30, 5), distillation=Distillation(alpha=0.7))
    return SimpleNamespace(folder=folder, student=student, before=before)


def test_threshold_is_the_best_on_validation(trained):
    validation, student = make_pairs(BINARY, 30, 5), DSE(str(trained.folder), dtype="float32")
    best = best_threshold(student.raw_scores(validation.tuples())[:, 0], validation.label, BINARY)
    assert best != 0
    assert student.raw_threshold == student.info["threshold"] == pytest.approx(best, abs=1e-6)


def test_student_remembers_its_distillation(trained):
    student = DSE(str(trained.folder))
    assert student.info["alpha"] == 0.7
    assert student.info["task"] == BINARY.to_dict()
    assert student.label_names == ["different", "same"]
    saved = json.loads((trained.folder / "training.json").read_text())
    assert saved["distillation"] == {"alpha": 0.7, "divergence": "mse", "temperature": 1.0, "center": True}
    terms = [entry for entry in saved["log"] if "task" in entry]
    assert terms and all(e["loss"] == pytest.approx(e["task"] + e["distill"], abs=2e-3) for e in terms)


def test_saved_student_is_the_one_returned_and_holds_no_pickle(trained):
    assert {"pair_head", "transformer"} <= moved(trained.before, trained.student)
    assert difference(tensors(trained.student), tensors(DSE(str(trained.folder)))) == 0.0
    files = [path.relative_to(trained.folder) for path in trained.folder.rglob("*") if path.is_file()]
    assert not [file for file in files if file.suffix in (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")]
    assert not (trained.folder / "checkpoints").exists()
    assert {"dse.json", "modules.json", "training.json", "0_Transformer/model.safetensors"} <= set(map(str, files))


@pytest.mark.parametrize("task", [REGRESSION, NLI], ids=lambda task: task.kind)
def test_other_tasks_have_no_threshold(tmp_path, backbone, task):
    student = make_student(backbone, num_labels=task.num_labels)
    before = tensors(student)
    train(student, tmp_path / "s", task, validation=make_pairs(task, 20, 5))
    assert "threshold" not in DSE(str(tmp_path / "s")).info
    assert moved(before, student) == {"pair_head", "transformer"}


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_one_side_alone_is_enough(tmp_path, student, alpha):
    pairs = make_pairs(BINARY, 32)
    scores = make_scores(pairs, BINARY) if alpha else None
    if alpha:
        pairs = Pairs(pairs.sentence1, pairs.sentence2)
    before = tensors(student)
    settings = Distillation(alpha=alpha)
    distill(student, pairs, BINARY, tmp_path / "s", teacher_scores=scores, distillation=settings, training=QUICK)
    assert moved(before, student) == {"pair_head", "transformer"}


def test_frozen_backbone_stays_as_it_is(tmp_path, backbone):
    student = make_student(backbone, freeze_backbone=True, projection=12)
    before = tensors(student)
    train(student, tmp_path / "s")
    assert moved(before, student) == {"pair_head", "projection"}


def test_start_from_the_teacher(tmp_path, backbone):
    teacher = CrossEncoder(backbone, num_labels=1, device="cpu")
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(0.9)
    teacher.save_pretrained(str(tmp_path / "teacher"))
    student = make_student(str(tmp_path / "teacher"))
    theirs = {name.split("bert.")[1]: tensor for name, tensor in teacher.state_dict().items() if "bert." in name}
    ours = {name.split("model.")[1]: tensor for name, tensor in student[0].state_dict().items()}
    assert len(theirs) > 20 and difference(theirs, ours) == 0.0
    before = tensors(student)
    assert moved(before, train(student, tmp_path / "s")) == {"pair_head", "transformer"}


def test_a_student_is_trained_on_what_it_predicts_from(backbone: str) -> None:
    """Its prompts stand before the texts in training too."""
    rows = Pairs(["a man", "a dog"], ["tent", "bird"], np.array([0.0, 1.0]))
    read = _with_prompts(rows, make_student(backbone, prompts={"query": "who ", "passage": "the "}))
    assert read.tuples() == [("who a man", "the tent"), ("who a dog", "the bird")]
    assert read.label is rows.label and _with_prompts(rows, make_student(backbone)) is rows


def test_a_training_that_diverges_says_so(backbone, tmp_path):
    pairs = make_pairs(BINARY, 40)
    steep = Training(epochs=2, batch_size=8, learning_rate=1e30, head_steps=0, dtype="float32")
    with pytest.raises(DSEError, match=r"diverged by step \d+: .*; lower the learning rate, now 1e\+30"):
        distill(
            make_student(backbone),
            pairs,
            BINARY,
            tmp_path / "s",
            teacher_scores=make_scores(pairs, BINARY),
            validation=pairs,
            training=steep,
        )
