"""`dse evaluate --corpus` through real processes."""

from __future__ import annotations

import json

import pytest
from sentence_transformers import SentenceTransformer

from dse import DSE
from tests.commands import dse
from tests.evaluation.ranking.factory import make_collection


@pytest.fixture(scope="module")
def shop(tmp_path_factory, backbone, models):
    """A folder with a collection in BEIR's layout, a student, an encoder."""
    folder = tmp_path_factory.mktemp("shop")
    collection = make_collection(documents=210, queries=5)
    for name, texts in (("corpus", collection.corpus), ("queries", collection.queries)):
        rows = zip(texts.ids, texts.texts, strict=True)
        lines = [json.dumps({"_id": i, "text": text}) for i, text in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "qrels").mkdir()
    cells = [f"{q}\t{d}\t{grade}" for q, grades in collection.judgements.items() for d, grade in grades.items()]
    header = "query-id\tcorpus-id\tscore"
    (folder / "qrels" / "test.tsv").write_text("\n".join([header, *cells]) + "\n", encoding="utf-8")
    DSE.from_backbone(backbone).save_pretrained(str(folder / "student"))
    SentenceTransformer(models("distilbert"), device="cpu").save_pretrained(str(folder / "encoder"))
    return folder


def test_a_student_is_judged_as_a_ranker(shop, backbone, tmp_path):
    words = ["evaluate", shop / "student", "--corpus", shop, "--backbone", backbone, "--teacher", shop / "encoder"]
    done = dse(*words, "-o", tmp_path / "report")
    told = [f"teacher: {n} of {n} texts ({role}) embedded\n" for n, role in ((210, "document"), (5, "query"))]
    assert (done.returncode, done.stderr) == (0, "".join(told))  # what a bar would show
    lines = done.stdout.splitlines()
    assert lines[0] == f"{shop.name}, split test: 5 queries, 210 documents" and max(map(len, lines)) <= 80
    for row in ("BM25", "backbone's cosine", "student", "student on BM25's 100", "teacher", "teacher on cosine's 100"):
        assert any(line.startswith(f"{row} ") for line in lines)
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["command"].startswith("dse evaluate") and (tmp_path / "report" / "plots" / "curve.png").exists()
    pool = dse(*words, "--pool", "--json")
    names = [row["name"] for row in json.loads(pool.stdout)["rows"]]
    assert names == ["BM25", "backbone's cosine", "student", "teacher"]


def test_without_judgements_a_teacher_is_needed(shop, backbone, tmp_path):
    queries = tmp_path / "queries.txt"
    queries.write_text("a red bicycle\nthe old house\n", encoding="utf-8")
    words = ["evaluate", shop / "student", "--corpus", shop / "corpus.jsonl", "--queries", queries]
    refused = dse(*words)
    assert refused.returncode == 2 and "--qrels" in refused.stderr and refused.stdout == ""
    done = dse(*words, "--backbone", backbone, "--teacher", shop / "encoder", "--json")
    report = json.loads(done.stdout)
    assert report["rows"] == [] and report["agreement"][2]["name"] == "student"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--queries", "q.txt"], 2, "--corpus"),
        (["--pool"], 2, "--corpus"),
        (["--corpus", "{shop}", "--task", "mrpc"], 2, "--task"),
        (["--corpus", "missing.jsonl"], 4, "missing.jsonl"),
        (["--corpus", "{shop}", "--split", "dev"], 4, "test.tsv"),
        (["--corpus", "{shop}", "--qrels", "{bad}"], 4, "bad.qrels:1: judges document 'd999'"),
    ],
)
def test_wrong_use_is_one_sentence_and_a_code(shop, tmp_path, words, code, message):
    bad = tmp_path / "bad.qrels"
    bad.write_text("q0 0 d999 1\n", encoding="utf-8")
    done = dse("evaluate", "no-student", *(word.format(shop=shop, bad=bad) for word in words))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr and "Traceback" not in done.stderr
