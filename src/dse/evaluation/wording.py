"""The sentences of a report: what it comes to, what must be known to read it, what its words mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dse.evaluation.report import Report
    from dse.evaluation.speed import Speed

WORDS = {
    "retention": "the student's metric divided by the teacher's, on the same rows.",
    "relative degradation": "1 - retention.",
    "fidelity": "how far student and teacher agree with each other, whatever the labels say.",
    "pearson r": "correlation of the raw scores of student and teacher.",
    "equal predictions": "share of the pairs which student and teacher put into the same class.",
    "kendall tau": "for each query (first sentence) with several candidates, how alike both order them: "
    "100 the same order, 0 unrelated, -100 reversed; the mean over the queries.",
    "calibration error": "how far predicted probabilities are from the share of positives among pairs so scored, "
    "on average (ECE, ten bins of equally many pairs); less is better.",
    "pairs/s from text": "nothing is embedded before; the student reads each distinct sentence once, "
    "the teacher each pair.",
    "pairs/s once embedded": "the student scores pairs whose sentences it has embedded before, 16 candidates for each "
    "first sentence; a teacher must read every pair all the same.",
}


def headline(report: Report) -> str:
    """What the reader learns, in one sentence."""
    metric, retained = report.main_metric, report.retention.get(report.main_metric)
    where = f"{report.rows:,} rows of {report.task} ({report.split})"
    if retained is not None:
        said = f"The student keeps {percent(retained)} of the teacher's {metric} on {where}"
    elif report.metrics:
        said = f"The student reaches {metric} {hundred(report.metrics['student'][metric])} on {where}"
    else:
        said = (
            f"On {where}, none of them labelled, the scores of student and teacher correlate with "
            f"r = {report.fidelity['pearson']:.3f}"
        )
    speed = report.speed
    if speed is None or speed.speedup is None or speed.speedup_embedded is None:
        return said + "."
    return (
        f"{said} and scores pairs {_times(speed.speedup_embedded.median)} as fast once their sentences are embedded, "
        f"{_times(speed.speedup.median)} as fast from text."
    )


def notes(report: Report) -> list[str]:
    """What must be known to read the table rightly."""
    found = []
    if report.threshold is not None and report.metrics:
        stored = "its stored threshold" if "threshold" in report.student_info else "threshold"
        teacher = ", the teacher at 0" if report.has_teacher else ""
        found.append(f"The student predicts at {stored} {report.threshold:.3f} (raw score){teacher}.")
    if report.kind == "regression" and report.metrics:
        found.append("The metrics are those of activated scores, as predict returns them.")
    if (retained := report.retention.get(report.main_metric)) is not None and retained >= 1:
        found.append(
            "The student is not behind its teacher here, so the teacher may have little to teach: compare a student "
            "of labels alone (`dse distill --alpha 0`), or look for a stronger teacher."
        )
    if "queries" in report.fidelity:
        queries = int(report.fidelity["queries"])
        found.append(f"Kendall tau is that of {queries:,} {'query' if queries == 1 else 'queries'}.")
    if report.speed is not None:
        found.append(_measured(report.speed))
        found.append(regime(report))
    return found


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
        said = (
            f"Nearly every sentence of this data occurs once ({counted}): 'once embedded' pays only where sentences "
            "repeat or candidates are embedded beforehand; otherwise 'from text' is the rate to expect."
        )
    else:
        said = (
            f"Sentences repeat ({counted}, each in {2 * pairs / distinct:.1f} pairs on average): the more they do, "
            "the closer the student comes from 'from text' to 'once embedded'."
        )
    speed = report.speed
    if speed is None or speed.teacher is None:
        return said
    if speed.break_even is None:
        return f"{said} On this machine the student is never faster than the teacher."
    if speed.break_even <= 0.5:
        return f"{said} On this machine the student is faster than the teacher even if no sentence repeats."
    return (
        f"{said} On this machine the student overtakes the teacher at {speed.break_even:.1f} pairs per distinct "
        f"sentence; this data has {pairs / distinct:.1f}."
    )


def hundred(value: float | None) -> str:
    """A fraction x 100; nothing for None."""
    return "" if value is None else f"{100 * value:.1f}"


def percent(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.1f} %"


def rate(value: float) -> str:
    """A rate or ratio with the digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _times(value: float) -> str:
    return f"{rate(value)} times"
