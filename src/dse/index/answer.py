"""What one search gives: hits with their rows, how they were found, and what is known of their recall."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from torch import Tensor, sigmoid

from dse.encoding.runtime import one_thread
from dse.index import scout as scouting
from dse.index import search as searching
from dse.index import students
from dse.index.layout import ID, TEXT
from dse.index.report import promise
from dse.index.scout import Scout
from dse.index.search import Found
from dse.index.store import Store
from dse.model import DSE

Activation = Callable[[Tensor], Tensor]


def answer(
    store: Store,
    student: DSE,
    scout: Scout | None,
    queries: Any,
    k: int,
    where: str | None,
    exact: bool,
    activation_fn: Activation | None,
) -> list[dict[str, Any]]:
    """Search an index, at one commit, for each query.

    Returns:
        For each ``hits``, ``mode``, ``scored`` rows, ``seconds`` of each step and ``promise``.
    """
    start = perf_counter()
    embeddings = students.embed(student, queries)
    encoded = perf_counter()
    length = None if exact or scout is None else shortlist(store, k, where)
    head, label = student.head, students.label_row(student, store.card.label)
    if length is None or scout is None:
        found = searching.exact(store, head, label, embeddings, k, where)
    else:
        with one_thread():  # beside Lance's threads
            found = [searching.two_passes(store, scout, head, label, q, k, length, where) for q in embeddings]
    said = promise(store.card, store.count(), exact=length is None, k=k, where=where)
    answers = []
    for result in found:
        before = perf_counter()
        rows = hits(store, student, result, activation_fn)
        seconds = {"encode": (encoded - start) / len(found), **result.seconds, "read": perf_counter() - before}
        mode = "exact" if length is None else "two passes"
        answers.append({"hits": rows, "mode": mode, "scored": result.scored, "seconds": seconds, "promise": said})
    return answers


def shortlist(store: Store, k: int, where: str | None) -> int | None:
    """How many rows the scout is to keep; None if scoring all is as good."""
    length = scouting.DEFAULT_SHORTLIST
    if store.card.calibration is not None:
        calibrated = store.card.calibration["shortlist"]
        if calibrated is None:
            return None
        length = calibrated
    length = max(length, 4 * k)
    # Few rows meet a narrow condition, and the scout's partitions may hold none of them: score all that do.
    rows = store.count(where)
    return None if rows <= max(length, scouting.EXACT_ROWS) else length


def hits(store: Store, student: DSE, found: Found, activation_fn: Activation | None) -> list[dict[str, Any]]:
    """The rows found, as a person wants them, best first."""
    if len(found.rows) == 0:
        return []
    if activation_fn is None:  # of several classes the score is a log-odds: sigmoid makes it the probability
        activation_fn = sigmoid if store.card.label is not None else student.activation_fn
    scores = activation_fn(found.scores.unsqueeze(-1)).squeeze(-1).tolist()
    rows = store.take(found.rows, [ID, TEXT, *store.columns]).to_pylist()
    result = [
        {"id": row.pop(ID), "score": score, "text": row.pop(TEXT), "metadata": row}
        for row, score in zip(rows, scores, strict=True)
    ]
    if found.scout_ranks is not None:
        for hit, rank in zip(result, found.scout_ranks.tolist(), strict=True):
            hit["scout_rank"] = rank
    return result
