"""Threads that share one handle: readers, with writers beside them."""

from __future__ import annotations

import random
import tempfile
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np

from dse import DSE
from dse.index import CandidateIndex, scout

STABLE = 150  # rows that no writer touches


def shared_handle(student: DSE, calls: int, threads: int = 16) -> dict[str, Any]:
    """Make so many calls from threads of one handle; every answer is checked."""
    scout.EXACT_ROWS = 100
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(f"a dog {i}", f"a cat {i % 7}") for i in range(40)]
        expected = student.predict(pairs)
        index = CandidateIndex.create(f"{folder}/index", student)
        index.add([{"id": f"s{i}", "text": f"a dog {i}", "n": i} for i in range(STABLE)])
        index.optimize()
        left, made, errors = iter(range(calls)), Counter[str](), list[str]()

        def work(number: int) -> None:
            generator = random.Random(number)
            for _ in left:
                name, call = generator.choice(WRITES if number < 2 else reads)
                try:
                    call(index, generator)
                except Exception as error:
                    errors.append(f"{name}: {type(error).__name__}: {error}")
                made[name] += 1

        def predict(_: CandidateIndex, generator: random.Random) -> None:
            rows = generator.sample(range(40), 3)
            scores = student.predict([pairs[row] for row in rows], show_progress_bar=False)
            assert np.allclose(scores, expected[rows], atol=1e-3)

        def rank(_: CandidateIndex, generator: random.Random) -> None:
            row = generator.randrange(40)
            [hit] = student.rank(pairs[row][0], [pairs[row][1]], show_progress_bar=False)
            assert abs(hit["score"] - expected[row]) < 1e-3

        reads = [*READS, ("predict", predict), ("rank", rank)]
        started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    return {
        "thread_calls": sum(made.values()),
        "threads": threads,
        "calls": dict(made),
        "thread_errors": len(errors),
        "first_thread_error": errors[0] if errors else None,
    }


def _search(index: CandidateIndex, generator: random.Random) -> None:
    hits = index.search(f"a dog {generator.randrange(40)}", k=10, where=generator.choice([None, "n < 50"]))
    assert len({hit["id"] for hit in hits}) == len(hits) == 10
    assert all(hit["text"] == f"a dog {hit['metadata']['n']}" for hit in hits)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def _get(index: CandidateIndex, generator: random.Random) -> None:
    n = generator.randrange(STABLE)
    assert index.get(f"s{n}") == {f"s{n}": {"text": f"a dog {n}", "metadata": {"n": n}}}


def _count(index: CandidateIndex, generator: random.Random) -> None:
    assert len(index) >= STABLE
    assert index.info()["rows"] >= STABLE


def _upsert(index: CandidateIndex, generator: random.Random) -> None:
    first = 1000 + generator.randrange(50)
    index.upsert([{"id": f"w{i}", "text": f"a dog {i}", "n": i} for i in range(first, first + 5)])


def _add(index: CandidateIndex, generator: random.Random) -> None:
    name = f"a{generator.getrandbits(60)}"
    assert index.add([{"id": name, "text": "a new dog", "n": 1070}]) == {"added": 1, "unchanged": 0}


def _delete(index: CandidateIndex, generator: random.Random) -> None:
    index.delete(where=f"n >= {1000 + generator.randrange(80)}")


def _optimize(index: CandidateIndex, generator: random.Random) -> None:
    index.optimize(keep=timedelta(0))


READS = [("search", _search), ("search", _search), ("get", _get), ("count", _count)]
WRITES = [("upsert", _upsert), ("add", _add), ("delete", _delete), ("optimize", _optimize)]
