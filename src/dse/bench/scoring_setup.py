"""What the parts of the scoring benchmark share: a fitted head, many candidates, the search, a row of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dse import scoring
from dse.model import DSE
from dse.modules import PairHead

K = 10
NOISE = 0.1  # of each dimension's standard deviation: copies differ, and stay near their sentence


def fit_head(
    student: DSE, embeddings: Tensor, texts: Sequence[str], pairs: Sequence[tuple[str, str]], label: Any
) -> None:
    """Fit the pair head to labels on frozen embeddings: 300 steps of Adam, some seconds."""
    row = {text: i for i, text in enumerate(texts)}
    index = torch.tensor([[row[a], row[b]] for a, b in pairs], device=embeddings.device)
    target = torch.as_tensor(label, dtype=torch.float32, device=embeddings.device)[:, None]
    optimizer = torch.optim.Adam(student.head.parameters(), lr=1e-3)
    embeddings = embeddings.clone()  # out of inference mode
    for _ in range(300):
        batch = torch.randint(len(index), (64,), device=embeddings.device)
        left, right = embeddings[index[batch]].unbind(dim=1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(student.head.score(left, right), target[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def repeated(embeddings: Tensor, n: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Candidates, (n, d): the embeddings over and over, each time with other noise."""
    generator = torch.Generator(device=embeddings.device).manual_seed(seed)
    scale = NOISE * embeddings.std(dim=0)  # (d,)
    rows = torch.empty(n, embeddings.shape[1], dtype=dtype, device=embeddings.device)
    for start in range(0, n, 50_000):
        part = rows[start : start + 50_000]
        source = torch.arange(start, start + len(part), device=embeddings.device) % len(embeddings)
        noise = torch.randn(part.shape, generator=generator, device=embeddings.device)
        part.copy_(noise.mul_(scale).add_(embeddings[source]))
    return rows


def search(head: PairHead, queries: Tensor, candidates: Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """The search for the ten best candidates, to be timed."""
    return lambda: scoring.topk(head, queries, candidates, K, dtype)


def rounds_for(n: int) -> int:
    """Rounds timed with n candidates.

    Where a round takes milliseconds, the rest of the machine disturbs half of the rounds if they are few.
    """
    return min(30, max(5, 300_000 // n))


def row(what: str, queries: int, candidates: int, seconds: float, note: str) -> dict[str, Any]:
    """A row of the benchmark's table."""
    pairs = queries * candidates
    return {
        "what": what,
        "Q": queries,
        "N": f"{candidates:,}",
        "seconds": seconds,
        "pairs/s": pairs / seconds,
        "": note,
    }
