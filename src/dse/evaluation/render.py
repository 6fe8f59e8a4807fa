"""The report in words: the table for a terminal, the page for a reader. Both show the same cells."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dse.evaluation.wording import WORDS, headline, hundred, notes, percent
from dse.evaluation.wording import rate as as_text

if TYPE_CHECKING:
    from dse.evaluation.plots import Plot
    from dse.evaluation.report import Report
    from dse.evaluation.speed import Rate, Speed

WIDTH = 80
Group = list[list[str]]  # a header row and rows of: name, teacher, student, student / teacher


def groups(report: Report) -> list[Group]:
    """The cells of the table, in groups of rows: quality, speed, fidelity."""
    return [group for group in (_quality(report), _rates(report), _fidelity(report)) if len(group) > 1]


def _quality(report: Report) -> Group:
    rows = [["metrics x 100", "teacher", "student", "retention"]]
    ours, theirs = report.metrics.get("student", {}), report.metrics.get("teacher", {})
    for name, value in ours.items():
        kept = report.retention.get(name)
        rows.append([name, hundred(theirs.get(name)), hundred(value), "" if kept is None else percent(kept)])
    error = report.calibration_error
    if error:
        rows.append(["calibration error", hundred(error.get("teacher")), hundred(error["student"]), ""])
    return _without_teacher(report, rows)


def _rates(report: Report) -> Group:
    speed, rows = report.speed, [["pairs/s", "teacher", "student", "speed-up"]]
    if speed is None:
        return rows
    for name, rate, ratio in (
        ("from text", speed.student, speed.speedup),
        ("once embedded", speed.embedded, speed.speedup_embedded),
    ):
        teacher = "" if speed.teacher is None else as_text(speed.teacher.median)
        rows.append([name, teacher, as_text(rate.median), "" if ratio is None else f"{as_text(ratio.median)}x"])
    return _without_teacher(report, rows)


def _fidelity(report: Report) -> Group:
    rows, found = [["fidelity x 100", "", "student", ""]], report.fidelity
    names = {"pearson": "pearson r", "agreement": "equal predictions", "kendall": "kendall tau"}
    return rows + [[label, "", hundred(found[name]), ""] for name, label in names.items() if name in found]


def _without_teacher(report: Report, rows: Group) -> Group:
    return rows if report.has_teacher else [[name, student] for name, _, student, _ in rows]


def table(report: Report) -> str:
    """Plain text, aligned, 80 columns."""
    who = "teacher and student" if report.has_teacher else "student"
    first = f"{report.task} ({report.kind}), split {report.split}, {report.rows:,} rows: {who}"
    blocks = [first]
    found = groups(report)
    widths = [max(len(cell) for cell in column) for column in _columns(found)]
    for group in found:
        lines = []
        for name, *cells in group:
            right = "".join(f"{cell:>{max(width, 9) + 2}}" for cell, width in zip(cells, widths[1:], strict=False))
            lines.append(f"{name:<{widths[0]}}{right}".rstrip())
        blocks.append("\n".join(lines))
    if said := notes(report):
        blocks.append("\n".join(textwrap.fill(note, WIDTH, break_long_words=False) for note in said))
    return "\n\n".join(blocks)


def _columns(found: list[Group]) -> list[list[str]]:
    rows = [row for group in found for row in group]
    return [[row[i] for row in rows if i < len(row)] for i in range(max(map(len, rows)))]


def results(report: Report, plots: Sequence[Plot], at: str = "") -> str:
    """Markdown: headline, tables, notes, plots; `at` leads from the page to the plots' folder."""
    blocks = [f"**{headline(report)}**", *map(_markdown, groups(report))]
    if said := notes(report):
        blocks.append("\n".join(f"- {note}" for note in said))
    blocks += [f"![{plot.alt}]({at}{plot.file})" for plot in plots]
    return "\n\n".join(blocks)


def page(report: Report, plots: Sequence[Plot]) -> str:
    """The whole page: results, then words, data, and how it was made."""
    blocks = [results(report, plots)]
    blocks += ["## What the words mean", "\n".join(f"- **{word}**: {said}" for word, said in _words(report))]
    blocks += ["## Data", _data(report)]
    if report.speed is not None:
        blocks += ["## Speed, run by run", _markdown(_ranges(report.speed))]
    blocks += ["## How it was made"]
    if report.command is not None:
        blocks.append(f"```bash\n{report.command}\n```")
    blocks.append(_provenance(report))
    return "\n\n".join(blocks) + "\n"


def _words(report: Report) -> list[tuple[str, str]]:
    shown = {row[0] for group in groups(report) for row in group}
    absent = {
        word for word in ("pearson r", "equal predictions", "kendall tau", "calibration error") if word not in shown
    }
    absent |= set() if report.retention else {"retention", "relative degradation"}
    absent |= set() if report.has_teacher else {"fidelity"}
    absent |= set() if report.speed else {"pairs/s from text", "pairs/s once embedded"}
    return [(word, said) for word, said in WORDS.items() if word not in absent]


def _data(report: Report) -> str:
    skipped = f" {report.skipped_rows:,} bad rows of it were left out." if report.skipped_rows else ""
    return (
        f"{report.rows:,} rows ({report.distinct_sentences:,} distinct sentences) of task {report.task}, "
        f"split {report.split}, from `{report.source}`.{skipped}"
    )


def _ranges(speed: Speed) -> Group:
    named: dict[str, Rate | None] = {
        "teacher, pairs/s": speed.teacher,
        "student from text, pairs/s": speed.student,
        "student once embedded, pairs/s": speed.embedded,
        "speed-up from text": speed.speedup,
        "speed-up once embedded": speed.speedup_embedded,
    }
    cells = [[name, *map(as_text, (r.median, r.minimum, r.maximum))] for name, r in named.items() if r is not None]
    return [["", "median", "min", "max"], *cells]


def _provenance(report: Report) -> str:
    lines = [f"{name}: `{value}`" for name, value in report.fingerprints.items()]
    lines += [f"{name}: {json.dumps(value)}" for name, value in report.student_info.items() if name != "task"]
    lines.append(f"date: {report.date}")
    lines += [f"{name}: {value}" for name, value in {**report.machine, **report.versions}.items()]
    return "\n".join(f"- {line}" for line in lines)


def _markdown(group: Group) -> str:
    used = [i for i in range(len(group[0])) if any(row[i] for row in group)]
    header, *rows = ([row[i] for i in used] for row in group)
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))
