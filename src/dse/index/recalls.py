"""How many of the exact best a shortlist of each length holds, measured on sample queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dse.index import search as searching
from dse.index.calibration import shortest
from dse.index.scout import LADDER, Scout
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
    lengths = [length for length in reversed(LADDER) if 4 * k <= length < rows]
    found = shortest(lengths, lambda n: recalls(store, scout, head, label, queries, truth, n), recall, confidence)
    if found is None:
        return {"shortlist": None, "measured": 1.0}
    return {"shortlist": found[0], "measured": float(found[1].mean())}


@torch.inference_mode()
def recalls(
    store: Store,
    scout: Scout,
    head: PairHead,
    label: int | None,
    queries: Tensor,
    truth: list[np.ndarray],
    length: int,
) -> np.ndarray:
    """Share of each query's exact best rows that its shortlist holds, (q,)."""
    shares = []
    for query, best in zip(queries, truth, strict=True):
        listed = searching.Shortlist(store, scout, head, label, query, length)
        shares.append(np.isin(best, np.append(listed.rows, listed.second)).mean())
    return np.array(shares)
