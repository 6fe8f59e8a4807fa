"""The table of any report fits a terminal of 80 columns, and its numbers are those of the JSON, rounded."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dse.evaluation import Report, Speed, fidelity, table
from dse.evaluation.quality import Scores
from dse.evaluation.render import groups
from dse.evaluation.timing import Summary
from tests.evaluation.factory import BINARY, NLI, REGRESSION, make_report, make_scores, with_cosine

names = st.text("abcdefgh_ -", min_size=1, max_size=90)
rates = st.lists(st.floats(0.05, 1e9), min_size=3, max_size=3)


@st.composite
def speeds(draw: st.DrawFn, has_teacher: bool) -> Speed | None:
    if draw(st.booleans()):
        return None
    student, embedded, teacher = (Summary.from_runs(draw(rates)) for _ in range(3))
    ratios = [
        Summary.from_runs([a / b for a, b in zip(x.runs, teacher.runs, strict=True)]) for x in (student, embedded)
    ]
    if not has_teacher:
        return Speed(256, 300, None, student, embedded, None, None, None, "bfloat16", None)
    never_or_at = draw(st.none() | st.floats(0, 1e6))
    return Speed(256, 300, teacher, student, embedded, *ratios, never_or_at, "bfloat16", "float32")


@st.composite
def reports(draw: st.DrawFn) -> Report:
    task = replace(draw(st.sampled_from([BINARY, NLI, REGRESSION])), name=draw(names))
    rows = draw(st.integers(20, 120))
    scores = make_scores(task, rows, draw(st.integers(0, 2**32 - 1)))
    left = draw(st.sampled_from(["both", "teacher", "label"]))
    if left != "both":
        scores = Scores(
            scores.student, scores.teacher if left == "teacher" else None, scores.label if left == "label" else None
        )
    elif task.kind != "multiclass" and draw(st.booleans()):
        scores = with_cosine(scores, task)
    changes = {
        "split": draw(names),
        "distinct_sentences": draw(st.integers(1, 2 * rows)),
        "speed": draw(speeds(scores.teacher is not None)),
        "student_info": draw(st.sampled_from([{}, {"threshold": 0.25}])),
    }
    if scores.teacher is not None and draw(st.booleans()):  # several candidates of each query
        queries = [str(row // 5) for row in range(rows)]
        changes["fidelity"] = fidelity(scores.student, scores.teacher, task, queries)
    return make_report(task, rows, scores=scores, **changes)


@given(reports())
@settings(max_examples=150, deadline=None)
def test_a_table_has_at_most_80_columns(report):
    lines = table(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines == [line.rstrip() for line in lines]


@given(reports())
@settings(max_examples=150, deadline=None)
def test_numbers_of_the_table_are_those_of_the_json(report):
    saved = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    expected = dict(_expected(saved))
    cells = {}
    for line in table(report).splitlines():
        name, *values = re.split(r"\s{2,}", line.replace(" %", "%"))
        if name in expected:
            cells[name] = values
    assert cells == expected
    assert {row[0] for group in groups(report) for row in group[1:]} == expected.keys()


def _expected(saved):
    """Cells of each row, from the JSON alone."""
    student, teacher, cosine = (saved["metrics"].get(name, {}) for name in ("student", "teacher", "cosine"))
    for name, value in student.items():
        kept = saved["retention"].get(name)
        shares = [f"{x}%" for x in _hundred(kept)]
        yield name, [*_hundred(teacher.get(name)), *_hundred(value), *shares, *_hundred(cosine.get(name))]
    if error := saved["calibration_error"]:
        yield "calibration error", [*_hundred(error.get("teacher")), *_hundred(error["student"])]
    labels = {"pearson": "pearson r", "agreement": "equal predictions", "kendall": "kendall tau"}
    for key in labels.keys() & saved["fidelity"].keys():
        yield labels[key], _hundred(saved["fidelity"][key])
    speed = saved["speed"] or {}
    for name, rate, ratio in (("from text", "student", "speedup"), ("once embedded", "embedded", "speedup_embedded")):
        if speed:
            cells = [_rate(speed[key]["median"]) for key in ("teacher", rate, ratio) if speed[key]]
            yield name, [*cells[:2], *(f"{x}x" for x in cells[2:])]


def _hundred(value):
    return [] if value is None else [f"{100 * value:.1f}"]


def _rate(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
