"""The processes that `torchrun` or `accelerate launch` start, the ranks: each does a part, and all hold the result.

Inside `together` they work as one; everywhere else each is on its own, as a call that only one of them makes would wait
for the others for ever. What decides the next step is computed by the first and told to the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = timedelta(days=1)  # of a rank that waits for the others: for a teacher's scores, say


@dataclass(frozen=True)
class Ranks:
    """This process among the others.

    Attributes:
        rank: Its number.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Those items that are this process's: every count-th."""
        return items[self.rank :: self.count]

    def spread(self, function: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R]:
        """Results of a function of many items, each computed by one process, for all in the order of the items."""
        if self.count == 1:
            return list(function(items))
        own = self.part(items)
        parts = self._exchanged(lambda: list(function(own)) if len(own) else [])
        return [parts[place % self.count][place // self.count] for place in range(len(items))]

    def from_first(self, function: Callable[[], R]) -> R:
        """What the first process computes, for all; meanwhile it is on its own."""
        if self.count == 1:
            return function()

        def alone() -> R | None:
            token = _here.set(Ranks())
            try:
                return function() if self.first else None
            finally:
                _here.reset(token)

        result: R = self._exchanged(alone)[0]
        return result

    def _exchanged(self, function: Callable[[], Any]) -> list[Any]:
        """The results of all processes; the first error, in all of them."""
        from torch import distributed

        try:
            own = (True, function())
        except Exception as error:
            own = (False, error)
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, own)
        for worked, result in found:
            if not worked:
                raise result
        return [result for _, result in found]

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()

    def joined(self, own: Tensor, total: int) -> Tensor:
        """The rows of all processes, (total, d), of each one's part; gradients reach the own ones."""
        if self.count == 1:
            return own
        import torch
        from torch import distributed

        rows = -(-total // self.count)
        sent = own.new_zeros(rows, own.shape[1])
        sent[: len(own)] = own.detach()
        found = [torch.empty_like(sent) for _ in range(self.count)]
        distributed.all_gather(found, sent)
        whole = torch.stack(found, dim=1).reshape(-1, own.shape[1])[:total].clone()  # row i of process i % count
        whole[self.rank :: self.count] = own
        return whole

    def add_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Let every process have the sum of the gradients of all."""
        if self.count == 1:
            return
        import torch
        from torch import distributed

        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            distributed.all_reduce(weight.grad)


_here: ContextVar[Ranks] = ContextVar("ranks", default=Ranks())  # noqa: B039


def ranks() -> Ranks:
    """This process among those that work together here; alone outside `together`."""
    return _here.get()


@contextmanager
def together() -> Iterator[Ranks]:
    """Work with the other processes that `torchrun` or `accelerate launch` started, if there are any.

    Example:
        >>> with together() as ranks:
        ...     ranks.count, ranks.spread(lambda texts: [text.upper() for text in texts], ["a", "b"])
        (1, ['A', 'B'])
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or _here.get().count > 1:
        yield _here.get()
        return
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    token = _here.set(Ranks(distributed.get_rank(), count))
    try:
        yield _here.get()
    finally:
        _here.reset(token)
