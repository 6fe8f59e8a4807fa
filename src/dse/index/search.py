"""The second pass: the pair head scores a shortlist, or all rows, and the best k are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from dse import scoring
from dse.index.layout import EMBEDDING, matrix
from dse.index.scout import Scout, probes
from dse.index.store import Store
from dse.modules import PairHead

SCAN_ROWS = 8192  # rows read at a time in exact mode


@dataclass
class Found:
    """The best rows of one query.

    Attributes:
        rows: Lance's row ids at the commit searched, best first, (k,).
        scores: Raw scores, (k,).
        scout_ranks: Place of each in the shortlist, from 1; None if every row was scored.
        scored: How many rows the head scored.
        seconds: What each step took.
    """

    rows: np.ndarray
    scores: Tensor
    scout_ranks: np.ndarray | None
    scored: int
    seconds: dict[str, float] = field(default_factory=dict)


def best(head: PairHead, label: int | None, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best candidates of each query: raw scores (q, k) and rows of ``candidates`` (q, k).

    Of a student with several scores per pair it takes the log-odds of one class against the others,
    s = z_l - log sum_(c != l) exp(z_c): they order pairs as the probability of that class does.
    """
    if label is None:
        return scoring.topk(head, queries, candidates, k)
    logits = scoring.score_matrix(head, queries, candidates)  # (q, n, C)
    others = [c for c in range(logits.shape[-1]) if c != label]
    odds = logits[..., label] - logits[..., others].logsumexp(dim=-1)  # (q, n)
    scores, rows = odds.sort(dim=1, descending=True, stable=True)
    return scores[:, :k], rows[:, :k]


@torch.inference_mode()
def exact(
    store: Store, head: PairHead, label: int | None, queries: Tensor, k: int, where: str | None = None
) -> list[Found]:
    """Score every row that meets a condition, (q, d) queries at a time; equal scores keep the order of the rows."""
    start = perf_counter()
    scores = queries.new_empty(len(queries), 0)  # (q, <=k)
    rows = torch.empty(len(queries), 0, dtype=torch.long)
    scored = 0
    for batch in store.scan([EMBEDDING], where, SCAN_ROWS):
        candidates = torch.from_numpy(matrix(batch[EMBEDDING]).astype(np.float32)).to(queries.device)  # (B, d)
        ids = torch.from_numpy(batch["_rowid"].to_numpy().astype(np.int64))
        here, at = best(head, label, queries, candidates, k)
        scores, order = torch.cat([scores, here], dim=1).sort(dim=1, descending=True, stable=True)
        rows = torch.cat([rows, ids[at.cpu()]], dim=1).gather(1, order.cpu())[:, :k]
        scores = scores[:, :k]
        scored += len(candidates)
    seconds = {"exact": (perf_counter() - start) / max(1, len(queries))}
    return [Found(r, s, None, scored, dict(seconds)) for r, s in zip(rows.numpy(), scores, strict=True)]


@torch.inference_mode()
def two_passes(
    store: Store,
    scout: Scout,
    head: PairHead,
    label: int | None,
    query: Tensor,
    k: int,
    shortlist: int,
    where: str | None = None,
) -> Found:
    """Score the shortlist of one query (d,)."""
    start = perf_counter()
    vector = scout(query.cpu().numpy()[None])[0]
    listed = store.nearest(vector, shortlist, probes(shortlist, store.card.indexed_rows), where)
    scouted = perf_counter()
    order = np.argsort(listed, kind="stable")  # in the order of the rows: reads go forward, ties stay in it
    table = store.take(listed[order], [EMBEDDING])
    candidates = torch.from_numpy(matrix(table[EMBEDDING]).astype(np.float32)).to(query.device)  # (n, d)
    fetched = perf_counter()
    scores, at = best(head, label, query[None], candidates, k)
    chosen = order[at[0].cpu().numpy()]
    seconds = {"scout": scouted - start, "fetch": fetched - scouted, "score": perf_counter() - fetched}
    return Found(listed[chosen], scores[0], chosen + 1, len(listed), seconds)
