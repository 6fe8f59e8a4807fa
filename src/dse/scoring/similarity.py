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

    def left_part(self, head: PairFunction, u: Tensor) -> Tensor:
        """U' M_c of all classes side by side, (m, C d)."""
        return torch.cat([stable_product(u, m.T) for m in head.weight.float()], dim=1)

    def exact(self, head: PairFunction, left: Tensor, right: Tensor) -> Tensor:
        """Their products with v."""
        classes = [(u * right).sum(dim=1) for u in left.chunk(head.num_labels, dim=-1)]
        return torch.stack(classes, dim=1) + head.bias.float()  # (B, C)

    def product_vectors(self, head: PairFunction, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """U' M, and v."""
        return u @ head.weight.float()[0], v

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """U' M."""
        folded = (queries @ head.weight.float()[0]).to(dtype)  # (q, d)
        return lambda v: torch.add(torch.mm(folded, v.T).float(), head.bias.float())


class Dot(Kind):
    """s_c = a_c (u . v) + b_c."""

    symmetric = True

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

    def exact(self, head: PairFunction, left: Tensor, right: Tensor) -> Tensor:
        """The product of the parts."""
        return affine(head, (left * right).sum(dim=1))

    def product_vectors(self, head: PairFunction, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor] | None:
        """Both as they are, but for the sign of a."""
        return u * head.out.weight.float().sign(), v

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """U alone."""
        folded = queries.to(dtype)  # (q, d)
        return lambda v: affine(head, torch.mm(folded, v.T).float()).squeeze(-1)


class Cosine(Dot):
    """s_c = a_c cos(u, v) + b_c; the cosine with a zero vector is 0."""

    ignores_length = True

    def first_slope(self, head: PairFunction) -> float:
        """See `FIRST_COSINE_SLOPE`."""
        return FIRST_COSINE_SLOPE

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        u, v = head.cosine_part(u), head.cosine_part(v)
        scores: Tensor = head.out(nn.functional.cosine_similarity(u, v, dim=-1).unsqueeze(-1))
        return scores

    def left_part(self, head: PairFunction, u: Tensor) -> Tensor:
        """U / |u|, (m, c)."""
        return normalized(head.cosine_part(u))

    def right_part(self, head: PairFunction, v: Tensor) -> Tensor:
        """V / |v|, (k, c)."""
        return normalized(head.cosine_part(v))

    def product_vectors(self, head: PairFunction, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor] | None:
        """The parts, but for the sign of a."""
        return super().product_vectors(head, self.left_part(head, u), self.right_part(head, v))

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """U / |u|."""
        cosine = fold_cosine(head, queries, dtype)
        return lambda v: affine(head, cosine(v)).squeeze(-1)


class CosineMap(Cosine):
    """s_c = a_c cos(u' + A u' + p, v' + B v' + q) + b_c; u' = u / |u|, v' = v / |v|, of the last values of u and v.

    A, B (d, d) and p, q (d,) start at zero, and the head as the cosine. Each side moves on its own: what is learned is
    that a command answers its description, or a reply a question, where the two are not alike. It stays a cosine of two
    vectors, each made of one sentence. ``left`` is A, p; ``right`` is B, q.
    """

    symmetric = False

    def build(self, head: PairFunction) -> None:
        """A, p, B, q at zero beside the cosine's weights."""
        super().build(head)
        width = head.cosine_dimension or head.embedding_dimension
        head.left, head.right = nn.Linear(width, width), nn.Linear(width, width)
        for weight in (*head.left.parameters(), *head.right.parameters()):
            nn.init.zeros_(weight)

    def learning_rate_factor(self, head: PairFunction) -> float:
        """4 / d: a value of a moved vector adds up d weights, their product d * d."""
        return 4 / head.embedding_dimension

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        u, v = normalized(head.cosine_part(u)), normalized(head.cosine_part(v))
        cosine = nn.functional.cosine_similarity(u + head.left(u), v + head.right(v), dim=-1)
        scores: Tensor = head.out(cosine.unsqueeze(-1))
        return scores

    def left_part(self, head: PairFunction, u: Tensor) -> Tensor:
        """The moved vectors of left sentences, of length one, (m, c)."""
        return _moved(super().left_part(head, u), head.left)

    def right_part(self, head: PairFunction, v: Tensor) -> Tensor:
        """The moved vectors of right sentences, of length one, (k, c)."""
        return _moved(super().right_part(head, v), head.right)

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """The queries' moved vectors; each candidate is moved once, for all queries of the pass."""
        folded = self.left_part(head, queries).to(dtype)  # (q, c)
        weight, shift = head.right.weight.to(dtype), head.right.bias.float()

        def scores(v: Tensor) -> Tensor:
            v = normalized(head.cosine_part(v).float())
            moved = v + torch.mm(v.to(dtype), weight.T).float() + shift  # (B, c)   only B v' is rounded
            return affine(head, torch.mm(folded, normalized(moved).to(dtype).T).float()).squeeze(-1)

        return scores


def _moved(x: Tensor, linear: nn.Linear) -> Tensor:
    """X + A x + p, brought to length one."""
    return normalized(x + stable_product(x, linear.weight.float()) + linear.bias.float())


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
