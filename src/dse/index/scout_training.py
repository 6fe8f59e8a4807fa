"""Training the scout: the pair head teaches its two towers, on rows of the index that play the query.

    p(v | q) = softmax_v (s(q, v) / t_q)                      # t_q: deviation of the query's 32 highest scores
    loss     = KL(p || softmax_v (e^b z_query(q) . z_row(v)))    # b is learned, and not needed afterwards

over a small number of candidates of each query: the rows that the scout itself puts highest, and random ones. Every
round adds new ones, so that the scout learns from rows that it wrongly puts high. Many queries with a small number of
candidates each do better than the reverse.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from dse.index.layout import now
from dse.index.row_scorer import RowScorer
from dse.index.scout import HIDDEN, Scout, Tower

logger = logging.getLogger(__name__)

QUERIES = 4096, 24_576  # rows that play the query: a quarter of the rows, within these bounds
NEAR, RANDOM = 32, 16  # candidates of a query that each round adds
ROUNDS, EPOCHS, BATCH = 3, 2, 32
LEARNING_RATE = 1e-3  # three times as much was worse
SPREAD = 32  # scores whose deviation is the temperature


class _Tower(nn.Module):
    def __init__(self, m: int, p: int) -> None:
        super().__init__()
        self.linear, self.first, self.second = nn.Linear(m, p, bias=False), nn.Linear(m, HIDDEN), nn.Linear(HIDDEN, p)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.second.weight)  # begins as the cosine
        nn.init.zeros_(self.second.bias)

    def forward(self, y: Tensor) -> Tensor:  # (..., m) -> (..., p)
        return nn.functional.normalize(self.linear(y), dim=-1) + cast(Tensor, self.second(torch.relu(self.first(y))))

    def weights(self, c: float) -> Tower:
        """As the scout keeps them: for y not divided by c."""
        w0, w1, b1, w2, b2 = (p.detach().cpu().numpy() for p in self.parameters())
        w0, w1, w2 = (np.ascontiguousarray(w.T) for w in (w0, w1, w2))
        return Tower(w0, w1 / np.float32(c), b1, w2, b2)  # the length of W0 y does not matter


def train_scout(scorer: RowScorer, embeddings: np.ndarray, *, seed: int = 0, show_progress_bar: bool = False) -> Scout:
    """A scout for rows with embeddings like these (n, d), trained by the pair head.

    Args:
        scorer: The student's pair head.
        embeddings: A sample of the rows, (n, d).
        seed: Decides which rows play the query, and how the towers begin.
        show_progress_bar: Whether to show one.

    Example:
        >>> student = getfixture("student")
        >>> rows = np.random.default_rng(0).standard_normal((60, student.head.embedding_dimension))
        >>> train_scout(RowScorer(student.head, None), rows).name.startswith("towers")
        True
    """
    scout = Scout.cosine(embeddings)
    y = scout.reduced(embeddings)  # (n, m)
    c = float(np.sqrt(np.square(y).mean())) or 1.0
    device = next((p.device for p in scorer.head.parameters()), torch.device("cpu"))
    rows = torch.tensor(embeddings, device=device)  # (n, d)

    @torch.no_grad()
    def scores_of(queries: Tensor, candidates: Tensor) -> Tensor:  # (q,), (q, c) -> (q, c)
        pairs = zip(queries, candidates, strict=True)
        return torch.stack([scorer.scores(rows[q].float(), rows[c].float()) for q, c in pairs])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        query, row = (_Tower(y.shape[1], scout.width).to(device) for _ in range(2))
        _train(query, row, torch.from_numpy(y / c).to(device), scores_of, show_progress_bar)
    return Scout(f"towers {scout.width} {now()}", scout.directions, query.weights(c), row.weights(c))


def _train(
    query: _Tower, row: _Tower, y: Tensor, scores_of: Callable[[Tensor, Tensor], Tensor], show_progress_bar: bool
) -> None:
    fewest, most = QUERIES
    queries = torch.randperm(len(y))[: min(most, max(fewest, len(y) // 4))].to(y.device)  # (q,)
    candidates, scores = queries.new_empty(len(queries), 0), y.new_empty(len(queries), 0)  # (q, c)
    scale = nn.Parameter(torch.tensor(3.0, device=y.device))  # b
    parameters = [*query.parameters(), *row.parameters(), scale]
    steps = EPOCHS * -(-len(queries) // BATCH)
    with tqdm(total=ROUNDS * steps, desc="Scout", unit="step", disable=not show_progress_bar) as bar:
        for number in range(ROUNDS):
            new = _mined(query, row, y, queries)
            candidates = torch.cat([candidates, new], dim=1)
            scores = torch.cat([scores, scores_of(queries, new)], dim=1)
            optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
            total = 0.0
            for _ in range(EPOCHS):
                for batch in torch.randperm(len(queries)).to(y.device).split(BATCH):
                    z = row(y[candidates[batch]])  # (B, c, p)
                    predicted = scale.exp() * (z @ query(y[queries[batch]])[:, :, None])[:, :, 0]  # (B, c)
                    loss = _divergence(scores[batch], predicted)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
                    total += float(loss.detach())
                    bar.update()
            logger.info("scout, round %d of %d: divergence %.4f", number + 1, ROUNDS, total / steps)


@torch.no_grad()
def _mined(query: _Tower, row: _Tower, y: Tensor, queries: Tensor) -> Tensor:
    """The rows that the scout puts highest for each query, and random ones: (q,) -> (q, c)."""
    z = torch.cat([row(part) for part in y.split(8192)])  # (n, p)
    near = min(NEAR, len(y))
    highest = torch.cat([(query(y[part]) @ z.T).topk(near, dim=1).indices for part in queries.split(64)])
    return torch.cat([highest, torch.randint(len(y), (len(queries), RANDOM)).to(y.device)], dim=1)


def _divergence(scores: Tensor, predicted: Tensor) -> Tensor:
    """KL of the towers' distribution from that of the pair head; scores of both (B, c), a row per query."""
    spread = scores.topk(min(SPREAD, scores.shape[1]), dim=1).values.std(dim=1, keepdim=True)
    target = torch.log_softmax(scores / spread.clamp_min(1e-6), dim=1)
    return nn.functional.kl_div(torch.log_softmax(predicted, dim=1), target, reduction="batchmean", log_target=True)
