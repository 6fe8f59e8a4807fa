"""What a student of rankings learns from: the texts, the teacher's lists of documents for each, and the loss.

    C_i      = the 64 nearest documents of i by the teacher, and the 64 nearest by the student; never i itself
    p(j | i) = softmax_j r cos(t_i, t_j) / T            # j in C_i; the teacher's vectors t
    q(j | i) = softmax_j cos(e_i, b_j) / T              # the student's embeddings
    loss     = mean_T mean_i KL(p(. | i) || q(. | i))   # T: 0.1 and 0.05, i: the texts of a batch
    r        = max(1, max(0.075, σ_s) / σ_t)            # σ: spread of the cosines within lists, at the start

The cosines of one encoder lie between 0 and 1, those of another between 0.7 and 0.9. Without r the lists of the second
would be flat, and a student that learns them would unlearn what it knew.

A query and a document are anchors i alike. e_i is encoded in the step, with gradient. b_j is the embedding that the
student gave document j when it was last encoded (the bank); encoding every document in every step would cost as much as
an epoch. The higher temperature orders a list as a whole, the lower one its first documents. Of a corpus of thousands
the distant documents would have most of p at the higher one, though no query asks for them; those that the student
takes for near are in the list, so that it learns where it is wrong. Held-out texts are judged over all documents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dse.errors import BadDataError, MismatchError
from dse.training.list_loss import divergence, first, spread
from dse.training.settings import RankingTraining

HELD_OUT = 0.05  # of the texts: they are no anchors, and show whether the training helped
MOST_HELD_OUT = 256
MOST_TURNS = 4  # of a query in a pass, which has every document once
TEMPERATURES = (0.1, 0.05)
LEAST_SPREAD = 0.075  # of cosines; those of all-MiniLM-L6-v2 have 0.078 to 0.142 in twelve collections
SCALED = 64  # lists that r is read off
FIRST = 64  # nearest documents of a text, by the teacher and by the student, that make up its list
MOST_CANDIDATES = 65_536  # documents they are looked for in; of a larger corpus so many are drawn in every step


def split_anchors(texts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of so many texts are held out and which are anchors, in the order drawn.

    Example:
        >>> [len(rows) for rows in split_anchors(100, seed=0)]
        [5, 95]
    """
    order = np.random.default_rng(seed).permutation(texts)
    held_out = max(1, min(MOST_HELD_OUT, round(HELD_OUT * texts)))
    return order[:held_out], order[held_out:]


def check_documents(corpus: Sequence[str]) -> None:
    """Refuse a corpus that cannot be ordered.

    Raises:
        BadDataError: If there are fewer than two distinct documents.
    """
    if len(set(corpus)) < 2:
        raise BadDataError(f"The corpus holds {len(set(corpus))} distinct document(s); ranking needs at least two.")


def prompted(texts: Sequence[str], n: int, prompts: tuple[str, str]) -> list[str]:
    """The texts as they are encoded: n documents, then queries, each behind its prompt.

    Args:
        texts: Documents, then queries.
        n: How many documents.
        prompts: Of queries and of documents.

    Example:
        >>> prompted(["a tent", "where is it"], 1, ("query: ", ""))
        ['a tent', 'query: where is it']
    """
    query, document = prompts
    return [document + text for text in texts[:n]] + [query + text for text in texts[n:]]


