"""Vectors of encoder teachers: those of the encoder, prompts included, each text embedded once, killed runs resumed."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sentence_transformers import CrossEncoder, SentenceTransformer

from dse.encoding.identity import fingerprint
from dse.errors import BadDataError, MismatchError
from dse.teacher import EncoderTeacher, load_ranking_teacher, teacher_vectors, vectors
from dse.teacher.vectors import VectorStore, check_encoder
from tests.conftest import make_student


@pytest.fixture(scope="module")
def other(models, tmp_path_factory):
    """An encoder of another width, with prompts of its own."""
    folder = str(tmp_path_factory.mktemp("other") / "model")
    encoder = SentenceTransformer(models("distilbert"), device="cpu")
    encoder.prompts = {"query": "who sells the ", "document": "a book about the "}
    encoder.save_pretrained(folder)
    return folder


def expected(folder: str, corpus: list[str], queries: list[str]) -> np.ndarray:
    encoder = SentenceTransformer(folder, device="cpu")
    parts = [(encoder.encode_document, corpus), (encoder.encode_query, queries)]
    rows = np.concatenate([encode(texts) for encode, texts in parts if texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def load(*folders: str) -> list:
    return [load_ranking_teacher(folder, dtype="float32") for folder in folders]


def count_texts(monkeypatch, teacher) -> list[str]:
    """The texts that a teacher embeds from now on."""
    seen: list[str] = []
    for name in ("encode_document", "encode_query"):
        encode = getattr(teacher, name)
        spy = lambda texts, encode=encode, **kwargs: seen.extend(texts) or encode(texts, **kwargs)  # noqa: E731
        monkeypatch.setattr(teacher, name, spy)
    return seen


def test_vectors_are_the_encoders_with_its_prompts(other, sentences):
    corpus, queries = sentences[:8], sentences[5:]  # some texts in both roles
    found = teacher_vectors(load(other), corpus, queries)
    assert found.dtype == np.float32 and found.shape == (len(corpus) + len(queries), 16)
    assert np.abs(found - expected(other, corpus, queries)).max() < 1e-3
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.abs(found[5] - found[8]).max() > 0.01  # one text, as a document and as a query


def spread(t: np.ndarray) -> float:
    """Standard deviation of the cosines of a text with the others."""
    return float(np.sqrt(np.mean([np.delete(row, i).var() for i, row in enumerate(t @ t.T)])))


def test_cosine_of_several_is_the_mean_of_theirs_each_at_the_same_spread(encoder, other, sentences):
    both = teacher_vectors(load(encoder, other), sentences, sentences[:3])
    one, two = (expected(folder, sentences, sentences[:3]) for folder in (encoder, other))
    n = len(sentences)  # the documents decide
    weights = np.array([1 / spread(one[:n]), 1 / spread(two[:n])])
    weights /= weights.sum()
    assert both.shape == (n + 3, 8 + 16) and abs(weights[0] - 0.5) > 0.01
    assert np.abs(both @ both.T - (weights[0] * one @ one.T + weights[1] * two @ two.T)).max() < 2e-3
    assert np.allclose(np.linalg.norm(both, axis=1), 1, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), offset=st.floats(0, 6), texts=st.integers(3, 40))
def test_an_encoder_of_a_narrow_range_has_as_much_say(seed, offset, texts):
    """A direction that all vectors share makes cosines alike; their differences count as much as before."""
    random = np.random.default_rng(seed)
    narrow, wide = random.normal(size=(2, texts, 12)).astype(np.float32)
    narrow[:, 0] += 3 * offset
    parts = [t / np.linalg.norm(t, axis=1, keepdims=True) for t in (narrow, wide)]
    weights = vectors._weights(parts)
    assert weights.sum() == pytest.approx(1) and weights[0] * spread(parts[0]) == pytest.approx(
        weights[1] * spread(parts[1]), rel=1e-3
    )


def test_encoders_of_texts_that_do_not_differ_weigh_the_same():
    parts = [np.ones((texts, 1), np.float32) for texts in (3, 3)]
    assert vectors._weights(parts).tolist() == vectors._weights([part[:1] for part in parts]).tolist() == [0.5, 0.5]


def test_no_text_is_embedded_twice(encoder, sentences, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "dse")
    teacher = load(encoder)[0]
    seen = count_texts(monkeypatch, teacher)
    first = teacher_vectors([teacher], [*sentences[:6], sentences[0]], sentences[:2], tmp_path / "v")
    assert seen == [*sentences[:6], *sentences[:2]]  # each once in each role
    assert np.array_equal(first[0], first[6])
    assert "already" not in caplog.text
    seen.clear()
    again = teacher_vectors([teacher], [*sentences[:6], sentences[0]], sentences[:2], tmp_path / "v")
    assert seen == [] and np.array_equal(first, again)
    assert f"teacher: 8 vectors are in {tmp_path / 'v'} already" in caplog.text
    more = teacher_vectors([teacher], sentences, [], tmp_path / "v")
    assert seen == sentences[6:]
    assert np.array_equal(more[:6], first[:6])
    assert np.array_equal(more, teacher_vectors([teacher], sentences, []))  # kept or not: the same


def test_teachers_and_prompts_are_kept_apart(encoder, other, sentences, tmp_path, monkeypatch):
    one, two = load(encoder, other)
    before = teacher_vectors([two], sentences, [], tmp_path / "v")
    teacher_vectors([one], sentences, [], tmp_path / "v")
    assert np.array_equal(teacher_vectors([two], sentences, [], tmp_path / "v"), before)
    two.prompts["document"] = "the red "
    assert np.abs(teacher_vectors([two], sentences, [], tmp_path / "v") - before).max() > 0.01


@pytest.mark.parametrize("killed", [1, 2, 3])
def test_a_killed_run_loses_one_shard(encoder, sentences, tmp_path, monkeypatch, killed):
    monkeypatch.setattr(vectors, "SHARD", 3)
    teacher, writes = load(encoder)[0], []
    write = vectors.write_tensors

    def die(*args):
        writes.append(args)
        if len(writes) == killed:
            raise KeyboardInterrupt
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(vectors, "write_tensors", die)
        with pytest.raises(KeyboardInterrupt):
            teacher_vectors([teacher], sentences, [], tmp_path / "v")
    (tmp_path / "v").mkdir(exist_ok=True)
    (tmp_path / "v" / ".half.safetensors.1.tmp").write_bytes(b"half")
    seen = count_texts(monkeypatch, teacher)
    found = teacher_vectors([teacher], sentences, [], tmp_path / "v")
    assert seen == sentences[3 * (killed - 1) :]
    assert np.array_equal(found, teacher_vectors(load(encoder), sentences, []))


@given(
    shards=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=5, unique=True), min_size=1, max_size=5),
    order=st.randoms(),
)
@settings(max_examples=30, deadline=None)
def test_store_returns_what_was_added(shards, order):
    store, known = VectorStore(None, "0" * 32), {}
    for number, shard in enumerate(shards):
        keys = [bytes([name]) * 16 for name in shard]
        rows = np.full((len(keys), 4), number, np.float16) + np.array(shard, np.float16)[:, None] / 32
        store.add(keys, rows)
        known |= dict(zip(keys, rows, strict=True))
    keys = list(known)
    order.shuffle(keys)
    assert len(store) == len(known)
    assert np.array_equal(store.lookup(keys), np.array([known[key] for key in keys], np.float32))


def test_a_folder_of_something_else_is_refused(encoder, sentences, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadDataError, match=r"holds notes.txt, which is no shard"):
        teacher_vectors(load(encoder), sentences, [], tmp_path)
    with pytest.raises(BadDataError, match="is a file"):
        teacher_vectors(load(encoder), sentences, [], tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_shard_is_refused(encoder, sentences, tmp_path, damage):
    teacher = load(encoder)[0]
    teacher_vectors([teacher], sentences, [], tmp_path / "v")
    (shard,) = (tmp_path / "v").iterdir()
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:50])
    else:
        save_file({"rows": np.zeros((2, 3))}, shard)
    with pytest.raises(BadDataError, match="delete it"):
        teacher_vectors([teacher], sentences, [], tmp_path / "v")


def test_vectors_that_are_not_finite_are_not_kept(encoder, sentences, tmp_path, monkeypatch):
    teacher = load(encoder)[0]
    encode = teacher.encode_document
    monkeypatch.setattr(teacher, "encode_document", lambda *args, **kwargs: encode(*args, **kwargs) * np.nan)
    with pytest.raises(BadDataError, match="'a red bicycle' is not finite"):
        teacher_vectors([teacher], sentences, [], tmp_path / "v")
    assert not (tmp_path / "v").exists()


# ------------------------------------------------------------------------------------------------- what may teach


def test_what_has_no_vectors_is_refused(teacher, student, backbone):
    with pytest.raises(MismatchError, match="CrossEncoder has no vectors"):
        teacher_vectors([teacher], ["a"], [])
    with pytest.raises(MismatchError, match="'mlp' head"):
        check_encoder(student)
    assert check_encoder(make_student(backbone, head="cosine", num_layers=1))
    with pytest.raises(MismatchError, match="no teacher"):
        EncoderTeacher([])


def test_a_cosine_that_was_not_trained_for_is_warned_of(encoder, caplog):
    teacher = load(encoder)[0]
    check_encoder(teacher)
    assert not caplog.text
    teacher.similarity_fn_name = "dot"
    check_encoder(teacher)
    assert "trained for dot similarity" in caplog.text


def test_kinds_of_teachers(encoder, backbone, teacher, student, tmp_path):
    teacher.save_pretrained(str(tmp_path / "cross"))
    student.save_pretrained(str(tmp_path / "student"))
    assert isinstance(load_ranking_teacher(str(tmp_path / "cross")), CrossEncoder)
    assert type(load_ranking_teacher(str(tmp_path / "student"))).__name__ == "DSE"
    assert type(load_ranking_teacher(encoder)).__name__ == "FastEncoder"
    with pytest.raises(MismatchError, match="neither a cross-encoder nor a sentence encoder"):
        load_ranking_teacher(backbone)
    with pytest.raises(BadDataError, match="no model at"):
        load_ranking_teacher(str(tmp_path / "missing"))


def test_fingerprint_of_several(encoder, other):
    teachers = load(encoder, other)
    assert EncoderTeacher(teachers).fingerprint == "+".join(map(fingerprint, teachers))
