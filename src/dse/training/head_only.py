"""Learning to rank on vectors that exist already: only the pair head is trained, in seconds to minutes on a CPU.

    u* = normalize(u + A u + p),  v* = normalize(v + B v + q)         # u, v of length one; A, B, p, q start at zero
    g  = exp(y / T) - 1,  T = 1/4                                     # y: grades or scores, brought to [0, 1]
    p(j | i) = g_ij / sum_j g_ij                                      # documents that a list does not name have g = 0
    q(j | i) = softmax_j 20 cos(u*_i, v*_j)
    loss     = mean_i KL(p(. | i) || q(. | i))                        # j: the lists' documents, near and random ones

The gain g is the exponential one of nDCG. A part of the lists is held out: it says when to stop, and by which factor
to scale A, B, p and q. A factor of 0 leaves the plain cosine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional as F

from dse import scoring
from dse.errors import MismatchError
from dse.model import DSE
from dse.modules import PairHead, VectorInput
from dse.scoring.similarity import CosineMap
from dse.training.vector_lists import CUTOFF, List, VectorLists, ndcg

logger = logging.getLogger(__name__)

FACTORS = (0.25, 0.5, 0.75, 1.0)
SCALE = 20.0  # of the student's cosine while training: what sentence encoders are usually trained with
ROUND = 200  # steps until the near documents are searched again, with the head as it is then
NEAR, NEAR_DRAWN, RANDOM = 60, 20, 512  # nearest documents kept, drawn of them for a query, random ones of a batch

QUERIES = 256  # compared with all documents of a pool at a time


@dataclass(frozen=True)
class HeadTraining:
    """How a head is fitted.

    Attributes:
        steps: Optimiser steps at most; it stops when the held-out lists no longer gain.
        batch_size: Lists of a step.
        learning_rate: AdamW's, constant.
        weight_decay: AdamW's; it pulls towards the cosine.
        dropout: On the vectors.
        check_steps: Steps between two checks of the held-out lists.
        patience: Checks without a gain after which it stops.
        seed: Of everything drawn.
    """

    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    dropout: float = 0.2
    check_steps: int = 50
    patience: int = 6
    seed: int = 42


def fit_head(
    queries: np.ndarray | Tensor,
    documents: np.ndarray | Tensor,
    lists: Sequence[List],
    *,
    rerank: bool = False,
    encoder: str | None = None,
    settings: HeadTraining | None = None,
) -> DSE:
    """Learn how the vectors of queries and documents belong together, where that is more than being alike.

    Args:
        queries: A vector each, (q, d), of any model.
        documents: A vector each, (n, d).
        lists: For each query the rows of ``documents`` that were judged, with their grades or a teacher's scores:
            a mapping from row to grade, or the rows and the grades. Documents that a list does not name count as not
            relevant.
        rerank: Whether the student will order candidates like those that the lists name, rather than all documents:
            it is then judged by the order of each list, and learns from the list and random documents only.
        encoder: Folder or hub id of the model that made the vectors; the student then reads texts too.
        settings: Of the optimiser.

    Returns:
        A student with a ``cosine-map`` head, whose raw scores are cosines. It takes vectors wherever a student takes
        texts or vectors; ``student.info["head_fit"]`` says what was gained. Save it with ``save_pretrained``. If the
        held-out lists gain no more than one standard error, it is the plain cosine, and a warning says so.

    Raises:
        MismatchError: If shapes do not fit, or the encoder makes vectors of another width.
        BadDataError: If a vector is not finite, a list names an unknown row, or too few lists prefer a document.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> documents = rng.normal(size=(60, 8)).astype(np.float32)
        >>> queries = np.roll(documents, 1, axis=1)                # what answers a query is not what is like it
        >>> student = fit_head(queries, documents, [{row: 1} for row in range(60)])
        >>> student.topk(queries[:1], documents, k=2)[0][0].keys()
        dict_keys(['corpus_id', 'score'])
    """
    settings = settings or HeadTraining()
    data = VectorLists(queries, documents, lists, rerank, settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        head = PairHead(data.documents.shape[1], kind="cosine-map")
        torch.nn.init.ones_(head.out.weight)
        torch.nn.init.zeros_(head.out.bias)
        student = _student(head, encoder)
        fitted = _Fit(head, data, settings).run()
    logger.info("held-out lists: nDCG@10 %(before).4f as a cosine, %(after).4f with the head", fitted)
    if not fitted["factor"]:
        logger.warning(
            "The head gained no more than chance on the held-out lists; the student is the plain cosine. "
            "Give more lists."
        )
    student.info = {"task": {"name": "ranking", "kind": "regression"}, "activation": "identity", "head_fit": fitted}
    return student.to("cpu").eval()


def _student(head: PairHead, encoder: str | None) -> DSE:
    """The head behind the encoder that made the vectors, or behind none."""
    if encoder is None:
        return DSE(modules=[VectorInput(head.embedding_dimension), head], device="cpu")
    model = SentenceTransformer(encoder, device="cpu")
    if model.get_embedding_dimension() != head.embedding_dimension:
        raise MismatchError(
            f"{encoder} makes vectors of width {model.get_embedding_dimension()}, those given have "
            f"{head.embedding_dimension}; name the model that made them."
        )
    return DSE(modules=[*model.children(), head], device="cpu")


class _Fit:
    """The loop over lists, with early stopping and the gate."""

    def __init__(self, head: PairHead, data: VectorLists, settings: HeadTraining) -> None:
        self.head, self.data, self.settings, self.kind = head, data, settings, CosineMap()
        self.generator = np.random.default_rng((settings.seed, 1))
        self.weights = [*head.left.parameters(), *head.right.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.checked_in = data.pool(np.random.default_rng((settings.seed, 2)), data.held_out)
        self.pool, self.near = self.checked_in, np.empty((0, 0), np.int64)

    def run(self) -> dict[str, Any]:
        """Train, then leave the head with the weights and the factor that are best on the held-out lists."""
        before = after = self.quality()
        best, factor, step, checks = [w.detach().clone() for w in self.weights], 0.0, 0, 0
        for done in range(1, self.settings.steps + 1 if len(self.data.train) else 0):
            self._step(done - 1)
            if done % self.settings.check_steps:
                continue
            checks += 1
            weights = [w.detach().clone() for w in self.weights]
            for f in FACTORS:
                self._set(weights, f)
                if (quality := self.quality()).mean() > after.mean():
                    after, best, factor, step, checks = quality, weights, f, done, 0
            self._set(weights, 1.0)
            if checks >= self.settings.patience:
                break
        gain = after - before  # (lists,)
        error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
        if not gain.mean() > error:
            after, factor = before, 0.0
        self._set(best, factor)
        counts = {"lists": len(self.data.train), "held_out": len(before), "step": step}
        return counts | {
            "before": float(before.mean()),
            "after": float(after.mean()),
            "standard_error": error,
            "factor": factor,
        }

    @torch.no_grad()
    def _set(self, weights: list[Tensor], factor: float) -> None:
        for weight, value in zip(self.weights, weights, strict=True):
            weight.copy_(factor * value)

    def _step(self, step: int) -> None:
        data, size = self.data, self.settings.batch_size
        if step % ROUND == 0:
            self._start_round()
        first = (step % ROUND) * size % len(self.order)
        places = np.arange(first, first + min(size, len(self.order))) % len(self.order)
        batch = self.order[places]
        columns, gains, mask = self._candidates(batch, places)
        u, v = (F.dropout(x, self.settings.dropout) for x in (data.queries[batch], data.documents[columns]))
        left, right = self.kind.left_part(self.head, u), self.kind.right_part(self.head, v)  # (B, d), (m, d)
        q = (SCALE * left @ right.T).masked_fill(mask, -torch.inf).log_softmax(dim=1)  # (B, m)
        p = gains / gains.sum(dim=1, keepdim=True)
        loss = -(p * q.masked_fill(mask, 0.0)).sum(dim=1).mean()  # KL up to the entropy of p, which is constant
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _start_round(self) -> None:
        """Draw the order of the lists and the pool, and search the near documents of the queries that come."""
        self.order = self.generator.permutation(self.data.train)[: ROUND * self.settings.batch_size]
        self.pool = self.data.pool(self.generator, self.order)
        if not self.data.rerank:
            self.near = self._nearest(self.order, self.pool, NEAR)

    def _candidates(self, batch: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor]:
        """Rows of the documents (m,), gains (B, m), and what is no candidate of a query (B, m)."""
        rows = [self.data.rows[i] for i in batch]
        if self.data.rerank:
            drawn = self.generator.choice(self.pool, (len(batch), NEAR_DRAWN))
        else:
            which = self.generator.integers(self.near.shape[1], size=(len(batch), NEAR_DRAWN))
            drawn = np.take_along_axis(self.near[places], which, axis=1)
        shared = self.generator.choice(self.pool, 0 if self.data.rerank else RANDOM)
        columns = np.unique(np.concatenate([*rows, drawn.ravel(), shared]))
        gains = torch.zeros(len(batch), len(columns))
        mask = torch.full_like(gains, self.data.rerank, dtype=torch.bool)
        for b, i in enumerate(batch):
            named = torch.from_numpy(np.searchsorted(columns, self.data.rows[i]))
            mask[b, torch.from_numpy(np.searchsorted(columns, drawn[b]))] = False
            mask[b, named] = False
            gains[b, named] = torch.from_numpy(self.data.gains[i]).float()
        return columns, gains, mask

    @torch.no_grad()
    def _nearest(self, lists: np.ndarray, pool: np.ndarray, k: int) -> np.ndarray:
        """The k documents of the pool that the head scores highest, for the query of each list: rows (lists, k).

        `scoring.topk` moves the documents again for every few queries, which saves memory; here they are few.
        """
        right = self.kind.right_part(self.head, self.data.documents[pool])  # (n, d)
        left = self.kind.left_part(self.head, self.data.queries[lists])  # (lists, d)
        best = [(part @ right.T).topk(min(k, len(pool)), dim=1).indices for part in left.split(QUERIES)]
        nearest: np.ndarray = pool[torch.cat(best).numpy()]
        return nearest

    def quality(self) -> np.ndarray:
        """nDCG@10 of each held-out list, (lists,): over the documents, or over the list's own."""
        data, lists = self.data, self.data.held_out
        if data.rerank:
            found = []
            for i in lists:
                rows = data.rows[i]
                scores = scoring.score_matrix(self.head, data.queries[i : i + 1], data.documents[rows])[0, :, 0]
                found.append(rows[scores.argsort(descending=True, stable=True)[:CUTOFF].numpy()])
        else:
            found = list(self._nearest(lists, self.checked_in, CUTOFF))
        return np.array([ndcg(rows, data.rows[i], data.gains[i]) for rows, i in zip(found, lists, strict=True)])
