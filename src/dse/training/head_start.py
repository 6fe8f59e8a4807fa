"""The head start: fit the pair head alone, on frozen embeddings, before everything trains.

A head at random sends random gradients into a backbone that is already trained; fitted first, it lets the backbone
keep what it learned (linear probing, then fine-tuning: Kumar et al., ICLR 2022, arXiv:2202.10054). A head with a
hidden layer does not contain the cosine of two vectors, for which sentence encoders are trained; it learns that before
the task.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from sentence_transformers.sentence_transformer.modules import Dense
from sentence_transformers.util import semantic_search
from torch import Tensor, nn
from torch.nn import functional as F

from dse.data.mining import NEAR
from dse.model import DSE
from dse.modules import LayerConcat, PairHead
from dse.training.losses import TARGETS, DistillationLoss
from dse.training.settings import Training

logger = logging.getLogger(__name__)

ROWS = 8_192  # of the training rows, read once without gradients
BATCH = 32
RIDGE = 1e-4  # on the squared slope of standardised scores
PASSES = 3  # over those rows at most: with more the head overfits them


def head_start_rows(rows: int, seed: int) -> np.ndarray:
    """The training rows that the head is fitted to, at most `ROWS` of them, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:ROWS])


def settings_for_head(training: Training, student: DSE) -> Training:
    """The settings with the learning rate that suits the student's head: AdamW moves every weight by about the rate.

    A bilinear score u' M v adds up d * d weights, a hidden unit of the mlp 4d: at the mlp's rate M would diverge.
    """
    factor = student.head.formula.learning_rate_factor(student.head)
    if factor == 1:
        return training
    return replace(training, head_learning_rate=factor * training.head_rate(cast(Any, student.config).hidden_size))


def is_final(head: PairHead) -> bool:
    """Whether the head start fits a head completely: it is one scale of a similarity per class.

    Such a head is held while the student trains, so that the embeddings change and not their scale.
    """
    return head.has_one_weight


def start_student_head(student: DSE, dataset: Any, loss: DistillationLoss, training: Training) -> None:
    """Fit the pair head of a student to a sample of the rows, on the embeddings of the student as it is.

    Args:
        student: Its head is changed, its backbone is not.
        dataset: The training rows, as `dse.training.distill` makes them.
        loss: What the head is fitted by.
        training: `Training.head_steps`, `Training.cosine_steps`, rate, weight decay and seed.
    """
    rows = head_start_rows(len(dataset), training.seed)
    sample = dataset[rows]
    labels = {name: torch.tensor(sample[name]) for name in TARGETS if name in sample}
    texts = [*sample["sentence1"], *sample["sentence2"]]
    logger.info("pair head: fitted first, on embeddings of %d pairs", len(rows))
    embeddings = student.embed_texts(texts, show_progress_bar=False)
    left, right = embeddings.float().clone().split(len(rows))  # (n, d) each, out of inference mode
    head, width = student.head, cast(Any, student.config).hidden_size

    def total(scores: Tensor, batch: Tensor | slice = slice(None)) -> Tensor:
        terms = loss.terms(scores, {name: value[batch].to(scores.device) for name, value in labels.items()})
        return torch.stack(list(terms.values())).sum()

    def mean_loss(batch: Tensor) -> Tensor:
        u, v = (F.dropout(side[batch], head.dropout) for side in (left, right))  # (b, d)
        return total(head.score(u, v), batch)

    informative = not head.formula.starts_at_random  # whether its scores mean anything before it is fitted
    if not informative and training.cosine_steps and training.head_rate(width):
        fit_cosine(head, left, right, training, width, _last_layer(student))
        informative = True
    if informative:
        with torch.no_grad():
            blocks = zip(left.split(BATCH), right.split(BATCH), strict=True)
            scores = torch.cat([head.score(u, v) for u, v in blocks])  # (n, C)
        head.rescale(*fit_scale(scores, total))
    if not is_final(head):
        fit_head(head.parameters(), mean_loss, len(rows), training, width)


def fit_head(
    parameters: Iterable[nn.Parameter], loss: Callable[[Tensor], Tensor], rows: int, training: Training, width: int
) -> None:
    """Fit a head by AdamW with a linearly falling rate. The global random state is left as it was.

    Args:
        parameters: Of the head.
        loss: From indices of rows (b,) to their mean loss, with gradients to the parameters.
        rows: n, how many rows there are.
        training: Steps, rate, weight decay, and the seed of the order of the rows and of dropout.
        width: Of the backbone, on which the rate may depend.

    Example:
        >>> x, layer = torch.randn(64, 3), nn.Linear(3, 1)
        >>> loss = lambda rows: (layer(x[rows])[:, 0] - x[rows].sum(dim=1)).square().mean()
        >>> before = float(loss(torch.arange(64)).detach())
        >>> fit_head(layer.parameters(), loss, 64, Training(head_steps=100, head_learning_rate=0.1), width=384)
        >>> float(loss(torch.arange(64)).detach()) < before
        True
    """
    steps = min(training.head_steps, math.ceil(PASSES * rows / BATCH))
    rate = training.head_rate(width)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=max(1, steps))
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(training.seed)
        for _ in range(steps):
            value = loss(torch.randint(rows, (min(BATCH, rows),)))
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    optimizer.zero_grad()


