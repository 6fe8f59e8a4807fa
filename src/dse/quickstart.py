"""The whole story on bundled data, offline: a help desk where many people ask the same things in their own words.

Whether two questions (`dse.data.helpdesk`) share an intent is the task. Whole areas are held out, so every reported
intent is unseen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from dse.data.helpdesk import Question, read_questions
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.offline import offline_backbone
from dse.evaluation import Report, table
from dse.files import write_json, write_text
from dse.model import DSE
from dse.pipeline import Recipe, make_student
from dse.teacher.load import load_teacher
from dse.training.settings import Training

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
POSITIVES = {"train": 10, "validation": 6, "test": 8}  # pairs of the same intent, per intent
CANDIDATES = 7  # phrasings of every intent that a new question is compared with
ASKED = 6  # queries the teacher answers too: it reads every candidate with each of them
SHOWN = 3  # of them printed with their answers


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
        queries: How many the student was asked.
        asked: How many of them the teacher was asked too.
        candidates: How many each was compared with.
        teacher_seconds: Per query, `CrossEncoder.rank` with its defaults.
        student_seconds: Per query, embedding it and scoring prepared candidates.
        prepare_seconds: Once, embedding the candidates.
        teacher_right: Queries the teacher was asked whose best candidate has the right intent.
        student_right: The same queries, the student.
        student_right_of_all: Of all queries, the student.
        shown: Some queries with both answers.
    """

    queries: int
    asked: int
    candidates: int
    teacher_seconds: float
    student_seconds: float
    prepare_seconds: float
    teacher_right: int
    student_right: int
    student_right_of_all: int
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
            table(self.report),
            "",
            f"New questions, each against {s.candidates} candidates; right means the same intent, one of {s.queries}.",
            f"{'':<28}{'teacher':>12}{'student':>12}",
            f"{'right on top':<28}{f'{s.teacher_right} of {s.asked}':>12}{f'{s.student_right} of {s.asked}':>12}"
            f"   (all: {s.student_right_of_all} of {s.queries})",
            f"{'milliseconds per question':<28}{s.teacher_seconds * 1e3:>12,.0f}{s.student_seconds * 1e3:>12,.1f}"
            f"   ({s.teacher_seconds / s.student_seconds:,.0f} times faster)",
            f"{'candidates embedded once, ms':<28}{'':>12}{s.prepare_seconds * 1e3:>12,.0f}",
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
        name: make_pairs(part, near, positives=POSITIVES[name], seed=0, source=f"help-desk questions, {name} intents")
        for name, part in parts.items()
    }
    report = make_student(
        sets["train"],
        sets["test"],
        TASK,
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
    """Settings of teacher and student."""
    return Recipe(
        offline_backbone(),
        teacher_pooling="segments",  # judging by [CLS], this teacher is still guessing after as many steps
        training=Training(epochs=1),
        teacher_training=Training(epochs=1),
    )


def try_out(output: Path, questions: Sequence[Question]) -> Search:
    """Ask one phrasing of every intent, drawn at random, with some of its others and of all other intents'."""
    drawn = [questions[i] for i in np.random.default_rng(0).permutation(len(questions))]
    queries, candidates = [], []
    for intent in dict.fromkeys(question.intent for question in questions):
        query, *others = [question for question in drawn if question.intent == intent]
        queries.append(query)
        candidates += others[:CANDIDATES]
    texts = [candidate.text for candidate in candidates]
    write_text(output / "candidates.txt", "\n".join(texts) + "\n")
    teacher, student = load_teacher(str(output / "teacher"), TASK), DSE(str(output))

    start = time.perf_counter()
    prepared = student.encode(texts, show_progress_bar=False)
    prepare_seconds = time.perf_counter() - start
    answers, student_seconds = _ask(
        queries, lambda query: student.topk(query, prepared, k=1, show_progress_bar=False)[0][0]
    )
    every = len(queries) // ASKED  # questions for the teacher come from all the intents
    asked = queries[::every]
    taught, teacher_seconds = _ask(asked, lambda query: teacher.rank(query, texts, 1, show_progress_bar=False)[0])

    def right(found: Sequence[dict[Any, Any]], of: Sequence[Question]) -> int:
        pairs = zip(found, of, strict=True)
        return sum(candidates[answer["corpus_id"]].intent == question.intent for answer, question in pairs)

    return Search(
        queries=len(queries),
        asked=len(asked),
        candidates=len(texts),
        teacher_seconds=teacher_seconds,
        student_seconds=student_seconds,
        prepare_seconds=prepare_seconds,
        teacher_right=right(taught, asked),
        student_right=right(answers[::every], asked),
        student_right_of_all=right(answers, queries),
        shown=[_example(asked[i], candidates, taught[i], answers[i * every]) for i in range(SHOWN)],
    )


def _ask(queries: Sequence[Question], answer: Callable[[str], Any]) -> tuple[list[dict[Any, Any]], float]:
    """The best candidate for each query, and the seconds a query took."""
    start = time.perf_counter()
    found = [answer(query.text) for query in queries]
    return found, (time.perf_counter() - start) / len(queries)


def _example(
    question: Question, candidates: Sequence[Question], teacher: dict[Any, Any], student: dict[Any, Any]
) -> dict[str, Any]:
    row: dict[str, Any] = {"query": question.text, "intent": question.intent}
    for who, found in (("teacher", teacher), ("student", student)):
        candidate = candidates[found["corpus_id"]]
        row[f"{who}_answer"], row[f"{who}_score"] = candidate.text, float(found["score"])
        row[f"{who}_right"] = candidate.intent == question.intent
    return row
