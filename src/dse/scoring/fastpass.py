"""The fast pass: scores of all candidates for a few queries, with everything folded that can be.

What is folded is the business of the head's kind: see `dse.scoring.mlp` and `dse.scoring.similarity`.
"""

from __future__ import annotations

import logging
import time
from functools import cache

import torch
from torch import Tensor

from dse.scoring.head import PairFunction
from dse.scoring.kinds import KINDS
from dse.scoring.mlp import MLP
from dse.scoring.products import Embeddings, as_tensor

logger = logging.getLogger(__name__)

BLOCK = 4096  # candidates at a time where there are too few of them to measure what is best
MEASURE_FROM = 100_000  # candidates from which it pays to measure: that takes about as long as scoring 20,000
LARGEST = 2**30  # bytes of a block: those of candidates that do not lie on the GPU are copied there


class FastPass:
    """Scores of queries against blocks of candidates.

    Args:
        head: The pair head; one label.
        queries: Embeddings, (q, d) float32.
        dtype: Of the matrix products; they add up in float32.
    """

    @torch.inference_mode()
    def __init__(self, head: PairFunction, queries: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.head, self.queries, self.dtype = head, queries, dtype
        self.scores_with = head.formula.fold(head, queries, dtype)

    @torch.inference_mode()
    def __call__(self, candidates: Embeddings, block: slice) -> Tensor:
        """Raw scores of the queries with one block of the candidates: (q, B) float32."""
        return self.scores_with(self._read(candidates, block))

    def _read(self, candidates: Embeddings, block: slice) -> Tensor:
        return as_tensor(candidates[block]).to(self.queries.device, self.dtype)

    def block_size(self, n: int) -> int:
        """How many of n candidates to take at a time: what this machine does fastest, measured once per process."""
        if n < MEASURE_FROM or not isinstance(self.head.formula, MLP):
            return BLOCK
        d, h = self.head.embedding_dimension, self.head.hidden_dimension
        return _measured_block(d, h, self.dtype, self.queries.device, torch.get_num_threads())


@cache
def _measured_block(d: int, h: int, dtype: torch.dtype, device: torch.device, threads: int) -> int:
    """The block size with the most candidates a second: large products run best, but a block must stay in the cache."""
    head = PairFunction(KINDS["mlp"], d, hidden_dimension=h).to(device)
    offered = (512, 1024, 2048, 4096) if device.type == "cpu" else (16_384, 65_536, 262_144)
    sizes = [size for size in offered if size * d * dtype.itemsize <= LARGEST] or [offered[0]]
    candidates = torch.randn(max(sizes), d, device=device, dtype=dtype)
    fast_pass = FastPass(head, torch.randn(1, d, device=device), dtype)
    rates = dict.fromkeys(sizes, 0.0)
    for size in sizes * 2:  # twice, apart: what else the machine does should not decide
        _wait(device)
        start = time.perf_counter()
        fast_pass(candidates, slice(0, size))
        _wait(device)
        rates[size] = max(rates[size], size / (time.perf_counter() - start))
    best = max(rates, key=lambda size: rates[size])
    logger.debug("blocks of %d candidates are fastest here: %s a second", best, rates)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
