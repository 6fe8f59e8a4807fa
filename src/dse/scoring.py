"""Exact scores of many pairs from embeddings.

Written as in the paper, the head builds a row of 4d features for every pair. Here the first layer is *folded*:

    W1 [u, v, u*v, |u-v|] + b1 = (Wu u + b1) + Wv v + Wp (u*v) + Wd |u-v|
                               = c_u + (Wv + Wp diag(u)) v + Wd |u-v|

c_u and Wv v depend on one sentence only and are computed once for it; for one query against many candidates the
product term becomes a plain matrix product. Memory is bounded by the block size, never by the number of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dse.modules import PairHead

BLOCK = 4096  # pairs held at a time: at d = 1536 two float32 temporaries of 24 MiB


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def check_embeddings(embeddings: Tensor, head: PairHead, what: str) -> Tensor:
    """Return embeddings as float32 (n, d) on the head's device.

    Raises:
        ValueError: If the width is not the head's, or a value is NaN or infinite.
    """
    device = next(head.parameters()).device
    if embeddings.ndim != 2 or embeddings.shape[1] != head.embedding_dimension:
        raise ValueError(
            f"{what}: expected embeddings of shape (n, {head.embedding_dimension}), got {tuple(embeddings.shape)}; "
            "embed the sentences with this student."
        )
    embeddings = embeddings.to(device=device, dtype=torch.float32)
    bad = ~torch.isfinite(embeddings).all(dim=1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(f"{what}: the embedding in row {row} holds NaN or infinite values; embed it again.")
    return embeddings


def _split(head: PairHead) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Wu, Wv, Wp, Wd, each (h, d): the columns of W1 that meet u, v, u*v and |u-v|."""
    blocks = head.dense.weight.float().chunk(4 if head.kind == "mlp" else 3, dim=1)
    if head.kind == "mlp":
        wu, wv, wp, wd = blocks
    else:  # [u+v, u*v, |u-v|]: the same columns meet u and v
        wu, wp, wd = blocks
        wv = wu
    return wu, wv, wp, wd


@torch.inference_mode()
def score_pairs(head: PairHead, u: Tensor, v: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Raw scores of pairs, each given as a row of ``u`` and a row of ``v``.

    Args:
        head: The pair head.
        u: Left embeddings, (m, d).
        v: Right embeddings, (k, d); may be the same tensor.
        left: Row of ``u`` of each pair, (n,).
        right: Row of ``v`` of each pair, (n,).

    Returns:
        Scores without activation, (n, C).
    """
    scores = u.new_empty(len(left), head.num_labels)  # (n, C)
    if head.kind not in ("mlp", "mlp-symmetric"):
        head = _float_head(head)
        for block in _blocks(len(left)):
            scores[block] = head.score(u[left[block]], v[right[block]])
        return scores
    wu, wv, wp, wd = _split(head)
    of_u = torch.addmm(head.dense.bias.float(), u, wu.T)  # (m, h)  once per sentence
    of_v = v @ wv.T  # (k, h)
    for block in _blocks(len(left)):
        i, j = left[block], right[block]
        a, b = u[i], v[j]  # (B, d)
        hidden = of_u[i] + of_v[j]  # (B, h)
        hidden.addmm_(a * b, wp.T).addmm_((a - b).abs_(), wd.T).relu_()
        scores[block] = _output(head, hidden)
    return scores


def _output(head: PairHead, hidden: Tensor) -> Tensor:
    return torch.addmm(head.out.bias.float(), hidden, head.out.weight.float().T)  # (B, C)


def _float_head(head: PairHead) -> PairHead:
    if next(head.parameters()).dtype == torch.float32:
        return head
    clone = PairHead(**head.get_config_dict())
    clone.load_state_dict(head.state_dict())
    return clone.to(next(head.parameters()).device)


class Scorer:
    """Scores queries against candidates block by block, with everything folded that can be.

    Args:
        head: The pair head.
        queries: Embeddings, (q, d).
    """

    def __init__(self, head: PairHead, queries: Tensor) -> None:
        self.head = _float_head(head)
        self.queries = queries
        if head.kind in ("mlp", "mlp-symmetric"):
            wu, self.wv, self.wp, self.wd = _split(head)
            self.c = torch.addmm(head.dense.bias.float(), queries, wu.T)  # (q, h)

    @torch.inference_mode()
    def block(self, candidates: Tensor) -> Tensor:
        """Raw scores of all queries against a block of candidates (B, d): (q, B, C)."""
        head, q = self.head, self.queries
        scores: Tensor
        if head.kind in ("mlp", "mlp-symmetric"):
            scores = candidates.new_empty(len(q), len(candidates), head.num_labels)  # not stack: there may be no query
            for i in range(len(q)):
                scores[i] = self._mlp(i, candidates)
        elif head.kind == "bilinear":  # u' M_c v
            scores = torch.einsum("qi,cij,bj->qbc", q, head.weight, candidates) + head.bias
        else:
            if head.kind == "cosine":
                normalize = torch.nn.functional.normalize
                q, candidates = normalize(q, dim=1, eps=1e-8), normalize(candidates, dim=1, eps=1e-8)
            scores = head.out((q @ candidates.T).unsqueeze(-1))
        return scores

    def _mlp(self, i: int, v: Tensor) -> Tensor:
        u = self.queries[i]  # (d,)
        folded = self.wv + self.wp * u  # (h, d)   Wv + Wp diag(u)
        hidden = torch.addmm(self.c[i], v, folded.T)  # (B, h)
        hidden.addmm_((v - u).abs_(), self.wd.T).relu_()
        return _output(self.head, hidden)


@torch.inference_mode()
def score_matrix(head: PairHead, queries: Tensor, candidates: Tensor) -> Tensor:
    """Raw scores of every query with every candidate.

    Args:
        head: The pair head.
        queries: Embeddings, (q, d).
        candidates: Embeddings, (n, d).

    Returns:
        Scores without activation, (q, n, C).
    """
    scorer = Scorer(head, queries)
    scores = queries.new_empty(len(queries), len(candidates), head.num_labels)
    for block in _blocks(len(candidates)):
        scores[:, block] = scorer.block(candidates[block])
    return scores


@torch.inference_mode()
def topk(head: PairHead, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best candidates of each query; holds O(q k + q block) scores, never q x n.

    Args:
        head: The pair head; one label.
        queries: Embeddings, (q, d).
        candidates: Embeddings, (n, d).
        k: How many; at most n come back.

    Returns:
        Raw scores (q, k), best first, and rows of ``candidates`` (q, k). Equal scores keep the candidates' order.
    """
    scorer = Scorer(head, queries)
    best = queries.new_empty(len(queries), 0)  # (q, <=k)
    rows = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for block in _blocks(len(candidates)):
        scores = torch.cat([best, scorer.block(candidates[block]).squeeze(-1)], dim=1)
        here = torch.arange(block.start, block.stop, device=queries.device).expand(len(queries), -1)
        rows = torch.cat([rows, here], dim=1)
        # A stable sort: earlier candidates stand first, so ties come back in their order whatever the block size.
        best, order = scores.sort(dim=1, descending=True, stable=True)
        best, rows = best[:, :k], rows.gather(1, order[:, :k])
    return best, rows
