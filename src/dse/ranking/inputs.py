"""What a student is made from, checked before any work: texts, queries to learn from, lists that fit the corpus."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Set
from itertools import compress, islice

import numpy as np

from dse.data.collection import HELD_BACK, Texts
from dse.data.lists import Lists
from dse.errors import BadDataError
from dse.training.scored_lists import ScoredRows

logger = logging.getLogger(__name__)

PSEUDO_WORDS = 16  # of a document's beginning, which plays the query where it has no title
PIECES = 0.25  # short queries cut from documents, as a share of their number
MOST_PIECES = 20_000
LONGEST_PIECE = 4  # words
TRIES = 4  # draws for each piece that is wanted
EDGES = " .,;:!?()[]{}<>\"'`*_。、，．；：！？（）「」『』【】《》“”‘’・…"  # what is no part of a piece at its ends
# A word has no space in it. In scripts that put none between words it is two characters, as in Chinese and Japanese, or
# four with their marks, as in Thai, Lao, Tibetan, Burmese and Khmer: about as long as a word is there.
CHINESE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
THAI = r"\u0e00-\u109f\u1780-\u17ff"
MARKS = (
    r"\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
    r"\u0f71-\u0f84\u0f86\u0f87\u0f8d-\u0fbc\u102b-\u103e\u1056-\u1059\u17b4-\u17d3"
)
WORD = re.compile(rf"[{CHINESE}]{{1,2}}|(?:[{THAI}][{MARKS}]*){{1,4}}|[^\s{CHINESE}{THAI}]+")


def check_texts(texts: Texts, what: str) -> None:
    """Refuse texts without an id of their own, or without a word. Files are checked when they are read.

    Raises:
        BadDataError: If an id occurs twice or a text is empty.
    """
    first: dict[str, int] = {}
    for row, (name, text) in enumerate(zip(texts.ids, texts.texts, strict=True), start=1):
        if name in first:
            raise BadDataError(
                f"{texts.source}: {what} {row} repeats the id {name!r} of {what} {first[name]}; give each its own."
            )
        if not text.strip():
            raise BadDataError(f"{texts.source}: {what} {row}, {name!r}, has no text; leave it out.")
        first[name] = row


def training_queries(documents: Texts, log: Texts, number: int, held_back: Set[str] = frozenset()) -> Texts:
    """So many queries of different texts: the log and, where it is smaller, titles and beginnings of documents.

    Args:
        documents: The corpus.
        log: Queries.
        number: How many are wanted; a larger log is taken whole.
        held_back: Texts that are not learned.

    Example:
        >>> training_queries(Texts(["d"], ["a red bicycle"]), Texts(["q"], ["bike"]), number=20).texts
        ['bike', 'a red bicycle']
    """
    distinct = {text: row for row, text in reversed(list(enumerate(log.texts)))}
    log = log.select(sorted(distinct.values()))
    if len(log) >= number:
        return log
    made: dict[str, int] = {}  # text: row of the document
    for row, (title, text) in enumerate(zip(documents.titles, documents.texts, strict=True)):
        query = title.strip() or words_in_a_row(text, 0, PSEUDO_WORDS)
        if query and query not in distinct and query not in held_back:
            made.setdefault(query, row)
    missing = number - len(log)
    chosen = list(made)[:: max(1, len(made) // missing)][:missing]
    source = f"{log.source} and {documents.source}" if len(log) else documents.source
    return Texts([*log.ids, *(documents.ids[made[text]] for text in chosen)], [*log.texts, *chosen], source=source)


def words_in_a_row(text: str, first: int, number: int) -> str:
    """So many words of a text, from one on; fewer where it ends before.

    Example:
        >>> words_in_a_row("a red  bicycle", 1, 2), words_in_a_row("自転車はどこですか", 0, 2)
        ('red bicycle', '自転車は')
    """
    words = list(islice(WORD.finditer(text), first, first + number))
    return " ".join(text[words[0].start() : words[-1].end()].split()) if words else ""


def with_short_queries(documents: Texts, log: Texts, seed: int, held_back: Set[str] = frozenset()) -> Texts:
    """The log and, after it, short queries: pieces of documents drawn at random, one to four words in a row.

    A student that has read whole texts alone follows its teacher badly on queries of a few words;
    docs/decisions/ranking_start.md has the figures.

    Args:
        documents: The corpus.
        log: Queries.
        seed: Of the draw.
        held_back: Texts that are not learned.

    Returns:
        A quarter as many pieces as documents, at most 20,000; fewer where texts are short. None of them twice, none
        a text of the log or the corpus.

    Example:
        >>> documents = Texts(["d1", "d2"], ["Where is the key of this tent?", "a red bicycle with a basket"])
        >>> [len(text.split()) <= 4 for text in with_short_queries(documents, Texts([], []), seed=0).texts]
        [True]
    """
    number = min(MOST_PIECES, math.ceil(PIECES * len(documents)))
    drawn, taken = np.random.default_rng((seed, 2)), {*held_back, *log.texts, *documents.texts}
    found: list[str] = []
    for row in drawn.integers(len(documents), size=TRIES * number):
        if len(found) == number:
            break
        words = len(WORD.findall(documents.texts[row]))
        length = min(words, int(drawn.integers(1, LONGEST_PIECE + 1)))
        piece = words_in_a_row(documents.texts[row], int(drawn.integers(words - length + 1)), length).strip(EDGES)
        if piece and piece not in taken:
            taken.add(piece)
            found.append(piece)
    names = [f"piece {place}" for place in range(1, len(found) + 1)]
    return Texts([*log.ids, *names], [*log.texts, *found], source=log.source)


def rows_of_lists(lists: Lists, corpus: Texts, held_back: Set[str]) -> tuple[list[str], list[ScoredRows]]:
    """Queries of lists, and each list as rows of the corpus that is learned from.

    What is held back is left out: whole lists of such queries, and documents of split test.

    Raises:
        BadDataError: If a candidate is no document, or no list is left.
    """
    everything, documents = set(corpus.texts), corpus.for_training()
    places = {text: row for row, text in enumerate(documents.texts)}
    texts, rows, skipped = [], [], 0
    for query, candidates, scores in zip(lists.queries, lists.candidates, lists.scores, strict=True):
        if query in held_back:
            skipped += 1
            continue
        for text in candidates:
            if text not in everything:
                raise BadDataError(
                    f"{lists.source}: {text[:60]!r}, scored for {query[:60]!r}, is no document of {corpus.source}; "
                    "add it there, or leave it out."
                )
        learned = [text in places for text in candidates]
        texts.append(query)
        rows.append((np.array([places[t] for t in compress(candidates, learned)], np.int64), scores[learned]))
    if not texts:
        raise BadDataError(f"{lists.source}: every query is held back for the report; give scores of other queries.")
    if skipped:
        logger.warning(
            "%s: %s of %s lists are of queries that are held back for the report, and are left out.",
            lists.source,
            f"{skipped:,}",
            f"{len(lists):,}",
        )
    return texts, rows


def join_labels(log: Texts, labels: Lists, corpus: Texts, held_back: Set[str]) -> tuple[Texts, dict[str, ScoredRows]]:
    """The log with the queries that people judged, and for each of these the rows of the documents and their grades.

    Raises:
        BadDataError: As `rows_of_lists`.
    """
    texts, rows = rows_of_lists(labels, corpus, held_back)
    known = set(log.texts)
    new = [text for text in texts if text not in known]
    joined = Texts([*log.ids, *(f"labels {row}" for row in range(len(new)))], [*log.texts, *new], source=log.source)
    return joined, dict(zip(texts, rows, strict=True))


def held_back_texts(queries: Texts, judged: Texts) -> set[str]:
    """Queries that are only reported on, by text: those of split test, and those that are judged."""
    return {*queries.of_splits(HELD_BACK).texts, *judged.texts}
