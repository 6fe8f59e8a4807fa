"""A head fitted to vectors learns what a cosine misses, is kept only if it helps, and is a student like others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from dse import DSE, fit_head
from dse.errors import BadDataError, MismatchError
from dse.training import head_only, vector_lists
from dse.training.head_only import HeadTraining
from dse.training.vector_lists import List, VectorLists
from tests.conftest import SENTENCES

WIDTH, N = 8, 80
SHORT = HeadTraining(steps=40, check_steps=20, learning_rate=0.02)


def vectors(n: int, seed: int, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def turned(n: int = N) -> tuple[np.ndarray, np.ndarray, list[List]]:
    """Queries that a fixed map, and no likeness, takes to their documents."""
    documents = vectors(n, 0)
    return np.roll(documents, 1, axis=1), documents, [{row: 1.0} for row in range(n)]


@pytest.fixture(scope="module")
def fitted() -> DSE:
    return fit_head(*turned(), settings=SHORT)


def moved(student: DSE, x: np.ndarray, side: str) -> np.ndarray:
    """Vectors of one side as the formula has them."""
    weights = {name: w.detach().double().numpy() for name, w in student.head.named_parameters()}
    x = x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True)
    x = x + x @ weights[f"{side}.weight"].T + weights[f"{side}.bias"]
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_it_learns_what_the_cosine_misses(fitted: DSE) -> None:
    info = fitted.info["head_fit"]
    assert info["factor"] > 0 and info["after"] > info["before"] + 0.2
    queries, documents, _ = turned()
    right = fitted.score_matrix(queries, documents).argmax(axis=1) == np.arange(N)
    assert right.mean() > 0.7


def test_scores_are_cosines_of_the_moved_vectors(fitted: DSE) -> None:
    queries, documents, _ = turned()
    expected = moved(fitted, queries, "left") @ moved(fitted, documents, "right").T
    np.testing.assert_allclose(fitted.score_matrix(queries, documents), expected, atol=1e-5)
    for lengths in (0.01, 100.0):  # of the vectors; they do not matter
        np.testing.assert_allclose(fitted.score_matrix(queries * lengths, documents), expected, atol=1e-5)
    [hits] = fitted.topk(queries[:1], documents, k=5)
    assert [hit["corpus_id"] for hit in hits] == np.argsort(-expected[0])[:5].tolist()
    assert fitted.topk(queries[:1], fitted.prepare(documents, dtype="float32"), k=5) == [hits]


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 8))
def test_held_out_lists_are_never_worse_than_with_the_cosine(seed: int, rerank: bool, documents_of: int) -> None:
    rng = np.random.default_rng(seed)
    lists: list[List] = []
    for _ in range(40):
        rows = rng.permutation(N)[: documents_of + 1]
        lists.append((rows, rng.integers(0, 4, len(rows))))
    short = HeadTraining(steps=20, check_steps=10, learning_rate=0.05, seed=seed)
    student = fit_head(vectors(40, seed), vectors(N, seed + 1), lists, rerank=rerank, settings=short)
    info = student.info["head_fit"]
    assert info["factor"] in (0, *head_only.FACTORS)
    gain = info["after"] - info["before"]
    assert gain > info["standard_error"] if info["factor"] else gain == 0
    data = VectorLists(vectors(40, seed), vectors(N, seed + 1), lists, rerank, seed)
    fit = head_only._Fit(student.head, data, short)
    assert fit.quality().mean() == pytest.approx(info["after"], abs=1e-6)  # what was promised is what is returned
    for weight in fit.weights:
        torch.nn.init.zeros_(weight)
    assert fit.quality().mean() == pytest.approx(info["before"], abs=1e-6) and info["before"] <= info["after"]


def test_what_is_no_relation_leaves_the_cosine(caplog: pytest.LogCaptureFixture) -> None:
    documents = vectors(N, 0)
    student = fit_head(documents + 0.01, documents, [{row: 1} for row in range(N)], settings=SHORT)
    assert student.info["head_fit"]["factor"] == 0 and "plain cosine" in caplog.text
    u, v = (torch.from_numpy(x) for x in (vectors(5, 1), vectors(7, 2)))
    expected = torch.nn.functional.cosine_similarity(u[:, None], v[None], dim=-1)
    np.testing.assert_allclose(student.score_matrix(u, v), expected, atol=1e-6)


def test_no_right_document_is_held_out_and_trained_on() -> None:
    rng = np.random.default_rng(0)
    lists: list[List] = [{int(row): 1.0 for row in rng.permutation(200)[:2]} for _ in range(100)]
    data = VectorLists(vectors(100, 0), vectors(200, 1), lists, False, 0)
    held, trained = ({row for i in part for row in data.right(i)} for part in (data.held_out, data.train))
    assert held and trained and held.isdisjoint(trained)


def test_lists_that_all_share_their_document_leave_the_cosine() -> None:
    lists: list[List] = [{0: 1.0} for _ in range(40)]
    assert fit_head(vectors(40, 0), vectors(N, 1), lists, settings=SHORT).info["head_fit"]["factor"] == 0


def test_the_same_seed_gives_the_same_head_and_leaves_the_generator_alone(fitted: DSE) -> None:
    state = torch.get_rng_state()
    again = fit_head(*turned(), settings=SHORT)
    assert again.fingerprint == fitted.fingerprint
    assert torch.equal(torch.get_rng_state(), state)


def test_a_large_collection_is_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_lists, "POOL", 50)
    assert fit_head(*turned(), settings=SHORT).info["head_fit"]["factor"] > 0


def test_graded_lists_gain_as_ndcg_does() -> None:
    [rows], [gains] = vector_lists.list_gains([{4: 0.0, 7: 1.0, 2: 2.0}], 9)
    np.testing.assert_array_equal(rows, [4, 7, 2])
    np.testing.assert_allclose(gains, np.exp(4 * np.array([0, 0.5, 1])) - 1)
    _, [logits] = vector_lists.list_gains([{4: -3.0, 7: 1.0}], 9)  # the lowest score takes the place of grade 0
    np.testing.assert_allclose(logits, [0, np.exp(4) - 1])
    assert vector_lists.ndcg(np.array([2, 7, 4]), rows, gains) == pytest.approx(1)
    assert vector_lists.ndcg(np.array([0, 1, 3]), rows, gains) == 0


# ------------------------------------------------------------------------------------------------- as a student


def test_saved_and_loaded_it_is_the_same_student(fitted: DSE, tmp_path: Path) -> None:
    fitted.save_pretrained(str(tmp_path / "student"))
    again = DSE(str(tmp_path / "student"), device="cpu")
    assert again.fingerprint == fitted.fingerprint and again.info == fitted.info
    queries, documents, _ = turned()
    np.testing.assert_array_equal(again.score_matrix(queries, documents), fitted.score_matrix(queries, documents))
    size = sum(file.stat().st_size for file in (tmp_path / "student").rglob("*") if file.is_file())
    assert size < 50_000


def test_texts_are_refused_without_an_encoder(fitted: DSE) -> None:
    for call in (fitted.encode, fitted.prepare, lambda texts: fitted.rank("a", texts), lambda t: fitted.predict([t])):
        with pytest.raises(MismatchError, match=r"has no encoder for texts; give vectors"):
            call(["a bike", "a tent"])


def test_with_its_encoder_it_reads_texts(backbone: str, tmp_path: Path) -> None:
    SentenceTransformer(backbone, device="cpu").save_pretrained(encoder := str(tmp_path / "encoder"))
    texts = [f"{a} {b}" for a in SENTENCES for b in SENTENCES if a and b][:60]
    embedded = SentenceTransformer(encoder, device="cpu").encode(texts)
    lists: list[List] = [{row: 1.0} for row in range(len(texts))]
    fitted = fit_head(np.roll(embedded, 1, axis=1), embedded, lists, encoder=encoder, settings=SHORT)
    fitted.inference_dtype = "float32"  # as the vectors given were made
    np.testing.assert_allclose(
        fitted.score_matrix(texts[:2], texts), fitted.score_matrix(embedded[:2], embedded), atol=1e-3
    )
    fitted.save_pretrained(str(tmp_path / "fitted"))
    assert DSE(str(tmp_path / "fitted")).rank(texts[0], texts)[0].keys() == {"corpus_id", "score"}
    with pytest.raises(MismatchError, match=r"makes vectors of width 8, those given have 6"):
        fit_head(vectors(N, 0, 6), vectors(N, 1, 6), L, encoder=encoder)


# ------------------------------------------------------------------------------------------------- checked input


def with_nan(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[3, 2] = np.nan
    return x


Q, D, L = turned()


@pytest.mark.parametrize(
    ("queries", "documents", "lists", "message"),
    [
        (Q, D, [*L[:-1], {N: 1.0}], f"List {N - 1} names document {N}, of {N}"),
        (Q, D, [{-1: 1.0}, *L[1:]], "List 0 names document -1"),
        (with_nan(Q), D, L, "queries: the vector in row 3 holds NaN"),
        (Q, with_nan(D), L, "documents: the vector in row 3 holds NaN"),
        (vectors(N, 0, 6), D, L, "queries' vectors have width 6, the documents' 8"),
        (Q[0], D, L, r"queries: expected vectors of shape \(n, d\), got \(8,\)"),
        (Q, D, L[:-1], f"There are {N - 1} lists for {N} queries"),
        (Q, D, [{row: 0.0} for row in range(N)], "All scores are the same"),
        (Q, D, [{row: -2.5} for row in range(N)], "All scores are the same"),
        (Q, D, [([0, 0], [1.0, 2.0]), *L[1:]], "List 0 .* name each document once"),
        (Q, D, [([0, 1], [1.0]), *L[1:]], "List 0 does not have one score for each"),
        (Q, D, [{0: np.inf}, *L[1:]], "List 0 has a score that is NaN or infinite"),
        (Q, D, [[0, 1, 2], *L[1:]], r"List 0 is \[0, 1, 2\]; give a mapping from row to grade, or rows and grades"),
        (Q, D, [[0, 1], *L[1:]], r"List 0 is \[0, 1\]; give"),
        (Q, D, [[5], *L[1:]], r"List 0 is \[5\]; give"),
        (Q, D, [7, *L[1:]], "List 0 is 7; give"),
        (Q, D, [{"1": 1.0}, *L[1:]], "List 0 is {'1': 1.0}; give"),
        (Q, D, [([0], ["yes"]), *L[1:]], "List 0 is .*; give"),
        (Q, D, [{1.7: 1.0}, *L[1:]], "List 0 names documents by numbers that are not whole"),
        (Q, D, [*L[:9], *[{}] * (N - 9)], f"9 of {N} lists prefer a document to another; give at least 20"),
    ],
)
def test_unusable_input_is_named(queries: np.ndarray, documents: np.ndarray, lists: list[List], message: str) -> None:
    with pytest.raises((BadDataError, MismatchError), match=message):
        fit_head(queries, documents, lists)
