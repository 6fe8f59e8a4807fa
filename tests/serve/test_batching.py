"""The queue: sentences of concurrent requests are encoded together, each once, in fair rounds."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.serve.batching import Sentence, SentenceQueue
from dse.serve.cache import EmbeddingCache, content_key
from dse.serve.errors import RequestError


def sentence(text, prompt=""):
    return Sentence(content_key(prompt, text), prompt, text, len(text), False)


def vector(text, prompt=""):
    return [float(sum(map(ord, text))), float(len(prompt))]


class Encoder:
    """Remembers what it was given together."""

    def __init__(self):
        self.calls = []

    def __call__(self, texts, prompt):
        self.calls.append((prompt, sorted(texts)))
        return np.array([vector(text, prompt) for text in texts], np.float32)


def queue_of(encoder, **options):
    options = {"limit": 1000, "round_tokens": 40, "cache": EmbeddingCache(10**6)} | options
    return SentenceQueue(encoder, ThreadPoolExecutor(1), **options)


def test_requests_that_come_together_are_encoded_together():
    encoder = Encoder()

    async def ask():
        queue = queue_of(encoder)
        return await asyncio.gather(*(queue.encode([sentence("ab"), sentence(text)]) for text in "xyz"))

    answers = asyncio.run(ask())
    assert encoder.calls == [("", ["ab", "x", "y", "z"])]
    for text, answer in zip("xyz", answers, strict=True):
        assert {tuple(entry.vector) for entry in answer.values()} == {tuple(vector("ab")), tuple(vector(text))}


def test_a_short_request_does_not_wait_for_a_long_one():
    encoder, order = Encoder(), []

    async def ask():
        queue = queue_of(encoder, round_tokens=20)

        async def one(name, texts):
            await queue.encode([sentence(text) for text in texts])
            order.append(name)

        await asyncio.gather(one("long", [f"{i:010}" for i in range(20)]), one("short", ["a"]))

    asyncio.run(ask())
    assert order == ["short", "long"] and "a" in encoder.calls[0][1]
    assert max(len(texts) for _, texts in encoder.calls) == 2


def test_what_is_done_for_one_request_is_not_done_again_for_another():
    encoder = Encoder()

    async def ask():
        queue = queue_of(encoder, round_tokens=4)
        await asyncio.gather(
            queue.encode([sentence("aa"), sentence("bb")]), queue.encode([sentence("cc"), sentence("aa")])
        )

    asyncio.run(ask())
    assert sorted(text for _, texts in encoder.calls for text in texts) == ["aa", "bb", "cc"]


def test_a_request_that_was_cancelled_is_forgotten():
    encoder = Encoder()

    async def ask():
        queue = queue_of(encoder, round_tokens=1)
        first = asyncio.create_task(queue.encode([sentence("first"), sentence("second")]))
        while not len(queue):
            await asyncio.sleep(0)
        gone = asyncio.create_task(queue.encode([sentence("gone")]))
        stays = asyncio.create_task(queue.encode([sentence("stays")]))
        while len(queue) < 3:
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, stays)
        assert len(queue) == 0

    asyncio.run(ask())
    assert "gone" not in [text for _, texts in encoder.calls for text in texts]


def test_a_batch_that_fails_fails_its_requests_only():
    def encode(texts, prompt):
        if "bad" in texts:
            raise RuntimeError("no")
        return np.array([vector(text) for text in texts], np.float32)

    async def ask():
        queue = queue_of(encode)
        answers = await asyncio.gather(
            queue.encode([sentence("bad")]), queue.encode([sentence("good", "p")]), return_exceptions=True
        )
        return answers, await queue.encode([sentence("later")])

    (failed, fine), later = asyncio.run(ask())
    assert isinstance(failed, RuntimeError) and len(fine) == len(later) == 1


def test_a_full_queue_refuses_and_an_empty_one_does_not():
    async def ask():
        queue = queue_of(Encoder(), limit=3, round_tokens=1)
        first = asyncio.create_task(queue.encode([sentence(c) for c in "abcde"]))  # more than the limit, but alone
        while not len(queue):
            await asyncio.sleep(0)
        with pytest.raises(RequestError, match="wait to be read") as refused:
            await queue.encode([sentence("f")])
        assert refused.value.status == 429
        assert len(await first) == 5
        assert len(await queue.encode([sentence("f")])) == 1

    asyncio.run(ask())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True), min_size=1, max_size=6),
    st.integers(1, 12),
)
def test_every_request_gets_its_own_embeddings(requests, round_tokens):
    encoder = Encoder()

    async def ask():
        queue = queue_of(encoder, round_tokens=round_tokens)
        return await asyncio.gather(*(queue.encode([sentence(t, p) for t in r for p in ("", "q")]) for r in requests))

    for request, answer in zip(requests, asyncio.run(ask()), strict=True):
        for text in request:
            for prompt in ("", "q"):
                assert answer[content_key(prompt, text)].vector.tolist() == vector(text, prompt)
    distinct = {text for request in requests for text in request}
    assert sum(len(texts) for _, texts in encoder.calls) == 2 * len(distinct)
