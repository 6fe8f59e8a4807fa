"""Embeddings that may be asked for again, in bounded memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

OVERHEAD = 300  # bytes of an entry besides its vector: key, array object, place in the dictionary


class Entry(NamedTuple):
    """What is known of a text or a row.

    Attributes:
        vector: Its embedding, (d,).
        tokens: How many tokens the student read; 0 for a row, which was read when it was added.
        cut: Whether the text was longer than the student reads.
    """

    vector: np.ndarray
    tokens: int = 0
    cut: bool = False


class EmbeddingCache:
    """Entries by a key of their content; those that were not asked for the longest go first.

    Used by the event loop's thread alone.

    Args:
        max_bytes: Memory that it may take.

    Example:
        >>> cache = EmbeddingCache(1000)
        >>> cache.put("a", Entry(np.zeros(100, np.float32)))
        >>> cache.put("b", Entry(np.ones(100, np.float32)))
        >>> cache.get("a") is None, cache.get("b").vector.sum(), len(cache)
        (True, np.float32(100.0), 1)
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Entry | None:
        """The entry, which is now the last to go."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, entry: Entry) -> None:
        """Keep an entry, and let others go where it needs their memory."""
        if key in self._entries:
            return
        self._entries[key] = entry
        self.bytes += entry.vector.nbytes + OVERHEAD
        while self.bytes > self.max_bytes:
            _, gone = self._entries.popitem(last=False)
            self.bytes -= gone.vector.nbytes + OVERHEAD


def content_key(prompt: str, text: str) -> bytes:
    """Key of a text behind a prompt.

    Example:
        >>> content_key("", "ab") == content_key("a", "b")
        False
    """
    digest = hashlib.blake2b(f"{len(prompt)} {prompt}".encode(), digest_size=16)
    digest.update(text.encode())
    return digest.digest()
