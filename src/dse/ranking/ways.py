"""Three ways to a student that ranks: from a teacher's vectors, from pairs that a teacher scores, from given lists."""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dse.data.collection import Collection, Texts
from dse.data.lists import Lists
from dse.errors import MismatchError
from dse.model import DSE
from dse.ranking.inputs import held_back_texts, join_labels, rows_of_lists, training_queries, with_short_queries
from dse.ranking.rounds import BOUGHT, LIST, ROUNDS, plan_rounds, train_in_rounds
from dse.teacher.together import one_teacher
from dse.teacher.vectors import EncoderTeacher
from dse.training.linear_start import fit_projection
from dse.training.ranking import RankingTraining, distill_ranking
from dse.training.ranking_lists import FIRST, TEMPERATURES, check_documents, split_anchors
from dse.training.run_folder import finished, texts_hash
from dse.training.scored_lists import ScoredLists, ScoredRows

NO_LIST: ScoredRows = (np.empty(0, np.int64), np.empty(0))


@dataclass
class Way(ABC):
    """What a student learns from, and how.

    Attributes:
        documents: The corpus without what is held back.
        log: The queries to learn from.
        training: Optimiser settings.
        output: Folder of the student.
        bar: Whether to show bars.
        held_back: Queries that are only reported on, by text.
        teacher: For the report; None without.
        labels: By query the rows of documents that people judged, and their grades; learned beside the teacher's lists.
        cut: How many queries, the last ones, are pieces of documents.
    """

    documents: Texts
    log: Texts
    training: RankingTraining
    output: Path
    bar: bool
    held_back: frozenset[str]
    teacher: Any = None
    labels: dict[str, ScoredRows] = field(default_factory=dict)
    cut: int = field(default=0, init=False)

    def finished(self) -> bool:
        """Whether the student is made; what a killed run left is deleted then."""
        return finished(self.output)

    def data(self) -> dict[str, str]:
        """Hashes of what is learned from."""
        texts = {"corpus": texts_hash(self.documents.texts), "queries": texts_hash(self.log.texts)}
        return texts | ({"labels": _lists_hash(self.labels.values())} if self.labels else {})

    @abstractmethod
    def train(self, student: DSE) -> DSE:
        """Train and save, or go on with it."""

    def held_out(self) -> Texts:
        """Queries whose lists were held out, for a report without judgements."""
        log = json.loads((self.output / "training.json").read_text(encoding="utf-8"))
        chosen = set(log["held_out"]["queries"])
        return self.log.select([row for row, text in enumerate(self.log.texts) if text in chosen])

    @abstractmethod
    def how(self) -> str:
        """How the student was trained, for the model card."""

    def learned_from(self) -> str:
        """How much, in words."""
        return f"{len(self.documents):,} documents and {len(self.log) - self.cut:,} queries"

    def _unlabelled(self) -> str:
        return "" if self.labels else " without labels"

    def labels_of_log(self) -> list[ScoredRows] | None:
        """One list for each query that is learned, empty where nobody judged; None without labels."""
        return [self.labels.get(text, NO_LIST) for text in self.log.texts] if self.labels else None


@dataclass
class FromVectors(Way):
    """The cosine of an encoder over the whole corpus."""

    def __post_init__(self) -> None:
        """Add short queries, cut from the documents."""
        asked = len(self.log)
        self.log = with_short_queries(self.documents, self.log, self.training.seed, self.held_back)
        self.cut = len(self.log) - asked

    def train(self, student: DSE) -> DSE:
        """Embed every text with the teacher, begin near its vectors, then learn its lists."""
        vectors = self.teacher.vectors(self.documents.texts, self.log.texts, show_progress_bar=self.bar)
        student.info["teacher"] = self.teacher.fingerprint
        texts = self.documents.texts, self.log.texts
        fit_projection(student, *texts, vectors, self.output / "checkpoints", self.training, self.bar)
        return distill_ranking(
            student,
            *texts,
            self.output,
            teacher_vectors=vectors,
            labels=self.labels_of_log(),
            settings=self.training,
            claimed=True,
            show_progress_bar=self.bar,
        )

    def held_out(self) -> Texts:
        """Queries of the log that are no anchors; where there are none, documents and pieces of them."""
        n, asked = len(self.documents), len(self.log) - self.cut
        rows, _ = split_anchors(n + len(self.log), self.training.seed)
        queries = self.log.select([row - n for row in rows if n <= row < n + asked])
        if len(queries):
            return queries
        texts = [*self.documents.texts, *self.log.texts]
        return Texts([str(row) for row in rows], [texts[row] for row in rows], source=self.documents.source)

    def how(self) -> str:
        """The loss."""
        return (
            f"Trained{self._unlabelled()} on {self.learned_from()}, and {self.cut:,} short queries cut from the "
            "documents, to order the documents as the cosine of its teacher does: Kullback-Leibler divergence of its "
            f"lists from the teacher's, of the {FIRST} documents that each ranks first, at "
            f"{_at(self.training.temperature)}. Its score estimates the teacher's cosine."
        )


