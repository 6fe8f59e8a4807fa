"""What a person sees of a ranking report: the table, the page and the plots."""

from __future__ import annotations

import json

import pytest

from dse.evaluation import ranking_table, write_ranking_report
from dse.evaluation.ranking.pages import ranking_page
from dse.evaluation.ranking.render import headline
from dse.evaluation.ranking.report import BM25, COSINE, STUDENT, reranking
from tests.evaluation.ranking.factory import ALL, make_report

CROSS = [name for name in ALL if name != "teacher"]
UNJUDGED = {"rows": [], "lead_kept": [], "curve": {}, "values": {}, "judgement_count": 0}
REPORTS = {
    "an encoder as teacher": make_report(),
    "a cross-encoder as teacher": make_report(CROSS),
    "no teacher": make_report(ALL[:5], agreement=False),
    "no backbone": make_report([BM25, STUDENT, reranking(STUDENT, BM25)], agreement=False, backbone=None),
    "no lead": make_report(lead=0.0),
    "a pool": make_report([BM25, COSINE, STUDENT, "teacher"], pool=True, curve={}),
    "no judgements": make_report(**UNJUDGED),
    "one query": make_report(queries=1),
}
reports = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())


@reports
def test_the_table_is_80_columns_wide_and_names_every_row(report):
    text = ranking_table(report)
    assert max(map(len, text.splitlines())) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())
    for row in [*report.rows, *report.agreement]:
        assert f"\n{row.name} " in text


@reports
def test_the_page_holds_every_figure_and_how_it_was_made(report, tmp_path):
    page = ranking_page(report, [])
    for row in [*report.rows, *report.agreement]:
        for mean in row.metrics.values():
            assert f"{100 * mean.value:.1f} ({100 * mean.low:.1f} to {100 * mean.high:.1f})" in page
    for fact in (report.command, report.date, report.corpus, report.queries, "a processor", "seed of the intervals: 0"):
        assert fact in page
    assert page.startswith("**On ") and "None" not in page and "nan" not in page


def test_few_queries_are_named_as_few():
    assert "49 queries are few" in ranking_table(make_report(queries=49)).replace("\n", " ")
    assert "are few" not in ranking_table(make_report(queries=50))


def test_better_and_worse_than_the_cosine_are_marked():
    metrics = ranking_table(make_report()).split("\n\n")[1].splitlines()
    main = {line[:24].strip(): line[24:].split()[0] for line in metrics}
    assert main["BM25"].endswith("-") and main["teacher"].endswith("+") and main["student"].endswith("+")
    assert main["backbone's cosine"][-1].isdigit()


def test_the_lead_kept_is_shown_or_said_not_to_be_there():
    assert "keeps 50.0 % of the teacher's lead over the backbone's cosine." in headline(make_report())
    assert "where both rerank the cosine's 100" in headline(make_report(CROSS))
    none = make_report(lead=0.0)
    assert "the teacher has no lead" in headline(none)
    assert "no lead" in ranking_table(none) and "no lead" in ranking_page(none, [])
    assert "keeps" not in headline(make_report(ALL[:5], agreement=False))
    assert "of the teacher's ten best" in headline(make_report(**UNJUDGED))


@reports
def test_files_and_plots(report, tmp_path):
    pytest.importorskip("matplotlib")
    files = write_ranking_report(report, tmp_path / "report")
    parts = {"rows": report.rows, "agreement": report.agreement, "curve": report.curve}
    drawn = [f"plots/{name}.png" for name, part in parts.items() if part]
    assert [str(file.relative_to(tmp_path / "report")) for file in files] == ["report.json", "report.md", *drawn]
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in files[2:])
    page = files[1].read_text(encoding="utf-8")
    assert all(f"]({name})" in page for name in drawn)
    assert json.loads(files[0].read_text(encoding="utf-8")) == json.loads(json.dumps(report.to_dict()))
