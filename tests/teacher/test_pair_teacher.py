"""Teachers that score pairs: whatever predicts, several as one, no pair scored twice, bad scores refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from dse.errors import MismatchError
from dse.teacher import load_ranking_teacher, pair_teacher, teacher_scores
from dse.teacher.pair_teacher import PairTeacher, check_pair_scorer
from dse.teacher.vectors import EncoderTeacher
from tests.conftest import make_student
from tests.training.ranking_samples import CORPUS, QUERIES, SubjectTeacher, score_of

PAIRS = [(query, document) for query in QUERIES[:4] for document in CORPUS[:6]]
EXPECTED = np.array([score_of(*pair) for pair in PAIRS])


class Says:
    """An object whose scores are made of the expected ones."""

    def __init__(self, make) -> None:
        self.make = make

    def predict(self, pairs):
        return self.make(np.array([score_of(*pair) for pair in pairs], np.float32))


LEAF = torch.ones(1, requires_grad=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s,
        lambda s: s.tolist(),
        lambda s: tuple(s.tolist()),
        lambda s: s[:, None],
        lambda s: s.astype(np.float64)[None],
        lambda s: [[value] for value in s.tolist()],
        torch.from_numpy,
        lambda s: torch.from_numpy(s) * LEAF,
        lambda s: list(torch.from_numpy(s)),
        lambda s: list(torch.from_numpy(s)[:, None] * LEAF),
    ],
)
def test_scores_come_as_arrays_lists_or_tensors(make):
    scores = PairTeacher([Says(make)]).scores(PAIRS)
    assert scores.dtype == np.float64 and np.allclose(scores, EXPECTED, atol=1e-6)


def test_half_precision_and_labels():
    assert np.allclose(PairTeacher([Says(lambda s: torch.from_numpy(s).bfloat16())]).scores(PAIRS), EXPECTED, rtol=0.01)
    assert PairTeacher([Says(lambda s: s > 2)]).scores(PAIRS).tolist() == (EXPECTED > 2).tolist()
    assert PairTeacher([Says(lambda s: s.astype(int))]).scores(PAIRS).tolist() == EXPECTED.astype(int).tolist()


def with_last(value):
    return lambda s: [*s[:-1].tolist(), value]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: s[1:], r"scores of shape \(23,\).* for 24 pairs; it must give one number each"),
        (lambda s: np.stack([s, s], axis=1), r"shape \(24, 2\)"),
        (lambda s: None, "type object"),
        (lambda s: {"scores": s}, "type object"),
        (lambda s: [[1.0], [1.0, 2.0]], "type object"),
        (lambda s: [], r"shape \(0,\)"),
        (with_last("high"), "one number each"),
        (with_last(None), "type object"),
        (lambda s: s + 1j, "type complex"),
        (with_last(float("nan")), "The teacher's score of '.*' with '.*' is nan; it must be finite"),
        (with_last(float("-inf")), "is -inf; it must be finite"),
        (with_last(1e39), "must be finite"),
    ],
)
def test_scores_that_do_not_fit_are_refused(make, message, tmp_path):
    for output in (None, tmp_path / "scores.parquet"):
        with pytest.raises(MismatchError, match=message):
            PairTeacher([Says(make)], output).scores(PAIRS)
    assert not (tmp_path / "scores.parquet").exists()


def test_a_long_text_is_cut_in_the_message():
    with pytest.raises(MismatchError) as error:
        PairTeacher([Says(lambda s: s * np.nan)]).scores([("a tent " * 99, "a tent " * 99)])
    assert len(str(error.value)) < 250


def test_no_pairs():
    both = PairTeacher([SubjectTeacher(), SubjectTeacher(9.0)])
    assert both.scores([]).shape == (0,) and np.isfinite(both.scores(PAIRS)).all()


# ------------------------------------------------------------------------------------------------------- kept scores


@pytest.mark.parametrize("fingerprint", [None, "subjects-1"])
def test_no_pair_is_scored_twice(tmp_path, fingerprint, monkeypatch):
    """Within a call, from call to call, and by another process with the same file."""
    monkeypatch.setattr(pair_teacher, "SHARD", 5)
    one, other = SubjectTeacher(fingerprint=fingerprint), SubjectTeacher(fingerprint=fingerprint)
    for scorer, output in ((one, tmp_path / "scores.parquet"), (SubjectTeacher(), None)):
        teacher = PairTeacher([scorer], output)
        assert np.allclose(teacher.scores([*PAIRS[:9], *PAIRS[:3]]), EXPECTED[[*range(9), 0, 1, 2]])
        assert np.allclose(teacher.predict(PAIRS[::-1]), EXPECTED[::-1])
        assert sorted(scorer.asked) == sorted(PAIRS)
    again = PairTeacher([other], tmp_path / "scores.parquet")
    assert np.array_equal(again.scores(PAIRS), PairTeacher([one], tmp_path / "scores.parquet").scores(PAIRS))
    assert not other.asked and again.fingerprint == (fingerprint or "SubjectTeacher")


def test_scores_of_another_teacher_are_not_taken(tmp_path):
    PairTeacher([SubjectTeacher(fingerprint="one")], tmp_path / "s.parquet").scores(PAIRS)
    other = SubjectTeacher(2.0, fingerprint="two")
    assert np.allclose(PairTeacher([other], tmp_path / "s.parquet").scores(PAIRS), 2 * EXPECTED)
    assert len(other.asked) == len(PAIRS)


def test_a_stopped_run_loses_one_shard_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_teacher, "SHARD", 5)
    scorer, predict = SubjectTeacher(), SubjectTeacher.predict

    def stop(self, pairs):
        if len(self.asked) == 15:
            raise KeyboardInterrupt
        return predict(self, pairs)

    with monkeypatch.context() as patch:
        patch.setattr(SubjectTeacher, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            PairTeacher([scorer], tmp_path / "s.parquet").scores(PAIRS)
    again = SubjectTeacher()
    assert np.allclose(PairTeacher([again], tmp_path / "s.parquet").scores(PAIRS), EXPECTED)
    assert again.asked == PAIRS[15:]


# ---------------------------------------------------------------------------------------------------------- several


class Turned(SubjectTeacher):
    """Another opinion: the length of the document."""

    def predict(self, pairs):
        self.asked += pairs
        return [self.slope * len(document) for _, document in pairs]


@pytest.mark.parametrize("slope", [1e-6, 1.0, 1e6])
def test_several_teachers_count_equally(slope):
    lengths = np.array([len(document) for _, document in PAIRS], float)
    one, other = ((x - x.mean()) / x.std() for x in (EXPECTED, lengths))
    teacher = PairTeacher([SubjectTeacher(slope), Turned(1 / slope)])
    assert np.allclose(teacher.scores(PAIRS), (one + other) / 2)
    assert np.allclose(teacher.scores(PAIRS[:3]), (one + other)[:3] / 2)  # as the first pairs had it
    assert teacher.fingerprint == "SubjectTeacher+Turned 2"


def test_a_score_of_several_is_the_same_in_every_process(tmp_path):
    """Whatever pairs a process asks for first."""
    first = PairTeacher([SubjectTeacher(), Turned()], tmp_path / "s.parquet").scores(PAIRS)
    again = PairTeacher([SubjectTeacher(), Turned()], tmp_path / "s.parquet")
    assert np.array_equal(again.scores(PAIRS[:4]), first[:4])
    others = PairTeacher([SubjectTeacher(fingerprint="x"), Turned()], tmp_path / "s.parquet").scores(PAIRS)
    assert np.allclose(others, first)


def test_two_of_one_class_are_two(tmp_path):
    one, other = Turned(), Turned(-1.0)
    assert np.allclose(PairTeacher([one, other], tmp_path / "s.parquet").scores(PAIRS), 0, atol=1e-6)


def test_a_teacher_without_an_opinion_changes_nothing():
    x = EXPECTED - EXPECTED.mean()
    assert np.allclose(PairTeacher([SubjectTeacher(), Says(np.zeros_like)]).scores(PAIRS), x / EXPECTED.std() / 2)


# ------------------------------------------------------------------------------------------------------------ models


def test_a_cross_encoder_gives_raw_scores(teacher, tmp_path):
    expected = teacher_scores(teacher, PAIRS, dtype="float32")[:, 0]
    kept = PairTeacher([teacher], tmp_path / "s.parquet", dtype="float32")
    assert np.array_equal(kept.scores(PAIRS), expected.astype(float))
    assert np.array_equal(PairTeacher([teacher], dtype="float32").scores(PAIRS), expected.astype(float))


def test_an_encoder_gives_its_cosine_and_a_student_its_raw_score(encoder, backbone):
    model = load_ranking_teacher(encoder)
    u, v = (
        np.asarray(encode([pair[side] for pair in PAIRS], normalize_embeddings=True))
        for side, encode in enumerate((model.encode_query, model.encode_document))
    )
    assert np.allclose(PairTeacher([model]).scores(PAIRS), (u * v).sum(axis=1), atol=1e-2)
    keeps = PairTeacher([EncoderTeacher([model])])  # its vectors, in half precision
    assert np.allclose(keeps.scores(PAIRS), (u * v).sum(axis=1), atol=1e-2)
    assert keeps.fingerprint == PairTeacher([model]).fingerprint
    student = make_student(backbone)
    assert np.allclose(PairTeacher([student]).scores(PAIRS), student.raw_scores(PAIRS)[:, 0], atol=1e-6)


def test_models_of_all_kinds_are_one_teacher(teacher, encoder):
    scores = PairTeacher([teacher, SentenceTransformer(encoder, device="cpu"), SubjectTeacher()]).scores(PAIRS)
    assert scores.shape == (24,) and scores.mean() == pytest.approx(0, abs=1e-6)


def test_what_cannot_score_pairs_is_refused_at_once(backbone):
    with pytest.raises(MismatchError, match="no teacher"):
        PairTeacher([])
    with pytest.raises(MismatchError, match=r"A str has no predict\(pairs\)"):
        PairTeacher([SubjectTeacher(), "a folder"])
    with pytest.raises(MismatchError, match="cross-encoder gives 3 scores per pair"):
        check_pair_scorer(CrossEncoder(backbone, num_labels=3, device="cpu"))
    with pytest.raises(MismatchError, match="student gives 3 scores per pair"):
        check_pair_scorer(make_student(backbone, num_labels=3))
