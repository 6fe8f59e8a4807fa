"""A ranking report in words and numbers: the table for a terminal, and the cells and sentences its page shows too."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from tabulate import tabulate

from dse.evaluation.ranking.agreement import AGREEMENT
from dse.evaluation.ranking.intervals import Interval
from dse.evaluation.ranking.metrics import METRICS
from dse.evaluation.ranking.report import BM25, COSINE, STUDENT, TEACHER, RankingReport, RankingRow
from dse.evaluation.render import WIDTH, Group, hundred, percent

MAIN = METRICS[0]
NO_LEAD = "no lead"
FEW = 50  # queries: fewer leave wide intervals
# Titles of tables that the HTML page shows with a chart.
METRICS_TITLE = "Metrics x 100"
AGREEMENT_TITLE = "Agreement with the teacher x 100"
CURVE_TITLE = f"Phantom-hit curve: {MAIN} x 100 by the number of candidates"
BOUGHT_TITLE = "What the teacher's pairs bought: divergence of held-out lists from its own"
NAME = 24  # width of the column of names: that of the longest


def ranking_table(report: RankingReport) -> str:
    """The result as plain text, at most 80 columns wide."""
    pools = "ranked in the pools of judged documents" if report.judgement_count else "ranked in their scored documents"
    asked = pools if report.pool else f"{report.documents:,} documents"
    title = f"{report.collection}, split {report.split}: {_queries(report.query_count)}, {asked}"
    groups = [_metrics(report), _lead(report), _agreement(report), curve_cells(report)]
    blocks = [_plain(group) for group in groups if len(group) > 1]
    remarks = "\n".join(textwrap.fill(note, WIDTH) for note in [*notes(report), *_signs(report)])
    return "\n\n".join([textwrap.fill(title, WIDTH), *blocks, *([remarks] if remarks else [])])


def _plain(group: Group) -> str:
    rows = [[name.ljust(NAME), *cells] for name, *cells in group]
    align = ["left", *["right"] * (len(rows[0]) - 1)]
    return tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True, preserve_whitespace=True)


def _metrics(report: RankingReport) -> Group:
    metrics = list(report.rows[0].metrics) if report.rows else []
    header = ["metrics x 100", MAIN, "95 %", *metrics[1:]]
    return [header, *([row.name, *_cells(row, metrics)] for row in report.rows)]


def _cells(row: RankingRow, metrics: Sequence[str]) -> list[str]:
    main = row.metrics[MAIN]
    cells = [hundred(main.value) + sign(row.over_cosine.get(MAIN)), span(main)]
    return cells + [hundred(row.metrics[metric].value) for metric in metrics[1:]]


def sign(difference: Interval | None) -> str:
    """+ or - where a difference to the cosine's row is beyond its interval, else a blank."""
    if difference is None:
        return " "
    return "+" if difference.low > 0 else "-" if difference.high < 0 else " "


def _signs(report: RankingReport) -> list[str]:
    """What the signs of the table for a terminal mean; the page has the differences themselves."""
    if not any(row.over_cosine for row in [*report.rows, *report.agreement]):
        return []
    return ["+ or -: better or worse than the backbone's cosine, beyond the interval of the difference."]


def span(mean: Interval) -> str:
    """The interval x 100."""
    return f"{hundred(mean.low)} to {hundred(mean.high)}"


def _lead(report: RankingReport) -> Group:
    """The lead kept, laid out like the metrics."""
    rows: Group = [["lead kept, %", MAIN, "95 %", *(metric for metric in METRICS[1:] if metric in _shown(report))]]
    for name in dict.fromkeys(entry.student for entry in report.lead_kept):
        kept = {entry.metric: entry.kept for entry in report.lead_kept if entry.student == name}
        cells = [_kept(kept, metric) for metric in rows[0][3:]]
        main = kept[MAIN]
        rows.append([name, _kept(kept, MAIN) + " ", "" if main is None else span(main), *cells])
    return rows


def _kept(kept: dict[str, Interval | None], metric: str) -> str:
    if metric not in kept:
        return ""
    share = kept[metric]
    return NO_LEAD if share is None else hundred(share.value)


def _shown(report: RankingReport) -> list[str]:
    return list(report.rows[0].metrics) if report.rows else []


def _agreement(report: RankingReport) -> Group:
    rows = [
        [row.name, *(hundred(row.metrics[name].value) + sign(row.over_cosine.get(name)) for name in AGREEMENT)]
        for row in report.agreement
    ]
    return [["agreement x 100", *AGREEMENT], *rows]


def curve_cells(report: RankingReport) -> Group:
    """The phantom-hit curve: a row for each ranker, a column for each number of candidates."""
    curves = report.curve
    if not curves:
        return []
    counts = [point.candidates for point in next(iter(curves.values()))]
    header = [f"{MAIN} among", *(f"{count:,}" if count < 100_000 else f"{count // 1000:,}k" for count in counts)]
    return [header, *([name, *(hundred(point.value) for point in points)] for name, points in curves.items())]


