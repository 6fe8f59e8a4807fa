"""A student and its index as requests use them. A reload makes a new one; requests keep the one they began with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.serve.batching import Sentence, SentenceQueue
from dse.serve.cache import EmbeddingCache, Entry, content_key
from dse.serve.errors import RequestError
from dse.serve.metrics import Metrics
from dse.serve.settings import Settings
from dse.serve.students import as_served
from dse.serve.threads import Threads

if TYPE_CHECKING:
    from dse.index.shards.sharded_index import AnyIndex
    from dse.model import DSE


@dataclass(frozen=True)
class Embedded:
    """Embeddings of the texts of a request.

    Attributes:
        vectors: (n, d) float32.
        tokens: How many tokens the student has read of them.
        hits: How many were in the cache.
        cut: Places of the texts that were longer than it reads.
    """

    vectors: np.ndarray
    tokens: int
    hits: int
    cut: list[int]

    def __len__(self) -> int:
        return len(self.vectors)


class Serving:
    """A student, and an index that it made.

    Args:
        name: Of the model, as responses give it.
        student: The student: a `DSE`, or one of `dse-lite`.
        index: The index of a `DSE`, or None.
        settings: Limits.
        metrics: What is counted.
        threads: Where to compute.
        before: The one in use until now; its cache goes on where the student is the same.

    Raises:
        MismatchError: If the student reads no texts.
    """

    def __init__(
        self,
        name: str,
        student: DSE | Any,
        index: AnyIndex | None,
        settings: Settings,
        metrics: Metrics,
        threads: Threads,
        before: Serving | None = None,
    ) -> None:
        self.name, self.index, self.settings, self.threads = name, index, settings, threads
        self.student = as_served(student, index)
        self.fingerprint = self.student.fingerprint
        same = before is not None and before.fingerprint == self.fingerprint
        known: EmbeddingCache | None = before.cache if before is not None and same else None
        self._opened = object()  # another index may have a version of the same number
        self.cache: EmbeddingCache = EmbeddingCache(settings.cache_bytes) if known is None else known
        self.queue = SentenceQueue(
            self.student.encode,
            threads.encoder,
            self.cache,
            settings.max_waiting,
            self.student.round_tokens,
            metrics.batches.observe,
        )

    # ------------------------------------------------------------------------------------------------ embeddings

    async def embed(self, texts: Sequence[tuple[str, str]], *, truncate: bool | None = None) -> Embedded:
        """Embeddings of texts, each given behind its prompt; what was read before is not read again.

        Args:
            texts: (prompt, text) of each.
            truncate: False refuses texts that are longer than the student reads.

        Raises:
            RequestError: If they are too long, or too many texts wait to be read.
        """
        keys = [content_key(prompt, text) for prompt, text in texts]
        known = {key: entry for key in dict.fromkeys(keys) if (entry := self.cache.get(key)) is not None}
        hits = sum(key in known for key in keys)
        missing = {key: pair for key, pair in zip(keys, texts, strict=True) if key not in known}
        sentences = await self._sentences(missing) if missing else []
        cut = {s.key for s in sentences if s.cut} | {key for key, entry in known.items() if entry.cut}
        if truncate is False and cut:
            place = next(i for i, key in enumerate(keys) if key in cut)
            raise RequestError(
                422, f"Text {place} is longer than the {self.student.limit} tokens read; shorten it, or allow truncate."
            )
        lengths = {s.key: s.tokens for s in sentences} | {key: entry.tokens for key, entry in known.items()}
        tokens = sum(lengths[key] for key in keys)
        if tokens > self.settings.max_tokens:
            raise RequestError(
                422,
                f"The texts have {tokens:,} tokens, at most {self.settings.max_tokens:,} are read for a request; "
                "send them in several.",
            )
        known |= await self.queue.encode(sentences)
        vectors = (
            np.stack([known[key].vector for key in keys]) if keys else np.empty((0, self.student.dimension), np.float32)
        )
        return Embedded(vectors, tokens, hits, [i for i, key in enumerate(keys) if key in cut])

    async def _sentences(self, missing: dict[bytes, tuple[str, str]]) -> list[Sentence]:
        counts = await self.threads.run(self.student.count, [prompt + text for prompt, text in missing.values()])
        limit = self.student.limit
        return [
            Sentence(key, prompt, text, min(count, limit), count > limit)
            for (key, (prompt, text)), count in zip(missing.items(), counts, strict=True)
        ]

    async def rows(self, ids: Sequence[str]) -> Embedded:
        """Embeddings of rows of the index, as it stores them (fp16); they are not read again.

        Raises:
            RequestError: If there is no index, or it lacks one of the rows.
        """
        index = self.need_index()
        version = await self.threads.run(lambda: index.version)
        # Few steps for each of a thousand ids: meanwhile this thread keeps all others from running Python.
        keys = [(self._opened, version, id) for id in ids]
        known = [None if (entry := self.cache.get(key)) is None else entry.vector for key in keys]
        missing = dict.fromkeys(id for id, vector in zip(ids, known, strict=True) if vector is None)
        hits = sum(vector is not None for vector in known)
        if missing:
            stored = await self.threads.run(index.embeddings, list(missing))
            fresh = {id: vector.copy() for id, vector in stored.items()}
            if absent := missing.keys() - fresh:
                place = next(place for place, id in enumerate(ids) if id in absent)
                raise RequestError(422, f"ids.{place}: the index has no row with this id.")
            for id, vector in fresh.items():
                self.cache.put((self._opened, version, id), Entry(vector))
            known = [fresh[id] if vector is None else vector for id, vector in zip(ids, known, strict=True)]
        vectors: np.ndarray = np.concatenate(known).reshape(len(ids), -1)  # type: ignore[arg-type]
        return Embedded(vectors, 0, hits, [])

    def need_index(self) -> AnyIndex:
        """The index.

        Raises:
            RequestError: If there is none.
        """
        if self.index is None:
            raise RequestError(404, "This server has no index; start it with one: dse serve STUDENT --index INDEX.")
        return self.index

    def check_count(self, count: int, what: str) -> None:
        """Refuse an empty list of texts, and one that is too long.

        Raises:
            RequestError: If it is one of these.
        """
        if not count:
            raise RequestError(400, f"{what} is empty; give at least one.")
        if count > self.settings.max_texts:
            raise RequestError(
                413, f"{what} holds {count:,}, at most {self.settings.max_texts:,} go into a request; send several."
            )

    def shown(self, raw: np.ndarray, raw_scores: bool) -> list[float]:
        """Scores as a response shows them, from those that pairs are ranked by."""
        shown: list[float] = (raw if raw_scores else self.student.activate(raw)).tolist()
        return shown

    def need_one_score(self) -> None:
        """Refuse to rank by a student with several classes, unless its index names one.

        Raises:
            RequestError: If there are several.
        """
        if self.student.num_labels != 1 and self.student.label is None:
            raise RequestError(
                422,
                f"This student gives {self.student.num_labels} scores per pair and ranks nothing; send pairs to "
                "/predict, or serve an index that names a class.",
            )
