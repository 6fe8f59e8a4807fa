"""Teacher scores on disk: always those of the right pair and teacher, none computed twice, none lost."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.errors import BadDataError, MismatchError
from dse.teacher import labelling
from dse.teacher.fit import teacher_scores
from dse.teacher.labelling import ScoreFile, cross_fit, label_pairs, score_key, teacher_name
from dse.training.settings import Training
from tests import processes
from tests.everyday import BINARY, LABELLED, NLI, SMALL_SHARD, make_pairs


@pytest.fixture
def scored(monkeypatch):
    """Every pair that a teacher scores from now on."""
    found: list[tuple[str, str]] = []

    def recording(teacher, pairs, *args, **kwargs):
        found.extend(pairs)
        return teacher_scores(teacher, pairs, *args, **kwargs)

    monkeypatch.setattr(labelling, "teacher_scores", recording)
    return found


@pytest.fixture
def never(monkeypatch):
    """From when it is called, nothing may be scored."""

    def fail(*args, **kwargs):
        raise AssertionError("scored again")

    return lambda: monkeypatch.setattr(labelling, "teacher_scores", fail)


EXACT = {"dtype": "float32"}

# ------------------------------------------------------------------------------------------------------- keys


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.text(max_size=3)] * 3), min_size=2, max_size=30, unique=True))
def test_keys_of_different_things_differ(things):
    assert len({score_key(*thing) for thing in things}) == len(things)


def test_key_of_the_whole_text():
    assert score_key("t", "a\ud800", "b") != score_key("t", "a", "b")  # half a surrogate pair is no error
    assert len({score_key("t", "a", "b"), score_key("t", "b", "a"), score_key("u", "a", "b")}) == 3


# ------------------------------------------------------------------------------------------------------- files


def test_round_trip(tmp_path):
    file, pairs = ScoreFile(tmp_path / "s.parquet"), [("a", "b"), ("b", "a"), ("", "é\n")]
    scores = np.array([[1.5, -2], [3, 1e-7], [0, -0.0]], np.float32)
    file.add("t", pairs[:2], scores[:2])
    file.add("t", pairs[2:], scores[2:])
    assert np.array_equal(ScoreFile(tmp_path / "s.parquet").lookup(pairs, "t"), scores)  # before it is finished
    file.finish()
    again = ScoreFile(tmp_path / "s.parquet")
    assert np.array_equal(again.lookup(pairs[::-1], "t"), scores[::-1])
    assert np.array_equal(again.lookup([pairs[1]] * 3, "t"), scores[[1, 1, 1]])
    assert [path.name for path in tmp_path.iterdir()] == ["s.parquet"]
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["key", "sentence1", "sentence2", "teacher", "scores"]
    assert table["sentence1"].to_pylist() == ["a", "b", ""] and set(table["teacher"].to_pylist()) == {"t"}


def test_second_time_nothing_is_scored(tmp_path, teacher, never):
    pairs, path = make_pairs(BINARY, 20), tmp_path / "deep" / "s.parquet"
    first = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert first.shape == (20, 1) and first.dtype == np.float32
    assert np.abs(first - teacher_scores(teacher, pairs.tuples(), BINARY, **EXACT)).max() < 1e-5
    never()
    assert np.array_equal(label_pairs(teacher, pairs, BINARY, path, **EXACT), first)
    order = np.random.default_rng(0).permutation(20)  # rows are found by what they are, not by where
    assert np.array_equal(label_pairs(teacher, pairs.select(order), BINARY, path, **EXACT), first[order])
    assert np.array_equal(label_pairs(teacher, pairs.select([4, 4, 2]), BINARY, path, **EXACT), first[[4, 4, 2]])


def test_added_pairs_alone_are_scored(tmp_path, teacher, scored):
    pairs = make_pairs(BINARY, 20)
    before = label_pairs(teacher, pairs.select(range(12)), BINARY, tmp_path / "s.parquet", **EXACT)
    del scored[:]
    after = label_pairs(teacher, pairs, BINARY, tmp_path / "s.parquet", **EXACT)
    assert scored == pairs.tuples()[12:]
    assert np.array_equal(after[:12], before)
    assert pq.read_table(tmp_path / "s.parquet").num_rows == 20
    del scored[:]
    mirrored = Pairs(pairs.sentence2[:1], pairs.sentence1[:1])
    label_pairs(teacher, mirrored, BINARY, tmp_path / "s.parquet", **EXACT)
    assert scored == mirrored.tuples()  # a teacher reads (b, a) otherwise than (a, b)


def test_changed_weights_are_another_teacher(tmp_path, teacher, scored):
    pairs, path = make_pairs(BINARY, 8), tmp_path / "s.parquet"
    old_name = teacher_name(teacher, BINARY)
    old = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    with torch.no_grad():
        teacher.model.classifier.bias += 1
    new = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert len(scored) == 16
    assert np.allclose(new, old + 1, atol=1e-5)
    file = ScoreFile(path)
    assert np.array_equal(file.lookup(pairs.tuples(), old_name), old)  # both are kept apart
    assert np.array_equal(file.lookup(pairs.tuples(), teacher_name(teacher, BINARY)), new)


def test_another_positive_class_is_another_logit(tmp_path, backbone):
    teacher = CrossEncoder(backbone, num_labels=2, device="cpu")
    teacher.config.id2label = {0: "no", 1: "yes"}
    pairs, path = make_pairs(BINARY, 6), tmp_path / "s.parquet"
    yes, no = (Task("t", "binary", labels=("no", "yes"), positive=name) for name in ("yes", "no"))
    assert np.array_equal(
        label_pairs(teacher, pairs, yes, path, **EXACT), -label_pairs(teacher, pairs, no, path, **EXACT)
    )
    assert label_pairs(teacher, pairs, None, path, **EXACT).shape == (6, 2)


def test_renamed_outputs_are_another_order(tmp_path, backbone):
    """The same weights with other label names mean other classes."""
    teacher = CrossEncoder(backbone, num_labels=3, device="cpu")
    pairs, path = make_pairs(NLI, 6), tmp_path / "s.parquet"
    teacher.config.id2label = dict(enumerate(NLI.labels))
    one = label_pairs(teacher, pairs, NLI, path, **EXACT)
    teacher.config.id2label = dict(enumerate(NLI.labels[::-1]))
    other = label_pairs(teacher, pairs, NLI, path, **EXACT)
    assert np.abs(one - other[:, ::-1]).max() < 1e-5 < np.abs(one - other).max()


def test_missing_pairs_are_named(tmp_path, teacher):
    label_pairs(teacher, make_pairs(BINARY, 8), BINARY, tmp_path / "s.parquet", **EXACT)
    file, name = ScoreFile(tmp_path / "s.parquet"), teacher_name(teacher, BINARY)
    known = make_pairs(BINARY, 8).tuples()
    with pytest.raises(MismatchError, match=r"s.parquet: pair 3 \('a', 'b'\) has no score; label this data"):
        file.lookup([*known[:2], ("a", "b")], name)
    with pytest.raises(MismatchError, match=rf"pair 1 .* has a score of teacher {name} only"):
        file.lookup(known, "another")
    assert file.lookup([], name).shape[0] == 0


def test_unfit_teacher_writes_nothing(tmp_path, teacher):
    with pytest.raises(MismatchError, match="gives 1 scores per pair"):
        label_pairs(teacher, make_pairs(NLI, 4), NLI, tmp_path / "s.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 half of it"])
@pytest.mark.parametrize("name", ["s.parquet", "s.parquet.shards/000000.parquet"])
def test_broken_file(tmp_path, teacher, name, content):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadDataError, match=rf"{name} is no file of teacher scores .*; delete it and label again"):
        label_pairs(teacher, make_pairs(BINARY, 4), BINARY, tmp_path / "s.parquet")
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    "columns",
    [
        {"sentence1": ["a"], "sentence2": ["b"], "label": [1]},
        {"key": ["x"], "sentence1": ["a"], "sentence2": ["b"], "teacher": ["t"], "scores": ["high"]},
        {"key": [b"x"], "sentence1": ["a"], "sentence2": ["b"], "teacher": ["t"], "scores": [1.0]},
    ],
)
def test_another_kind_of_file(tmp_path, teacher, columns):
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    before = (tmp_path / "train.parquet").read_bytes()
    with pytest.raises(BadDataError, match=r"train.parquet is no file of teacher scores"):
        label_pairs(teacher, make_pairs(BINARY, 4), BINARY, tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").read_bytes() == before


# ----------------------------------------------------------------------------------------------- interruptions


def test_stopped_while_shards_are_joined(tmp_path, teacher, never, monkeypatch):
    """The file is written, its shards are still there."""
    pairs, path = make_pairs(BINARY, 10), tmp_path / "s.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(labelling, "SHARD", 4)
        patch.setattr(labelling.shutil, "rmtree", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert len(list(tmp_path.glob("s.parquet.shards/*.parquet"))) == 3
    (tmp_path / "s.parquet.shards" / "000000.parquet").unlink()  # stopped in the middle of deleting
    never()
    scores = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert np.abs(scores - teacher_scores(teacher, pairs.tuples(), BINARY, **EXACT)).max() < 1e-5
    assert pq.read_table(path).num_rows == 10
    assert [file.name for file in tmp_path.iterdir()] == ["s.parquet"]


@pytest.mark.slow
def test_killed_process_loses_one_shard_at_most(tmp_path, teacher, scored, monkeypatch):
    teacher.save_pretrained(str(tmp_path / "teacher"))
    path, shards = tmp_path / "s.parquet", tmp_path / "s.parquet.shards"
    process = processes.start("label", tmp_path / "teacher", path, 0.05)
    processes.kill_when(process, lambda: (shards / "000003.parquet").exists())
    assert not path.exists()
    saved = len(ScoreFile(path).scores)
    assert 4 * SMALL_SHARD <= saved < LABELLED
    monkeypatch.setattr(labelling, "SHARD", SMALL_SHARD)
    teacher, pairs = CrossEncoder(str(tmp_path / "teacher"), device="cpu"), make_pairs(BINARY, LABELLED)
    resumed = label_pairs(teacher, pairs, BINARY, path)
    assert len(scored) == LABELLED - saved
    whole = label_pairs(teacher, pairs, BINARY, tmp_path / "whole.parquet")
    assert np.abs(resumed - whole).max() < 1e-6
    assert not shards.exists()


# ----------------------------------------------------------------------------------------------- cross-fitting


@pytest.fixture
def folds(monkeypatch):
    """Training pairs of every teacher that is made, and pairs that every teacher scored."""
    seen = SimpleNamespace(trained={}, scored={}, training=[], started=[])
    fit = labelling.fit_teacher

    def fit_recording(backbone, train, task, folder, **kwargs):
        made = fit(backbone, train, task, folder, **kwargs)
        seen.trained[teacher_name(made, task)] = train.tuples()
        seen.training.append(kwargs["training"])
        seen.started.append(backbone)
        return made

    def score_recording(teacher, pairs, task, **kwargs):
        seen.scored.setdefault(teacher_name(teacher, task), []).extend(pairs)
        return teacher_scores(teacher, pairs, task, **kwargs)

    monkeypatch.setattr(labelling, "fit_teacher", fit_recording)
    monkeypatch.setattr(labelling, "teacher_scores", score_recording)
    return seen


QUICK = Training(epochs=1, batch_size=8, learning_rate=1e-3, dtype="float32", seed=5)


CPU = {"dtype": "float32", "device": "cpu"}


def with_mirrors(n: int) -> Pairs:
    """Pairs, some of them also turned round, some twice."""
    pairs = make_pairs(BINARY, n)
    first = pairs.sentence1 + pairs.sentence2[:10] + pairs.sentence1[5:10]
    second = pairs.sentence2 + pairs.sentence1[:10] + pairs.sentence2[5:10]
    return Pairs(first, second, np.concatenate([pairs.label, pairs.label[:10], pairs.label[5:10]]))


def test_no_teacher_scores_what_it_was_trained_on(tmp_path, backbone, folds):
    pairs = with_mirrors(30)
    scores = cross_fit(backbone, pairs, BINARY, tmp_path / "s.parquet", folds=3, training=QUICK, **CPU)
    assert len(folds.trained) == 3 and folds.trained.keys() == folds.scored.keys()
    assert len({training.seed for training in folds.training}) == 3
    every = {frozenset(pair) for pair in pairs.tuples()}
    for name, trained in folds.trained.items():
        knows, scored = ({frozenset(pair) for pair in rows} for rows in (trained, folds.scored[name]))
        assert not knows & scored
        assert knows | scored == every
        assert len(trained) + sum(frozenset(pair) in scored for pair in pairs.tuples()) == len(pairs)
    # Each row has the score of that very teacher.
    file = ScoreFile(tmp_path / "s.parquet")
    who = {pair: name for name, rows in folds.scored.items() for pair in rows}
    expected = [file.lookup([pair], who[pair])[0] for pair in pairs.tuples()]
    assert np.array_equal(scores, expected) and np.array_equal(scores, file.lookup(pairs.tuples()))
    teacher = CrossEncoder(str(tmp_path / "s.parquet.folds" / "1"), device="cpu")
    own = [row for row, pair in enumerate(pairs.tuples()) if who[pair] == teacher_name(teacher, BINARY)]
    assert 5 < len(own) < 30
    exact = teacher_scores(teacher, pairs.select(own).tuples(), BINARY, dtype="float32")
    assert np.abs(exact - scores[own]).max() < 1e-5


def test_cross_fitting_goes_on_where_it_stopped(tmp_path, backbone, folds, monkeypatch):
    pairs = make_pairs(BINARY, 24)
    common = {"folds": 2, "training": QUICK, **CPU}
    whole = cross_fit(backbone, pairs, BINARY, tmp_path / "whole.parquet", **common)
    fit = labelling.fit_teacher

    def stop_at_the_second(*args, **kwargs):
        if args[3].name == "1":
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(labelling, "fit_teacher", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            cross_fit(backbone, pairs, BINARY, tmp_path / "s.parquet", **common)
    folds.trained.clear()
    folds.scored.clear()
    resumed = cross_fit(backbone, pairs, BINARY, tmp_path / "s.parquet", **common)
    assert len(folds.trained) == len(folds.scored) == 1
    assert np.abs(resumed - whole).max() < 1e-6
    folds.scored.clear()
    assert np.array_equal(cross_fit(backbone, pairs, BINARY, tmp_path / "s.parquet", **common), resumed)
    assert len(folds.trained) == 1 and not folds.scored


def test_folds_share_what_needs_no_labels(tmp_path, backbone, folds, monkeypatch):
    """The cosine is learned once, and both teachers start from it."""
    pairs, calls = make_pairs(BINARY, 24), []
    learn = labelling.bootstrap

    def bootstrap_recording(*args):
        calls.append(learn(*args))
        return calls[-1]

    monkeypatch.setattr(labelling, "bootstrap", bootstrap_recording)
    common = {"folds": 2, "training": QUICK, "pooling": "segments", **CPU}
    cross_fit(backbone, pairs, BINARY, tmp_path / "s.parquet", bootstrap_pairs=16, **common)
    assert calls == [str(tmp_path / "s.parquet.folds" / "bootstrap")] and len(folds.trained) == 2
    assert folds.started == calls * 2


def test_cross_fitted_teachers_that_judge_by_cls_cannot_be_bootstrapped(tmp_path, backbone):
    with pytest.raises(ValueError, match="needs pooling 'segments'"):
        cross_fit(backbone, make_pairs(BINARY, 8), BINARY, tmp_path / "s.parquet", folds=2, bootstrap_pairs=16)


@pytest.mark.parametrize("folds", [1, 6])
def test_number_of_folds(tmp_path, folds):
    pairs = Pairs([*"abcdea", "f"], [*"fghijf", "a"], np.zeros(7, np.float32))  # (a, f) thrice: five distinct pairs
    with pytest.raises(ValueError, match=rf"folds is {folds}; choose at least 2 and at most 5"):
        cross_fit("nowhere", pairs, BINARY, tmp_path / "s.parquet", folds=folds)
