"""The whole story on bundled data, offline: a help desk where many people ask the same things in their own words.

The questions (`helpdesk/questions.tsv`) were written for this project: 135 intents in nine areas, ten phrasings each.
Whether two questions share an intent is the task. Whole areas are held out, so every reported intent is unseen.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dse.data import Pairs
from dse.evaluation.report import Report
from dse.files import write_json
from dse.model import DSE
from dse.offline import offline_backbone
from dse.pipeline import Recipe, make_student
from dse.tasks import Task
from dse.teacher import load_teacher
from dse.training import Training

logger = logging.getLogger(__name__)

TASK = Task(
    "helpdesk",
    "binary",
    labels=("another", "same"),
    symmetric=True,
    metrics=("average_precision", "f1", "accuracy"),
)
TEST_AREAS = ("returns", "account", "products_stock")
VALIDATION_AREAS = ("loyalty",)
SHOWN = 3  # queries printed with their answers


@dataclass(frozen=True)
class Question:
    """One phrasing of one intent."""

    text: str
    intent: str
    area: str


def read_questions() -> tuple[list[Question], dict[str, list[str]]]:
    """The bundled questions, and for each intent the intents most easily taken for it.

    Example:
        >>> questions, near = read_questions()
        >>> len(questions), len(near)
        (1350, 135)
    """
    folder = files("dse") / "helpdesk"
    with (folder / "intents.tsv").open(encoding="utf-8") as lines:
        intents = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    with (folder / "questions.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    area = {row["intent"]: row["area"] for row in intents}
    questions = [Question(row["text"], row["intent"], area[row["intent"]]) for row in rows]
    return questions, {row["intent"]: row["near"].split(",") for row in intents}


def make_pairs(
    questions: Sequence[Question], near: dict[str, list[str]], positives: int, seed: int, source: str
) -> Pairs:
    """Pairs of questions: per intent some of the same intent, and for each of those one hard and one other negative.

    Args:
        questions: Of the areas to pair up.
        near: Intents easily confused; where none of them is among the questions, one of the same area stands in.
        positives: Same-intent pairs drawn per intent.
        seed: Of the draw.
        source: Name for reports.
    """
    draw = np.random.default_rng(seed)
    texts: dict[str, list[str]] = {}
    for question in questions:
        texts.setdefault(question.intent, []).append(question.text)
    rows: list[tuple[str, str, float]] = []
    for intent, own in texts.items():
        same = list(combinations(own, 2))
        others = [name for name in texts if name != intent]
        hard = [name for name in near[intent] if name in texts] or others
        for i in draw.permutation(len(same))[:positives]:
            rows.append((*same[i], 1.0))
            for pool in (hard, others):
                other = texts[pool[draw.integers(len(pool))]]
                rows.append((own[draw.integers(len(own))], other[draw.integers(len(other))], 0.0))
    first, second, label = zip(*rows, strict=True)
    return Pairs(list(first), list(second), np.array(label, dtype=np.float32), source)


@dataclass(frozen=True)
class Search:
    """Unseen queries against a candidate list, by teacher and student.

    Attributes:
        queries: How many were asked.
        candidates: How many each was compared with.
        teacher_seconds: Per query, `CrossEncoder.rank` with its defaults.
        student_seconds: Per query, embedding it and scoring prepared candidates.
        prepare_seconds: Once, embedding the candidates.
        teacher_right: Share of queries whose best candidate has the right intent.
        student_right: The same for the student.
        shown: Some queries with both answers.
    """

    queries: int
    candidates: int
    teacher_seconds: float
    student_seconds: float
    prepare_seconds: float
    teacher_right: float
    student_right: float
    shown: list[dict[str, Any]]


@dataclass(frozen=True)
class Quickstart:
    """What the quickstart has to show."""

    report: Report
    search: Search
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Everything by name."""
        return {"report": self.report.to_dict(), "search": asdict(self.search), "folder": self.folder}

    def text(self) -> str:
        """For a person."""
        s = self.search
        lines = [
            self.report.table(),
            "",
            f"{s.queries} new questions, each against {s.candidates} candidates (one intent in {s.queries} is right)",
            "                            teacher       student",
            f"right intent on top      {s.teacher_right:>9.0%}     {s.student_right:>9.0%}",
            f"time per question        {s.teacher_seconds * 1e3:>6.0f} ms     {s.student_seconds * 1e3:>6.1f} ms"
            f"   ({s.teacher_seconds / s.student_seconds:,.0f} times faster)",
            f"candidates embedded once                {s.prepare_seconds * 1e3:>6.0f} ms",
        ]
        for example in s.shown:
            lines += ["", f'"{example["query"]}"']
            for who in ("teacher", "student"):
                mark = "+" if example[f"{who}_right"] else "-"
                lines.append(f'  {who:<8}{mark} {example[f"{who}_score"]:.2f}  "{example[f"{who}_answer"]}"')
        lines += [
            "",
            f"The student is in {self.folder}, the report in {self.folder}/report/report.md. Ask it yourself:",
            f"  dse rank {self.folder} --candidates {self.folder}/candidates.txt --query 'where is my refund'",
        ]
        return "\n".join(lines)


