"""The pair function s(u, v): its weights and, through its kind, its formula in every form that is computed.

A kind decides everything that differs between heads: which weights there are, the formula, the parts that depend on
one sentence only, the fold for many candidates, and how the head is trained. `dse.scoring.kinds` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

Folded = Callable[[Tensor], Tensor]  # from candidates (B, d) to the scores of all queries with them, (q, B) float32


class PairFunction(nn.Module):
    """The learned function of two embeddings.

    Args:
        kind: Its formula.
        embedding_dimension: d, width of an embedding.
        num_labels: C, scores a pair gets.
        hidden_dimension: h, width of the hidden layer of kinds that have one.
        cosine_dimension: How many of the last values of an embedding the cosine is computed of; None takes all. With
            several layers of the backbone side by side, those of the last layer are what its own cosine compares.

    Example:
        >>> from dse.scoring.kinds import KINDS
        >>> function = PairFunction(KINDS["dot"], embedding_dimension=4)
        >>> function.score(torch.ones(2, 4), torch.ones(2, 4)).shape
        torch.Size([2, 1])
    """

    # Each kind has some of these, of its own shapes. The names are those in saved files; a new one gets a line here.
    dense: nn.Linear
    out: nn.Linear
    weight: nn.Parameter
    bias: nn.Parameter
    slope: nn.Parameter
    left: nn.Linear
    right: nn.Linear

    def __init__(
        self,
        kind: Kind,
        embedding_dimension: int,
        num_labels: int = 1,
        hidden_dimension: int = 512,
        cosine_dimension: int | None = None,
    ) -> None:
        super().__init__()
        if cosine_dimension is not None and not 0 < cosine_dimension <= embedding_dimension:
            raise ValueError(
                f"cosine_dimension is {cosine_dimension}; choose 1 to {embedding_dimension}, the embedding's width."
            )
        self.formula = kind
        self.embedding_dimension, self.num_labels = embedding_dimension, num_labels
        self.hidden_dimension, self.cosine_dimension = hidden_dimension, cosine_dimension
        kind.build(self)

    @property
    def symmetric(self) -> bool:
        """Whether s(u, v) = s(v, u) by construction."""
        return self.formula.symmetric

    @property
    def has_one_weight(self) -> bool:
        """Whether a class has one weight and a shift, so that its score is a similarity on another scale."""
        return {name for name, _ in self.named_parameters()} == {"out.weight", "out.bias"} and self.out.in_features == 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def cosine_part(self, embeddings: Tensor) -> Tensor:
        """The values that the cosine is computed of, (..., d) to (..., c)."""
        return embeddings[..., -(self.cosine_dimension or self.embedding_dimension) :]

    def score(self, u: Tensor, v: Tensor) -> Tensor:
        """Raw scores of row-aligned embeddings, written as the formula is.

        Args:
            u: Left embeddings, (..., d).
            v: Right embeddings, (..., d).

        Returns:
            Scores without activation, (..., C).
        """
        return self.formula.score(self, u, v)

    @torch.no_grad()
    def rescale(self, slope: Tensor, shift: Tensor) -> None:
        """Make every score s_c of the head slope_c * s_c + shift_c; both (C,)."""
        self.formula.rescale(self, slope, shift)


class Kind(ABC):
    """One kind of pair head.

    Attributes:
        symmetric: Whether s(u, v) = s(v, u).
        starts_at_random: Whether scores mean nothing before training, so that the head learns the cosine first.
        ignores_length: Whether the lengths of u and v change no score.
    """

    symmetric: ClassVar[bool] = False
    starts_at_random: ClassVar[bool] = False
    ignores_length: ClassVar[bool] = False

    @abstractmethod
    def build(self, head: PairFunction) -> None:
        """Make the weights, from torch's generator. Training may give each any value, also below 0."""

    @abstractmethod
    def score(self, head: PairFunction, u: Tensor, v: Tensor) -> Tensor:
        """The formula: (..., d) and (..., d) to (..., C)."""

    def rescale(self, head: PairFunction, slope: Tensor, shift: Tensor) -> None:
        """See `PairFunction.rescale`."""
        head.out.weight.mul_(slope[:, None])
        head.out.bias.mul_(slope).add_(shift)

    def learning_rate_factor(self, head: PairFunction) -> float:
        """What the head's learning rate is multiplied by.

        AdamW moves every weight by the rate, whatever the gradient; the rate suits a score that adds up 4d weights. One
        that adds up fewer needs no other rate.
        """
        return 1.0

    # Exact scores in float32, from what is computed once per sentence.

    def left_part(self, head: PairFunction, u: Tensor) -> Tensor:
        """All that `exact` needs of left sentences, (m, d) to (m, p); the embeddings, where nothing can be computed."""
        return u

    def right_part(self, head: PairFunction, v: Tensor) -> Tensor:
        """The same of right sentences, (k, d) to (k, r)."""
        return v

    @abstractmethod
    def exact(self, head: PairFunction, left: Tensor, right: Tensor) -> Tensor:
        """Scores of aligned parts, left (B, p) or (p,) and right (B, r), to (B, C)."""

    def product_vectors(self, head: PairFunction, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor] | None:
        """Vectors of left and right sentences, (m, c) and (k, c), whose dot product orders pairs as the score does.

        None where there are no such vectors; one label. A kind that is derived from one that has them says what its own
        are, or None.
        """
        return None

    @abstractmethod
    def fold(self, head: PairFunction, queries: Tensor, dtype: torch.dtype) -> Folded:
        """Scores of queries (q, d) as a function of candidates alone, the products in ``dtype``; one label."""
