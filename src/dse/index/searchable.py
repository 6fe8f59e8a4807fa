"""What every index answers alike, in shards or not: `search` and `explain`."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

logger = logging.getLogger(__name__)


class Searchable(ABC):
    """An index that answers queries, and says once what is known of their recall.

    Attributes:
        path: Folder or URI, for what is said.
    """

    path: str

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def search(
        self,
        queries: str | Sequence[str] | np.ndarray | Tensor,
        k: int = 10,
        *,
        where: str | None = None,
        exact: bool = False,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
    ) -> Any:
        """The k best rows of each query; the query is the left sentence of every pair.

        Args:
            queries: A text, several, or embeddings (q, d).
            k: How many rows; fewer come back where the index holds fewer.
            where: Search only rows that meet this condition, in SQL as in `CandidateIndex.delete`. Without calibrated
                promise.
            exact: Score every row, however many the index holds.
            activation_fn: As in `DSE.predict`.

        Returns:
            For one text a list of ``{"id", "score", "text", "metadata"}``, best first; else a list of such lists.

        Raises:
            ValueError: If k is not positive.
            BadDataError: If the condition cannot be read.
        """
        hits = [answer["hits"] for answer in self._answer(queries, k, where, exact, activation_fn)]
        return hits[0] if isinstance(queries, str) else hits

    def explain(
        self,
        query: str | Sequence[str] | np.ndarray | Tensor,
        k: int = 10,
        *,
        where: str | None = None,
        exact: bool = False,
    ) -> Any:
        """As `search`, with how it was answered.

        Returns:
            For one text a dict, else a list of such: ``hits`` (with ``scout_rank``, the place in the shortlist),
            ``mode`` (``exact`` or ``two passes``), ``scored`` rows, ``seconds`` of each step (of several shards the
            slowest one's), and ``promise``, which says what is known of the recall.
        """
        answers = self._answer(query, k, where, exact, None)
        return answers[0] if isinstance(query, str) else answers

    def _answer(self, queries: Any, k: int, where: str | None, exact: bool, activation_fn: Any) -> list[dict[str, Any]]:
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one row.")
        answers = self._answers(queries, k, where, exact, activation_fn)
        if answers and (warning := answers[0]["promise"]["warning"]) and warning not in self._warned:
            self._warned.add(warning)
            logger.warning("%s: %s", self.path, warning)
        return answers

    @abstractmethod
    def _answers(
        self, queries: Any, k: int, where: str | None, exact: bool, activation_fn: Any
    ) -> list[dict[str, Any]]:
        """What `explain` returns for each query."""
