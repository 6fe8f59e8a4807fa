"""Lists of scored documents as a student of rankings learns from them: a cross-encoder's, an API's, or labels.

    t_ij = s_ij r,  r = max(σ_s, 0.12) / σ_t               # σ_s, σ_t: spread of the student's cosines and the scores s
    p(j | i) = softmax_j t_ij / T                          # over the documents j that the list of query i scores
    q(j | i) = softmax_j cos(e_i, e_j) / T
    loss     = mean_i KL(p(. | i) || q(. | i))

The scores come on any scale, hence r, which is read off the held-out lists and some of the others, within lists, at the
start. Every step encodes queries and seven documents of each list, with gradient, and compares these. Held-out lists
are compared whole, by the embeddings of the bank.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dse.errors import BadDataError, MismatchError
from dse.training.list_loss import divergence
from dse.training.ranking_lists import MOST_HELD_OUT, check_documents, in_passes
from dse.training.settings import RankingTraining

HELD_OUT = 0.1  # of the queries
ANCHORS = 0.125  # share of queries among the texts of a step; each meets seven documents of its list
FEWEST = 20  # lists
MOST = 1e100  # of a score
TEMPERATURE = 0.1
LEAST_SPREAD = 0.12  # of cosines; those of all-MiniLM-L6-v2 have 0.12 to 0.24 in such lists of twelve collections
SCALED = 256  # lists that r is read off; encoding all would take as long as a third of the training

ScoredRows = tuple[NDArray[np.int64], NDArray[np.float64]]  # rows of the documents (m,), their scores (m,)


class ScoredLists:
    """The texts, and for each query the documents that were scored.

    Args:
        corpus: The documents, n texts.
        queries: q texts.
        lists: For each query rows of the corpus and a score of each; lists without two different scores teach nothing.
        settings: Batch size, temperature and seed.
        source: Where the lists come from, for the message.

    Raises:
        BadDataError: If fewer than 20 lists prefer one document to another.
    """

    def __init__(
        self,
        corpus: Sequence[str],
        queries: Sequence[str],
        lists: Sequence[ScoredRows],
        settings: RankingTraining,
        source: str | None = None,
    ) -> None:
        self.texts, self.n, self.settings = [*corpus, *queries], len(corpus), settings
        checked = self._checked(lists, len(queries))
        self._lists = {  # by row of the query's text
            self.n + i: rows for i, rows in enumerate(checked) if len(rows[1]) > 1 and np.ptp(rows[1]) > 0
        }
        usable = len({self.texts[row] for row in self._lists})
        if usable < FEWEST:
            given = sum(len(rows) > 0 for rows, _ in checked)
            raise BadDataError(
                f"{source + ': of' if source else 'Of'} {given} lists {usable} prefer one document to another; give at "
                f"least {FEWEST} such lists, of different queries."
            )
        self.held_out, self.anchors = self._split()
        self.scaled = [*self.held_out.tolist(), *self.anchors.tolist()][:SCALED]  # anchors are in the order drawn
        self.scale: float | None = None  # r, once the student's cosines are known
        self.queries_of_step = max(1, round(ANCHORS * settings.batch_size))

    def _checked(self, lists: Sequence[ScoredRows], queries: int) -> list[ScoredRows]:
        """The lists as arrays."""
        check_documents(self.texts[: self.n])
        if len(lists) != queries:
            raise MismatchError(f"There are {len(lists)} lists for {queries} queries; give one for each.")
        return [self._checked_list(i + 1, rows, scores) for i, (rows, scores) in enumerate(lists)]

    def _checked_list(self, number: int, rows: Any, scores: Any) -> ScoredRows:
        rows, scores = np.asarray(rows), np.asarray(scores)
        if rows.ndim != 1 or rows.shape != scores.shape or len(np.unique(rows)) != len(rows):
            raise BadDataError(f"List {number} does not have one score for each of its documents, each named once.")
        if len(rows) and (rows.dtype.kind not in "iu" or not 0 <= rows.min() <= rows.max() < self.n):
            raise BadDataError(f"List {number} names a document outside rows 0 to {self.n - 1}; check the rows.")
        if scores.dtype.kind not in "fiub" or not (np.abs(scores.astype(np.float64)) < MOST).all():
            raise BadDataError(f"List {number} has a score that is no finite number; check the teacher.")
        return rows.astype(np.int64), scores.astype(np.float64)

    def _split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Queries that are held out, and those that are learned: equal texts are on the same side.

        With more lists a learned query is never held out, as what is held out are the lowest draws.
        """
        draws = {row: draw_of(self.texts[row], self.settings.seed) for row in self._lists}
        lowest = sorted(set(draws.values()))
        number = max(2, min(MOST_HELD_OUT, sum(draw < HELD_OUT for draw in lowest)))
        rows = sorted(draws, key=lambda row: draws[row])
        held_out = [row for row in rows if draws[row] <= lowest[number - 1]]
        return np.array(held_out, np.int64), np.array(rows[len(held_out) :], np.int64)

    def steps(self) -> int:
        """How many steps the settings ask for; by default until every scored document was encoded once."""
        pairs = sum(len(self._lists[row][0]) for row in self.anchors.tolist())
        return self.settings.steps or min(2000, max(200, pairs // self.settings.batch_size))

    def key(self) -> str:
        """Hash of texts, lists and settings: a checkpoint of another run has another one."""
        learned = [self.texts, self.n, repr(self.settings), LEAST_SPREAD]
        digest = hashlib.blake2b(json.dumps(learned).encode(), digest_size=16)
        for row, (documents, scores) in self._lists.items():
            digest.update(row.to_bytes(8, "little") + documents.tobytes() + scores.tobytes())
        return digest.hexdigest()

    def score_range(self) -> tuple[float, float]:
        """Lowest and highest score."""
        scores = np.concatenate([values for _, values in self._lists.values()])
        return float(scores.min()), float(scores.max())

    def looked_up(self) -> NDArray[np.int64]:
        """Texts whose embeddings the bank must hold: of held-out lists, and of those that r is read off."""
        rows = [*self.held_out.tolist(), *self.scaled]
        return np.unique(np.concatenate([rows, *(self._lists[row][0] for row in rows)]).astype(np.int64))

    def begin(self, bank: Tensor) -> None:
        """Set r from the student's first embeddings, (m, d)."""
        lists = [(row, *self._lists[row]) for row in self.scaled]
        cosines = [
            (bank[torch.from_numpy(documents).to(bank.device)] @ bank[row]).cpu().double().numpy()
            for row, documents, _ in lists
        ]
        self.scale = max(LEAST_SPREAD, _spread(cosines)) / _spread([scores for _, _, scores in lists])

    def batch(self, step: int) -> NDArray[np.int64]:
        """The texts that a step encodes: queries, and documents of their lists, each once."""
        size, seed = self.queries_of_step, self.settings.seed
        queries = in_passes(self.anchors, size, step, seed).tolist()
        generator, each = np.random.default_rng((seed, step, 2)), self.settings.batch_size // size - 1
        drawn = [row for query in queries for row in self._drawn(query, each, generator)]
        return np.array([*dict.fromkeys(queries), *dict.fromkeys(drawn)], np.int64)

    def _drawn(self, query: int, number: int, generator: np.random.Generator) -> list[int]:
        """Documents of a list that are encoded: the best one, whose share of the loss is the largest, and others."""
        rows, scores = self._lists[query]
        best = int(scores.argmax())
        others = generator.permutation(np.delete(rows, best))
        drawn: list[int] = [int(rows[best]), *others.tolist()]
        return drawn[:number]

    def candidates(self, step: int) -> None:
        """Every list has its own candidates."""

    def cosines(self, rows: np.ndarray, e: Tensor, bank: Tensor, candidates: None) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's scores and the student's cosines of the queries among the rows, and what is no candidate.

        Args:
            rows: Texts, the queries first, (B,).
            e: The student's embeddings of them, of length 1, (B, d).
            bank: Its embeddings of all texts, of length 1, (m, d).
            candidates: See `candidates`.

        Returns:
            Three tensors (Q, k), k the length of the longest list; scores as they were given, in float64 on the CPU.
        """
        queries = [int(row) for row in rows if row in self._lists]
        longest = max(len(self._lists[query][0]) for query in queries)
        documents = np.zeros((len(queries), longest), np.int64)
        scores, none = np.zeros(documents.shape), np.ones(documents.shape, bool)
        for place, query in enumerate(queries):
            own, values = self._lists[query]
            documents[place, : len(own)], scores[place, : len(own)], none[place, : len(own)] = own, values, False
        encoded = torch.full((len(self.texts),), -1)  # (m,)   place of a text among the rows
        encoded[torch.from_numpy(rows)] = torch.arange(len(rows))
        at = torch.from_numpy(documents)
        fresh = encoded[at].to(e.device)  # (Q, k)
        if (fresh >= 0).any():  # a step compares what it encodes; embeddings of other steps have not moved with these
            none = none | (fresh < 0).cpu().numpy()
        v = torch.where((fresh >= 0)[..., None], e[fresh.clamp_min(0)], bank[at.to(e.device)])  # (Q, k, d)
        cosines = torch.einsum("qd,qkd->qk", e[: len(queries)], v)
        return torch.from_numpy(scores), cosines, torch.from_numpy(none).to(e.device)

    def losses(self, rows: np.ndarray, e: Tensor, bank: Tensor, candidates: None) -> Tensor:
        """What a step learns from: see `divergences`."""
        return self.divergences(rows, e, bank, candidates)

    def divergences(self, rows: np.ndarray, e: Tensor, bank: Tensor, candidates: None) -> Tensor:
        """KL of the student's lists from the teacher's, one a query, (Q,); arguments as in `cosines`."""
        assert self.scale is not None
        teacher, student, none = self.cosines(rows, e, bank, candidates)
        teacher = teacher - teacher[:, :1]  # a large number that all scores share is no loss
        teacher = (self.scale * teacher).to(e.dtype).to(e.device)
        return divergence(teacher, student, none, self.settings.temperature or TEMPERATURE)


def draw_of(text: str, seed: int) -> float:
    """A number from 0 to 1 that belongs to a text; below `HELD_OUT` it is held out.

    Example:
        >>> draw_of("a bike", 42) == draw_of("a bike", 42), 0 <= draw_of("a tent", 42) < 1
        (True, True)
    """
    digest = hashlib.blake2b(f"{seed} {text}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little") / 2**32


def _spread(lists: Sequence[NDArray[np.float64]]) -> float:
    """Standard deviation within lists."""
    deviations = [scores - scores.mean() for scores in lists]
    largest = max(float(np.abs(values).max()) for values in deviations) or 1.0
    return largest * float(np.sqrt(np.mean([np.square(values / largest).mean() for values in deviations])))
