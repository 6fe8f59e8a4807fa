"""A report in words and numbers: the table for a terminal, and the cells and sentences that its page shows too."""

from __future__ import annotations

import textwrap

from tabulate import tabulate

from dse.evaluation.report import Report
from dse.evaluation.speed import Speed

WIDTH = 80
COLUMN = 9  # least width of a column of numbers
Group = list[list[str]]  # a header row and rows of: name, teacher, student, student / teacher, free cosine


def table(report: Report) -> str:
    """The result as plain text, at most 80 columns wide."""
    models = "teacher and student" if report.has_teacher else "student"
    title = f"{report.task} ({report.kind}), split {report.split}, {report.rows:,} rows: {models}"
    rows: Group = []
    wide = max((len(row) for group in groups(report) for row in group), default=0)
    for group in groups(report):
        empty = [[""] * wide] if rows else []
        padded = [[*row, *[""] * (wide - len(row))] for row in group]
        rows += empty + [[name, *(cell.rjust(COLUMN) for cell in cells)] for name, *cells in padded]
    align = ["left", *["right"] * (len(rows[0]) - 1)]
    cells = tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True, preserve_whitespace=True)
    remarks = "\n".join(textwrap.fill(note, WIDTH) for note in notes(report))
    return "\n\n".join(block for block in (textwrap.fill(title, WIDTH), cells, remarks) if block)


def groups(report: Report) -> list[Group]:
    """The cells of the table, in groups of rows: quality, speed, fidelity."""
    return [group for group in (_quality(report), _rates(report), _fidelity(report)) if len(group) > 1]


def _quality(report: Report) -> Group:
    rows = [["metrics x 100", "teacher", "student", "retention"]]
    student, teacher = report.metrics.get("student", {}), report.metrics.get("teacher", {})
    for name, value in student.items():
        kept = report.retention.get(name)
        rows.append([name, hundred(teacher.get(name)), hundred(value), "" if kept is None else percent(kept)])
    error = report.calibration_error
    if error:
        rows.append(["calibration error", hundred(error.get("teacher")), hundred(error["student"]), ""])
    rows = _without_teacher(report, rows)
    cosine = report.metrics.get("cosine")
    if cosine is None:
        return rows
    return [[*rows[0], "free cosine"], *([*row, hundred(cosine.get(row[0]))] for row in rows[1:])]


def _rates(report: Report) -> Group:
    speed, rows = report.speed, [["pairs/s", "teacher", "student", "speed-up"]]
    if speed is None:
        return rows
    for name, student, speedup in (
        ("from text", speed.student, speed.speedup),
        ("once embedded", speed.embedded, speed.speedup_embedded),
    ):
        teacher = "" if speed.teacher is None else as_rate(speed.teacher.median)
        rows.append([name, teacher, as_rate(student.median), "" if speedup is None else f"{as_rate(speedup.median)}x"])
    return _without_teacher(report, rows)


def _fidelity(report: Report) -> Group:
    rows, values = [["fidelity x 100", "", "student", ""]], report.fidelity
    names = {"pearson": "pearson r", "agreement": "equal predictions", "kendall": "kendall tau"}
    return rows + [[label, "", hundred(values[name]), ""] for name, label in names.items() if name in values]


def _without_teacher(report: Report, rows: Group) -> Group:
    return rows if report.has_teacher else [[name, student] for name, _, student, _ in rows]


# ------------------------------------------------------------------------------------------------------ sentences


def headline(report: Report) -> str:
    """The main result in one sentence."""
    metric, kept = report.main_metric, report.retention.get(report.main_metric)
    data = f"{report.rows:,} rows of {report.task} ({report.split})"
    if "cosine" in report.metrics:
        free, teacher = (hundred(report.metrics.get(name, {}).get(metric)) for name in ("cosine", "teacher"))
        others = f"free cosine {free}" + (f", teacher {teacher}" if teacher else "")
        quality = f"The student reaches {metric} {hundred(report.metrics['student'][metric])} ({others}) on {data}"
    elif kept is not None:
        quality = f"The student keeps {percent(kept)} of the teacher's {metric} on {data}"
    elif report.metrics:
        quality = f"The student reaches {metric} {hundred(report.metrics['student'][metric])} on {data}"
    else:
        quality = (
            f"On {data}, none of them labelled, the scores of student and teacher correlate with "
            f"r = {report.fidelity['pearson']:.3f}"
        )
    speed = report.speed
    if speed is None or speed.speedup is None or speed.speedup_embedded is None:
        return quality + "."
    return (
        f"{quality} and scores pairs {as_rate(speed.speedup_embedded.median)} times as fast once their sentences are "
        f"embedded, {as_rate(speed.speedup.median)} times as fast from text."
    )


