"""The bundled help-desk questions: 135 intents in nine areas, 18 phrasings each, written for this project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

from dse.data.tables import open_table


@dataclass(frozen=True)
class Question:
    """One phrasing of one intent."""

    text: str
    intent: str
    area: str


def read_questions() -> tuple[list[Question], dict[str, list[str]]]:
    """Return the questions, and for each intent the intents most easily taken for it.

    Example:
        >>> questions, similar = read_questions()
        >>> len(questions), len(similar)
        (2430, 135)
        >>> questions[0].intent, similar["shop_cancelled_order"]
        ('cancel_order', ['cancel_order', 'cancelled_but_shipped'])
    """
    intents = _read("intents.tsv", ("intent", "area", "near"))
    areas = {intent: area for intent, area, _ in intents}
    questions = [Question(text, intent, areas[intent]) for intent, text in _read("questions.tsv", ("intent", "text"))]
    return questions, {intent: similar.split(",") for intent, _, similar in intents}


def _read(name: str, columns: Sequence[str]) -> list[Any]:
    with as_file(files("dse.data") / "helpdesk" / name) as path:
        return [cells for _, cells in open_table(path).read(columns)]
