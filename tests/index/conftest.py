from __future__ import annotations

import pytest

from dse.index import CandidateIndex, scout, scout_training


@pytest.fixture
def index(student, tmp_path):
    return CandidateIndex.create(tmp_path / "index", student)


@pytest.fixture
def small_scout(monkeypatch):
    """Two passes from 300 rows on, as otherwise from 10,000."""
    monkeypatch.setattr(scout, "EXACT_ROWS", 300)
    monkeypatch.setattr(scout, "DEFAULT_SHORTLIST", 128)
    monkeypatch.setattr(scout_training, "QUERIES", (64, 64))
    monkeypatch.setattr(scout, "LADDER", (64, 128, 256, 512))
