"""The heads without a hidden layer: u' M_c v, and a_c times the dot product or cosine of u and v. One product each."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dse.scoring.head import Folded, Kind, PairFunction
from dse.scoring.products import normalized, stable_product

FIRST_COSINE_SLOPE = 5.0  # a cosine lies between -1 and 1, whatever the width


class Bilinear(Kind):
    """s_c = u' M_c v + b_c."""

    def build(self, head: PairFunction) -> None:
        """M (C, d, d) and b (C,); starts as a scaled dot product, close to how the backbone was trained."""
        d, labels = head.embedding_dimension, head.num_labels
        noise = torch.randn(labels, d, d) / d  # so that the classes differ
        head.weight = nn.Parameter((torch.eye(d) + noise) / math.sqrt(d))
        head.bias = nn.Parameter(torch.zeros(labels))

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        return torch.einsum("...i,cij,...j->...c", u, head.weight, v) + head.bias

    def rescale(self, head: PairFunction, slope: Tensor, shift: Tensor) -> None:
        """Scale M_c and b_c."""
        head.weight.mul_(slope[:, None, None])
        head.bias.mul_(slope).add_(shift)

    def learning_rate_factor(self, head: PairFunction) -> float:
        """4 / d: a score adds up d * d weights, not 4d."""
        return 4 / head.embedding_dimension

    def exact(self, head: PairFunction, u: Tensor, v: Tensor, parts: Tensor) -> Tensor:
        """U' M_c, then its product with v."""
        u = u.expand_as(v)
        classes = [(stable_product(u, m.T) * v).sum(dim=1) for m in head.weight.float()]
        return torch.stack(classes, dim=1) + head.bias.float()  # (B, C)

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """U' M."""
        folded = (queries @ head.weight.float()[0]).to(dtype)  # (q, d)
        return lambda v: torch.add(torch.mm(folded, v.T).float(), head.bias.float())


class Dot(Kind):
    """s_c = a_c (u . v) + b_c."""

    symmetric = True
    has_one_weight = True

    def build(self, head: PairFunction) -> None:
        """a, b (``out``); one label starts with a positive slope: alike sentences score high from the first step on."""
        head.out = nn.Linear(1, head.num_labels)
        if head.num_labels == 1:
            nn.init.constant_(head.out.weight, self.first_slope(head))

    def first_slope(self, head: PairFunction) -> float:
        """A before training."""
        return 1 / math.sqrt(head.embedding_dimension)

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        scores: Tensor = head.out((u * v).sum(dim=-1, keepdim=True))
        return scores

    def exact(self, head: PairFunction, u: Tensor, v: Tensor, parts: Tensor) -> Tensor:
        """The formula in float32."""
        return affine(head, (u * v).sum(dim=1))

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """U alone."""
        folded = queries.to(dtype)  # (q, d)
        return lambda v: affine(head, torch.mm(folded, v.T).float()).squeeze(-1)


class Cosine(Dot):
    """s_c = a_c cos(u, v) + b_c; the cosine with a zero vector is 0."""

    def first_slope(self, head: PairFunction) -> float:
        """See `FIRST_COSINE_SLOPE`."""
        return FIRST_COSINE_SLOPE

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        u, v = head.cosine_part(u), head.cosine_part(v)
        scores: Tensor = head.out(nn.functional.cosine_similarity(u, v, dim=-1).unsqueeze(-1))
        return scores

    def exact(self, head: PairFunction, u: Tensor, v: Tensor, parts: Tensor) -> Tensor:
        """The formula in float32."""
        return affine(head, exact_cosine(head, u, v))

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """U / |u|."""
        cosine = fold_cosine(head, queries, dtype)
        return lambda v: affine(head, cosine(v)).squeeze(-1)


def exact_cosine(head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
    """cos(u, v) of aligned rows in float32: u (B, d) or (d,), v (B, d), to (B,)."""
    return (normalized(head.cosine_part(u)) * normalized(head.cosine_part(v))).sum(dim=1)


def fold_cosine(head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
    """cos(u, v) of queries (q, d) as a function of candidates (B, d), to (q, B)."""
    folded = normalized(head.cosine_part(queries)).to(dtype)  # (q, c)   u / |u|

    def cosine(v: Tensor) -> Tensor:
        v = head.cosine_part(v)
        lengths: Tensor = v.float().norm(dim=1).clamp_min(1e-8)  # (B,)
        return torch.mm(folded, v.T).float() / lengths

    return cosine


def affine(head: PairFunction, similarity: Tensor) -> Tensor:
    """a_c similarity + b_c, (...) to (..., C)."""
    return similarity.unsqueeze(-1) * head.out.weight.float()[:, 0] + head.out.bias.float()
