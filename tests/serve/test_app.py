"""Loading student and index again while requests run."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from dse.errors import BadDataError, MismatchError
from dse.serve import create_app
from dse.serve.app import reload
from tests.conftest import make_student
from tests.serve.conftest import QUERY, TEXTS

RERANK = {"query": QUERY, "texts": TEXTS, "raw_scores": True}


def scores(student):
    return sorted((hit["score"] for hit in student.rank(QUERY, TEXTS, activation_fn=lambda raw: raw)), reverse=True)


def test_a_request_that_has_begun_is_answered_by_the_student_it_began_with(backbone):
    old, new = make_student(backbone), make_student(backbone, seed=5)
    students = [old]
    started, go = threading.Event(), threading.Event()
    with TestClient(create_app(lambda: (students[0], None))) as client:
        queue = client.app.state.serving.queue
        encode = queue._encode

        def held(texts, prompt):
            started.set()
            assert go.wait(30)
            return encode(texts, prompt)

        queue._encode = held
        answers = []
        thread = threading.Thread(target=lambda: answers.append(client.post("/rerank", json=RERANK)))
        thread.start()
        assert started.wait(30)
        students[0] = new
        assert client.portal.call(reload, client.app)
        go.set()
        thread.join(30)
        after = client.post("/rerank", json=RERANK)
        assert after.headers["X-DSE-Cache"] == "0/6"  # what the old one has read is not the new one's
    assert [hit["score"] for hit in answers[0].json()] == pytest.approx(scores(old), abs=1e-4)
    assert [hit["score"] for hit in after.json()] == pytest.approx(scores(new), abs=1e-4)


def test_a_load_that_fails_changes_nothing(backbone):
    student, fails = make_student(backbone), []

    def load():
        if fails:
            raise BadDataError("The weights cannot be read.")
        return student, None

    with TestClient(create_app(load)) as client:
        before = client.post("/rerank", json=RERANK).json()
        fails.append(True)
        assert not client.portal.call(reload, client.app)
        assert client.post("/rerank", json=RERANK).json() == before
        assert 'dse_reloads_total{result="failed"} 1.0' in client.get("/metrics").text


def test_the_cache_stays_where_the_student_is_the_same(served):
    from dse import DSE

    with TestClient(create_app(lambda: (DSE(served), None))) as client:
        client.post("/rerank", json=RERANK)
        assert client.portal.call(reload, client.app)
        assert client.post("/rerank", json=RERANK).headers["X-DSE-Cache"] == "6/6"


def test_rows_of_another_index_are_read_anew(served, tmp_path):
    """It may hold other texts under the same ids, at a version of the same number."""
    from dse import DSE, CandidateIndex

    student, indexes = DSE(served), []
    for number, text in enumerate(("a tent", "a red bicycle")):
        indexes.append(CandidateIndex.create(tmp_path / str(number), student))
        indexes[-1].add([{"id": "1", "text": text}])
    assert indexes[0].version == indexes[1].version
    expected = [index.search("who sells bikes")[0]["score"] for index in indexes]
    with TestClient(create_app(lambda: (student, indexes.pop(0)))) as client:
        for score in expected:
            for _ in range(2):  # the second time from the cache
                answer = client.post("/rerank", json={"query": "who sells bikes", "ids": ["1"]}).json()
                assert answer["results"][0]["relevance_score"] == pytest.approx(score, abs=1e-5)
            if indexes:
                assert client.portal.call(reload, client.app)


def test_a_student_that_reads_no_texts_is_refused():
    from dse import DSE
    from dse.modules import PairHead, VectorInput

    student = DSE(modules=[VectorInput(8), PairHead(8, 1, "cosine")], device="cpu")
    with pytest.raises(MismatchError, match="reads no texts"):
        create_app(lambda: (student, None))


def test_only_one_thread_loads_and_encodes(backbone):
    """A second one that computes on all cores would make every short text twice as slow (`dse.serve.threads`)."""
    student, seen = make_student(backbone), []
    embed = student.embed_texts

    def load():
        seen.append(threading.current_thread().name)
        return student, None

    student.embed_texts = lambda *args, **kwargs: seen.append(threading.current_thread().name) or embed(*args, **kwargs)
    with TestClient(create_app(load)) as client:
        assert client.post("/rerank", json=RERANK).status_code == 200
    assert len(seen) >= 3 and {name.rpartition("_")[0] for name in seen} == {"dse-encode"}


def test_free_memory_is_given_back(student, monkeypatch):
    monkeypatch.setattr("dse.serve.app.TRIM_SECONDS", 0.01)
    trimmed = threading.Event()

    class Libc:
        @staticmethod
        def malloc_trim(keep):
            trimmed.set()

    monkeypatch.setattr("dse.serve.app.ctypes.CDLL", lambda name: Libc)
    released = threading.Event()
    monkeypatch.setattr("pyarrow.default_memory_pool", lambda: SimpleNamespace(release_unused=released.set))
    with TestClient(create_app(lambda: (student, None))) as client:
        assert trimmed.wait(60) and released.wait(60)
        assert client.post("/rerank", json=RERANK).status_code == 200