def notes(report: Report) -> list[str]:
    """What must be known to read the table rightly."""
    sentences = []
    if report.threshold is not None and report.metrics:
        stored = "its stored threshold" if "threshold" in report.student_info else "threshold"
        teacher = f", the teacher at a raw score of {report.teacher_threshold or 0:.3g}" if report.has_teacher else ""
        sentences.append(
            f"The student predicts at {stored} {report.threshold:.3f} (of scores as predict returns them){teacher}."
        )
        if "threshold" not in report.student_info:
            sentences.append(
                "No threshold is stored with the student, so no pairs chose this one. Accuracy and F1 depend on it; "
                "`dse threshold` chooses one."
            )
    if report.kind == "regression" and report.metrics:
        sentences.append("The metrics are those of activated scores, as predict returns them.")
    if "cosine" in report.metrics:
        sentences.append(_beside_cosine(report))
    learned = report.student_info.get("alpha") != 0
    if learned and (kept := report.retention.get(report.main_metric)) is not None and kept >= 1:
        sentences.append(
            "The student is not behind its teacher here, so the teacher may have little to teach: compare a student "
            "of labels alone (`dse distill --alpha 0`), or look for a stronger teacher."
        )
    if "queries" in report.fidelity:
        queries = int(report.fidelity["queries"])
        sentences.append(f"Kendall tau is that of {queries:,} {'query' if queries == 1 else 'queries'}.")
    if report.speed is not None:
        sentences += [_measured(report.speed), regime(report)]
    return sentences


def _beside_cosine(report: Report) -> str:
    """What the student gained over what is free, and whether that may be chance."""
    metric = report.main_metric
    gain = 100 * (report.metrics["student"][metric] - report.metrics["cosine"][metric])
    low, high = (100 * bound for bound in report.intervals["gain"][metric])
    text = (
        f"Free cosine is that of the untrained backbone: the student's {metric} is {abs(gain):.1f} points "
        f"{'above' if gain >= 0 else 'below'} it (95 % interval of the difference: {low:+.1f} to {high:+.1f})."
    )
    if low > 0:
        return text
    return f"{text} That it is better is not shown here; the backbone itself may do as well on such pairs."


def _measured(speed: Speed) -> str:
    teacher = "" if speed.teacher_dtype is None else f", the teacher in {speed.teacher_dtype}"
    return (
        f"pairs/s: median of {len(speed.student.runs)} alternating runs on {speed.pairs} of the pairs "
        f"({speed.distinct_sentences} distinct sentences), the student in {speed.student_dtype}{teacher}."
    )


def regime(report: Report) -> str:
    """Which of the two rates applies to this data."""
    distinct, pairs = report.distinct_sentences, report.rows
    counted = f"{distinct:,} distinct sentences in {pairs:,} pairs"
    if distinct >= 0.9 * 2 * pairs:
        text = (
            f"Nearly every sentence of this data occurs once ({counted}): 'once embedded' pays only where sentences "
            "repeat or candidates are embedded beforehand; otherwise 'from text' is the rate to expect."
        )
    else:
        text = (
            f"Sentences repeat ({counted}, each in {2 * pairs / distinct:.1f} pairs on average): the more they do, "
            "the closer the student comes from 'from text' to 'once embedded'."
        )
    speed = report.speed
    if speed is None or speed.teacher is None:
        return text
    if speed.break_even is None:
        return f"{text} On this machine the student is never faster than the teacher."
    if speed.break_even <= 0.5:
        return f"{text} On this machine the student is faster than the teacher even if no sentence repeats."
    return (
        f"{text} On this machine the student overtakes the teacher at {speed.break_even:.1f} pairs per distinct "
        f"sentence; this data has {pairs / distinct:.1f}."
    )


def hundred(value: float | None) -> str:
    """A fraction x 100; empty for None."""
    return "" if value is None else f"{100 * value:.1f}"


def percent(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.1f} %"


def as_rate(value: float) -> str:
    """A rate or ratio with the digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
