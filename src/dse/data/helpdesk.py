"""The bundled help-desk questions: 135 intents in nine areas, 18 phrasings each, written for this project.

A strong teacher's vectors of them are bundled too, for machines that cannot fetch its weights; they are made by
`python -m benchmarks.helpdesk_teacher`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from dse.data.tables import open_table
from dse.errors import MismatchError

TEACHER_FILE = "teacher.safetensors"
TEST_AREAS = ("returns", "account", "products_stock")
QUERY_EVERY = 3  # every third phrasing of an intent is a new question, the others are the catalogue's


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


@dataclass(frozen=True)
class Split:
    """Positions in the list of questions, and which answers are right.

    Attributes:
        catalogue: What is searched.
        log: Questions of other areas.
        queries: New questions, in neither.
        relevant: Whether query and catalogue entry have the same intent, (queries, catalogue).
    """

    catalogue: np.ndarray
    log: np.ndarray
    queries: np.ndarray
    relevant: np.ndarray


def split_questions(questions: Sequence[Question], areas: Sequence[str] = TEST_AREAS) -> Split:
    """Split the phrasings of the areas into catalogue and queries; the other areas are the log.

    Example:
        >>> split = split_questions(read_questions()[0])
        >>> len(split.catalogue), len(split.log), len(split.queries), split.relevant.sum(axis=1).tolist()[:3]
        (540, 1620, 270, [12, 12, 12])
    """
    seen: dict[str, int] = {}
    parts: dict[str, list[int]] = {"catalogue": [], "log": [], "queries": []}
    for i, question in enumerate(questions):
        seen[question.intent] = seen.get(question.intent, 0) + 1
        asked = "queries" if seen[question.intent] % QUERY_EVERY == 0 else "catalogue"
        parts[asked if question.area in areas else "log"].append(i)
    intents = np.array([question.intent for question in questions])
    relevant = intents[parts["queries"]][:, None] == intents[parts["catalogue"]][None]
    return Split(**{name: np.array(rows) for name, rows in parts.items()}, relevant=relevant)


def teacher_vectors(texts: Sequence[str]) -> tuple[np.ndarray, dict[str, str]]:
    """Return the teacher's recorded vectors, and what is known of their making.

    Args:
        texts: Of all the questions, in the order of `read_questions`.

    Returns:
        A vector per question, (2430, D), float32; their cosine is the teacher's score. And by name: the teacher, the
        SHA-256 of its weights, the command, the versions.

    Raises:
        MismatchError: If the vectors are those of other texts.

    Example:
        >>> questions, _ = read_questions()
        >>> vectors, about = teacher_vectors([question.text for question in questions])
        >>> vectors.shape, about["teacher"]
        ((2430, 384), 'all-mpnet-base-v2')
    """
    with as_file(files("dse.data") / "helpdesk" / TEACHER_FILE) as path:
        return load_vectors(path, texts)


def load_vectors(path: Path, texts: Sequence[str]) -> tuple[np.ndarray, dict[str, str]]:
    """Read vectors that `benchmarks.helpdesk_teacher` wrote: bytes times a scale per dimension."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about: dict[str, str] = file.metadata()
        vectors: np.ndarray = file.get_tensor("vectors").astype(np.float32) * file.get_tensor("scale")  # (n, D) * (D,)
    if about["texts"] != hash_texts(texts):
        raise MismatchError(
            f"The vectors in {path} belong to other texts, or to these in another order; record them again: "
            "python -m benchmarks.helpdesk_teacher"
        )
    return vectors, about


def hash_texts(texts: Sequence[str]) -> str:
    """SHA-256 of texts, their order included."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _read(name: str, columns: Sequence[str]) -> list[Any]:
    with as_file(files("dse.data") / "helpdesk" / name) as path:
        return [cells for _, cells in open_table(path).read(columns)]
