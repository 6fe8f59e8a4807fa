"""A student of a teacher that scores pairs: candidates are drawn, scored and learned, ten thousand pairs at a time.

Each round draws the documents that the student ranks best as it is by then, so that the teacher corrects what the
student gets wrong. What every round bought is in the report. A killed run resumes: candidates and students of
finished rounds lie in the output folder until the end, scores for good.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dse.data.collection import Texts
from dse.errors import BadDataError
from dse.evaluation.ranking.questions import own_row
from dse.files import write_json
from dse.model import DSE
from dse.ranking.candidates import draw_candidates
from dse.ranks import ranks, together
from dse.teacher.pair_teacher import PairTeacher
from dse.training.ranking import RankingTraining, distill_ranking
from dse.training.run_folder import finished
from dse.training.scored_lists import FEWEST, ScoredRows

logger = logging.getLogger(__name__)

ROUND = 10_000  # pairs
LIST = 24  # documents of a query in a round
MOST_LISTS = 4  # of a query: further ones repeat what it knows
ROUNDS, BOUGHT = "rounds", "rounds.json"

Scored = dict[int, tuple[list[int], list[float]]]  # row of the query: rows of its documents, their scores


@dataclass(frozen=True)
class Bought:
    """What a round brought.

    Attributes:
        pairs: Scored so far.
        before: Divergence of the held-out lists from the teacher's when the round began.
        after: The same at its end.
    """

    pairs: int
    before: float
    after: float


@together()
def train_in_rounds(
    student: DSE,
    documents: Texts,
    queries: Texts,
    teacher: PairTeacher,
    output: Path,
    *,
    rounds: list[list[int]],
    vectors: np.ndarray | None = None,
    labels: Sequence[ScoredRows] | None = None,
    settings: RankingTraining,
    show_progress_bar: bool = False,
) -> DSE:
    """Train a student on the pairs that a teacher scores, round by round.

    Args:
        student: Untrained, as `distill_ranking` takes it.
        documents: n documents.
        queries: q queries, of different texts. No query is compared with a document that is the query itself.
        teacher: Of pairs.
        output: Folder of the student.
        rounds: See `plan_rounds`.
        vectors: An encoder's, (n + q, D), whose lists are learned beside those of the pairs: few
            queries can be scored in pairs, and these keep the student from learning them by heart.
        labels: For each query what people judged, empty where nobody did; learned in every round.
        settings: Optimiser settings; ``steps`` are those of all rounds.
        show_progress_bar: Whether to show bars.

    Returns:
        The student, saved; what each round bought is in ``output/rounds.json``, which is written last.

    Raises:
        BadDataError: If the teacher orders the documents of fewer than 20 queries.
    """
    known = _own_documents(documents, queries)
    further = range(len(queries)) if vectors is not None else _judged(labels)
    scored: Scored = {}
    bought: list[Bought] = []
    (output / ROUNDS).mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(rounds):
        folder = output if number == len(rounds) - 1 else output / ROUNDS / str(number)
        own = [known[row] for row in rows]
        asked = queries.select(rows)
        file, generator = output / ROUNDS / f"{number}.json", np.random.default_rng((settings.seed, number, 4))
        candidates = _candidates(file, student, asked, documents, own, generator, show_progress_bar)
        logger.info("round %d of %d: up to %s pairs are scored", number + 1, len(rounds), f"{LIST * len(rows):,}")
        pairs = [(text, documents.texts[d]) for text, new in zip(asked.texts, candidates, strict=True) for d in new]
        scores = teacher.scores(pairs, show_progress_bar=show_progress_bar)
        _add(scored, rows, candidates, scores.tolist())
        for row, new in zip(rows, candidates, strict=True):
            known[row] |= set(new)
        if ranks().from_first(partial(finished, folder)):
            student = DSE(str(folder), dtype=student.inference_dtype, device=str(student.device))
        else:
            steps = settings.steps // len(rounds) if settings.steps else max(200, len(pairs) // settings.batch_size)
            learned, n = list(dict.fromkeys([*scored, *further])), len(documents)
            student = distill_ranking(
                student,
                documents.texts,
                [queries.texts[row] for row in learned],
                folder,
                teacher_vectors=None if vectors is None else vectors[[*range(n), *(n + row for row in learned)]],
                lists=[_as_rows(*scored.get(row, ([], []))) for row in learned],
                labels=None if labels is None else [labels[row] for row in learned],
                settings=replace(settings, steps=max(1, steps)),
                claimed=True,
                show_progress_bar=show_progress_bar,
            )
        bought.append(_bought(folder, scored))
    if ranks().first:
        write_json(output / BOUGHT, [asdict(entry) for entry in bought])
        shutil.rmtree(output / ROUNDS, ignore_errors=True)
    ranks().wait()
    return student


def plan_rounds(queries: int, budget: int, seed: int) -> list[list[int]]:
    """Which queries get a list in each round: all in turn, until the budget is spent.

    Raises:
        BadDataError: If the budget does not pay for 20 lists, or there are fewer than 20 queries.

    Example:
        >>> [len(rows) for rows in plan_rounds(queries=500, budget=20_000, seed=0)]
        [417, 416]
    """
    if budget < FEWEST * LIST:
        raise BadDataError(f"{budget} teacher pairs make {budget // LIST} lists; give at least {FEWEST * LIST}.")
    if queries < FEWEST:
        raise BadDataError(
            f"There are {queries} queries and documents to make queries of, too few for a teacher of pairs; give at "
            f"least {FEWEST}."
        )
    lists = min(budget // LIST, MOST_LISTS * queries)
    each = min(queries, -(-lists // max(1, round(lists * LIST / ROUND))))
    generator = np.random.default_rng((seed, 5))
    order: list[int] = []
    rounds: list[list[int]] = []
    while lists >= FEWEST:
        size = min(each, lists)
        if len(order) < size:  # the next pass; those whose turn of the last one is still to come stand at its end
            left = set(order)
            order += sorted(generator.permutation(queries).tolist(), key=left.__contains__)
        rounds.append(order[:size])
        order, lists = order[size:], lists - size
    return rounds


def _candidates(
    file: Path,
    student: DSE,
    asked: Texts,
    documents: Texts,
    known: list[set[int]],
    generator: np.random.Generator,
    bar: bool,
) -> list[list[int]]:
    """Rows of the documents that a round asks about for each query; drawn once, then read from its file."""
    if not ranks().from_first(file.exists):
        drawn = draw_candidates(student, asked.texts, documents.texts, known, LIST, generator, bar)
        if ranks().first:
            write_json(file, [rows.tolist() for rows in drawn])
        ranks().wait()
    candidates: list[list[int]] = json.loads(file.read_text(encoding="utf-8"))
    return candidates


def _add(scored: Scored, rows: list[int], candidates: list[list[int]], scores: list[float]) -> None:
    """Add the scores of a round, in the order of its queries and their candidates."""
    values = iter(scores)
    for row, new in zip(rows, candidates, strict=True):
        found, own = scored.setdefault(row, ([], []))
        found.extend(new)
        own.extend(next(values) for _ in new)


def _judged(labels: Sequence[ScoredRows] | None) -> list[int]:
    """Rows of the queries that people judged."""
    return [row for row, (documents, _) in enumerate(labels or ()) if len(documents)]


def _as_rows(found: list[int], values: list[float]) -> ScoredRows:
    return np.array(found, np.int64), np.array(values, np.float64)


def _bought(folder: Path, scored: Scored) -> Bought:
    held_out: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))["held_out"]
    bought = Bought(sum(len(found) for found, _ in scored.values()), held_out["before"], held_out["after"])
    message = "after %s pairs: divergence of the held-out lists from the teacher's %.4f, before the round %.4f"
    logger.info(message, f"{bought.pairs:,}", bought.after, bought.before)
    return bought


def _own_documents(documents: Texts, queries: Texts) -> list[set[int]]:
    """For each query the rows of the documents that are the query itself: of equal text, or of which it is a part."""
    same: dict[str, set[int]] = {}
    for row, text in enumerate(documents.texts):
        same.setdefault(_plain(text), set()).add(row)
    places = {name: row for row, name in enumerate(documents.ids)}
    found = []
    for name, text in zip(queries.ids, queries.texts, strict=True):
        own = set(same.get(_plain(text), ()))
        place = own_row(name, text, documents, places.get(name, -1))
        if place >= 0:
            own |= same[_plain(documents.texts[place])]
        found.append(own)
    return found


def _plain(text: str) -> str:
    return " ".join(text.split())