def page_groups(report: RankingReport) -> dict[str, Group]:
    """The tables of the page, with all intervals, by title."""
    tables = {
        METRICS_TITLE: _wide(report.rows, lambda row: row.metrics, _shown(report)),
        "Difference to the backbone's cosine, points": _wide(
            [row for row in report.rows if row.over_cosine], lambda row: row.over_cosine, _shown(report)
        ),
        "The teacher's lead, and the share of it that the student keeps": _lead_in_full(report),
        AGREEMENT_TITLE: _wide(report.agreement, lambda row: row.metrics, AGREEMENT),
        "Agreement: difference to the backbone's cosine, points": _wide(
            [row for row in report.agreement if row.over_cosine], lambda row: row.over_cosine, AGREEMENT
        ),
        CURVE_TITLE: curve_cells(report),
        BOUGHT_TITLE: _bought(report),
    }
    return {title: group for title, group in tables.items() if len(group) > 1}


def _bought(report: RankingReport) -> Group:
    rows = [[f"{entry['pairs']:,.0f}", f"{entry['before']:.4f}", f"{entry['after']:.4f}"] for entry in report.bought]
    return [["pairs so far", "before the round", "after it"], *rows]


def _wide(rows: Sequence[RankingRow], of: Callable[[RankingRow], dict[str, Interval]], names: Sequence[str]) -> Group:
    return [["", *names], *([row.name, *(_in_full(of(row)[name]) for name in names)] for row in rows)]


def _in_full(mean: Interval) -> str:
    return f"{hundred(mean.value)} ({span(mean)})"


def _lead_in_full(report: RankingReport) -> Group:
    rows: Group = [["student's and teacher's row", "metric", "lead x 100", "kept, %"]]
    for entry in report.lead_kept:
        kept = NO_LEAD if entry.kept is None else _in_full(entry.kept)
        rows.append([f"{entry.student}, {entry.teacher}", entry.metric, _in_full(entry.lead), kept])
    return rows


# ------------------------------------------------------------------------------------------------------ sentences


def headline(report: RankingReport) -> str:
    """The main result in one sentence."""
    where = f"{_queries(report.query_count)} of {report.collection} ({report.split})"
    student = report.row(STUDENT)
    if student is None:
        shared = {row.name: hundred(row.metrics[AGREEMENT[0]].value) for row in report.agreement}
        if not shared:
            return f"The teacher orders the candidates of none of {where}."
        others = f"; the backbone's cosine finds {shared[COSINE]} %" if COSINE in shared else ""
        return f"On {where}, none judged, the student finds {shared[STUDENT]} % of the teacher's ten best{others}."
    named = {name: report.row(name) for name in (BM25, COSINE, TEACHER)}
    others = ", ".join(f"{name} {hundred(row.metrics[MAIN].value)}" for name, row in named.items() if row)
    text = f"On {where} the student reaches {MAIN} {hundred(student.metrics[MAIN].value)} ({others})"
    entry = next((entry for entry in report.lead_kept if entry.metric == MAIN), None)
    if entry is None:
        return f"{text}."
    reranked = "" if entry.student == STUDENT else ", where both rerank the cosine's 100"
    if entry.kept is None:
        return f"{text}; the teacher has no lead over the backbone's cosine{reranked}."
    return f"{text} and keeps {percent(entry.kept.value)} of the teacher's lead over the backbone's cosine{reranked}."


def notes(report: RankingReport) -> list[str]:
    """What must be known to read the tables rightly."""
    sentences = []
    if report.query_count < FEW:
        sentences.append(
            f"{_queries(report.query_count)} are few: intervals are wide, and rows within each other's are not told "
            f"apart. Hold back {FEW} or more."
        )
    if report.rows:
        sentences.append(f"95 %: interval of the mean over the queries, paired bootstrap of {report.draws:,} draws.")
    if report.rows and not report.pool:
        sentences.append("Rows on a first stage's 100 order the 100 documents that it ranks first for a query.")
    if report.lead_kept:
        sentences.append(
            "Lead kept: (student - backbone's cosine) / (teacher - backbone's cosine), both over the same candidates; "
            f"{NO_LEAD} where the interval of the teacher's lead does not lie above 0."
        )
    if report.agreement:
        sentences.append(
            f"Agreement: on the candidates of {_queries(report.agreement_queries)} that the teacher scored too"
            f"{', whatever the judgements say' if report.rows else ''}."
        )
    if report.agreement and not report.rows:
        sentences.append(
            "Nobody judged these queries: the figures say how like the teacher a ranker is, not how often it is right. "
            "Judge documents of fifty queries (--qrels) to see whether the teacher itself is better than the cosine."
        )
    if report.curve:
        sentences.append(f"{MAIN} among n candidates: a random part of the corpus and the query's judged documents.")
    if report.left_out:
        sentences.append(f"{_queries(report.left_out)} are documents themselves, which are left out of their rankings.")
    if report.backbone is None:
        sentences.append("Without a backbone there is no row of its cosine and no share of a lead.")
    return sentences


def _queries(count: int) -> str:
    return f"{count:,} {'query' if count == 1 else 'queries'}"
