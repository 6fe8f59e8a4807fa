"""Both passes against plain numpy, on rows in memory in place of a Lance dataset."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from dse.data.arrow_vectors import vectors
from dse.index.layout import EMBEDDING
from dse.index.row_scorer import RowScorer
from dse.index.scout import EXACT_ROWS, Scout
from dse.index.search import Searcher, exact_search, shortlist_length
from dse.modules import PairHead
from tests.index.tables import make_embeddings

D, ROWS, LENGTH = 32, 600, 64
FAR = "partition >= 16"


class MemoryRows:
    """Stands for a snapshot of 96 partitions, of which `nearest` searches the first, exactly."""

    manifest = SimpleNamespace(indexed_rows=10_000)

    def __init__(self, scout: Scout) -> None:
        self.embeddings = make_embeddings(ROWS).astype(np.float32)
        self.vectors = scout.rows(self.embeddings)
        self.partition = np.arange(ROWS) % 96

    def nearest(self, query, k, nprobes, where=None):
        rows = np.flatnonzero((self.partition < nprobes) & ((self.partition >= 16) | (where is None)))
        order = np.argsort(-(self.vectors[rows] @ query), kind="stable")
        return rows[order][:k].astype(np.uint64)

    def take(self, rows, columns):
        return pa.table({EMBEDDING: vectors(self.embeddings[rows])})

    def scan(self, columns, where, batch_size):
        table = pa.table({EMBEDDING: vectors(self.embeddings), "_rowid": np.arange(ROWS, dtype=np.uint64)})
        yield from table.to_batches(max_chunksize=250)


@pytest.fixture
def searcher():
    torch.manual_seed(0)
    scout = Scout.cosine(make_embeddings(ROWS).astype(np.float32))
    return Searcher(MemoryRows(scout), RowScorer(PairHead(D, 1, "mlp", 64), None), scout)


@pytest.fixture
def query():
    return torch.from_numpy(make_embeddings(1, seed=1)[0].astype(np.float32))


def all_scores(searcher, query):
    with torch.inference_mode():
        return searcher.scorer.scores(query, torch.from_numpy(searcher.snapshot.embeddings)).numpy()


def test_the_second_half_lies_in_the_corrected_direction(searcher, query):
    rows, scores = searcher.snapshot, all_scores(searcher, query)
    vector = searcher.scout.queries(query.numpy()[None])[0]
    near = np.flatnonzero(rows.partition < 16)  # 2 sqrt(64) partitions
    first = near[np.argsort(-(rows.vectors[near] @ vector), kind="stable")][: LENGTH // 2]

    def second(direction):
        order = np.argsort(-(rows.vectors @ direction), kind="stable")
        return order[~np.isin(order, first)][: LENGTH // 2]

    corrected = second(searcher.scout.corrected(vector, rows.vectors[first], scores[first]))
    shortlist = np.append(first, corrected)
    best = searcher.two_passes(query, 10, LENGTH)
    expected = shortlist[np.argsort(-scores[shortlist], kind="stable")][:10]
    assert best.rows.tolist() == expected.tolist() and best.scored == LENGTH
    np.testing.assert_allclose(best.scores, scores[expected], atol=1e-5)
    seconds: dict[str, float] = {}
    found = searcher.shortlist(query, LENGTH, None, lambda ids: searcher.score_first(query, ids, seconds), seconds)
    assert found.first.tolist() == first.tolist() and found.second.tolist() == corrected.tolist()
    assert set(corrected) != set(second(vector)), "the plain vector would give other rows"


def test_where_the_near_partitions_hold_no_row_of_a_condition_more_are_searched(searcher, query):
    assert len(searcher.snapshot.nearest(np.ones(D, np.float32), LENGTH, 16, FAR)) == 0
    best = searcher.two_passes(query, 10, LENGTH, FAR)
    assert best.scored == LENGTH and len(best.rows) == 10
    assert (searcher.snapshot.partition[best.rows] >= 16).all()


def test_a_shortlist_of_all_rows_is_exact(searcher, query):
    searcher.snapshot.partition[:] = 0
    [exact] = exact_search(searcher.snapshot, searcher.scorer, query[None], 10)
    two_passes = searcher.two_passes(query, 10, ROWS)
    assert exact.scored == two_passes.scored == ROWS and exact.scout_ranks is None
    assert exact.rows.tolist() == two_passes.rows.tolist() == np.argsort(-all_scores(searcher, query))[:10].tolist()
    assert two_passes.scout_ranks.max() <= ROWS and two_passes.scout_ranks.min() >= 1


@pytest.mark.parametrize(
    ("calibration", "k", "rows", "length"),
    [
        (None, 10, 10**6, 1024),
        (None, 300, 10**6, 1200),  # at least four times k
        ({"shortlist": 64}, 10, 10**6, 64),
        ({"shortlist": 64}, 17, 10**6, 68),
        ({"shortlist": None}, 10, 10**6, None),
        (None, 10, EXACT_ROWS, None),
        (None, 3000, 12_000, None),
    ],
)
def test_length_of_the_shortlist(calibration, k, rows, length):
    snapshot = SimpleNamespace(manifest=SimpleNamespace(calibration=calibration), count=lambda where: rows)
    assert shortlist_length(snapshot, k, None) == length
