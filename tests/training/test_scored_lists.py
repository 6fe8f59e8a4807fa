"""Lists of scored documents: the loss is the formula, the scale of the scores does not matter, nothing leaks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import DSE
from dse.errors import BadDataError, MismatchError
from dse.training import ranking_loop, scored_lists
from dse.training.ranking import RankingTraining, distill_ranking
from dse.training.scored_lists import ScoredLists, draw_of
from tests.conftest import make_student
from tests.samples import difference, tensors
from tests.training.ranking_samples import CORPUS, LISTS, QUERIES, make_lists

SHORT = RankingTraining(steps=4, batch_size=8, learning_rate=1e-3, checkpoint_steps=2, refreshes=0, dtype="float32")
N = len(CORPUS)


def new_student(backbone: str, **kwargs) -> DSE:
    return make_student(backbone, **({"head": "cosine", "num_layers": 1} | kwargs))


def run(student: DSE, output, settings=SHORT, **kwargs) -> DSE:
    return distill_ranking(student, CORPUS, QUERIES, output, settings=settings, **{"lists": LISTS} | kwargs)


def unit(random: np.random.Generator, *shape: int) -> np.ndarray:
    x = random.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max())
    return x / x.sum()


def plain_loss(lists, first_bank, rows, e, bank, temperature) -> float:
    """The formula of the module, list by list; queries that are encoded and documents that are come fresh."""
    usable = {N + i: own for i, own in enumerate(lists) if len(own[1]) > 1 and np.ptp(own[1]) > 0}

    def spread(values) -> float:
        return float(np.sqrt(np.mean([np.var(x) for x in values])))

    student = spread([first_bank[d] @ first_bank[q] for q, (d, _) in usable.items()])
    r = max(student, 0.12) / spread([s for _, s in usable.values()])
    fresh = dict(zip(rows.tolist(), e, strict=True))
    losses = []
    for row in rows.tolist():
        if row >= N:
            documents, scores = usable[row]
            if any(d in fresh for d in documents.tolist()):  # what the step encodes is compared
                chosen = [place for place, d in enumerate(documents.tolist()) if d in fresh]
                documents, scores = documents[chosen], scores[chosen]
            p = softmax(r * scores / temperature)
            q = softmax(np.array([fresh[row] @ fresh.get(d, bank[d]) for d in documents.tolist()]) / temperature)
            losses.append((p * np.log(p / q)).sum())
    return float(np.mean(losses))


# -------------------------------------------------------------------------------------------------------- the loss


@given(
    seed=st.integers(0, 1000),
    slope=st.sampled_from([1e-6, 0.5, 1.0, 1e4, 1e30]),
    temperature=st.sampled_from([0.05, 0.1, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_loss_is_the_formula(seed, slope, temperature):
    """Lists of all lengths, some without an order, of documents that are encoded in the step."""
    random = np.random.default_rng(seed)
    lists = [
        (random.permutation(N)[:k], slope * (random.normal(size=k) if i % 7 else np.ones(k)) + slope)
        for i, k in enumerate(random.integers(0, 9, size=60))
    ]
    queries = [f"query {i}" for i in range(60)]
    data = ScoredLists(CORPUS, queries, lists, RankingTraining(temperature=temperature, batch_size=8))
    first, bank = unit(random, N + 60, 3), unit(random, N + 60, 3)
    data.begin(torch.from_numpy(first))
    rows = data.batch(int(seed))
    e = unit(random, len(rows), 3)
    e_torch = torch.tensor(e, dtype=torch.float64, requires_grad=True)
    loss = data.divergences(rows, e_torch, torch.from_numpy(bank), data.candidates(0)).mean()
    assert float(loss.detach()) == pytest.approx(plain_loss(lists, first, rows, e, bank, temperature), rel=1e-6)
    loss.backward()
    assert torch.isfinite(e_torch.grad).all() and (e_torch.grad.abs().sum(dim=1) > 0).all()  # documents too


def test_a_step_encodes_queries_and_documents_of_their_lists():
    data = ScoredLists(CORPUS, QUERIES, LISTS, RankingTraining(batch_size=16, seed=1))
    seen: set[int] = set()
    for step in range(40):
        rows = data.batch(step)
        queries, documents = rows[rows >= N], rows[rows < N]
        assert (rows[: len(queries)] == queries).all() and len(set(rows.tolist())) == len(rows) <= 16
        own = [set(LISTS[q - N][0].tolist()) for q in queries]
        assert set(documents.tolist()) <= set().union(*own)
        for q in queries:  # the best document is always there
            assert LISTS[q - N][0][LISTS[q - N][1].argmax()] in documents
        seen |= set(queries.tolist())
        assert data.batch(step).tolist() == rows.tolist()
    assert seen == set(data.anchors.tolist())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_small_batches(size, backbone, tmp_path):
    data = ScoredLists(CORPUS, QUERIES, LISTS, RankingTraining(batch_size=size))
    assert all(1 <= len(data.batch(step)) <= size for step in range(30))
    run(new_student(backbone), tmp_path / "s", RankingTraining(steps=1, batch_size=size, dtype="float32"))


def test_gradient_reaches_queries_and_drawn_documents_alone(backbone, tmp_path, monkeypatch):
    """Of the texts of a step; documents from the bank get none."""
    student, grads = new_student(backbone), []
    encode = ranking_loop.RankingTrainer._encode_batch

    def spy(self, texts):
        e = encode(self, texts)
        e.register_hook(lambda grad: grads.append((len(texts), grad.abs().sum(dim=1))))
        return e

    monkeypatch.setattr(ranking_loop.RankingTrainer, "_encode_batch", spy)
    run(student, tmp_path / "s")
    assert len(grads) == 4 and all(len(grad) == texts and (grad > 0).all() for texts, grad in grads)


# --------------------------------------------------------------------------------------------------------- the scale


def test_the_scale_of_the_scores_does_not_matter(backbone, tmp_path):
    students = []
    for i, (slope, shift) in enumerate([(1.0, 0.0), (1000.0, 0.0), (1e-9, 0.0), (2.0, 1e6)]):
        lists = [(rows, slope * scores + shift) for rows, scores in LISTS]
        students.append(run(new_student(backbone), tmp_path / str(i), lists=lists))
    pairs = [(query, document) for query in QUERIES[:3] for document in CORPUS[:9]]
    first, *others = (tensors(student.transformers_model) for student in students)
    for other in others:
        assert difference(first, other) < 1e-5
    scores = [student.raw_scores(pairs)[:, 0].astype(float) for student in students]
    assert np.allclose(1000 * scores[0], scores[1], rtol=1e-3, atol=0.1)  # on the teacher's scale


def test_a_power_of_two_changes_no_bit(backbone, tmp_path):
    lists = [(rows, 1024 * scores) for rows, scores in LISTS]
    one, other = run(new_student(backbone), tmp_path / "a"), run(new_student(backbone), tmp_path / "b", lists=lists)
    assert difference(tensors(one.transformers_model), tensors(other.transformers_model)) == 0.0


def test_labels_are_lists_too(backbone, tmp_path):
    """Grades 0 and 1, as people judge, in whole numbers and as Python lists."""
    lists = [(rows.tolist(), [int(score > 2) for score in scores]) for rows, scores in LISTS]
    student = run(new_student(backbone), tmp_path / "s", lists=lists)
    assert student.info["task"]["label_range"] == [0.0, 1.0]


def test_a_student_moves_towards_its_teacher(backbone, tmp_path):
    settings_ = RankingTraining(
        steps=60, batch_size=16, learning_rate=1e-3, temperature=0.02, refreshes=0, dtype="float32"
    )
    student = run(new_student(backbone), tmp_path / "s", settings_, lists=make_lists(40))
    log = json.loads((tmp_path / "s" / "training.json").read_text())
    assert log["held_out"]["after"] < 0.95 * log["held_out"]["before"] and not log["kept_start"]
    saved = DSE(str(tmp_path / "s"), dtype="float32", device="cpu")
    pairs = [(query, document) for query in QUERIES[:3] for document in CORPUS[:9]]
    assert np.array_equal(student.raw_scores(pairs), saved.raw_scores(pairs)) and saved.info == student.info


# ---------------------------------------------------------------------------------------------------- what is held out


@given(st.lists(st.integers(0, 400), min_size=1, max_size=300), st.integers(20, 60), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_what_was_learned_is_never_held_out_later(names, fewest, seed):
    """From round to round lists are added; queries of equal text stay together."""
    queries = [*(f"query {i}" for i in range(fewest)), *(f"query {name}" for name in names)]
    pair = (np.array([0, 1]), np.array([0.0, 1.0]))
    sides = []
    for number in (fewest, len(queries)):
        data = ScoredLists(CORPUS, queries[:number], [pair] * number, RankingTraining(seed=seed))
        held_out, learned = ({data.texts[row] for row in rows} for rows in (data.held_out, data.anchors))
        assert len(held_out) >= 2 and learned and not held_out & learned
        assert sorted([*data.held_out, *data.anchors]) == list(range(N, N + number))
        sides.append((held_out, learned))
    assert not sides[0][1] & sides[1][0]
    kept = {text for text in sides[0][0] if draw_of(text, seed) < scored_lists.HELD_OUT}
    assert kept <= sides[1][0]


def test_held_out_queries_are_named_and_never_encoded(backbone, tmp_path, monkeypatch):
    learned: list[str] = []
    encode = ranking_loop.RankingTrainer._encode_batch
    monkeypatch.setattr(
        ranking_loop.RankingTrainer, "_encode_batch", lambda self, texts: learned.extend(texts) or encode(self, texts)
    )
    settings_ = RankingTraining(steps=12, batch_size=16, dtype="float32", learning_rate=2e-4)
    student = run(new_student(backbone), tmp_path / "s", settings_)
    log = json.loads((tmp_path / "s" / "training.json").read_text())
    held_out = log["held_out"]["queries"]
    assert held_out and not set(held_out) & set(learned) and set(QUERIES) <= {*held_out, *learned}
    data = ScoredLists(CORPUS, QUERIES, LISTS, settings_)
    first, bank = (model.encode(data.texts, normalize_embeddings=True) for model in (new_student(backbone), student))
    assert log["held_out"]["after"] == pytest.approx(
        plain_loss(LISTS, first, data.held_out, bank[data.held_out], bank, 0.1), abs=1e-5
    )


# -------------------------------------------------------------------------------------------------------- bad input


def changed(row: int, documents, scores) -> list:
    return [(documents, scores) if i == row else own for i, own in enumerate(LISTS)]


@pytest.mark.parametrize(
    ("corpus", "lists", "error", "message"),
    [
        ([], LISTS, BadDataError, "holds 0 distinct document"),
        (["one"], LISTS, BadDataError, "holds 1 distinct document"),
        (CORPUS, LISTS[:-1], MismatchError, "24 lists for 25 queries"),
        (CORPUS, changed(3, [0, 1], [1.0]), BadDataError, "List 4 does not have one score for each"),
        (CORPUS, changed(3, [0, 0], [1.0, 2.0]), BadDataError, "List 4 does not have one score for each"),
        (CORPUS, changed(3, [[0, 1]], [[1.0, 2.0]]), BadDataError, "List 4 does not have one score for each"),
        (CORPUS, changed(3, [0, 75], [1.0, 2.0]), BadDataError, "List 4 names a document outside rows 0 to 74"),
        (CORPUS, changed(3, [-1, 2], [1.0, 2.0]), BadDataError, "List 4 names a document outside"),
        (CORPUS, changed(3, [0.5, 2], [1.0, 2.0]), BadDataError, "List 4 names a document outside"),
        (CORPUS, changed(3, [0, 1], [1.0, np.nan]), BadDataError, "List 4 has a score that is no finite number"),
        (CORPUS, changed(3, [0, 1], [1.0, np.inf]), BadDataError, "List 4 has a score that is no finite number"),
        (CORPUS, changed(3, [0, 1], ["a", "b"]), BadDataError, "List 4 has a score that is no finite number"),
        (CORPUS, [(own, np.ones(len(own))) for own, _ in LISTS], BadDataError, "Of 25 lists 0 prefer"),
        (CORPUS, [*LISTS[:19], *[([], [])] * 6], BadDataError, "Of 19 lists 19 prefer"),
    ],
)
def test_bad_lists_are_refused_before_any_work(backbone, tmp_path, corpus, lists, error, message):
    with pytest.raises(error, match=message):
        distill_ranking(new_student(backbone), corpus, QUERIES, tmp_path / "s", lists=lists)
    assert not (tmp_path / "s").exists()


def test_equal_queries_are_one(backbone):
    with pytest.raises(BadDataError, match="Of 25 lists 1 prefer"):
        ScoredLists(CORPUS, ["the same"] * 25, LISTS, SHORT)


@pytest.mark.parametrize("labels", [None, LISTS])
def test_neither_lists_nor_vectors(backbone, tmp_path, labels):
    with pytest.raises(MismatchError, match="give one of the two"):
        distill_ranking(new_student(backbone), CORPUS, QUERIES, tmp_path / "s", labels=labels)


@pytest.mark.parametrize("stopped", [1, 3, 4])
def test_a_stopped_run_goes_on_to_the_same_student(backbone, tmp_path, monkeypatch, stopped):
    """The scale r is that of the first embeddings, not of those at the checkpoint."""
    whole = run(new_student(backbone), tmp_path / "whole")
    step = ranking_loop.RankingTrainer._step

    def stop_at(self, number):
        if number == stopped:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(ranking_loop.RankingTrainer, "_step", stop_at)
        if stopped == 4:
            patch.setattr(DSE, "save_pretrained", lambda *args: stop_at(None, 4))
        with pytest.raises(KeyboardInterrupt):
            run(new_student(backbone), tmp_path / "s")
    again = run(new_student(backbone), tmp_path / "s")
    assert difference(tensors(whole), tensors(again)) == 0.0
