"""What sentence-transformers tests of its own `CrossEncoder` and `encode`, asked of both classes; in our own words.

`tests/test_model.py` has the rest of that contract. Where a student differs on purpose:

- `rank` refuses a negative ``top_k`` and several queries; a cross-encoder drops the last hits, or fails inside.
- Embeddings of one text, not of a pair, are what `is_singular_input`, chat templates and dicts of images are about.
- A student's forward pass is that of its modules one by one; hooks belong on these, not on the student.
- `push_to_hub`, model cards and training are those of `SentenceTransformer`, see `tests/test_model_card.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer

from dse import DSE
from tests.conftest import make_student

PAIRS = [["a man reads", "the old woman reads a book"], ["a red bicycle", "a tent"], ["bike", "a red bicycle"]]
Build = Callable[..., CrossEncoder | DSE]


@pytest.fixture(params=["CrossEncoder", "DSE"])
def build(request: pytest.FixtureRequest, backbone: str) -> Build:
    def make(num_labels: int = 1, **kwargs: object) -> CrossEncoder | DSE:
        torch.manual_seed(3)
        if request.param == "DSE":
            return make_student(backbone, num_labels=num_labels, **kwargs)
        return CrossEncoder(backbone, num_labels=num_labels, device="cpu", **kwargs)

    return make


def test_softmax_adds_up_to_one(build: Build) -> None:
    model = build(3)
    ones = torch.ones(len(PAIRS))
    for softmax in (True, False):
        total = model.predict(PAIRS, apply_softmax=softmax, convert_to_tensor=True).sum(dim=1)
        assert torch.allclose(total, ones, atol=1e-5) == softmax


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_batches_of_any_size(num_labels: int, batch_size: int, build: Build) -> None:
    model = build(num_labels)
    scores = model.predict(PAIRS, batch_size=batch_size)
    assert scores.shape == ((3,) if num_labels == 1 else (3, num_labels))
    np.testing.assert_allclose(scores, model.predict(PAIRS), atol=1e-5)


@pytest.mark.parametrize("convert_to_tensor", [True, False])
@pytest.mark.parametrize("convert_to_numpy", [True, False])
def test_types_of_results(convert_to_numpy: bool, convert_to_tensor: bool, build: Build) -> None:
    model = build()
    options = {"convert_to_numpy": convert_to_numpy, "convert_to_tensor": convert_to_tensor}
    kind = torch.Tensor if convert_to_tensor else np.ndarray if convert_to_numpy else list
    for inputs in (PAIRS, []):
        scores = model.predict(inputs, **options)
        assert type(scores) is kind and len(scores) == len(inputs)
    assert model.predict(PAIRS, **options)[0].dtype in (torch.float32, np.float32)


def test_no_pairs_in_an_array(build: Build) -> None:
    assert build().predict(np.array([], dtype=str), show_progress_bar=False).shape == (0,)


def test_a_column_of_a_data_set(build: Build) -> None:
    model, rows = build(), Dataset.from_dict({"pairs": PAIRS, "text": [pair[1] for pair in PAIRS]})
    np.testing.assert_allclose(model.predict(rows["pairs"]), model.predict(PAIRS), atol=1e-6)
    ranked = model.rank("bike", rows["text"], return_documents=True)
    assert {hit["text"] for hit in ranked} == {pair[1] for pair in PAIRS}


def test_documents_from_a_generator(build: Build) -> None:
    model, documents = build(), [pair[1] for pair in PAIRS]
    expected = model.rank("bike", documents)
    found = model.rank("bike", (document for document in documents))
    assert [hit["corpus_id"] for hit in found] == [hit["corpus_id"] for hit in expected]


@pytest.mark.parametrize("top_k", [None, 0, 1, 2, 99])
def test_how_many_come_back(top_k: int | None, build: Build) -> None:
    model, documents = build(), [pair[1] for pair in PAIRS]
    found = model.rank("bike", documents, top_k=top_k)
    assert found == model.rank("bike", documents)[:top_k]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_half_precision(dtype: torch.dtype, build: Build) -> None:
    model = build()
    expected = model.predict(PAIRS)
    scores = model.to(dtype).predict(PAIRS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=0.03)
    assert all(type(hit["score"]) is float for hit in model.rank("bike", ["a tent", "a bird"]))


def test_weights_loaded_in_half_precision(student: DSE, tmp_path) -> None:
    student.save(str(tmp_path))
    half = DSE(str(tmp_path), device="cpu", automodel_args={"dtype": torch.bfloat16})
    assert half.dtype == torch.bfloat16 and half.head.dense.weight.dtype == torch.float32
    torch.testing.assert_close(half.head.dense.weight, student.head.dense.weight, atol=0, rtol=0)
    np.testing.assert_allclose(half.predict(PAIRS), student.predict(PAIRS), atol=0.03)
    projected = make_student(student[0].model.name_or_path, projection=6).to(torch.bfloat16)
    assert projected.predict(PAIRS).shape == (3,)


def test_an_activation_of_one_call_stays_in_that_call(build: Build) -> None:
    model = build()
    model.predict(PAIRS, activation_fn=torch.nn.Identity())
    assert isinstance(model.activation_fn, torch.nn.Sigmoid)
    model.activation_fn = torch.nn.Tanh()
    raw = model.predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(model.predict(PAIRS), np.tanh(raw), atol=1e-6)
    assert "activation_fn" not in dict(model.named_modules())


@pytest.mark.filterwarnings("ignore:The `max_length`")
def test_max_length_is_that_of_the_tokenizer(build: Build) -> None:
    model = build()
    model.max_length = 8
    assert model.max_length == model.max_seq_length == model.tokenizer.model_max_length == 8


@pytest.mark.parametrize("query", [True, False])
def test_encoding_queries_and_documents(query: bool, student: DSE) -> None:
    plain = SentenceTransformer(modules=list(student.children())[:3], device="cpu")
    prompts = {"query": "the old ", "document": "two "}
    student.prompts = plain.prompts = prompts
    ours, theirs = (
        (model.encode_query if query else model.encode_document)(["dog", "man"]) for model in (student, plain)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(ours[0], student.encode(prompts["query" if query else "document"] + "dog"), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("build", ["DSE"], indirect=True)  # starting processes takes long
def test_several_processes(build: Build) -> None:
    model = build()
    pairs, documents = PAIRS * 3, [pair[1] for pair in PAIRS]
    expected, ranked = model.predict(pairs), model.rank("bike", documents)
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    try:
        np.testing.assert_allclose(model.predict(pairs, pool=pool, chunk_size=2), expected, atol=1e-5)
        assert model.predict([], pool=pool).shape == (0,)
        assert [hit["corpus_id"] for hit in model.rank("bike", documents, pool=pool)] == [
            h["corpus_id"] for h in ranked
        ]
        tensor = model.predict(pairs, pool=pool, convert_to_tensor=True)
        assert isinstance(tensor, torch.Tensor)
    finally:
        model.stop_multi_process_pool(pool)
