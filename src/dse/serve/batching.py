"""The one queue of sentences: those of all requests that wait are encoded together, in rounds.

A round takes an equal share of tokens from every waiting request, so that a short request need not wait until a long
one is done. `encode` sorts a round by length. State belongs to the event loop's thread; encoding is done in another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from dse.serve.cache import EmbeddingCache, Entry
from dse.serve.errors import RequestError

Encode = Callable[[list[str], str], np.ndarray]  # texts (n,) and the prompt before them -> embeddings (n, d)


@dataclass(frozen=True)
class Sentence:
    """A text to encode.

    Attributes:
        key: As `content_key` makes it.
        prompt: What stands before it.
        text: The text.
        tokens: How many of its tokens the student reads.
        cut: Whether it has more.
    """

    key: bytes
    prompt: str
    text: str
    tokens: int
    cut: bool


class Waiting:
    """The sentences of one request that are not encoded yet.

    Attributes:
        sentences: Those not taken into a round, longest first.
        entries: Those done.
        done: Resolved when all are.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self.sentences = deque(sorted(sentences, key=lambda sentence: -sentence.tokens))
        self.wanted = len(sentences)
        self.entries: dict[bytes, Entry] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, key: bytes, entry: Entry) -> None:
        """Take one that is done."""
        self.entries[key] = entry
        if len(self.entries) == self.wanted and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Give up."""
        self.sentences.clear()
        if not self.done.done():
            self.done.set_exception(error)


class SentenceQueue:
    """Encodes the sentences of concurrent requests together.

    Args:
        encode: What encodes; called in a thread of ``executor``, never twice at a time.
        executor: One thread.
        cache: Takes every embedding.
        limit: Sentences that may wait.
        round_tokens: Tokens of a round.
        observe: Told the number of sentences of each batch that was encoded.
    """

    def __init__(
        self,
        encode: Encode,
        executor: Executor,
        cache: EmbeddingCache,
        limit: int,
        round_tokens: int,
        observe: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._encode, self._executor, self._cache = encode, executor, cache
        self._limit, self._round_tokens, self._observe = limit, round_tokens, observe
        self._waiting: deque[Waiting] = deque()
        self._runner: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Sentences that wait."""
        return sum(len(waiting.sentences) for waiting in self._waiting)

    async def encode(self, sentences: Sequence[Sentence]) -> dict[bytes, Entry]:
        """Embeddings of distinct sentences, by their keys.

        Raises:
            RequestError: If too many wait already.
        """
        if not sentences:
            return {}
        before = len(self)
        if before and before + len(sentences) > self._limit:
            raise RequestError(429, f"{before:,} texts wait to be read; send the request again in a moment.")
        waiting = Waiting(sentences)
        self._waiting.append(waiting)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            await waiting.done
        finally:  # a request that ran out of time, or whose client has gone, need not be read
            waiting.sentences.clear()
        return waiting.entries

    async def _run(self) -> None:
        while self._waiting:
            for prompt, wanted in self._round().items():
                await self._encode_batch(prompt, wanted)

    def _round(self) -> dict[str, dict[Sentence, list[Waiting]]]:
        """The sentences to encode next, by their prompts, with those who wait for each."""
        taken: dict[str, dict[Sentence, list[Waiting]]] = {}
        share = max(1, self._round_tokens // len(self._waiting))
        for waiting in list(self._waiting):
            tokens = 0
            while waiting.sentences and tokens < share:
                sentence = waiting.sentences.popleft()
                known = self._cache.get(sentence.key)  # another request has had it encoded meanwhile
                if known is not None:
                    waiting.add(sentence.key, known)
                    continue
                taken.setdefault(sentence.prompt, {}).setdefault(sentence, []).append(waiting)
                tokens += sentence.tokens
            if not waiting.sentences:
                self._waiting.remove(waiting)
        return taken

    async def _encode_batch(self, prompt: str, wanted: dict[Sentence, list[Waiting]]) -> None:
        texts = [sentence.text for sentence in wanted]
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, texts, prompt)
        except Exception as error:
            for waiting in {w for all_waiting in wanted.values() for w in all_waiting}:
                waiting.fail(error)
            return
        self._observe(len(texts))
        for (sentence, all_waiting), vector in zip(wanted.items(), vectors, strict=True):
            entry = Entry(vector.copy(), sentence.tokens, sentence.cut)  # the batch is not kept for one of its rows
            self._cache.put(sentence.key, entry)
            for waiting in all_waiting:
                waiting.add(sentence.key, entry)
