"""The heads with a hidden layer.

    W1 [u, v, u*v, |u-v|] + b1 = (Wu u + b1) + Wv v + Wp (u*v) + Wd |u-v|

Wu u + b1 and Wv v depend on one sentence only and are computed once per sentence. For one query u against many
candidates v, with |u-v| = 2 max(u,v) - u - v,

    W1 [u, v, u*v, |u-v|] + b1 = (Wu u + b1 - Wd u) + (Wv + Wp diag(u) - Wd) v + 2 Wd max(u,v)
                               =        c_u         +           F_u v          +   M max(u,v)

c_u and F_u are made once per query (the fold); per pair two matrix products of d x h are left, where the head written
plainly takes four and builds a row of 4d features. The maximum reads v once where |u-v| reads it twice, and it rounds
nothing. The symmetric head has Wu = Wv.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dse.scoring import kernels
from dse.scoring.head import Folded, Kind, PairFunction
from dse.scoring.products import normalized, stable_product
from dse.scoring.similarity import FIRST_COSINE_SLOPE, fold_cosine


class MLP(Kind):
    """The paper's head, s = W2 relu(W1 [u, v, u*v, |u-v|] + b1) + b2."""

    starts_at_random = True
    features = 4  # of W1, each d wide

    def build(self, head: PairFunction) -> None:
        """W1, b1 (``dense``) and W2, b2 (``out``)."""
        head.dense = nn.Linear(self.features * head.embedding_dimension, head.hidden_dimension)
        head.out = nn.Linear(head.hidden_dimension, head.num_labels)

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        x = torch.cat([u, v, u * v, (u - v).abs()], dim=-1)  # (..., 4d)
        scores: Tensor = head.out(torch.relu(head.dense(x)))
        return scores

    def weights(self, head: PairFunction) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Wu, Wv, Wp, Wd, each (h, d): the columns of W1 that meet u, v, u*v and |u-v|."""
        wu, wv, wp, wd = head.dense.weight.float().chunk(4, dim=1)
        return wu, wv, wp, wd

    def left_part(self, head: PairFunction, u: Tensor) -> Tensor:
        """U, and Wu u + b1."""
        return torch.cat([u, stable_product(u, self.weights(head)[0]) + head.dense.bias.float()], dim=1)  # (m, d + h)

    def right_part(self, head: PairFunction, v: Tensor) -> Tensor:
        """V, and Wv v."""
        return torch.cat([v, stable_product(v, self.weights(head)[1])], dim=1)  # (k, d + h)

    def exact(self, head: PairFunction, left: Tensor, right: Tensor) -> Tensor:
        """W2 relu(Wu u + b1 + Wv v + Wp (u*v) + Wd |u-v|) + b2."""
        _, _, wp, wd = self.weights(head)
        sizes = [head.embedding_dimension, head.hidden_dimension]
        (u, of_u), (v, of_v) = left.split(sizes, dim=-1), right.split(sizes, dim=-1)
        hidden = of_u + of_v  # (B, h)   Wu u + b1 + Wv v
        hidden += stable_product(u * v, wp)
        hidden += stable_product((v - u).abs_(), wd)
        return stable_product(hidden.relu_(), head.out.weight.float()) + head.out.bias.float()  # (B, C)

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """c_u, F_u and M."""
        return FoldedMLP(head, self.weights(head), queries, dtype)


class SymmetricMLP(MLP):
    """s = W2 relu(W1 [u+v, u*v, |u-v|] + b1) + b2: the same columns of W1 meet u and v."""

    symmetric = True
    features = 3

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        x = torch.cat([u + v, u * v, (u - v).abs()], dim=-1)  # (..., 3d)
        scores: Tensor = head.out(torch.relu(head.dense(x)))
        return scores

    def weights(self, head: PairFunction) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Wu, Wv, Wp, Wd, each (h, d), with Wu = Wv."""
        wu, wp, wd = head.dense.weight.float().chunk(3, dim=1)
        return wu, wu, wp, wd


