"""Out-of-fold scores: no teacher scores a pair that it was trained on, in either order."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.teacher import cross_fit, cross_fitting, labelling, teacher_name, teacher_scores
from dse.teacher.kept_scores import ScoreFile
from dse.training.settings import Training
from tests.samples import BINARY, make_pairs


@pytest.fixture
def folds(monkeypatch):
    """Training pairs of every teacher that is made, and pairs that every teacher scored."""
    calls = SimpleNamespace(trained={}, scored={}, training=[])
    fit = cross_fitting.fit_teacher

    def fit_recording(backbone, train, task, folder, **kwargs):
        made = fit(backbone, train, task, folder, **kwargs)
        calls.trained[teacher_name(made, task)] = train.tuples()
        calls.training.append(kwargs["training"])
        return made

    def score_recording(teacher, pairs, task, **kwargs):
        calls.scored.setdefault(teacher_name(teacher, task), []).extend(pairs)
        return teacher_scores(teacher, pairs, task, **kwargs)

    monkeypatch.setattr(cross_fitting, "fit_teacher", fit_recording)
    monkeypatch.setattr(labelling, "teacher_scores", score_recording)
    return calls


QUICK = Training(epochs=1, batch_size=8, learning_rate=1e-3, dtype="float32", seed=5)


CPU = {"dtype": "float32", "device": "cpu"}


def with_mirrors(n: int) -> Pairs:
    """Pairs; ten also turned round, five twice."""
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


def test_cross_fitting_resumes_where_it_stopped(tmp_path, backbone, folds, monkeypatch):
    pairs = make_pairs(BINARY, 24)
    common = {"folds": 2, "training": QUICK, **CPU}
    whole = cross_fit(backbone, pairs, BINARY, tmp_path / "whole.parquet", **common)
    fit = cross_fitting.fit_teacher

    def stop_at_the_second(*args, **kwargs):
        if args[3].name == "1":
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(cross_fitting, "fit_teacher", stop_at_the_second)
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


@pytest.mark.parametrize("folds", [1, 6])
def test_number_of_folds(tmp_path, folds):
    pairs = Pairs([*"abcdea", "f"], [*"fghijf", "a"], np.zeros(7, np.float32))  # (a, f) thrice: five distinct pairs
    with pytest.raises(ValueError, match=rf"folds is {folds}; choose at least 2 and at most 5"):
        cross_fit("nowhere", pairs, BINARY, tmp_path / "s.parquet", folds=folds)
