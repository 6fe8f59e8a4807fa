"""Scores of pairs in float32, computed once per sentence where they can be.

A score does not depend on the other pairs of the call, bit for bit: see `dse.scoring.products.stable_product`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dse.scoring.head import PairFunction
from dse.scoring.products import Embeddings, as_tensor, blocks, exact_block, rows_of


def check_embeddings(embeddings: Embeddings, head: PairFunction, what: str) -> Tensor:
    """Return embeddings as float32 (n, d) on the head's device.

    Raises:
        ValueError: If the width is not the head's, or a value is NaN or infinite.
    """
    check_width(embeddings, head, what)
    checked = as_tensor(embeddings).to(device=head.device, dtype=torch.float32)
    check_finite(checked, what)
    return checked


def check_width(embeddings: Embeddings, head: PairFunction, what: str) -> None:
    """Refuse what is not (n, d) with the head's d.

    Raises:
        ValueError: If the shape is another one.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != head.embedding_dimension:
        raise ValueError(
            f"{what}: expected embeddings of shape (n, {head.embedding_dimension}), got {tuple(embeddings.shape)}; "
            "embed the sentences with this student."
        )


def check_finite(embeddings: Tensor, what: str, first: int = 0) -> None:
    """Refuse NaN and infinite values; ``first`` is the row number of the first row.

    Raises:
        ValueError: Naming the row.
    """
    # A sum is finite only if all its terms are: one pass, no mask of n x d. Only huge terms overflow in it.
    if torch.isfinite(embeddings.sum()):
        return
    bad = (~torch.isfinite(embeddings).all(dim=1)).nonzero()
    if len(bad):
        row = int(bad[0]) + first
        raise ValueError(f"{what}: the embedding in row {row} holds NaN or infinite values; embed it again.")


@torch.inference_mode()
def score_pairs(head: PairFunction, u: Tensor, v: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Raw scores of pairs, each given as a row of ``u`` and a row of ``v``.

    Args:
        head: The pair head.
        u: Left embeddings, (m, d) float32.
        v: Right embeddings, (k, d) float32; may be the same tensor.
        left: Row of ``u`` of each pair, (n,).
        right: Row of ``v`` of each pair, (n,).

    Returns:
        Scores without activation, (n, C) float32.
    """
    kind = head.formula
    left_parts, right_parts = kind.left_part(head, u), kind.right_part(head, v)  # (m, p), (k, r)  once per sentence
    scores = u.new_empty(len(left), head.num_labels)  # (n, C)
    for block in blocks(len(left), exact_block(u.device)):
        scores[block] = kind.exact(head, left_parts[left[block]], right_parts[right[block]])
    return scores


@torch.inference_mode()
def score_matrix(head: PairFunction, queries: Tensor, candidates: Embeddings) -> Tensor:
    """Raw scores of every query with every candidate.

    Args:
        head: The pair head.
        queries: Embeddings, (q, d) float32.
        candidates: Embeddings, (n, d), of any precision; computed in float32.

    Returns:
        Scores without activation, (q, n, C) float32.

    Raises:
        ValueError: If the width is not the head's, or a candidate holds NaN or infinite values.
    """
    check_width(candidates, head, "candidates")
    kind = head.formula
    left_parts = kind.left_part(head, queries)  # (q, p)
    scores = queries.new_empty(len(queries), len(candidates), head.num_labels)
    for block in blocks(len(candidates), exact_block(queries.device)):
        v = rows_of(candidates, block, queries.device)  # (B, d)
        check_finite(v, "candidates", block.start)
        right_parts = kind.right_part(head, v)  # (B, r)
        for i, left in enumerate(left_parts):
            scores[i, block] = kind.exact(head, left, right_parts)
    return scores
