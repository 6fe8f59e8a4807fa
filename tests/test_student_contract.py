"""What every student does, whatever its pair head and its pooling."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from dse import DSE
from dse.model import PoolingMode
from dse.scoring import HEAD_KINDS
from dse.scoring.fastpass import FastPass
from tests.conftest import make_student
from tests.test_modules import numpy_head

RAW = torch.nn.Identity()
BUILDS = [*itertools.product(HEAD_KINDS, get_args(PoolingMode), [None]), ("mlp", "mean", 10)]


@pytest.fixture(params=BUILDS, ids=lambda build: "-".join(map(str, build)))
def any_student(request: pytest.FixtureRequest, backbone: str) -> DSE:
    """A student of one label with random weights everywhere in its head."""
    head, pooling, projection = request.param
    student = make_student(backbone, head=head, pooling=pooling, projection=projection)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in student.head.parameters():
            torch.nn.init.normal_(parameter)
    return student


def test_scores_are_the_formula_of_the_embeddings(any_student: DSE, pairs: list[tuple[str, str]]) -> None:
    u, v = (any_student.encode(list(side)).astype(np.float64) for side in zip(*pairs, strict=True))  # (n, d) each
    expected = numpy_head(any_student.head, u, v)  # (n, 1)
    np.testing.assert_allclose(any_student.raw_scores(pairs), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(any_student.predict(pairs), 1 / (1 + np.exp(-expected[:, 0])), rtol=1e-4, atol=1e-5)
    swapped = any_student.raw_scores([(b, a) for a, b in pairs])
    assert np.allclose(swapped, expected, rtol=1e-3, atol=1e-3) == any_student.head.symmetric


def test_ways_to_rank_agree(any_student: DSE, sentences: list[str]) -> None:
    query, documents = sentences[0], sentences[1:]
    scores = any_student.score_matrix([query], documents, activation_fn=RAW)[0]  # (n,)
    # Encoded in another batch, an embedding may differ in its last bits.
    np.testing.assert_allclose(scores, any_student.raw_scores([(query, d) for d in documents])[:, 0], 1e-4, 1e-4)
    order = np.argsort(-scores, kind="stable").tolist()
    candidates = any_student.prepare(documents, dtype="float32")
    for given in (documents, candidates, any_student.encode(documents)):
        for exact in (True, False):
            [hits] = any_student.topk(query, given, k=len(documents), activation_fn=RAW, exact=exact)
            assert [hit["corpus_id"] for hit in hits] == order
            np.testing.assert_array_equal([hit["score"] for hit in hits], scores[order])
    assert [hit["corpus_id"] for hit in any_student.rank(query, documents)] == order


def test_saved_and_loaded_it_is_the_same_student(
    any_student: DSE, tmp_path: Path, pairs: list[tuple[str, str]], sentences: list[str]
) -> None:
    any_student.save(str(tmp_path / "student"))
    again = DSE(str(tmp_path / "student"), dtype="float32", device="cpu")
    assert again.fingerprint == any_student.fingerprint
    np.testing.assert_array_equal(again.encode(sentences), any_student.encode(sentences))
    np.testing.assert_array_equal(again.raw_scores(pairs), any_student.raw_scores(pairs))


def test_training_reaches_the_backbone_and_every_weight_of_the_head(
    any_student: DSE, pairs: list[tuple[str, str]]
) -> None:
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    features = any_student.preprocess(texts)
    features["pairs"] = torch.tensor([[texts.index(a), texts.index(b)] for a, b in pairs])
    any_student(features, pairs=True)["scores"].square().sum().backward()
    weights = [*any_student.head.parameters(), any_student[0].model.embeddings.word_embeddings.weight]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fast_pass_scores_zero_vectors_too(any_student: DSE, dtype: torch.dtype) -> None:
    head = any_student.head
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, head.embedding_dimension, generator=generator)
    queries, candidates = vectors.clone(), vectors.clone()
    queries[0], candidates[3] = 0.0, 0.0
    fast = FastPass(head, queries, dtype)(candidates, slice(0, 6))  # (q, n)
    exact = torch.stack([head.score(u.expand_as(candidates), candidates)[:, 0] for u in queries]).detach()
    assert fast.isfinite().all()
    tolerance = 1e-4 if dtype == torch.float32 else 0.05 * float(exact.abs().max())
    torch.testing.assert_close(fast, exact, atol=tolerance, rtol=tolerance)


def test_the_cosine_beside_an_mlp_is_that_of_the_last_layer(backbone: str, pairs: list[tuple[str, str]]) -> None:
    student, last = make_student(backbone, head="cosine-mlp"), make_student(backbone, head="cosine", num_layers=1)
    assert student.head.cosine_dimension == last.head.embedding_dimension < student.head.embedding_dimension
    torch.nn.init.zeros_(last.head.out.bias)
    np.testing.assert_allclose(student.predict(pairs), last.predict(pairs), rtol=1e-5)
    assert make_student(backbone, head="cosine-mlp", projection=10).head.cosine_dimension is None
    assert make_student(backbone, head="cosine-mlp", average_layers=True).head.cosine_dimension is None
