"""An index and a plain dict go through the same random history and must agree after every step."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dse import DSE
from dse.index import CandidateIndex, scout, scout_training
from tests.conftest import WORDS, make_student

# Quotes, SQL, wildcards, scripts written from right to left, one character of several code points.
IDS = st.sampled_from(
    ["a", "A", "'", "''", '"', "a' OR '1'='1", "%", "_", "id", "שלום", "👩‍👩‍👧", "e\u0301", "é", " ", "\n", "0", "-- x"]
)
TEXTS = st.lists(st.sampled_from(WORDS[:12]), max_size=4).map(" ".join)
ROW = st.fixed_dictionaries({"id": IDS, "text": TEXTS, "price": st.none() | st.integers(-3, 3)})
ROWS = st.lists(ROW, min_size=1, max_size=6, unique_by=lambda row: row["id"])
CONDITIONS = {
    "price < 1": lambda price: price is not None and price < 1,
    "price is null or price = 2": lambda price: price is None or price == 2,
    "price in (0, 1) and text like '%red%'": None,
}


class Machine(RuleBasedStateMachine):
    student: DSE

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "index")
        self.index = CandidateIndex.create(self.path, self.student)
        self.rows: dict[str, dict] = {}

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(rows=ROWS)
    def add(self, rows):
        new = [row for row in rows if row["id"] not in self.rows]
        same = [self.rows[row["id"]] for row in rows if row["id"] in self.rows]
        assert self.index.add(same + new) == {"added": len(new), "unchanged": len(same)}
        self.rows |= {row["id"]: row for row in new}

    @rule(rows=ROWS)
    def upsert(self, rows):
        done = self.index.upsert(rows)
        assert sum(done.values()) == len(rows)
        assert done["added"] == sum(row["id"] not in self.rows for row in rows)
        for row in rows:
            if self.rows.get(row["id"]) != row:
                self.rows.pop(row["id"], None)
                self.rows[row["id"]] = row

    @rule(ids=st.lists(IDS, max_size=3))
    def delete(self, ids):
        assert self.index.delete(ids) == len(set(ids) & self.rows.keys())
        for name in ids:
            self.rows.pop(name, None)

    @rule(where=st.sampled_from(list(CONDITIONS)))
    def delete_where(self, where):
        if "price" in self.index.info()["columns"]:
            gone = [name for name, row in self.rows.items() if self.meets(row, where)]
            assert self.index.delete(where=where) == len(gone)
            for name in gone:
                del self.rows[name]

    @rule()
    def optimize(self):
        self.index.optimize(keep=timedelta(0))

    @rule()
    def reopen(self):
        self.index = CandidateIndex(self.path, self.student)

    @staticmethod
    def meets(row, where):
        test = CONDITIONS[where]
        return row["price"] in (0, 1) and "red" in row["text"] if test is None else test(row["price"])

    def expected(self, query, where=None):
        rows = [row for row in self.rows.values() if where is None or self.meets(row, where)]
        if not rows:
            return {}
        stored = self.student.encode([row["text"] for row in rows]).astype(np.float16).astype(np.float32)
        scores = self.student.score_matrix([query], stored, activation_fn=torch.nn.Identity())[0]
        return {row["id"]: score for row, score in zip(rows, scores.tolist(), strict=True)}

    @rule(query=TEXTS, k=st.integers(1, 8), where=st.none() | st.sampled_from(list(CONDITIONS)), exact=st.booleans())
    def search(self, query, k, where, exact):
        if where is not None and "price" not in self.index.info()["columns"]:
            return
        expected = self.expected(query, where)
        hits = self.index.search(query, k, where=where, exact=exact, activation_fn=torch.nn.Identity())
        assert len({hit["id"] for hit in hits}) == len(hits)
        for hit in hits:
            row = self.rows[hit["id"]]
            assert (hit["text"], hit["metadata"].get("price")) == (row["text"], row["price"])
            assert hit["score"] == pytest.approx(expected[hit["id"]], abs=1e-4)
        best = sorted(expected.values(), reverse=True)[:k]
        if exact:
            assert [hit["score"] for hit in hits] == pytest.approx(best, abs=1e-4)
        else:  # the shortlist may lack some of the best, but nothing else is wrong
            assert len(hits) <= len(best) and len(hits) >= min(len(best), 4)
            assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)

    @invariant()
    def holds_the_same_rows(self):
        if hasattr(self, "index"):
            assert len(self.index) == len(self.rows)
            stored = self.index.get(list(self.rows))
            assert {name: (row["text"], row["metadata"].get("price")) for name, row in stored.items()} == {
                name: (row["text"], row["price"]) for name, row in self.rows.items()
            }


def test_an_index_behaves_as_a_dict(backbone, monkeypatch):
    monkeypatch.setattr(scout, "EXACT_ROWS", 5)  # two passes from six rows on
    monkeypatch.setattr(scout, "DEFAULT_SHORTLIST", 4)
    monkeypatch.setattr(scout_training, "QUERIES", (8, 8))
    Machine.student = make_student(backbone, head="cosine")
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )
