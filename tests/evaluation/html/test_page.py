"""The page: the numbers of report.json, nothing from elsewhere, no text of a pair as markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from dse.data.pairs import Pairs
from dse.evaluation import write_report
from dse.evaluation.disagreements import find_disagreements, pair_hash
from dse.evaluation.html import html_page
from dse.evaluation.quality import Scores, reliability_curves
from dse.evaluation.ranking import write_ranking_report
from dse.evaluation.resampling import report_intervals
from dse.evaluation.saved_report import read_report
from dse.evaluation.speed import Speed
from dse.evaluation.timing import Summary
from tests.evaluation.factory import BINARY, NLI, REGRESSION, make_report, make_scores
from tests.evaluation.ranking.factory import make_report as make_ranking_report

EVIL = "<script>alert(\"1\")</script> & 'it' </blockquote><img src=x onerror=alert(2)> \ud800 {{ 7 * 7 }}"
RATES = {name: Summary.from_runs([rate]) for name, rate in {"t": 40.0, "s": 130.0, "e": 90000.0, "x": 3.25}.items()}
SPEED = Speed(64, 90, *(RATES[name] for name in "tsexx"), 0.6, "float32", "float32")


class Reader(HTMLParser):
    """Cells of the tables, tags, attributes and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.quotes: list[str] = []
        self.open = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "blockquote":
            self.quotes.append("")

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        if self.open in ("td", "th"):
            self.rows[-1][-1] += data
        elif self.open == "blockquote":
            self.quotes[-1] += data


def full_report(task, rows=40, texts=None):
    """As `evaluate` makes it."""
    scores = make_scores(task, rows)
    texts = texts or [(f"a{i}", f"b{i}") for i in range(rows)]
    pairs, act = Pairs([a for a, _ in texts], [b for _, b in texts]), (torch.sigmoid, torch.sigmoid)
    return make_report(
        task,
        rows,
        scores=scores,
        speed=SPEED,
        intervals=report_intervals(scores.student, scores, task, scores.teacher),
        calibration={name: curve.to_dict() for name, curve in reliability_curves(scores, task).items()},
        disagreements=find_disagreements(scores, pairs, task, act),
    )


def page_of(folder, texts=None):
    return html_page(read_report(folder), folder, texts)


@pytest.mark.parametrize("task", [BINARY, REGRESSION, NLI], ids=lambda task: task.kind)
def test_the_numbers_are_those_of_the_json(tmp_path, task):
    report = full_report(task)
    write_report(report, tmp_path)
    assert read_report(tmp_path).to_dict() == report.to_dict()
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    page = page_of(tmp_path)
    read = Reader(page)
    shown = {row[0]: row[1:] for row in read.rows}

    def cell(group, name, value):
        low, high = saved["intervals"][group][name]
        return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"

    for name, value in saved["metrics"]["student"].items():
        figures = {
            "teacher": saved["metrics"]["teacher"][name],
            "student": value,
            "retention": saved["retention"][name],
        }
        assert shown[name] == [cell(group, name, figure) for group, figure in figures.items()]
    assert shown["pearson r"] == [cell("fidelity", "pearson", saved["fidelity"]["pearson"])]
    for row in range(len(saved["calibration"].get("student", {"count": []})["count"])):
        bins = [
            saved["calibration"][name][key][row]
            for name in ("teacher", "student")
            for key in ("probability", "frequency")
        ]
        assert [str(row + 1), *(f"{100 * value:.1f}" for value in bins)] in read.rows
    assert shown["teacher, pairs/s"][0] == "40.0" and "break-even: 0.6" in page
    gaps = [float(gap) for gap in re.findall(r'data-gap="([\d.e-]+)"', page)]
    assert len(gaps) == len(saved["disagreements"]) == 40 and gaps == sorted(gaps, reverse=True)


def test_the_numbers_of_rankings_are_those_of_the_json(tmp_path):
    report = make_ranking_report(bought=[{"pairs": 5000, "before": 0.6, "after": 0.3}])
    write_ranking_report(report, tmp_path)
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert read_report(tmp_path).to_dict() == saved
    rows = Reader(page_of(tmp_path)).rows
    for row in saved["rows"]:
        metrics = row["metrics"].values()
        cells = [f"{100 * m['value']:.1f} ({100 * m['low']:.1f} to {100 * m['high']:.1f})" for m in metrics]
        assert [row["name"], *cells] in rows
    for name, points in saved["curve"].items():
        assert [name, *(f"{100 * point['value']:.1f}" for point in points)] in rows
    lead = next(entry for entry in saved["lead_kept"] if entry["metric"] == "MAP")
    assert any(r[1:2] == ["MAP"] and r[-1].startswith(f"{100 * lead['kept']['value']:.1f} (") for r in rows)
    assert ["5,000", "0.6000", "0.3000"] in rows


def test_texts_are_shown_as_they_are_and_never_as_markup(tmp_path):
    texts = [(EVIL, f"{i} {EVIL}") for i in range(40)]
    report = replace(full_report(BINARY, 40, texts), task=EVIL, source=EVIL, command=EVIL, labels=[EVIL, "yes"])
    report = replace(report, student_info={EVIL: EVIL}, fingerprints={"student": EVIL})
    known = {pair_hash(*pair): pair for pair in texts}
    page = html_page(report, tmp_path, known)
    read = Reader(page)
    assert read.tags.count("script") == 1 and "img" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert read.quotes[0] == EVIL.replace("\ud800", "?") and len(read.quotes) == 80


@pytest.mark.parametrize("kind", ["pairs", "rankings"])
def test_nothing_is_loaded_from_elsewhere(tmp_path, kind):
    pytest.importorskip("matplotlib")
    if kind == "pairs":
        write_report(full_report(BINARY), tmp_path)
    else:
        write_ranking_report(make_ranking_report(), tmp_path)
    page = page_of(tmp_path)
    read = Reader(page)
    links = [value for name, value in read.attributes if name in ("src", "href", "action", "srcset", "data")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in links)
    assert not {"link", "iframe", "object"} & set(read.tags) and "url(" not in page and "http:" not in page
    assert "default-src 'none'" in page and read.tags.count("style") == 1
    assert not [name for name, _ in read.attributes if name == "style"]  # its policy would forbid them


def test_texts_are_not_in_the_report_itself(tmp_path):
    texts = [(f"secret {i}", f"hidden {i}") for i in range(40)]
    write_report(full_report(BINARY, 40, texts), tmp_path)
    assert not [file for file in tmp_path.glob("report.*") if re.search("secret|hidden", file.read_text("utf-8"))]
    assert not Reader(page_of(tmp_path)).quotes and "--data FILE" in page_of(tmp_path)


def test_what_is_not_known_is_left_out(tmp_path):
    """Reports of earlier versions, and those without teacher, labels, speed or judgements."""
    write_report(make_report(BINARY, 20), tmp_path / "a")
    old = json.loads((tmp_path / "a" / "report.json").read_text(encoding="utf-8"))
    for name in ("intervals", "calibration", "disagreements"):
        del old[name]
    (tmp_path / "a" / "report.json").write_text(json.dumps(old | {"later": 1}), encoding="utf-8")
    page = page_of(tmp_path / "a")
    assert f"{100 * old['metrics']['student']['f1']:.1f}" in page and "Calibration</h2>" not in page
    s = make_scores(BINARY, 20)
    for scores in (Scores(s.student, None, s.label), Scores(s.student, s.teacher, None)):
        assert "<h2>Data</h2>" in html_page(make_report(BINARY, 20, scores=scores), tmp_path)
    assert "<h2>Data</h2>" in html_page(make_ranking_report([], curve={}), tmp_path)


def test_equal_pairs_count_once_and_agreement_is_no_disagreement():
    scores = make_scores(BINARY, 6)
    pairs = Pairs(["a", "a", "c", "d", "e", "f"], ["b", "b", "c", "d", "e", "f"])
    act = (torch.sigmoid, torch.sigmoid)
    found = find_disagreements(scores, pairs, BINARY, act)
    assert len(found) == 5 and len({entry.pair for entry in found}) == 5
    assert find_disagreements(Scores(scores.teacher, scores.teacher, None), pairs, BINARY, act) == []