def in_passes(rows: np.ndarray, size: int, step: int, seed: int) -> np.ndarray:
    """The rows of a step, (size,): whole passes over all of them, each in another order.

    Example:
        >>> in_passes(np.arange(3), 6, step=0, seed=1).reshape(2, 3).sum(axis=1).tolist()
        [3, 3]
    """
    positions = np.arange(step * size, (step + 1) * size)
    orders = {p: np.random.default_rng((seed, int(p))).permutation(rows) for p in np.unique(positions // len(rows))}
    return np.array([orders[i // len(rows)][i % len(rows)] for i in positions])


class RankingLists:
    """The texts, and the teacher's distribution over the documents for each of them.

    Args:
        corpus: The documents, n texts.
        queries: Queries, q texts.
        vectors: The teacher's, a row for each document, then for each query, (n + q, D).
        settings: Batch size, temperature and seed.
        device: Where the lists are computed.

    Raises:
        BadDataError: If there are fewer than two distinct documents, or the vectors are not finite or all alike.
        MismatchError: If there is not one vector for each text.
    """

    def __init__(
        self,
        corpus: Sequence[str],
        queries: Sequence[str],
        vectors: np.ndarray,
        settings: RankingTraining,
        device: torch.device,
    ) -> None:
        self.texts, self.n, self.settings = [*corpus, *queries], len(corpus), settings
        self.teacher = F.normalize(torch.from_numpy(self._checked(vectors, len(queries))), dim=1).to(device)  # (m, D)
        if (self.teacher[: self.n].amax(dim=0) - self.teacher[: self.n].amin(dim=0)).max() < 1e-6:
            raise BadDataError("The teacher's vectors of all documents are alike; it orders none, check the teacher.")
        same: dict[str, int] = {}
        # Texts that occur twice are one: neither is a candidate of the other.
        self.identity = torch.tensor([same.setdefault(text, len(same)) for text in self.texts], device=device)
        self.held_out, self.anchors = split_anchors(len(self.texts), settings.seed)
        self.temperatures = TEMPERATURES if settings.temperature is None else (settings.temperature,)
        self.scale = 1.0  # r, once the student's cosines are known

    def _checked(self, vectors: np.ndarray, queries: int) -> np.ndarray:
        check_documents(self.texts[: self.n])
        if vectors.ndim != 2 or len(vectors) != len(self.texts):
            raise MismatchError(
                f"Teacher vectors of shape {vectors.shape} do not fit {self.n} documents and {queries} queries; "
                "give one row each, documents first."
            )
        vectors = np.array(vectors, np.float32)  # (n + q, D)   a copy: what was given is not written to
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise BadDataError(f"The teacher's vector of text {row + 1} is not finite; check the teacher.")
        if np.ptp(vectors[: self.n], axis=0).max() < 1e-6:
            raise BadDataError(
                "The teacher's vectors of all documents are alike, so it orders none; check the teacher."
            )
        return vectors

    def steps(self) -> int:
        """How many steps the settings ask for."""
        return self.settings.steps_for(len(self.texts))

    def score_range(self) -> tuple[float, float]:
        """Lowest and highest score of the teacher: a cosine's."""
        return -1.0, 1.0

    def looked_up(self) -> np.ndarray:
        """Texts whose embeddings the bank must hold: documents, and what is held out."""
        return np.union1d(np.arange(self.n), self.held_out)

    def begin(self, bank: Tensor, candidates: Tensor | None = None) -> None:
        """Set r from the student's first embeddings, (m, d), of all documents or of some."""
        rows = self.held_out[:SCALED]
        documents = self.candidates(0) if candidates is None else candidates
        teacher, student, itself = self.cosines(rows, bank[rows.tolist()], bank, documents)
        least = max(LEAST_SPREAD, spread(student, itself))
        self.scale = max(1.0, least / max(1e-6, spread(teacher, itself)))

    def key(self) -> str:
        """Hash of texts, vectors and settings: a checkpoint of another run has another one."""
        learned = [self.texts, self.n, repr(self.settings), self.temperatures, LEAST_SPREAD, FIRST]
        digest = hashlib.blake2b(json.dumps(learned).encode(), digest_size=16)
        digest.update(self.teacher.cpu().numpy().tobytes())
        return digest.hexdigest()

    def batch(self, step: int) -> np.ndarray:
        """The anchors of a step, (B,): whole passes over all of them, each in another order.

        What is ranked later are documents for queries, so queries that are few come up to four times in a pass.
        """
        queries, documents = self.anchors[self.anchors >= self.n], self.anchors[self.anchors < self.n]
        times = max(1, min(MOST_TURNS, len(documents) // max(1, len(queries))))
        rows = np.concatenate([self.anchors, np.repeat(queries, times - 1)])
        return in_passes(rows, self.settings.batch_size, step, self.settings.seed)

    def candidates(self, step: int) -> Tensor | slice:
        """The documents in which the step's lists are looked for."""
        if self.n <= MOST_CANDIDATES:
            return slice(0, self.n)
        drawn = np.random.default_rng((self.settings.seed, step, 1)).choice(self.n, MOST_CANDIDATES, replace=False)
        return torch.from_numpy(np.sort(drawn)).to(self.teacher.device)

    def cosines(
        self, rows: np.ndarray, e: Tensor, bank: Tensor, candidates: Tensor | slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's and the student's cosines of texts with documents, and which documents are the text itself.

        Args:
            rows: The texts, (B,).
            e: The student's embeddings of them, of length 1, (B, d).
            bank: Its embeddings of all texts, of length 1, (m, d).
            candidates: The documents.

        Returns:
            Three tensors (B, n).
        """
        at = torch.from_numpy(rows).to(e.device)
        itself = self.identity[at][:, None] == self.identity[candidates][None]
        return self.teacher[at] @ self.teacher[candidates].T, e @ bank[candidates].T, itself

    def losses(self, rows: np.ndarray, e: Tensor, bank: Tensor, candidates: Tensor | slice) -> Tensor:
        """KL of the student's lists from the teacher's, one a row, (B,); arguments as in `cosines`."""
        teacher, student, itself = self.cosines(rows, e, bank, candidates)
        listed = first(teacher, itself, FIRST) | first(student, itself, FIRST)  # C_i
        return self._divergences(teacher, student, ~listed)

    def divergences(self, rows: np.ndarray, e: Tensor, bank: Tensor, candidates: Tensor | slice) -> Tensor:
        """The same over all candidates, which are the same before and after training; arguments as in `cosines`."""
        return self._divergences(*self.cosines(rows, e, bank, candidates))

    def _divergences(self, teacher: Tensor, student: Tensor, none: Tensor) -> Tensor:
        found = [divergence(self.scale * teacher, student, none, temperature) for temperature in self.temperatures]
        return torch.stack(found).mean(dim=0)
