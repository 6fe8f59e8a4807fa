"""How many of the exact best a shortlist of each length holds, measured on sample queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dse.encoding.runtime import one_thread
from dse.index import scout as scouting
from dse.index import search as searching
from dse.index.calibration import shortest
from dse.index.scout import Scout
from dse.index.store import Store
from dse.modules import PairHead

QUERIES = 64  # that share a pass over all rows


def shortest_shortlist(
    store: Store,
    scout: Scout,
    head: PairHead,
    label: int | None,
    queries: Tensor,
    k: int,
    recall: float,
    confidence: float,
    show_progress_bar: bool,
) -> dict[str, Any]:
    """The shortest shortlist that keeps a promised recall@k on queries like these (q, d).

    Returns:
        ``shortlist``, None where only scoring every row keeps the promise, and ``measured``, the mean recall it had.
    """
    truth: list[np.ndarray] = []
    for some in tqdm(queries.split(QUERIES), "Exact search", unit=f"{QUERIES} queries", disable=not show_progress_bar):
        truth += [result.rows for result in searching.exact(store, head, label, some, k)]
    rows = store.count()
    lengths = [length for length in reversed(scouting.LADDER) if 4 * k <= length < rows]
    bar = tqdm(zip(queries, truth, strict=True), "Shortlists", len(truth), unit="query", disable=not show_progress_bar)
    with one_thread():  # beside Lance's threads
        shares = np.array([recalls(store, scout, head, label, q, best, lengths) for q, best in bar])  # (q, lengths)
    found = shortest(lengths, lambda n: shares[:, lengths.index(n)], recall, confidence)
    if found is None:
        return {"shortlist": None, "measured": 1.0}
    return {"shortlist": found[0], "measured": float(found[1].mean())}


@torch.inference_mode()
def recalls(
    store: Store,
    scout: Scout,
    head: PairHead,
    label: int | None,
    query: Tensor,
    best: np.ndarray,
    lengths: Sequence[int],
) -> list[float]:
    """Share of a query's exact best rows that its shortlist of each length holds; the longest goes first."""
    seen = searching.Seen.nothing(scout.width)
    shares = []
    for length in lengths:
        listed = searching.Shortlist(store, scout, head, label, query, length, seen=seen)
        shares.append(float(np.isin(best, np.append(listed.rows, listed.second)).mean()))
    return shares
