"""Exact scores of many pairs from embeddings: the k best candidates of each query.

A *fast pass* goes over all candidates in the cheapest precision the hardware has (`fastpass.py`) and keeps a
shortlist, which is scored in float32 (`exact.py`): the scores returned are the float32 ones and the order is theirs.
bfloat16 rounds to 8 bits; how far the fast pass errs is measured on the shortlist, where both scores are known. Every
candidate that could be among the true k within six standard deviations of that error is scored in float32 too. If
the shortlist was too short for that, the pass is made again with a longer one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from dse.scoring.exact import check_finite, check_width, score_pairs
from dse.scoring.fastpass import FastPass
from dse.scoring.head import PairFunction
from dse.scoring.products import EXACT_BLOCK, Embeddings, blocks, rows_of

logger = logging.getLogger(__name__)

MARGIN = 32  # candidates beyond k scored in float32 at once: enough to see the error of the fast pass
SPARE = 64  # candidates beyond those that the shortlist holds in case the error reaches further
SIGMAS = 6.0
QUERIES = 32  # that share a pass: their folded weights are held at once, 1.5 MiB each at d = 1536 in bfloat16


@torch.inference_mode()
def topk(
    head: PairFunction,
    queries: Tensor,
    candidates: Embeddings | Iterable[Embeddings],
    k: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """The k best candidates of each query; holds O(q k) scores, never q x n.

    Args:
        head: The pair head; one label.
        queries: Embeddings, (q, d) float32.
        candidates: Embeddings, (n, d): a tensor, an array, a memory map, or an iterable of blocks of them, of any
            precision.
        k: How many; at most n come back.
        dtype: Precision of the fast pass. The scores are float32 ones whatever it is.

    Returns:
        Raw scores (q, k), best first, and rows of the candidates (q, k). Equal scores keep the candidates' order.

    Raises:
        ValueError: If the width is not the head's, or an embedding holds NaN or infinite values.
    """
    parts: Iterable[Embeddings] = [candidates] if isinstance(candidates, Tensor | np.ndarray) else candidates
    best, best_rows, first = queries.new_empty(len(queries), 0), _no_rows(queries), 0
    for part in parts:
        check_width(part, head, "candidates")
        groups = list(blocks(len(queries), QUERIES)) or [slice(0, 0)]
        results = [_topk(head, queries[group], part, k, dtype, first) for group in groups]
        scores, rows = (torch.cat(column) for column in zip(*results, strict=True))  # (q, <=k)
        best, best_rows = _best(torch.cat([best, scores], dim=1), torch.cat([best_rows, rows + first], dim=1), k)
        first += len(part)
    return best, best_rows


def _no_rows(queries: Tensor) -> Tensor:
    return torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)


def _best(scores: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each query; equal scores in the order of the rows."""
    rows, order = rows.sort(dim=1)
    scores, by_score = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores[:, :k], rows.gather(1, by_score)[:, :k]


def _topk(
    head: PairFunction, queries: Tensor, candidates: Embeddings, k: int, dtype: torch.dtype, first: int
) -> tuple[Tensor, Tensor]:
    n = len(candidates)
    size, fast_pass = min(n, k + MARGIN + SPARE), None
    while True:
        if size == n or not len(queries):  # few candidates, or so many alike that the fast pass cannot tell them apart
            for block in blocks(n, EXACT_BLOCK):
                check_finite(rows_of(candidates, block, queries.device), "candidates", first + block.start)
            rows = torch.arange(n, device=queries.device).expand(len(queries), -1)
            return _best(rescore(head, queries, candidates, rows), rows, k)
        fast_pass = fast_pass or FastPass(head, queries, dtype)
        fast, rows = shortlist(fast_pass, candidates, size, first)  # (q, size)
        scored = min(size, k + MARGIN)
        exact = rescore(head, queries, candidates, rows[:, :scored])  # (q, k + margin)
        lowest = _lowest_fast_score(exact, fast[:, :scored], k)  # (q, 1)
        needed = int((fast >= lowest).sum(dim=1).max())
        if needed < size:
            break
        logger.debug("a shortlist of %d was too short for k = %d; the pass is made again", size, k)
        size = min(n, 4 * size)
    if needed > scored:
        exact = torch.cat([exact, rescore(head, queries, candidates, rows[:, scored:needed])], dim=1)
    return _best(exact, rows[:, : exact.shape[1]], k)


def _lowest_fast_score(exact: Tensor, fast: Tensor, k: int) -> Tensor:
    """Fast score, per query, below which no candidate can be among the true k: (q, 1)."""
    error = exact - fast  # (q, k + margin)
    kth = exact.topk(k, dim=1).values[:, -1:]  # of those known: the true k-th is no lower
    rounding = torch.finfo(torch.float32).eps * exact.abs().amax(dim=1, keepdim=True)
    return kth - error.mean(dim=1, keepdim=True) - SIGMAS * (error.std(dim=1, keepdim=True) + rounding)


def shortlist(fast_pass: FastPass, candidates: Embeddings, size: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """The candidates with the best fast scores, as far as the fast pass can tell.

    Args:
        fast_pass: Of the queries.
        candidates: Embeddings, (n, d).
        size: How many to keep of each query.
        first: Row number of the first candidate, for errors.

    Returns:
        Fast scores (q, size), best first, and their rows (q, size).

    Raises:
        ValueError: If an embedding holds NaN or infinite values: such a row makes such a score.
    """
    queries = fast_pass.queries
    best, best_rows = queries.new_empty(len(queries), 0), _no_rows(queries)
    for block in blocks(len(candidates), fast_pass.block_size(len(candidates))):
        scores = fast_pass(candidates, block)  # (q, B)
        if not torch.isfinite(scores.sum()):
            check_finite(rows_of(candidates, block, queries.device), "candidates", first + block.start)
        rows = torch.arange(block.start, block.stop, device=queries.device).expand(len(queries), -1)
        scores, rows = torch.cat([best, scores], dim=1), torch.cat([best_rows, rows], dim=1)
        best, kept = scores.topk(min(size, scores.shape[1]), dim=1)
        best_rows = rows.gather(1, kept)
    return best, best_rows


@torch.inference_mode()
def rescore(head: PairFunction, queries: Tensor, candidates: Embeddings, rows: Tensor) -> Tensor:
    """Float32 scores of rows (q, m) of the candidates: (q, m)."""
    q, m = rows.shape
    scores = queries.new_empty(q, m)
    if not m:
        return scores
    for group in blocks(q, max(1, EXACT_BLOCK // m)):
        for part in blocks(m, EXACT_BLOCK):  # a query's rows may be more than a block
            wanted = rows[group, part].reshape(-1)  # (Q m,)
            v = rows_of(candidates, wanted, queries.device)
            left = torch.arange(group.start, group.stop, device=queries.device)
            left = left.repeat_interleave(part.stop - part.start)  # (Q m,)
            right = torch.arange(len(wanted), device=queries.device)
            scores[group, part] = score_pairs(head, queries, v, left, right).reshape(group.stop - group.start, -1)
    return scores
