"""Teachers that score a query with a document: cross-encoders, anything with ``predict``, several of them as one."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, SentenceTransformer

from dse.encoding.fast_copy import FastCopy
from dse.encoding.identity import fingerprint
from dse.encoding.runtime import Dtype
from dse.errors import MismatchError
from dse.files import write_json
from dse.model import DSE
from dse.ranks import ranks
from dse.teacher.kept_scores import ScoreFile
from dse.teacher.scoring import teacher_scores
from dse.teacher.vectors import EncoderTeacher, check_encoder

logger = logging.getLogger(__name__)

SHARD = 2_000  # pairs between two writes: what a killed run loses at most
MOST = 1e38  # of a score, which is kept as float32

Pair = tuple[str, str]
Floats = NDArray[np.float64]


class PairTeacher:
    """One or several scorers of (query, document) as one teacher; scores are kept under teacher and pair.

    The score of several is the mean of theirs, each brought to mean 0 and standard deviation 1 over the pairs that
    `scores` is asked for first. A killed run loses at most 2,000 scores; no pair is scored twice.

    Args:
        scorers: Cross-encoders and students with one output, sentence encoders or an `EncoderTeacher`, whose score is
            the cosine, or any objects with ``predict(pairs)``.
        output: Parquet file that scores are read from and added to; None keeps them in memory. An object is known
            there by its attribute ``fingerprint``, a text, or else by its class and place, so give no other teacher
            of that class the same file.
        batch_size: Pairs the transformer reads at a time.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it.

    Raises:
        MismatchError: If there is none, or one gives several scores a pair or has no ``predict``.

    Example:
        >>> class Overlap:
        ...     def predict(self, pairs):
        ...         return [len(set(query.split()) & set(document.split())) for query, document in pairs]
        >>> teacher = PairTeacher([Overlap()])
        >>> teacher.scores([("a bike", "a red bike"), ("a bike", "tents")]).tolist()
        [2.0, 0.0]
    """

    def __init__(
        self,
        scorers: Sequence[Any],
        output: str | Path | None = None,
        *,
        batch_size: int = 32,
        dtype: Dtype = "auto",
    ) -> None:
        if not scorers:
            raise MismatchError("There is no teacher; give at least one.")
        for scorer in scorers:
            check_pair_scorer(scorer)
        self._scorers = [_Scorer(scorer, place, batch_size, dtype) for place, scorer in enumerate(scorers)]
        self._file = None if output is None else ScoreFile(output)
        self._known: list[dict[Pair, float]] = [{} for _ in scorers]
        self._standard: dict[str, tuple[float, float]] = {}  # mean and deviation of each, if there are several
        self._standard_file = None if output is None else Path(output).with_suffix(".json")

    @property
    def fingerprint(self) -> str:
        """Names of the teachers, joined by +."""
        return "+".join(scorer.name for scorer in self._scorers)

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> Floats:
        """The teacher's score of each pair, (n,).

        Raises:
            MismatchError: If a scorer does not give one finite number for each pair.
        """
        if not pairs:
            return np.empty(0)
        columns = {
            scorer.name: self._of_scorer(place, scorer, pairs, show_progress_bar)
            for place, scorer in enumerate(self._scorers)
        }
        if len(self._scorers) == 1:
            return columns[self._scorers[0].name]
        standard = self._standard or self._find_standard(columns)
        joined: Floats = np.mean([(s - standard[name][0]) / standard[name][1] for name, s in columns.items()], axis=0)
        return joined

    def predict(self, pairs: Sequence[Pair], **_: Any) -> Floats:
        """As `scores`; keywords of `CrossEncoder.predict` change nothing."""
        return self.scores(pairs)

    def _find_standard(self, columns: dict[str, Floats]) -> dict[str, tuple[float, float]]:
        """Mean and deviation of each; they are kept, so that a score is the same in every process."""
        file = self._standard_file
        kept = ranks().from_first(lambda: json.loads(file.read_text("utf-8")) if file and file.exists() else {})
        if kept.keys() != columns.keys():
            kept = {name: (float(column.mean()), float(column.std()) or 1.0) for name, column in columns.items()}
            if file is not None and ranks().first:
                write_json(file, kept)
        self._standard = kept
        return self._standard

    def _of_scorer(self, place: int, scorer: _Scorer, pairs: Sequence[Pair], bar: bool) -> Floats:
        known = self._known[place]
        todo = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        if self._file is not None:
            scores = self._kept(self._file, scorer, todo, bar)
        else:
            scores = np.array(ranks().spread(lambda part: scorer.scores(list(part), bar).tolist(), todo))
        known.update(zip(todo, scores.tolist(), strict=True))
        return np.array([known[pair] for pair in pairs], np.float64)

    @staticmethod
    def _kept(file: ScoreFile, scorer: _Scorer, todo: list[Pair], bar: bool) -> Floats:
        """Scores from the file; those that it lacks are added, a part by each process, all written by the first."""
        missing = ranks().from_first(lambda: file.missing(scorer.name, todo))
        for start in range(0, len(missing), SHARD):
            shard = missing[start : start + SHARD]
            scores = ranks().spread(lambda part: scorer.scores(list(part), bar).tolist(), shard)
            if ranks().first:
                file.add(scorer.name, shard, np.array(scores, np.float32)[:, None])

        def read() -> Floats:
            file.finish()
            return file.lookup(todo, scorer.name)[:, 0].astype(np.float64) if todo else np.empty(0)

        return ranks().from_first(read)


class _Scorer:
    """One scorer, and under which name its scores are kept."""

    def __init__(self, model: Any, place: int, batch_size: int, dtype: Dtype) -> None:
        self.model, self.batch_size, self.dtype, self._fast = model, batch_size, dtype, FastCopy()
        own = getattr(model, "fingerprint", None)
        self.name = own if isinstance(own, str) and own else type(model).__name__ + (f" {place + 1}" if place else "")
        if isinstance(model, CrossEncoder | SentenceTransformer):
            self.name = fingerprint(model)

    def scores(self, pairs: list[Pair], bar: bool) -> Floats:
        """Raw scores, (n,), checked."""
        if not pairs:
            return np.empty(0)
        found = _array(self._predict(pairs, bar))
        if found.size != len(pairs) or found.dtype.kind not in "fiub":
            raise MismatchError(
                f"The teacher gave scores of shape {found.shape} and type {found.dtype} for {len(pairs)} pairs; "
                "it must give one number each."
            )
        scores: Floats = found.reshape(-1).astype(np.float64)
        usable = np.abs(scores) < MOST
        if not usable.all():
            row = int(np.flatnonzero(~usable)[0])
            query, document = pairs[row]
            raise MismatchError(
                f"The teacher's score of {query[:60]!r} with {document[:60]!r} is {scores[row]}; it must be finite."
            )
        return scores

    def _predict(self, pairs: list[Pair], bar: bool) -> Any:
        model = self.model
        if isinstance(model, CrossEncoder):
            return teacher_scores(
                model, pairs, batch_size=self.batch_size, dtype=self.dtype, fast=self._fast, show_progress_bar=bar
            )
        if isinstance(model, DSE):
            return model.raw_scores(pairs)
        if isinstance(model, SentenceTransformer | EncoderTeacher):
            sides = [list(dict.fromkeys(side)) for side in zip(*pairs, strict=True)]
            settings: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": bar}
            settings["batch_size"] = self.batch_size
            d = np.asarray(model.encode_document(sides[1], **settings))  # (n, D)
            q = np.asarray(model.encode_query(sides[0], **settings))  # (q, D)
            places = [{text: row for row, text in enumerate(side)} for side in sides]
            rows = np.array([[places[0][a], places[1][b]] for a, b in pairs])
            return np.einsum("nd,nd->n", q[rows[:, 0]], d[rows[:, 1]])
        return model.predict(pairs)


def _array(scores: Any) -> np.ndarray:
    """Scores as an array, wherever they lie; what are no numbers make an array of another kind."""
    if isinstance(scores, list | tuple) and scores and all(isinstance(score, torch.Tensor) for score in scores):
        scores = torch.cat([score.reshape(-1) for score in scores])
    if isinstance(scores, torch.Tensor):
        return scores.detach().cpu().double().numpy()
    try:
        return np.asarray(scores)
    except ValueError:  # lists of unequal lengths
        return np.array(scores, object)


def check_pair_scorer(scorer: Any) -> None:
    """Refuse what cannot score pairs of texts, before any work.

    Raises:
        MismatchError: If it gives several scores a pair, or has no ``predict``.
    """
    if isinstance(scorer, CrossEncoder | DSE):
        if scorer.num_labels != 1:
            kind = "student" if isinstance(scorer, DSE) else "cross-encoder"
            raise MismatchError(
                f"This {kind} gives {scorer.num_labels} scores per pair; a teacher of rankings must give one."
            )
    elif isinstance(scorer, SentenceTransformer):
        check_encoder(scorer)
    elif not isinstance(scorer, EncoderTeacher) and not callable(getattr(scorer, "predict", None)):
        raise MismatchError(
            f"A {type(scorer).__name__} has no predict(pairs); give a cross-encoder, an encoder or such an object."
        )