def _last_layer(student: DSE) -> int:
    """How many of the last values of an embedding are those of the last layer; a projection mixes the layers: all."""
    layers = [module for module in student.children() if isinstance(module, LayerConcat)]
    if not layers or any(isinstance(module, Dense) for module in student.children()):
        return student.head.embedding_dimension
    return layers[0].hidden_dimension


def fit_cosine(
    head: PairHead, left: Tensor, right: Tensor, training: Training, width: int, last: int | None = None
) -> None:
    """Teach an mlp head the cosine of the backbone, on the given pairs and on sentences beside their nearest ones.

    Trained on a small set of labels alone, such a head is less accurate than the plain cosine of the backbone. No
    labels are read: every class learns the same, and `fit_scale` then gives each a slope and a shift for the task.

    Args:
        head: One with a hidden layer.
        left: Embeddings of the first sentences, (n, d).
        right: Embeddings of the second sentences, (n, d).
        training: `Training.cosine_steps`, rate, weight decay and seed.
        width: Of the backbone, on which the rate may depend.
        last: How many of the last values the cosine is computed of: those of the last layer, by which sentence encoders
            are trained; None takes all.

    Example:
        >>> u, v = torch.randn(64, 8), torch.randn(64, 8)
        >>> head = PairHead(embedding_dimension=8, hidden_dimension=32, dropout=0.0)
        >>> fit_cosine(head, u, v, Training(cosine_steps=200, head_learning_rate=0.01), width=8)
        >>> learned, cosine = head.score(u, v)[:, 0].sigmoid(), F.cosine_similarity(u, v).clamp(0, 1)
        >>> torch.corrcoef(torch.stack([learned, cosine]))[0, 1].item() > 0.5
        True
    """
    (left, i), (right, j) = _distinct(left), _distinct(right)  # repeated sentences count once
    a, b = (side[:, -(last or side.shape[1]) :] for side in (left, right))  # (n, H)
    neighbours = semantic_search(a, b, top_k=NEAR)
    near = [(row, int(hit["corpus_id"])) for row, hits in enumerate(neighbours) for hit in hits]
    rows = list(dict.fromkeys([*zip(i, j, strict=True), *near]))
    first, second = torch.tensor(rows, device=a.device).unbind(dim=1)  # (m,) each
    cosine = F.cosine_similarity(a[first], b[second]).clamp(0, 1)  # (m,)

    def loss(batch: Tensor) -> Tensor:
        batch = batch.to(a.device)
        u, v = F.dropout(left[first[batch]], head.dropout), F.dropout(right[second[batch]], head.dropout)  # (b, d)
        scores = head.score(u, v)  # (b, C)
        return F.binary_cross_entropy_with_logits(scores, cosine[batch].unsqueeze(1).expand_as(scores))

    fit_head(head.parameters(), loss, len(rows), replace(training, head_steps=training.cosine_steps), width)


def _distinct(vectors: Tensor) -> tuple[Tensor, list[int]]:
    """The different rows of (n, d), and which of them each row is."""
    _, first, which = np.unique(vectors.cpu().numpy(), axis=0, return_index=True, return_inverse=True)
    return vectors[torch.from_numpy(first).to(vectors.device)], which.reshape(-1).tolist()


def fit_scale(scores: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The slope and shift of each class that give scores the smallest loss; it is convex in both.

    Args:
        scores: Of a head before training, (n, C).
        loss: From scores (n, C) to their mean loss.

    Returns:
        Slopes and shifts, (C,) each: slope * scores + shift has the smallest loss.

    Example:
        >>> scores, target = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[9.0], [7.0], [3.0]])
        >>> slope, shift = fit_scale(scores, lambda s: (s - target).square().mean())
        >>> round(slope.item(), 1), round(shift.item(), 1)
        (-2.0, 11.0)
    """
    scores = scores.detach()
    mean, std = scores.mean(dim=0), scores.std(dim=0, correction=0).clamp_min(1e-6)  # (C,)
    scaled = (scores - mean) / std  # (n, C)
    slope, shift = torch.ones_like(mean, requires_grad=True), torch.zeros_like(mean, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, shift], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # The ridge keeps the slope finite where the scores separate the classes.
        value = loss(slope * scaled + shift) + RIDGE * slope.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    slope, shift = slope.detach() / std, shift.detach()
    return slope, shift - slope * mean
