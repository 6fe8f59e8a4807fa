"""`dse report`: the table again, the page, and what is refused."""

from __future__ import annotations

import csv
import json

import pytest

from dse.evaluation import table, write_report
from dse.evaluation.ranking import ranking_table, write_ranking_report
from dse.teacher.kept_scores import ScoreFile
from tests.commands import dse
from tests.evaluation.factory import BINARY
from tests.evaluation.html.test_page import full_report
from tests.evaluation.ranking.factory import make_report as make_ranking_report

TEXTS = [(f"question {i}", f"answer <{i}>") for i in range(30)]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A student's folder, as far as a report goes: with its texts in the kept scores."""
    folder = tmp_path_factory.mktemp("report") / "student"
    report = full_report(BINARY, len(TEXTS), TEXTS)
    write_report(report, folder / "report")
    file = ScoreFile(folder / "teacher_scores.parquet")
    file.add("teacher", TEXTS, report.scores.teacher.astype("float32"))
    file.finish()
    return folder, report


def test_the_table_is_printed_again(student, tmp_path):
    folder, report = student
    for place in (folder, folder / "report"):
        assert dse("report", place).stdout == table(report) + "\n"
    saved = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    assert json.loads(dse("report", folder, "--json").stdout) == saved
    ranking = make_ranking_report()
    write_ranking_report(ranking, tmp_path)
    assert dse("report", tmp_path).stdout == ranking_table(ranking) + "\n"


def test_the_page_has_the_texts_unless_told(student, tmp_path):
    folder, _ = student
    done = dse("report", folder, "--html")
    page = folder / "report" / "report.html"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"The page is {page}.\n", "")
    assert "answer &lt;7&gt;" in page.read_text(encoding="utf-8")
    done = dse("report", folder, "--html", "--no-texts", "-o", tmp_path / "p.html", "--json")
    assert json.loads(done.stdout) == {"page": str(tmp_path / "p.html")}
    assert "answer" not in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_texts_come_from_a_file_of_the_pairs(student, tmp_path):
    folder, _ = student
    with open(tmp_path / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("q", "a"), *TEXTS])
    words = ["report", folder / "report", "--html", "-o", tmp_path / "p.html"]
    assert dse(*words).returncode == 0 and "answer &lt;7&gt;" not in (tmp_path / "p.html").read_text(encoding="utf-8")
    done = dse(*words, "--data", tmp_path / "pairs.csv", "--columns", "sentence1=q,sentence2=a")
    assert done.returncode == 0 and "answer &lt;7&gt;" in (tmp_path / "p.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"mine": 1}', '{"collection": 3}', "\x00", '{"task": '])
def test_a_damaged_report_is_one_sentence(tmp_path, content):
    (tmp_path / "report.json").write_text(content, encoding="utf-8")
    done = dse("report", tmp_path, "--html")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.count("\n") == 1 and "report.json is no report of dse" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["missing"], 4, "missing is no folder"),
        (["{empty}"], 4, "holds no report"),
        (["{student}", "-o", "p.html"], 2, "add --html"),
        (["{student}", "--no-texts"], 2, "add --html"),
        (["{student}", "--html", "-o", "{student}/README.md"], 2, "ends in .html"),
        (["{student}", "--html", "-o", "{empty}/no/p.html"], 2, "folder that exists"),
        (["{student}", "--html", "--data", "x.csv", "--no-texts"], 2, "--no-texts"),
        (["{student}", "--html", "--data", "missing.csv"], 4, "missing.csv"),
    ],
)
def test_wrong_use_is_one_sentence_and_a_code(student, tmp_path, words, code, message):
    folder, _ = student
    done = dse("report", *(word.format(student=folder, empty=tmp_path) for word in words))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
