"""Batches, evaluation steps, checkpoints: what training a teacher and training a student share."""

from __future__ import annotations

import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformerTrainingArguments

from dse import DSE
from dse.data.metrics import compute_metrics
from dse.encoding.runtime import one_thread
from dse.training import distill as distillation
from dse.training.loop import LengthGroupedBatchSampler, PairEvaluator, last_checkpoint, trainer_arguments
from dse.training.settings import Training
from tests import processes
from tests.conftest import make_student
from tests.samples import BINARY, NLI, REGRESSION, difference, make_pairs, make_scores, tensors
from tests.worker import train_long

METRIC = f"eval_{BINARY.main_metric}"

# ----------------------------------------------------------------------------------------------------- batches


def sampler(lengths, batch_size: int, *, drop_last: bool = False, seed: int = 0) -> LengthGroupedBatchSampler:
    sides = [(n, n // 2) if i % 2 else (n // 2, n) for i, n in enumerate(lengths)]  # either side may be the long one
    rows = {"sentence1": ["x" * n for n, _ in sides], "sentence2": ["y" * n for _, n in sides]}
    return LengthGroupedBatchSampler(rows, batch_size=batch_size, drop_last=drop_last, seed=seed)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=150), st.integers(1, 9), st.booleans(), st.integers(0, 3))
def test_batches_have_every_row_once(lengths, batch_size, drop_last, epoch):
    LengthGroupedBatchSampler.POOL, pool = 4, LengthGroupedBatchSampler.POOL  # several pools
    try:
        batches = sampler(lengths, batch_size, drop_last=drop_last)
        batches.set_epoch(epoch)
        drawn = list(batches)
    finally:
        LengthGroupedBatchSampler.POOL = pool
    rows = [row for batch in drawn for row in batch]
    assert len(drawn) == len(batches)
    assert len(set(rows)) == len(rows)
    if drop_last:
        assert len(drawn) == len(lengths) // batch_size and all(len(batch) == batch_size for batch in drawn)
    else:
        assert sorted(rows) == list(range(len(lengths))) and len(drawn) == math.ceil(len(lengths) / batch_size)
        assert sum(len(batch) < batch_size for batch in drawn) <= 1


def test_order_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(1, 80, 1000).tolist()  # three pools

    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = sampler(lengths, 8, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(3, 0) != order(4, 0)
    groups = [{frozenset(batch) for batch in order(3, epoch)} for epoch in (0, 1)]
    assert len(groups[0] & groups[1]) < 5  # other neighbours, not only another order of the same batches


def test_a_batch_has_pairs_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 80, 300).tolist()  # of 37 batches, 9 are sorted together
    batches = list(sampler(lengths, 8))
    spread = np.mean([max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches])
    assert spread < 80 / 9 * 1.5  # batches of random rows: about 62


def test_batches_of_a_small_set_change_from_epoch_to_epoch():
    lengths = np.random.default_rng(0).integers(1, 80, 300).tolist()
    batches = sampler(lengths, 8)
    first = {frozenset(batch) for batch in batches}
    batches.set_epoch(1)
    second = {frozenset(batch) for batch in batches}
    assert len(first & second) < len(first) / 10


def test_batches_do_not_come_in_the_order_of_their_length():
    lengths = np.random.default_rng(0).integers(1, 80, 300).tolist()
    batches = list(sampler(lengths, 8))
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


# --------------------------------------------------------------------------------------------------- arguments


def arguments(training: Training, folder: Path, rows: int, metric: str | None, *width: int):
    cpu = torch.device("cpu")
    return trainer_arguments(SentenceTransformerTrainingArguments, training, folder, rows, cpu, metric, *width)


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulation", "checkpoint_steps", "every"),
    [
        (3668, 32, 1, 500, 115),  # fewer steps than that: once an epoch, at its end
        (32 * 1000, 32, 1, 500, 500),
        (32 * 501, 32, 1, 500, 251),  # twice as evenly as can be, not at 500 and at 501
        (32 * 1001, 32, 1, 500, 334),
        (65, 8, 2, 500, 5),  # 9 batches, 5 steps
        (64, 8, 2, 2, 2),
        (5, 8, 1, 500, 1),
    ],
)
def test_evaluations_share_an_epoch_evenly(tmp_path, rows, batch_size, accumulation, checkpoint_steps, every):
    training = Training(batch_size=batch_size, accumulation=accumulation, checkpoint_steps=checkpoint_steps)
    args = arguments(training, tmp_path, rows, "f1")
    assert args.eval_steps == args.save_steps == every
    assert args.load_best_model_at_end and args.metric_for_best_model == "f1"


def test_without_validation_nothing_is_evaluated(tmp_path):
    args = arguments(Training(batch_size=32), tmp_path, 640, None)
    assert str(args.eval_strategy.value) == "no" and not args.load_best_model_at_end
    assert args.save_steps == 20