class CosineMLP(MLP):
    """s_c = a_c cos(u', v') + W2 relu(W1 [u, v, u*v, |u-v|] + b1) + b2; u', v': the last values of u and v.

    The mlp's output starts at zero, so the head starts as the cosine for which sentence encoders are trained, and the
    mlp learns what the cosine misses. ``dense``, ``out`` are the mlp, ``slope`` is a.
    """

    starts_at_random = False  # nothing has to learn the cosine first

    def build(self, head: PairFunction) -> None:
        """W1, b1 at random, W2, b2 at zero, a at 5 as in the cosine head."""
        super().build(head)
        nn.init.zeros_(head.out.weight)
        nn.init.zeros_(head.out.bias)
        head.slope = nn.Parameter(torch.full((head.num_labels,), FIRST_COSINE_SLOPE))

    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula."""
        cosine = nn.functional.cosine_similarity(head.cosine_part(u), head.cosine_part(v), dim=-1)
        return super().score(head, u, v) + cosine.unsqueeze(-1) * head.slope

    def rescale(self, head: PairFunction, slope: Tensor, shift: Tensor) -> None:
        """Scale a too."""
        super().rescale(head, slope, shift)
        head.slope.mul_(slope)

    def left_part(self, head: PairFunction, u: Tensor) -> Tensor:
        """The mlp's, and u' / |u'|."""
        return torch.cat([super().left_part(head, u), normalized(head.cosine_part(u))], dim=1)  # (m, d + h + c)

    def right_part(self, head: PairFunction, v: Tensor) -> Tensor:
        """The mlp's, and v' / |v'|."""
        return torch.cat([super().right_part(head, v), normalized(head.cosine_part(v))], dim=1)  # (k, d + h + c)

    def exact(self, head: PairFunction, left: Tensor, right: Tensor) -> Tensor:
        """The mlp's exact score and the cosine's."""
        width = head.embedding_dimension + head.hidden_dimension
        cosine = (left[..., width:] * right[:, width:]).sum(dim=1, keepdim=True)
        return super().exact(head, left[..., :width], right[:, :width]) + cosine * head.slope.float()

    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """The mlp's fold, and u' / |u'|: one more product, a quarter as wide where four layers stand side by side."""
        mlp, cosine = super().fold(head, queries, dtype), fold_cosine(head, queries, dtype)
        return lambda v: mlp(v).add_(cosine(v), alpha=float(head.slope[0]))


class FoldedMLP:
    """Scores of queries with candidates from c_u, F_u and M (see the top of this file)."""

    def __init__(
        self, head: PairFunction, weights: tuple[Tensor, Tensor, Tensor, Tensor], queries: Tensor, dtype: torch.dtype
    ) -> None:
        self.head = head
        wu, wv, wp, wd = weights  # (h, d) each
        self.u, wd = queries.to(dtype), wd.to(dtype)  # rounded before they are used: max(u,v) meets the same u
        c = torch.addmm(head.dense.bias.float(), queries, wu.T)
        self.c = c.addmm_(self.u.float(), wd.float().T, alpha=-1)  # (q, h)   c_u
        self.folded = torch.empty(len(queries), *wv.shape, dtype=dtype, device=queries.device)  # (q, h, d)
        rest = wv - wd
        for i, u in enumerate(queries):
            self.folded[i] = torch.addcmul(rest, wp, u)  # F_u = Wv + Wp diag(u) - Wd
        self.m, self.w2 = 2 * wd, head.out.weight.float()[0]  # (h, d), (h,)
        self.constant = self.c @ self.w2 + head.out.bias.float()  # (q,)   W2 c_u + b2
        self.buffers: tuple[Tensor, ...] = ()

    def __call__(self, v: Tensor) -> Tensor:
        """(B, d) to (q, B)."""
        if kernels.fits(v):
            return kernels.fused_scores(v, self.u, self.folded, self.c, self.m, self.head)
        larger, hidden, wide = self._reused(v)
        scores = torch.empty(len(self.u), len(v), device=v.device)  # (q, B)
        for i, (u, folded) in enumerate(zip(self.u, self.folded, strict=True)):
            torch.mm(v, folded.T, out=hidden)  # (B, h)   F_u v; a product that begins with c_u takes a fifth longer
            hidden.addmm_(torch.maximum(v, u, out=larger), self.m.T)  # M max(u,v)
            # W2 relu(c_u + x) = W2 max(x, -c_u) + W2 c_u
            torch.mv(torch.maximum(wide.copy_(hidden), -self.c[i], out=wide), self.w2, out=scores[i])
        return scores.add_(self.constant[:, None])

    def _reused(self, v: Tensor) -> list[Tensor]:
        """Memory for max(u,v) (B, d), the hidden layer (B, h) and its float32 copy.

        It is allocated once: allocating it for every block takes as long as one of the products.
        """
        if not self.buffers or len(self.buffers[0]) < len(v):
            hidden = v.new_empty(len(v), len(self.m))
            wide = hidden if hidden.dtype == torch.float32 else torch.empty_like(hidden, dtype=torch.float32)
            self.buffers = torch.empty_like(v), hidden, wide
        return [buffer[: len(v)] for buffer in self.buffers]
