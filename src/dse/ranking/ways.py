"""Three ways to a student that ranks: from a teacher's vectors, from pairs that a teacher scores, from given lists."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dse.data.collection import HELD_BACK, Collection, Texts
from dse.data.lists import Lists
from dse.encoding.runtime import Dtype
from dse.errors import MismatchError
from dse.model import DSE
from dse.ranking.rounds import rows_of_lists, train_in_rounds, training_queries
from dse.recipe import texts_hash
from dse.teacher.pair_teacher import PairTeacher
from dse.teacher.vectors import EncoderTeacher
from dse.training.ranking import RankingTraining, distill_ranking
from dse.training.ranking_lists import split_anchors
from dse.training.scored_lists import HELD_OUT, draw_of


@dataclass
class Way(ABC):
    """What a student learns from, and how.

    Attributes:
        documents: The corpus without what is held back.
        log: The queries to learn from.
        training: Optimiser settings.
        output: Folder of the student.
        bar: Whether to show bars.
        teacher: For the report; None without.
    """

    documents: Texts
    log: Texts
    training: RankingTraining
    output: Path
    bar: bool
    teacher: Any = None

    def data(self) -> dict[str, str]:
        """Hashes of what is learned from."""
        return {"corpus": texts_hash(self.documents.texts), "queries": texts_hash(self.log.texts)}

    @abstractmethod
    def train(self, student: DSE) -> DSE:
        """Train and save, or go on with it."""

    @abstractmethod
    def held_out(self) -> Texts:
        """Texts that are no anchors, for a report without judgements."""

    @abstractmethod
    def how(self) -> str:
        """How the student was trained, for the model card."""

    def _learned_from(self) -> str:
        return f"{len(self.documents):,} documents and {len(self.log):,} queries"


class FromVectors(Way):
    """The cosine of an encoder over the whole corpus."""

    def train(self, student: DSE) -> DSE:
        """Embed every text with the teacher, then learn its lists."""
        vectors = self.teacher.vectors(self.documents.texts, self.log.texts, show_progress_bar=self.bar)
        student.info["teacher"] = self.teacher.fingerprint
        return distill_ranking(
            student,
            self.documents.texts,
            self.log.texts,
            self.output,
            teacher_vectors=vectors,
            settings=self.training,
            show_progress_bar=self.bar,
        )

    def held_out(self) -> Texts:
        """Queries; where there are none, documents."""
        n = len(self.documents)
        rows, _ = split_anchors(n + len(self.log), self.training.seed)
        queries = self.log.select([row - n for row in rows if row >= n])
        return queries if len(queries) else self.documents.select([row for row in rows if row < n])

    def how(self) -> str:
        """The loss."""
        return (
            f"Trained without labels on {self._learned_from()}, to order the documents as the cosine of its teacher "
            "does: Kullback-Leibler divergence of its lists from the teacher's over the whole corpus, at temperature "
            f"{self.training.temperature:g}. Its score estimates the teacher's cosine."
        )


@dataclass
class FromPairs(Way):
    """Scores of pairs, asked for in rounds.

    Attributes:
        budget: Of pairs.
    """

    budget: int = 0

    def __post_init__(self) -> None:
        """Let documents play the query where the log is too small."""
        self.log = training_queries(self.documents, self.log, self.budget)

    def train(self, student: DSE) -> DSE:
        """Draw, score and learn, round by round."""
        student.info["teacher"] = self.teacher.fingerprint
        return train_in_rounds(
            student,
            self.documents,
            self.log,
            self.teacher,
            self.output,
            budget=self.budget,
            settings=self.training,
            show_progress_bar=self.bar,
        )

    def held_out(self) -> Texts:
        """Queries whose lists are held out."""
        texts = self.log.texts
        return self.log.select([row for row, text in enumerate(texts) if draw_of(text, self.training.seed) < HELD_OUT])

    def how(self) -> str:
        """The pairs and the loss."""
        rounds = json.loads((self.output / "rounds.json").read_text(encoding="utf-8"))
        return (
            f"Trained without labels on {rounds[-1]['pairs']:,} pairs of {self._learned_from()} that its teacher "
            "scored: Kullback-Leibler divergence of its lists from the teacher's. Its score estimates the teacher's."
        )


@dataclass
class FromLists(Way):
    """Lists from elsewhere.

    Attributes:
        lists: The lists.
        held_back: Queries that are only reported on.
    """

    lists: Lists | None = None
    held_back: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Find the documents of the lists."""
        assert self.lists is not None
        texts, self._rows = rows_of_lists(self.lists, self.documents, set(self.held_back))
        self.log = Texts([str(row) for row in range(len(texts))], texts, source=self.lists.source)

    def data(self) -> dict[str, str]:
        """Hashes of the texts, and of the lists."""
        digest = hashlib.blake2b(digest_size=8)
        for rows, scores in self._rows:
            digest.update(rows.tobytes() + scores.tobytes())
        return super().data() | {"lists": digest.hexdigest()}

    def train(self, student: DSE) -> DSE:
        """Learn all lists."""
        return distill_ranking(
            student,
            self.documents.texts,
            self.log.texts,
            self.output,
            lists=self._rows,
            settings=self.training,
            show_progress_bar=self.bar,
        )

    def held_out(self) -> Texts:
        """Queries whose lists are held out."""
        texts = self.log.texts
        return self.log.select([row for row, text in enumerate(texts) if draw_of(text, self.training.seed) < HELD_OUT])

    def how(self) -> str:
        """The pairs and the loss."""
        assert self.lists is not None
        return (
            f"Trained on {len(self._rows):,} lists of scored documents: Kullback-Leibler divergence of its lists from "
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
    budget: int,
) -> Way:
    """The way that fits what is given.

    Raises:
        MismatchError: If there is neither a teacher nor lists, or a teacher does not fit.
        BadDataError: If lists do not fit the corpus.
    """
    documents = collection.corpus.for_training()
    held_back = {*collection.queries.of_splits(HELD_BACK).texts, *collection.judged().texts}
    rows = [row for row, text in enumerate(collection.queries.texts) if text not in held_back]
    shared: Mapping[str, Any] = {
        "documents": documents,
        "log": collection.queries.select(rows),
        "training": training,
        "output": output,
        "bar": bar,
    }
    if lists is not None:
        teacher = _teacher(teachers, output, training.dtype) if teachers else None
        return FromLists(**shared, teacher=teacher, lists=lists, held_back=frozenset(held_back))
    if not teachers:
        raise MismatchError("There is no teacher; give a teacher, or lists that one has scored.")
    teacher = _teacher(teachers, output, training.dtype)
    if isinstance(teacher, EncoderTeacher):
        return FromVectors(**shared, teacher=teacher)
    return FromPairs(**shared, teacher=teacher, budget=budget)


def _teacher(teachers: Sequence[Any], output: Path, dtype: Dtype) -> EncoderTeacher | PairTeacher:
    """Encoders as one teacher with vectors; with any other among them, as one of pairs."""
    if all(_has_vectors(teacher) for teacher in teachers):
        return EncoderTeacher(teachers, output / "teacher_vectors")
    return PairTeacher(teachers, output / "teacher_scores.parquet", dtype=dtype)


def _has_vectors(teacher: Any) -> bool:
    if isinstance(teacher, DSE):
        return teacher.head.kind == "cosine"
    return callable(getattr(teacher, "encode_document", None))
