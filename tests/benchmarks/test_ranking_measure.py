"""A student of the ranking table learns what `dse distill` would let it learn."""

from __future__ import annotations

import json

import pytest
from benchmarks.ranking import measure
from benchmarks.ranking.collection import Measured
from benchmarks.ranking.plan import STUDENT, Setup

from dse.data import load_collection
from dse.ranking.ways import FromVectors, choose_way
from dse.teacher import load_ranking_teacher
from tests.training.ranking_samples import CORPUS, QUERIES


@pytest.fixture
def setup(tmp_path, backbone, encoder) -> Setup:
    """A collection whose queries are learned, judged or held back, in turn."""
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    splits = [("train", "test", "unlabelled")[row % 3] for row in range(len(QUERIES))]
    files = {
        "corpus": [{"id": f"d{row}", "title": "", "text": text} for row, text in enumerate(CORPUS)],
        "queries": [{"id": f"q{row}", "text": text, "split": splits[row]} for row, text in enumerate(QUERIES)],
        "qrels": [
            {"query_id": f"q{row}", "doc_id": "d1", "relevance": 1, "split": "test"}
            for row in range(len(QUERIES))
            if splits[row] == "test"
        ],
    }
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Setup(tmp_path / "data", backbone, encoder, None, tmp_path / "work", STUDENT.seed)


def test_the_table_learns_what_the_command_learns(setup, tmp_path, monkeypatch):
    given = {}

    def spy(student, corpus, queries, output, **kwargs):
        given.update(corpus=corpus, queries=queries, settings=kwargs["settings"])

    monkeypatch.setattr(measure, "distill_ranking", spy)
    measure.from_encoder(Measured("shop", setup, reranked=False), tmp_path / "student")
    way = choose_way(
        load_collection(str(setup.data / "shop")),
        STUDENT,
        tmp_path / "command",
        False,
        teachers=[load_ranking_teacher(setup.encoder)],
        lists=None,
        labels=None,
        budget=0,
    )
    assert isinstance(way, FromVectors) and way.cut == 19
    assert given == {"corpus": way.documents.texts, "queries": way.log.texts, "settings": STUDENT}