def test_learning_rate_of_the_head(tmp_path):
    training = Training(learning_rate=1e-5, head_learning_rate=1e-3)
    args = arguments(training, tmp_path, 640, None)
    assert args.learning_rate == 1e-5 and args.learning_rate_mapping == {"pair_head": 1e-3}


@pytest.mark.parametrize(("width", "rate"), [(8, 1e-4), (384, 1e-4), (768, 5e-5), (1024, 3.75e-5)])
def test_learning_rate_falls_with_width(tmp_path, width, rate):
    assert arguments(Training(), tmp_path, 64, None, width).learning_rate == pytest.approx(rate)
    assert arguments(Training(learning_rate=3e-5), tmp_path, 64, None, width).learning_rate == 3e-5


@pytest.mark.parametrize("task", [BINARY, REGRESSION, NLI], ids=lambda task: task.kind)
def test_evaluator_gives_the_metrics_of_the_task(task):
    pairs = make_pairs(task, 30)
    perfect = np.eye(3)[pairs.label] if task.kind == "multiclass" else pairs.label[:, None] - 0.5
    model = SimpleNamespace(activation_fn=torch.nn.Identity())
    metrics = PairEvaluator(pairs, task, lambda model, rows: perfect)(model)
    assert tuple(metrics) == task.metrics
    assert all(value == pytest.approx(1) for value in metrics.values())
    assert PairEvaluator(pairs, task, lambda model, rows: -perfect)(model)[task.main_metric] < 0.5


def test_evaluator_of_a_student_uses_the_threshold_it_will_have():
    pairs = make_pairs(BINARY, 30)
    shifted = 10 * pairs.label[:, None] + 5  # the right order, every score above 0
    plain = PairEvaluator(pairs, BINARY, lambda model, rows: shifted)(None)
    tuned = PairEvaluator(pairs, BINARY, lambda model, rows: shifted, tuned=True)(None)
    assert plain["accuracy"] < tuned["accuracy"] == 1


def test_evaluator_compares_values_of_a_regression_as_predicted():
    pairs = make_pairs(REGRESSION, 30)
    low, high = REGRESSION.label_range
    share = (pairs.label - low) / (high - low) * 0.98 + 0.01
    logit = np.log(share / (1 - share))[:, None].astype(np.float32)
    model = SimpleNamespace(activation_fn=torch.nn.Sigmoid())
    assert PairEvaluator(pairs, REGRESSION, lambda model, rows: logit)(model)["pearson"] == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------------------------------------------- checkpoints


