"""The scout: a plain numpy version of its equation, what it learns, and that it comes back from disk as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dse.index import CandidateIndex
from dse.index.row_scorer import RowScorer
from dse.index.scout import RIDGE, Scout, Tower
from dse.index.scout_training import train_scout
from dse.modules import PairHead
from tests.index.tables import make_embeddings, prepared


def plain(v, directions, w0, w1, b1, w2, b2):
    """One vector at a time, as the equation in `dse.index.scout` reads."""
    y = np.array([direction @ v for direction in directions.T])
    linear = np.array([column @ y for column in w0.T])
    z = linear / np.sqrt((linear**2).sum())
    hidden = np.array([max(0.0, w1[:, j] @ y + b1[j]) for j in range(len(b1))])
    return z + np.array([w2[:, j] @ hidden + b2[j] for j in range(len(b2))])


def test_rows_and_queries_follow_the_equation():
    random = np.random.default_rng(0)
    directions = random.standard_normal((12, 6)).astype(np.float32)
    query, row = (
        Tower(*(random.standard_normal(shape).astype(np.float32) for shape in ((6, 4), (6, 5), (5,), (5, 4), (4,))))
        for _ in range(2)
    )
    scout, v = Scout("x", directions, query, row), random.standard_normal((3, 12))
    for vectors, tower in ((scout.queries(v), query), (scout.rows(v), row)):
        expected = [plain(one, directions, *vars(tower).values()) for one in v]
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-4)


def test_untrained_it_is_the_cosine():
    v = make_embeddings(50).astype(np.float32)
    scout = Scout.cosine(v)
    unit = v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(scout.queries(v) @ scout.rows(v).T, unit @ unit.T, atol=1e-5)


def test_the_correction_is_a_weighted_ridge_regression():
    random = np.random.default_rng(0)
    vectors, vector = random.standard_normal((40, 5)).astype(np.float32), random.standard_normal(5).astype(np.float32)
    scores = (vectors @ random.standard_normal(5) + random.standard_normal(40)).astype(np.float32)
    weights = np.exp((scores - scores.max()) / scores.std())
    weights /= weights.sum()
    a, s = vectors - weights @ vectors, scores - weights @ scores
    slope = np.sum(weights * (a @ vector) * s) / np.sum(weights * (a @ vector) ** 2)
    rest = s - slope * (a @ vector)
    ridge = RIDGE * sum(weights[i] * a[i, j] ** 2 for i in range(40) for j in range(5)) / 40 + 1e-6
    # Rows sqrt(g) a and, for the ridge, sqrt(r) times each unit vector: least squares of the whole.
    left = np.concatenate([np.sqrt(weights)[:, None] * a, np.sqrt(ridge) * np.eye(5)])
    right = np.concatenate([np.sqrt(weights) * rest, np.zeros(5)])
    expected = slope * vector + np.linalg.lstsq(left, right, rcond=None)[0]
    np.testing.assert_allclose(Scout.cosine(vectors).corrected(vector, vectors, scores), expected, rtol=1e-3, atol=1e-4)


def test_equal_scores_correct_nothing_into_nan():
    vectors = np.ones((10, 4), np.float32)
    w = Scout.cosine(vectors).corrected(np.ones(4, np.float32), vectors, np.zeros(10, np.float32))
    assert np.isfinite(w).all()


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    return PairHead(16, 1, "mlp", 64)


def shortlist_recall(scout, head, v, queries):
    """Share of the exact best ten among the forty that the scout puts highest."""
    exact = RowScorer(head, None).best(torch.from_numpy(queries), torch.from_numpy(v), 10)[1].detach().numpy()
    listed = np.argsort(-(scout.queries(queries) @ scout.rows(v).T), axis=1)[:, :40]
    return np.mean([np.isin(a, b).mean() for a, b in zip(exact, listed, strict=True)])


def test_trained_it_follows_the_head(head, monkeypatch):
    monkeypatch.setattr("dse.index.scout_training.QUERIES", (512, 512))
    v = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
    queries = np.random.default_rng(1).standard_normal((50, 16)).astype(np.float32)
    cosine, trained = Scout.cosine(v), train_scout(RowScorer(head, None), v)
    before, after = (shortlist_recall(scout, head, v, queries) for scout in (cosine, trained))
    assert after > before + 0.3, (before, after)


def test_the_same_seed_trains_the_same(head, monkeypatch):
    monkeypatch.setattr("dse.index.scout_training.QUERIES", (32, 32))
    v = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    state = torch.random.get_rng_state()
    first, again, other = (
        train_scout(RowScorer(head, None), v),
        train_scout(RowScorer(head, None), v),
        train_scout(RowScorer(head, None), v, seed=1),
    )
    assert (first.rows(v) == again.rows(v)).all() and (first.rows(v) != other.rows(v)).any()
    assert torch.equal(state, torch.random.get_rng_state()), "the caller's random numbers are its own"


@pytest.mark.parametrize("count", [1, 2, 20])
def test_one_row_or_equal_rows_train_without_nan(head, count):
    v = np.ones((count, 16), np.float32)
    assert np.isfinite(train_scout(RowScorer(head, None), v).rows(v)).all()


def test_of_three_classes_one_is_trained(monkeypatch):
    monkeypatch.setattr("dse.index.scout_training.QUERIES", (300, 300))
    torch.manual_seed(0)
    head = PairHead(16, 3, "mlp", 32)
    v = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
    exact = RowScorer(head, 1).best(torch.from_numpy(v[:50]), torch.from_numpy(v), 10)[1].detach().numpy()
    recalls = []
    for label in (1, 2):
        scout = train_scout(RowScorer(head, label), v)
        listed = np.argsort(-(scout.queries(v[:50]) @ scout.rows(v).T), axis=1)[:, :40]
        recalls.append(np.mean([np.isin(a, b).mean() for a, b in zip(exact, listed, strict=True)]))
    assert recalls[0] > recalls[1]


@pytest.mark.usefixtures("small_scout")
def test_it_comes_back_from_disk_as_it_was(index, student):
    index.add(prepared(400))
    index.optimize()
    scout, again = (opened._handle.latest().scout for opened in (index, CandidateIndex(index._handle.path, student)))
    v = make_embeddings(5, seed=3).astype(np.float32)
    assert scout.name == again.name
    assert (scout.rows(v) == again.rows(v)).all() and (scout.queries(v) == again.queries(v)).all()