@dataclass
class FromPairs(Way):
    """Scores of pairs, asked for in rounds.

    Attributes:
        budget: Of pairs.
        encoder: The encoders among several teachers, whose vectors give lists too.
    """

    budget: int = 0
    encoder: EncoderTeacher | None = None

    def __post_init__(self) -> None:
        """Let documents play the query where the log is too small; plan the rounds."""
        self.log = training_queries(self.documents, self.log, self.budget // LIST, self.held_back)
        self._rounds = plan_rounds(len(self.log), self.budget, self.training.seed)

    def finished(self) -> bool:
        """Whether the last round is done."""
        done = (self.output / BOUGHT).exists() and finished(self.output)
        if done:
            shutil.rmtree(self.output / ROUNDS, ignore_errors=True)
        return done

    def train(self, student: DSE) -> DSE:
        """Draw, score and learn, round by round."""
        student.info["teacher"] = self.teacher.fingerprint
        texts = self.documents.texts, self.log.texts
        vectors = None if self.encoder is None else self.encoder.vectors(*texts, show_progress_bar=self.bar)
        return train_in_rounds(
            student,
            self.documents,
            self.log,
            self.teacher,
            self.output,
            rounds=self._rounds,
            vectors=vectors,
            labels=self.labels_of_log(),
            settings=self.training,
            show_progress_bar=self.bar,
        )

    def how(self) -> str:
        """The pairs and the loss."""
        rounds = json.loads((self.output / BOUGHT).read_text(encoding="utf-8"))
        return (
            f"Trained{self._unlabelled()} on {rounds[-1]['pairs']:,} pairs of {self.learned_from()} that its teacher "
            "scored: Kullback-Leibler divergence of its lists from the teacher's. Its score estimates the teacher's."
        )


@dataclass
class FromLists(Way):
    """Lists from elsewhere.

    Attributes:
        lists: The queries of the log, and which rows of the documents were scored for each.
    """

    lists: list[ScoredRows] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse lists that cannot be learned from."""
        ScoredLists(self.documents.texts, self.log.texts, self.lists, self.training, self.log.source)

    def data(self) -> dict[str, str]:
        """Hashes of the texts, and of the lists."""
        return super().data() | {"lists": _lists_hash(self.lists)}

    def train(self, student: DSE) -> DSE:
        """Learn all lists."""
        return distill_ranking(
            student,
            self.documents.texts,
            self.log.texts,
            self.output,
            lists=self.lists,
            labels=self.labels_of_log(),
            settings=self.training,
            claimed=True,
            show_progress_bar=self.bar,
        )

    def held_out_lists(self) -> Lists:
        """The lists that were held out of training, for a report without judgements and teacher."""
        chosen = set(self.held_out().texts)
        kept = [(text, *rows) for text, rows in zip(self.log.texts, self.lists, strict=True) if text in chosen]
        return Lists(
            [text for text, _, _ in kept],
            [[self.documents.texts[row] for row in rows] for _, rows, _ in kept],
            [scores for _, _, scores in kept],
            self.log.source,
        )

    def how(self) -> str:
        """The lists and the loss."""
        return (
            f"Trained on {len(self.lists):,} lists of scored documents: Kullback-Leibler divergence of its lists from "
            "the given ones. Its score estimates the given ones."
        )


def choose_way(
    collection: Collection,
    training: RankingTraining,
    output: Path,
    bar: bool,
    *,
    teachers: Sequence[Any],
    lists: Lists | None,
    labels: Lists | None,
    budget: int,
    cache: Path | None = None,
) -> Way:
    """The way that fits what is given; what teachers say is kept in ``cache``, or in the output.

    Raises:
        MismatchError: If there is neither a teacher nor lists, or a teacher does not fit.
        BadDataError: If lists do not fit the corpus.
    """
    corpus, held_back = collection.corpus, held_back_texts(collection.queries, collection.judged())
    documents = corpus.for_training()
    check_documents(documents.texts)
    log = collection.queries.select([row for row, text in enumerate(collection.queries.texts) if text not in held_back])
    shared: dict[str, Any] = {
        "documents": documents,
        "training": training,
        "output": output,
        "bar": bar,
        "held_back": frozenset(held_back),
    }
    shared["teacher"], encoder = one_teacher(teachers, cache or output, training.dtype)
    rows: list[ScoredRows] = []
    if lists is not None:
        texts, rows = rows_of_lists(lists, corpus, held_back)
        log = Texts([str(row) for row in range(len(texts))], texts, source=lists.source)
    if labels is not None:
        log, shared["labels"] = join_labels(log, labels, corpus, held_back)
    way: Way
    if lists is not None:
        way = FromLists(**shared, log=log, lists=[*rows, *[NO_LIST] * (len(log) - len(rows))])
    elif not teachers:
        raise MismatchError("There is no teacher; give a teacher, or lists that one has scored.")
    elif isinstance(shared["teacher"], EncoderTeacher):
        way = FromVectors(**shared, log=log)
    else:
        way = FromPairs(**shared, log=log, budget=budget, encoder=encoder)
    if labels is not None:  # refused before the teacher is asked
        ScoredLists(documents.texts, way.log.texts, way.labels_of_log() or [], training, labels.source)
    return way


def _at(temperature: float | None) -> str:
    """The temperature of an encoder's lists, in words."""
    if temperature is not None:
        return f"temperature {temperature:g}"
    return f"temperatures {' and '.join(f'{t:g}' for t in TEMPERATURES)}"


def _lists_hash(lists: Iterable[ScoredRows]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for rows, scores in lists:
        digest.update(rows.tobytes() + scores.tobytes())
    return digest.hexdigest()
