"""A student of a teacher that scores pairs: candidates are drawn, scored and learned, ten thousand pairs at a time.

Each round draws the documents that the student ranks best as it is by then, so that the teacher corrects what the
student gets wrong. What every round bought is in the report. A killed run resumes: candidates, scores and students of
finished rounds lie in the output folder until the end.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dse.data.collection import Texts
from dse.data.lists import Lists
from dse.errors import BadDataError
from dse.files import write_json
from dse.model import DSE
from dse.ranking.candidates import draw_candidates, pseudo_queries
from dse.teacher.pair_teacher import PairTeacher
from dse.training.ranking import RankingTraining, distill_ranking
from dse.training.scored_lists import ScoredRows

logger = logging.getLogger(__name__)

ROUND = 10_000  # pairs
LIST = 24  # documents of a query in a round
ROUNDS = "rounds"


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


def train_in_rounds(
    student: DSE,
    documents: Texts,
    queries: Texts,
    teacher: PairTeacher,
    output: Path,
    *,
    budget: int,
    settings: RankingTraining,
    show_progress_bar: bool = False,
) -> DSE:
    """Train a student on at most so many pairs that the teacher scores.

    Args:
        student: Untrained, as `distill_ranking` takes it.
        documents: n documents.
        queries: q queries. One with the id and the text, or the title, of a document is not compared with it.
        teacher: Of pairs.
        output: Folder of the student.
        budget: Of pairs.
        settings: Optimiser settings; ``steps`` are those of all rounds.
        show_progress_bar: Whether to show bars.

    Returns:
        The student, saved; what each round bought is in ``output/rounds.json``.

    Raises:
        BadDataError: If the budget is too small for 20 lists, or the teacher orders hardly any.
    """
    rounds = plan_rounds(len(queries), budget, settings.seed)
    known = _own_documents(documents, queries)
    scored: dict[int, tuple[list[int], list[float]]] = {}
    bought: list[Bought] = []
    for number, rows in enumerate(rounds):
        folder = output if number == len(rounds) - 1 else output / ROUNDS / str(number)
        texts, file = [queries.texts[row] for row in rows], output / ROUNDS / f"{number}.json"
        if not file.exists():
            generator = np.random.default_rng((settings.seed, number, 4))
            own = [known[row] for row in rows]
            drawn = draw_candidates(student, texts, documents.texts, own, LIST, generator, show_progress_bar)
            write_json(file, [found.tolist() for found in drawn])
        candidates: list[list[int]] = json.loads(file.read_text(encoding="utf-8"))
        pairs = [(text, documents.texts[d]) for text, found in zip(texts, candidates, strict=True) for d in found]
        scores = iter(teacher.scores(pairs, show_progress_bar=show_progress_bar).tolist())
        for row, found in zip(rows, candidates, strict=True):
            known[row] |= set(found)
            lists = scored.setdefault(row, ([], []))
            lists[0].extend(found)
            lists[1].extend(next(scores) for _ in found)
        if (folder / "training.json").exists():
            student = DSE(str(folder), dtype=student.inference_dtype, device=str(student.device))
        else:
            steps = settings.steps // len(rounds) if settings.steps else max(200, len(pairs) // settings.batch_size)
            student = distill_ranking(
                student,
                documents.texts,
                [queries.texts[row] for row in scored],
                folder,
                lists=[(np.array(rows, np.int64), np.array(values)) for rows, values in scored.values()],
                settings=replace(settings, steps=max(1, steps)),
                show_progress_bar=show_progress_bar,
            )
        held_out = json.loads((folder / "training.json").read_text(encoding="utf-8"))["held_out"]
        bought.append(Bought(sum(len(found) for found, _ in scored.values()), held_out["before"], held_out["after"]))
        logger.info(
            "after %(pairs)d pairs: divergence of held-out lists %(after).4f, before %(before).4f", vars(bought[-1])
        )
    write_json(output / "rounds.json", [vars(entry) for entry in bought])
    shutil.rmtree(output / ROUNDS, ignore_errors=True)
    return student


def plan_rounds(queries: int, budget: int, seed: int) -> list[list[int]]:
    """Which queries get a list in each round: all in turn, until the budget is spent.

    Raises:
        BadDataError: If the budget does not pay for 20 lists.

    Example:
        >>> [len(rows) for rows in plan_rounds(queries=500, budget=20_000, seed=0)]
        [416, 416]
    """
    if budget < 20 * LIST:
        raise BadDataError(f"{budget} teacher pairs make {budget // LIST} lists; give at least {20 * LIST}.")
    lists = min(budget // LIST, 4 * queries)  # beyond four lists a query repeats what it knows
    each = min(ROUND // LIST, lists, queries)
    generator = np.random.default_rng((seed, 5))
    order: list[int] = []
    rounds: list[list[int]] = []
    while lists >= each > 0 and (not rounds or lists >= min(each, 20)):
        while len(order) < each:
            more = generator.permutation(queries).tolist()
            order += [row for row in more if row not in order] or more
        rounds.append(order[:each])
        order, lists = order[each:], lists - each
    return rounds


def training_queries(documents: Texts, log: Texts, budget: int) -> Texts:
    """The query log and, where it is too small for the budget, titles and beginnings of documents.

    Example:
        >>> training_queries(Texts(["d"], ["a red bicycle"]), Texts(["q"], ["bike"]), budget=480).texts
        ['bike', 'a red bicycle']
    """
    missing = min(budget // LIST - len(log), len(documents))
    if missing <= 0:
        return log
    taken = set(log.texts)
    made = pseudo_queries(documents)
    rows = [row for row, text in enumerate(made.texts) if text and text not in taken]
    more = made.select(rows[:: max(1, len(rows) // missing)][:missing])
    return Texts([*log.ids, *more.ids], [*log.texts, *more.texts], source=log.source)


def rows_of_lists(lists: Lists, documents: Texts, held_back: set[str]) -> tuple[list[str], list[ScoredRows]]:
    """Lists of texts as rows of the documents, those of held-back queries left out.

    Raises:
        BadDataError: If a candidate is no document, or no list is left.
    """
    places = {text: row for row, text in enumerate(documents.texts)}
    texts, rows = [], []
    for query, candidates, scores in zip(lists.queries, lists.candidates, lists.scores, strict=True):
        if query in held_back:
            continue
        unknown = next((text for text in candidates if text not in places), None)
        if unknown is not None:
            raise BadDataError(
                f"{lists.source}: {unknown[:60]!r}, scored for {query[:60]!r}, is no document of {documents.source}."
            )
        texts.append(query)
        rows.append((np.array([places[text] for text in candidates], np.int64), np.asarray(scores, np.float64)))
    if not texts:
        raise BadDataError(f"{lists.source}: every query is held back for the report; give scores of other queries.")
    return texts, rows


def _own_documents(documents: Texts, queries: Texts) -> list[set[int]]:
    """For each query the rows of the documents that are the query itself."""
    same: dict[str, set[int]] = {}
    for row, text in enumerate(documents.texts):
        same.setdefault(text, set()).add(row)
    places = {name: row for row, name in enumerate(documents.ids)}
    found = []
    for name, text in zip(queries.ids, queries.texts, strict=True):
        own = set(same.get(text, ()))
        place = places.get(name, -1)
        if place >= 0 and documents.texts[place].startswith(text):
            own.add(place)
        found.append(own)
    return found
