"""NanoBEIR from a folder of the same shape as the hub's data set."""

from __future__ import annotations

import json

import pytest

from dse.errors import BadDataError, MismatchError
from dse.evaluation import evaluate_ranking
from dse.evaluation.nano_beir import nano_beir
from tests.conftest import make_student
from tests.evaluation.ranking.factory import make_collection

NAMES = {"msmarco": "NanoMSMARCO", "nq": "NanoNQ"}


@pytest.fixture
def folder(tmp_path):
    """Four configurations, each with a split for each collection."""
    pytest.importorskip("datasets")
    configs = []
    for config in ("corpus", "queries", "qrels", "bm25"):
        files = [{"split": split, "path": f"{config}/{split}.jsonl"} for split in NAMES.values()]
        configs.append({"config_name": config, "data_files": files})
        (tmp_path / config).mkdir()
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", encoding="utf-8")
    for seed, split in enumerate(NAMES.values()):
        collection = make_collection(documents=30, queries=4, seed=seed)
        corpus, queries, judgements = collection.corpus, collection.queries, collection.judgements
        rows = {
            "corpus": [{"_id": i, "text": t} for i, t in zip(corpus.ids, corpus.texts, strict=True)],
            "queries": [{"_id": i, "text": t} for i, t in zip(queries.ids, queries.texts, strict=True)],
            "qrels": [{"query-id": q, "corpus-id": d} for q, g in judgements.items() for d in g if g[d] > 0],
            "bm25": [{"query-id": q, "corpus-ids": corpus.ids} for q in queries.ids],
        }
        for config, records in rows.items():
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (tmp_path / config / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def test_a_student_reranks_and_its_embeddings_search(student, folder):
    results = nano_beir(student, list(NAMES), source=str(folder))
    assert list(results) == [*NAMES.values(), "mean"]
    for values in results.values():
        assert list(values) == ["BM25", "student", "student's cosine"]
        assert all(0 <= value <= 1 for value in values.values())
    binary = make_collection(documents=30, queries=4, seed=0)
    for grades in binary.judgements.values():
        grades.update({document: min(grade, 1) for document, grade in grades.items()})
    ours = evaluate_ranking(student, binary).row("student").metrics["nDCG@10"].value  # all 30 are reranked there
    assert results["NanoMSMARCO"]["student"] == pytest.approx(ours, abs=0.1)


def test_what_cannot_be_measured_is_refused(student, backbone, folder):
    with pytest.raises(BadDataError, match="NanoBEIR cannot be loaded"):
        nano_beir(student, ["nothing"], source=str(folder))
    with pytest.raises(BadDataError, match="NanoBEIR cannot be loaded"):
        nano_beir(student, ["scifact"], source=str(folder))
    with pytest.raises(MismatchError, match="3 scores per pair"):
        nano_beir(make_student(backbone, num_labels=3), source=str(folder))