def run(output: Path, *, command: str | None = None, show_progress_bar: bool = False) -> Quickstart:
    """Make teacher and student from the bundled questions and try them on unseen intents.

    Run again, it goes on where it stopped; finished, it only measures.
    """
    questions, near = read_questions()
    held_out = {*TEST_AREAS, *VALIDATION_AREAS}
    parts = {
        "train": [q for q in questions if q.area not in held_out],
        "validation": [q for q in questions if q.area in VALIDATION_AREAS],
        "test": [q for q in questions if q.area in TEST_AREAS],
    }
    sets = {
        name: make_pairs(part, near, positives=20, seed=0, source=f"help-desk questions, {name} intents")
        for name, part in parts.items()
    }
    report = make_student(
        TASK,
        sets["train"],
        sets["test"],
        recipe(),
        output,
        validation=sets["validation"],
        split="unseen intents",
        command=command,
        show_progress_bar=show_progress_bar,
    )
    search = try_out(output, parts["test"])
    write_json(output / "search.json", asdict(search))
    return Quickstart(report, search, str(output))


def recipe() -> Recipe:
    """Settings for a few minutes on two cores."""
    training = Training(epochs=2)
    return Recipe(offline_backbone(), training=training, teacher_training=training)


def try_out(output: Path, questions: Sequence[Question]) -> Search:
    """Ask the last phrasing of every intent, with all other phrasings as candidates."""
    last = {question.intent: question for question in questions}
    queries = list(last.values())
    asked = {question.text for question in queries}
    candidates = [question for question in questions if question.text not in asked]
    texts = [candidate.text for candidate in candidates]
    (output / "candidates.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    teacher, student = load_teacher(str(output / "teacher"), TASK), DSE(str(output))

    start = time.perf_counter()
    prepared = student.encode(texts, show_progress_bar=False)
    prepare_seconds = time.perf_counter() - start
    best: dict[str, list[dict[Any, Any]]] = {"teacher": [], "student": []}
    seconds = {"teacher": 0.0, "student": 0.0}
    for question in queries:
        start = time.perf_counter()
        best["student"].append(student.topk(question.text, prepared, k=1, show_progress_bar=False)[0][0])
        seconds["student"] += time.perf_counter() - start
        start = time.perf_counter()
        best["teacher"].append(
            teacher.rank(question.text, texts, top_k=1, activation_fn=nn.Sigmoid(), show_progress_bar=False)[0]
        )
        seconds["teacher"] += time.perf_counter() - start
    rows = []
    for i, question in enumerate(queries):
        row: dict[str, Any] = {"query": question.text, "intent": question.intent}
        for who, found in best.items():
            candidate = candidates[found[i]["corpus_id"]]
            row[f"{who}_answer"], row[f"{who}_score"] = candidate.text, float(found[i]["score"])
            row[f"{who}_right"] = candidate.intent == question.intent
        rows.append(row)
    n = len(queries)
    return Search(
        queries=n,
        candidates=len(texts),
        teacher_seconds=seconds["teacher"] / n,
        student_seconds=seconds["student"] / n,
        prepare_seconds=prepare_seconds,
        teacher_right=sum(row["teacher_right"] for row in rows) / n,
        student_right=sum(row["student_right"] for row in rows) / n,
        shown=rows[:: max(1, n // SHOWN)][:SHOWN],
    )
