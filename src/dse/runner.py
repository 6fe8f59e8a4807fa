"""Where the shards of a long job are computed: here, or on workers elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Run(Protocol):
    """Applies a function to tasks and yields the results in their order.

    The builtin `map` does it here; `dse.scale.ray_map` on the workers of a Ray cluster.
    """

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        """Results in the order of the tasks."""
