"""`dse distill --corpus` with a cross-encoder and with given scores, and the backbone that `dse evaluate` takes."""

from __future__ import annotations

import json
import logging
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dse import DSE
from dse.cli import main
from tests.training.ranking_samples import CORPUS, LISTS, QUERIES

SPLITS = ["train"] * 23 + ["test"] * 2


@pytest.fixture(scope="module")
def shop(tmp_path_factory, encoder):
    """A corpus, queries of which two are of split test, settings of a short training."""
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "corpus.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(CORPUS)])
    asked = enumerate(zip(QUERIES, SPLITS, strict=True))
    rows = [{"id": f"q{i}", "text": text, "split": split} for i, (text, split) in asked]
    write(folder / "queries.jsonl", rows)
    (folder / "run.yaml").write_text("steps: 2\nbatch_size: 8\n", encoding="utf-8")
    return folder


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def dse(monkeypatch, capsys):
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.setattr("dse.evaluation.ranking.pages.write_plots", lambda *args: [])
    level = logging.getLogger("dse").level

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["dse", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    yield run
    logging.getLogger("dse").setLevel(level)


def distill(shop, backbone, *words):
    source = ["--corpus", shop / "corpus.jsonl", "--queries", shop / "queries.jsonl"]
    return ["distill", *source, "--backbone", backbone, "--config", shop / "run.yaml", *words]


def test_a_cross_encoder_teaches(dse, shop, backbone, teacher, tmp_path):
    teacher.save_pretrained(str(tmp_path / "teacher"))
    words = distill(shop, backbone, "--teacher", tmp_path / "teacher", "--teacher-pairs", 480, "-o", tmp_path / "s")
    words += ["--teacher-cache", tmp_path / "cache"]
    words.append("--no-speed")  # of pairs; nothing is timed here, and there is no reason to refuse it
    labels = [
        {"query": f"q{i}", "doc": f"d{d}", "label": int(s > 2)}
        for i in range(23)
        for d, s in zip(*LISTS[i], strict=True)
    ]
    words += ["--data", write(tmp_path / "labels.jsonl", labels)]  # learned beside the teacher's scores
    code, out, err = dse(*words)
    assert code == 0, err
    assert "lists of 23 queries." in (tmp_path / "s" / "README.md").read_text()
    assert f"{shop.name}, split test: 2 queries, 75 documents" in out and "agreement x 100" in out
    assert out.splitlines()[-2].endswith(f"{tmp_path / 's'}/report/report.md.")
    bought = json.loads((tmp_path / "s" / "rounds.json").read_text())
    assert [entry["pairs"] for entry in bought] == [480]
    assert (tmp_path / "cache" / "teacher_scores.parquet").is_file()
    run = json.loads((tmp_path / "s" / "run.json").read_text())
    assert run["recipe"]["teacher_pairs"] == 480 and "What the teacher's pairs bought" in (
        tmp_path / "s" / "report" / "report.md"
    ).read_text(encoding="utf-8")
    code, out, _ = dse(*words, "--json")  # finished: it only reports
    assert code == 0 and json.loads(out)["bought"] == bought
    # the student is compared with the backbone that it was made from, read as far as it reads
    assert DSE(str(tmp_path / "s")).info["backbone"] == backbone
    source = ["--corpus", shop / "corpus.jsonl", "--queries", shop / "queries.jsonl", "--teacher", tmp_path / "teacher"]
    source += ["--teacher-cache", tmp_path / "cache"]
    code, out, err = dse("evaluate", tmp_path / "s", *source, "--json")
    assert code == 0, err
    report = json.loads(out)
    asked = (tmp_path / "cache" / "teacher_scores.parquet").read_bytes()
    assert dse("evaluate", tmp_path / "s", *source, "--json")[0] == 0
    assert (tmp_path / "cache" / "teacher_scores.parquet").read_bytes() == asked  # nothing is asked again
    assert report["backbone"] == backbone and report["agreement"][1]["name"] == "backbone's cosine"


PAIRS = [
    (i, d, score)
    for i, (rows, scores) in enumerate(LISTS)
    for d, score in zip(rows.tolist(), scores.tolist(), strict=True)
]


def scores_file(folder, kind):
    """The samples' scores: as a run, as pairs with ids, as lists with texts, as a Parquet file."""
    path = folder / f"scores.{kind}"
    if kind == "run":
        path.write_text("".join(f"q{i} Q0 d{d} 1 {score} me\n" for i, d, score in PAIRS), encoding="utf-8")
    elif kind == "jsonl":
        write(path, [{"query_id": f"q{i}", "doc_id": f"d{d}", "score": score} for i, d, score in PAIRS])
    else:
        columns = {
            "query": QUERIES,
            "docs": [[CORPUS[d] for d in rows] for rows, _ in LISTS],
            "scores": [scores.tolist() for _, scores in LISTS],
        }
        pq.write_table(pa.table(columns), path)
    return path


def test_scores_teach_whatever_their_file(dse, shop, backbone, encoder, tmp_path, caplog):
    """The same student from each; queries of split test are left out, and a teacher is asked for the report alone."""
    students = []
    for kind in ("run", "jsonl", "parquet"):
        path = scores_file(tmp_path, kind)
        words = distill(shop, backbone, "--scores", path, "--teacher", encoder, "-o", tmp_path / kind)
        code, out, err = dse(*words)
        assert code == 0, err
        assert "split test: 2 queries" in out
        assert f"{path}: 2 of 25 lists are of queries that are held back for the report" in caplog.text
        students.append((tmp_path / kind / "0_Transformer" / "model.safetensors").read_bytes())
        assert json.loads((tmp_path / kind / "run.json").read_text())["data"]["queries"].startswith("23 texts")
    assert students[0] == students[1] == students[2]


def test_without_queries_the_scores_name_them(dse, shop, backbone, encoder, tmp_path):
    path = scores_file(tmp_path, "parquet")
    words = ["distill", "--corpus", shop / "corpus.jsonl", "--backbone", backbone, "--config", shop / "run.yaml"]
    code, out, err = dse(*words, "--scores", path, "--teacher", encoder, "-o", tmp_path / "s")
    assert code == 0, err
    assert "split held out" in out
    code, _, err = dse(*words, "--scores", scores_file(tmp_path, "run"), "-o", tmp_path / "t")
    assert code == 4 and "names queries and documents by id" in err and not (tmp_path / "t").exists()


@pytest.mark.parametrize("asked", [False, True])
def test_scores_alone_are_enough(dse, shop, backbone, tmp_path, asked):
    """Neither judgements nor a teacher to ask: the report compares with the lists that were held out."""
    path = scores_file(tmp_path, "parquet")
    words = distill(shop, backbone, "--scores", path) if asked else ["distill", "--corpus", shop / "corpus.jsonl"]
    words += [] if asked else ["--backbone", backbone, "--config", shop / "run.yaml", "--scores", path]
    code, out, err = dse(*words, "-o", tmp_path / "s")
    assert code == 0, err
    held_out = json.loads((tmp_path / "s" / "training.json").read_text())["held_out"]["queries"]
    assert f"split held out: {len(held_out)} queries, ranked in their scored documents" in out
    report = json.loads((tmp_path / "s" / "report" / "report.json").read_text())
    assert report["pool"] and not report["rows"] and report["agreement_queries"] == len(held_out)
    assert [row["name"] for row in report["agreement"]] == ["BM25", "backbone's cosine", "student"]
    assert "scored documents are ranked" in (tmp_path / "s" / "report" / "report.md").read_text()
    assert dse(*words, "-o", tmp_path / "s")[1].splitlines()[:8] == out.splitlines()[:8]  # a finished run only reports


@pytest.mark.parametrize("option", ["--data", "--scores"])
def test_a_file_of_too_few_lists_is_named(dse, shop, backbone, encoder, tmp_path, option):
    rows = [{"query_id": f"q{query}", "doc_id": f"d{i}", "score": i} for query in range(2, 12) for i in range(2)]
    path = write(tmp_path / "few.jsonl", rows)
    code, out, err = dse(*distill(shop, backbone, option, path, "--teacher", encoder, "-o", tmp_path / "s"))
    assert (code, out) == (4, "") and f"Error: {path}: of 10 lists 10 prefer one document" in err, err
    assert "give at least 20 such lists" in err and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query_id": "q1", "doc_id": "d1", "score": "high"}, ":2: has the score 'high'; give a finite number"),
        ({"query_id": "q1", "doc_id": "d1", "score": float("nan")}, ":2: has the score nan"),
        ({"query_id": "q1", "doc_id": "d999", "score": 1}, ":2: scores 'd999', which is not in"),
        ({"query_id": "q999", "doc_id": "d1", "score": 1}, ":2: scores 'q999', which is not in"),
        ({"query_id": "", "doc_id": "d1", "score": 1}, ":2: has '' for a query or document"),
        ({"query_id": "q1", "doc_id": ["d1", "d2"], "score": [1]}, ":2: does not have one score for each document"),
        ({"query_id": "q1", "doc_id": "d1", "score": 1}, "gives all candidates of a query the same score"),
    ],
)
def test_a_bad_score_is_named_by_file_and_row(dse, shop, backbone, tmp_path, row, message):
    path = write(tmp_path / "bad.jsonl", [{"query_id": "q1", "doc_id": "d0", "score": 1}, row])
    code, out, err = dse(*distill(shop, backbone, "--scores", path, "-o", tmp_path / "s"))
    assert (code, out) == (4, "") and f"Error: {path}" in err and message in err and err.count("\n") == 1
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["distill", "--task", "mrpc", "--teacher-pairs", "480"], 2, "--teacher-pairs"),
        (["distill", "--task", "mrpc", "--teacher-cache", "c"], 2, "--teacher-cache is of students that learn"),
        (["evaluate", "s", "--task", "mrpc", "--teacher-cache", "c"], 2, "--teacher-cache is of students that learn"),
        (["distill", "--task", "mrpc", "--config", "{pairs}"], 2, "--teacher-pairs"),
        (["distill", "--corpus", "{corpus}", "--teacher-pairs", "0", "--teacher", "t"], 2, "--teacher-pairs"),
        (["distill", "--corpus", "{corpus}"], 2, "--scores"),
        (["distill", "--corpus", "{corpus}", "--teacher", "t", "--alpha", "1"], 2, "--alpha is of students made"),
        (["distill", "--corpus", "{corpus}", "--scores", "missing.run"], 4, "no file or folder missing.run"),
    ],
)
def test_options_that_do_not_fit(dse, shop, tmp_path, words, code, message):
    pairs = tmp_path / "pairs.yaml"
    pairs.write_text("teacher_pairs: 480\n", encoding="utf-8")
    given = [word.format(corpus=shop / "corpus.jsonl", pairs=pairs) for word in words]
    done, out, err = dse(*given, "-o", tmp_path / "s")
    assert (done, out) == (code, "") and message in err and not (tmp_path / "s").exists()