def checkpoint(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_last_checkpoint_is_the_newest_whole_one(tmp_path):
    assert last_checkpoint(tmp_path / "nowhere") is None
    whole = json.dumps({"global_step": 9, "log_history": []}, indent=2)
    older, newer = checkpoint(tmp_path, 9, whole), checkpoint(tmp_path, 10, whole)  # "10" < "9" as text
    assert last_checkpoint(tmp_path) == newer
    half, none = checkpoint(tmp_path, 11, whole[: len(whole) // 2]), checkpoint(tmp_path, 12, None)
    empty = checkpoint(tmp_path, 13, "")
    assert last_checkpoint(tmp_path) == newer
    assert not (half.exists() or none.exists() or empty.exists())  # the trainer would keep them as the newest
    assert older.exists()


def test_no_whole_checkpoint_at_all(tmp_path):
    checkpoint(tmp_path, 1, None)
    assert last_checkpoint(tmp_path) is None


class Stop(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def stop_at(monkeypatch):
    """Make the collator raise at its n-th batch, or, with None, work on."""
    collate = distillation.DistillationCollator.__call__

    def stop_at(number: int | None) -> None:
        count = 0

        def counting(self, rows):
            nonlocal count
            count += 1
            if count == number:
                raise Stop
            return collate(self, rows)

        monkeypatch.setattr(distillation.DistillationCollator, "__call__", counting)

    return stop_at


def steps_of(folder: Path) -> list[int]:
    """The steps of the evaluations of a finished run."""
    return [entry["step"] for entry in log_of(folder, METRIC)]


def log_of(folder: Path, key: str) -> list[dict]:
    """The entries of a finished run's log that have this key."""
    return [entry for entry in json.loads((folder / "training.json").read_text())["log"] if key in entry]


@pytest.mark.parametrize(("batch", "every"), [(9, 4), (None, 4), (3, 1), (None, 1)])
def test_patience_is_remembered_when_resuming(tmp_path, backbone, stop_at, monkeypatch, batch, every):
    """With rate 0 the first evaluation stays the best, and training stops after two more."""
    train, validation = make_pairs(BINARY, 64, 1), make_pairs(BINARY, 20, 2)
    no_rate = {"learning_rate": 0.0, "head_learning_rate": 0.0}
    settings = Training(epochs=3, batch_size=8, checkpoint_steps=every, patience=2, dtype="float32", **no_rate)

    def train_in(name: str) -> None:
        distillation.distill(
            make_student(backbone),
            train,
            BINARY,
            tmp_path / name,
            teacher_scores=make_scores(train, BINARY),
            validation=validation,
            training=settings,
        )

    train_in("whole")
    assert steps_of(tmp_path / "whole") == [every, 2 * every, 3 * every]
    if batch is not None:  # in the middle: two evaluations are done
        stop_at(batch)
    else:  # after the last step, before the student is saved
        monkeypatch.setattr(distillation, "best_threshold", lambda *args: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        train_in("stopped")
    monkeypatch.undo()
    train_in("stopped")
    assert steps_of(tmp_path / "stopped") == [every, 2 * every, 3 * every]


@pytest.fixture(scope="module")
def long_runs(tmp_path_factory, backbone):
    """The same training, once in one go, and once in processes of its own, killed with -9 and started again."""
    folder = tmp_path_factory.mktemp("long")
    killed = processes.start("student", backbone, folder / "killed", 0.05)
    # The folder of the second checkpoint: it is hardly written when the blow falls.
    processes.kill_when(killed, lambda: (folder / "killed" / "checkpoints" / "checkpoint-8").exists())
    left = sorted(path.name for path in (folder / "killed").iterdir())
    checkpoints = folder / "killed" / "checkpoints"
    whole_ones = [path.parent.name for path in checkpoints.glob("checkpoint-*/trainer_state.json")]
    again = processes.start("student", backbone, folder / "killed", 0)
    with one_thread(), redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        train_long(backbone, folder / "whole")
    return {
        "folder": folder,
        "left": left,
        "checkpoints": whole_ones,
        "whole": (out.getvalue(), err.getvalue()),
        "again": processes.finish(again),
    }


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_student_bit_for_bit(long_runs):
    assert long_runs["left"] == ["checkpoints", "run.json"]  # it was killed in the middle
    assert "checkpoint-4" in long_runs["checkpoints"]
    folder = long_runs["folder"]
    whole, resumed = DSE(str(folder / "whole")), DSE(str(folder / "killed"))
    assert difference(tensors(whole), tensors(resumed)) == 0.0
    assert whole.info == resumed.info
    for key in (METRIC, "loss"):
        one, other = ([entry[key] for entry in log_of(folder / name, key)] for name in ("whole", "killed"))
        assert one == other and len(one) > 5
        assert len(set(one)) > 1  # the checkpoints differ


@pytest.mark.slow
def test_the_best_checkpoint_is_kept(long_runs, backbone):
    folder = long_runs["folder"] / "whole"
    validation = make_pairs(BINARY, 40, 2)
    metrics = compute_metrics(DSE(str(folder)).raw_scores(validation.tuples())[:, 0], validation.label, BINARY)
    assert metrics[BINARY.main_metric] == max(entry[METRIC] for entry in log_of(folder, METRIC))


@pytest.mark.slow
def test_training_writes_nothing_to_stdout(long_runs):
    for out, err in (long_runs["whole"], long_runs["again"]):
        assert out == ""
        assert "Traceback" not in err


def test_another_order_every_epoch(tmp_path, backbone, monkeypatch):
    batches = []
    collate = distillation.DistillationCollator.__call__

    def recording(self, rows):
        batches.append([(row["sentence1"], row["sentence2"]) for row in rows])
        return collate(self, rows)

    monkeypatch.setattr(distillation.DistillationCollator, "__call__", recording)
    train = make_pairs(BINARY, 30)
    settings = Training(epochs=2, batch_size=8, dtype="float32")
    scores = make_scores(train, BINARY)
    distillation.distill(
        make_student(backbone), train, BINARY, tmp_path / "s", teacher_scores=scores, training=settings
    )
    epochs = [batches[:4], batches[4:]]
    assert len(epochs[1]) == 4 and epochs[0] != epochs[1]
    for epoch in epochs:
        assert sorted(pair for batch in epoch for pair in batch) == sorted(train.tuples())


@pytest.mark.slow
def test_two_processes_end_with_the_same_student(tmp_path, backbone):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    out, _ = processes.finish(processes.start("ranks", backbone, tmp_path / "student", 0, launcher=torchrun))
    assert out == ""
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert [rank["saves"] for rank in ranks] == [3, 0]  # two checkpoints and the student; one process writes
    assert difference(ranks[0]["before"], ranks[1]["before"]) == 0.0
    assert difference(ranks[0]["after"], ranks[1]["after"]) == 0.0
    moved = {name for name, tensor in ranks[0]["after"].items() if not tensor.equal(ranks[0]["before"][name])}
    assert {name for name in ranks[0]["after"] if name.startswith("pair_head.")} <= moved
    assert any(name.startswith("transformer.") for name in moved)
    assert steps_of(tmp_path / "student") == [4, 8]  # 64 pairs on 2 processes by 8: 4 steps an epoch, each evaluated
