"""How many tokens texts have, counted before anything is encoded."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

from dse.model import DSE


class TokenCounter:
    """Counts as the student's tokenizer does, with a copy of it: that of the student may be at work.

    Args:
        student: The student.

    Example:
        >>> counter = TokenCounter(getfixture("student"))
        >>> counter.count(["a red bicycle"]), counter.limit
        ([5], 64)
    """

    def __init__(self, student: DSE) -> None:
        self.limit: int = student.max_seq_length or 2**31
        self._tokenizer: Any = copy.deepcopy(student.tokenizer)
        self._tokenizer.model_max_length = 2**31  # it would warn of every longer text
        self._lock = threading.Lock()  # a tokenizer serves one thread at a time

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, none left out."""
        with self._lock:
            ids = self._tokenizer(list(texts), truncation=False, padding=False, return_attention_mask=False)
        return [len(row) for row in ids["input_ids"]]