@pytest.mark.parametrize("inside", ["", "a/b"])
@pytest.mark.parametrize("kind", ["encoder", "teacher"])
def test_a_cache_is_a_folder(dse, shop, backbone, encoder, teacher, tmp_path, kind, inside):
    teacher.save_pretrained(str(tmp_path / "teacher"))
    cache = tmp_path / "cache"
    cache.write_text("notes", encoding="utf-8")
    asked = encoder if kind == "encoder" else tmp_path / "teacher"
    words = distill(shop, backbone, "--teacher", asked, "--teacher-cache", cache / inside, "-o", tmp_path / "s")
    code, _, err = dse(*words)
    assert code == 6 and f"Error: {cache} is a file; give the name of a folder." in err
    assert not (tmp_path / "s").exists() and cache.read_text(encoding="utf-8") == "notes"


def test_a_cache_is_of_a_teacher(dse, shop, tmp_path, student):
    """Of none it would be left out in silence."""
    student.save_pretrained(str(tmp_path / "s"))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n", encoding="utf-8")
    source = ["--corpus", shop / "corpus.jsonl", "--queries", shop / "queries.jsonl", "--qrels", tmp_path / "qrels.tsv"]
    code, _, err = dse("evaluate", tmp_path / "s", *source, "--teacher-cache", tmp_path / "cache")
    assert code == 2 and "what a teacher gave" in err and not (tmp_path / "cache").exists()


def test_a_budget_that_buys_nothing(dse, shop, backbone, teacher, tmp_path):
    teacher.save_pretrained(str(tmp_path / "teacher"))
    words = ["--teacher", tmp_path / "teacher", "--teacher-pairs", 100, "-o", tmp_path / "s"]
    code, _, err = dse(*distill(shop, backbone, *words))
    assert code == 4 and "100 teacher pairs make 4 lists; give at least 480." in err and not (tmp_path / "s").exists()


def test_the_backbone_of_a_student_from_another_machine(dse, shop, backbone, encoder, tmp_path, caplog):
    """Its cosine is left out rather than that of another encoder shown."""
    student = DSE.from_backbone(backbone, head="cosine", num_layers=1)
    student.info["backbone"] = "/of/another/machine"
    student.save_pretrained(str(tmp_path / "s"))
    source = ["--corpus", shop / "corpus.jsonl", "--queries", shop / "queries.jsonl", "--teacher", encoder, "--json"]
    code, out, err = dse("evaluate", tmp_path / "s", *source)
    assert code == 0, err
    assert json.loads(out)["backbone"] is None and "/of/another/machine is not here" in caplog.text
