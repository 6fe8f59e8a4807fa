"""The page of a student of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from dse.evaluation.disagreements import Disagreement
from dse.evaluation.html.blocks import (
    Block,
    Browser,
    Chart,
    Command,
    Page,
    Pair,
    Picture,
    Section,
    Sentences,
    Table,
    Terms,
)
from dse.evaluation.html.charts import Axis, Line, line_chart
from dse.evaluation.pages import data, facts, rates, words
from dse.evaluation.render import Group, as_rate, headline, hundred, notes, percent, regime
from dse.evaluation.report import Report
from dse.evaluation.speed import Speed

Texts = Mapping[str, tuple[str, str]]  # by `pair_hash`
BOTH = [("c-teacher", "teacher"), ("c-student", "student")]
REPEATS = (0.5, 1, 2, 5, 10, 100, 1000)  # pairs per distinct sentence


def pairs_page(report: Report, texts: Texts, pictures: Mapping[str, str]) -> Page:
    """Sections of a report about pairs; pictures are data URIs by the name of the plot."""
    sections = [
        Section("What was kept", _kept(report)),
        Section("Teacher against student", _fidelity(report, pictures)),
        Section("Calibration", _calibration(report)),
        Section("Pairs they disagree on most", _browser(report, texts)),
        Section("Speed and break-even", [] if report.speed is None else _speed(report, report.speed)),
        Section("Training", _picture(pictures, "training", "Losses and validation metrics by optimiser step.")),
        Section("What the words mean", [Terms(list(words(report).items()))]),
        Section("Data", [Sentences([data(report).replace("`", "")])]),
        Section("How it was made", how(report.command, facts(report.to_dict()))),
    ]
    return Page(f"{report.task}: what the student kept", headline(report), _tiles(report), sections)


def how(command: str | None, entries: list[tuple[str, str]]) -> list[Block]:
    """The command, and models, machine and versions."""
    return [*([Command(command)] if command else []), Terms(entries)]


def _picture(pictures: Mapping[str, str], name: str, alt: str) -> list[Block]:
    return [Picture(pictures[name], alt)] if name in pictures else []


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    metric, tiles = report.main_metric, []
    if (kept := report.retention.get(metric)) is not None:
        tiles.append((f"of the teacher's {metric} kept", percent(kept), _span(report, "retention", metric, " %")))
    if metric in report.metrics.get("student", {}):
        value = hundred(report.metrics["student"][metric])
        tiles.append((f"{metric} x 100 of the student", value, _span(report, "student", metric)))
    if report.fidelity:
        pearson = f"{report.fidelity['pearson']:.3f}"
        tiles.append(("correlation with the teacher's scores", pearson, _span(report, "fidelity", "pearson", " x 100")))
    speed = report.speed
    if speed is not None and speed.speedup is not None and speed.speedup_embedded is not None:
        tiles.append(("once embedded", f"{as_rate(speed.speedup_embedded.median)}x", "as fast as the teacher"))
        tiles.append(("from text", f"{as_rate(speed.speedup.median)}x", "as fast as the teacher"))
    return tiles


def _span(report: Report, group: str, name: str, unit: str = "") -> str:
    """The interval x 100; empty for a report that has none."""
    both = report.intervals.get(group, {}).get(name)
    return "" if both is None else f"{hundred(both[0])} to {hundred(both[1])}{unit}"


def _with_span(report: Report, group: str, name: str, value: float | None) -> str:
    if value is None:
        return ""
    span = _span(report, group, name)
    return f"{hundred(value)} ({span})" if span else hundred(value)


def _kept(report: Report) -> list[Block]:
    student, teacher = report.metrics.get("student", {}), report.metrics.get("teacher", {})
    cosine, error = report.metrics.get("cosine", {}), report.calibration_error
    cells: Group = [["metrics x 100", "teacher", "student", "retention, %", *(["free cosine"] if cosine else [])]]
    for name, value in student.items():
        named = [("teacher", teacher.get(name)), ("student", value), ("retention", report.retention.get(name))]
        named += [("cosine", cosine[name])] if cosine else []
        cells.append([name, *(_with_span(report, group, name, figure) for group, figure in named)])
    if error:
        row = ["calibration error", hundred(error.get("teacher")), hundred(error["student"])]
        cells.append([*row, *[""] * (len(cells[0]) - len(row))])
    blocks: list[Block] = [Table(cells)] if len(cells) > 1 else []
    lines = notes(replace(report, speed=None))  # those of speed stand with it
    if report.intervals:
        lines.insert(0, "In brackets: 95 % interval, paired bootstrap over the pairs.")
    return [*blocks, *([Sentences(lines)] if lines else [])]


def _fidelity(report: Report, pictures: Mapping[str, str]) -> list[Block]:
    names = {"pearson": "pearson r", "agreement": "equal predictions", "kendall": "kendall tau"}
    values = report.fidelity
    cells: Group = [["fidelity", "x 100"]]
    cells += [
        [label, _with_span(report, "fidelity", key, values[key])] for key, label in names.items() if key in values
    ]
    if not values:
        return []
    alt = f"{report.rows:,} pairs: the teacher's score against the student's; the table above has the figures."
    return [Table(cells), *_picture(pictures, "scores", alt)]


def _calibration(report: Report) -> list[Block]:
    curves = {name: report.calibration[name] for _, name in BOTH if name in report.calibration}
    if not curves:
        return []
    lines = [Line("c-even", [(0, 0), (1, 1)], marked=False)]
    cells: Group = [["bin", *(f"{name}: {what}" for name in curves for what in ("predicted", "positive"))]]
    for css, name in BOTH:
        if name in curves:
            curve = curves[name]
            lines.append(Line(css, list(zip(curve["probability"], curve["frequency"], strict=True))))
    for row in range(len(next(iter(curves.values()))["count"])):
        columns = [hundred(curve[key][row]) for curve in curves.values() for key in ("probability", "frequency")]
        cells.append([str(row + 1), *columns])
    errors = ", ".join(f"{name} {hundred(error)} %" for name, error in report.calibration_error.items())
    alt = f"Share of positives against predicted probability. Calibration error: {errors}."
    svg = line_chart(lines, Axis("predicted probability", 0, 1), Axis("share of positives", 0, 1), alt)
    legend = [
        (css, f"{name}, error {hundred(report.calibration_error[name])} %") for css, name in BOTH if name in curves
    ]
    return [Chart(svg, [*legend, ("c-even", "perfectly calibrated")]), Table(cells, "Bins of equally many pairs, in %")]


# ----------------------------------------------------------------------------------------------------------- speed


def _speed(report: Report, speed: Speed) -> list[Block]:
    said, warn = regime(report), report.distinct_sentences >= 0.9 * 2 * report.rows
    measured = [note for note in notes(report) if note.startswith("pairs/s:")]
    blocks: list[Block] = [Sentences([said], warning=warn), Table(rates(speed)), Sentences(measured)]
    if speed.teacher is None:
        return blocks
    teacher, data_has = speed.teacher.median, report.rows / report.distinct_sentences
    counts = [0.5 * (2000 ** (i / 40)) for i in range(41)]  # 0.5 to 1,000
    student = [(p, speed.student_rate(p)) for p in counts]
    every = [teacher, *(rate for _, rate in student)]
    y = Axis("pairs/s", 10 ** math.floor(math.log10(min(every))), 10 ** math.ceil(math.log10(max(every))), log=True)
    marks = [(data_has, f"this data: {data_has:.1f}")] if 0.5 <= data_has <= 1000 else []
    if speed.break_even is not None and 0.5 < speed.break_even <= 1000:
        marks.append((speed.break_even, f"break-even: {speed.break_even:.1f}"))
    lines = [
        Line("c-teacher", [(0.5, teacher), (1000, teacher)], marked=False),
        Line("c-student", student, marked=False),
    ]
    x = Axis("pairs per distinct sentence", 0.5, 1000, log=True)
    alt = "Pairs per second by how often a sentence recurs: the teacher's rate is constant, the student's rises."
    rows = [[f"{p:g}", as_rate(teacher), as_rate(speed.student_rate(p))] for p in REPEATS]
    table = Table(
        [["pairs per distinct sentence", "teacher, pairs/s", "student, pairs/s"], *rows], "From text, computed"
    )
    return [*blocks, Chart(line_chart(lines, x, y, alt, marks), BOTH), table]


# ----------------------------------------------------------------------------------------------------------- pairs


def _browser(report: Report, texts: Texts) -> list[Block]:
    if not report.disagreements:
        return []
    pairs = [_pair(entry, report, texts) for entry in report.disagreements]
    lines = [f"The {len(pairs)} pairs whose scores differ most, of {report.rows:,}; scores are those of predict."]
    if report.kind == "multiclass":
        lines = [f"The {len(pairs)} pairs whose probabilities differ most, of {report.rows:,}."]
    if not any(pair.texts for pair in pairs):
        lines.append(
            "Their texts are not on this page: dse report --html --data FILE reads them from the file of the pairs."
        )
    return [Sentences(lines), Browser(pairs)]


def _pair(entry: Disagreement, report: Report, texts: Texts) -> Pair:
    side = "higher" if entry.student[0] > entry.teacher[0] else "lower"
    if report.kind == "multiclass":
        side = ""
    return Pair(
        number=entry.number,
        texts=texts.get(entry.pair),
        student=_score(entry.student, report),
        teacher=_score(entry.teacher, report),
        label=_label(entry.label, report),
        gap=entry.gap,
        side=side,
        other_class=entry.same_class is False,
    )


def _score(values: list[float], report: Report) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    best = max(range(len(values)), key=lambda i: values[i])
    return f"{report.labels[best]} {values[best]:.3f}"


def _label(label: float | None, report: Report) -> str:
    if label is None:
        return ""
    return f"{label:g}" if report.kind == "regression" else report.labels[int(label)]
