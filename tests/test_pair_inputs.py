"""What `predict`, `rank`, `score_matrix`, `topk` and `prepare` take, and what they refuse and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from dse import DSE
from dse.modules import PairHead
from dse.pair_inputs import as_embeddings, as_pairs, as_texts
from tests.conftest import make_student

TEXTS = ["a red bicycle", "the blue tent", "a man reads"]
FRAME = pd.DataFrame({"text": TEXTS, "price": [1, 2, 3]})

# ------------------------------------------------------------------------------------------------------------ texts

SAME_TEXTS: dict[str, Callable[[], Any]] = {
    "tuple": lambda: tuple(TEXTS),
    "array": lambda: np.array(TEXTS),
    "object array": lambda: np.array(TEXTS, dtype=object),
    "generator": lambda: (text for text in TEXTS),
    "column": lambda: FRAME["text"],
    "keys": lambda: dict.fromkeys(TEXTS).keys(),
}


@pytest.mark.parametrize("form", SAME_TEXTS)
def test_documents_come_in_many_forms(form: str, student: DSE) -> None:
    expected = student.rank("bike", TEXTS, return_documents=True)
    assert student.rank("bike", SAME_TEXTS[form](), return_documents=True) == expected
    assert student.topk("bike", SAME_TEXTS[form]()) == student.topk("bike", TEXTS)
    np.testing.assert_array_equal(student.score_matrix("bike", SAME_TEXTS[form]()), student.score_matrix("bike", TEXTS))


NO_TEXTS: dict[str, tuple[Any, str]] = {
    "frame": (FRAME, "is a DataFrame; give a list of texts, such as one column"),
    "dict": ({"text": "a", "other": "b"}, "is a dict; give a list of texts"),
    "path": (Path("file.txt"), "is a PosixPath; give a list of texts"),
    "number": (3, "is a int; give a list of texts"),
    "none": (["a", None], r"row 1 is None \(NoneType\); give texts"),
    "numbers": ([1, 2], r"row 0 is 1 \(int\); give texts"),
    "nested": ([["a", "b"]], r"row 0 is \['a', 'b'\] \(list\); give texts"),
    "dicts": ([{"text": "a"}], r"row 0 is \{'text': 'a'\} \(dict\); give texts"),
}


@pytest.mark.parametrize("case", NO_TEXTS)
def test_what_is_no_texts_is_refused_everywhere(case: str, student: DSE) -> None:
    form, message = NO_TEXTS[case]
    for call in (
        lambda: student.prepare(form),
        lambda: student.topk("bike", form),
        lambda: student.topk(form, TEXTS),
        lambda: student.score_matrix("bike", form),
        lambda: student.score_matrix(form, TEXTS),
        lambda: student.rank("bike", form),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@given(st.lists(st.text(max_size=5)))
def test_texts_stay_as_they_are(texts: list[str]) -> None:
    assert as_texts(iter(texts), "documents") == as_texts(tuple(texts), "documents") == texts


def test_rank_is_of_one_query(student: DSE) -> None:
    for query in (["a", "b"], ["a"], np.array(["a"]), None, 3):
        with pytest.raises(ValueError, match=r"query is a .*; give one text, and several to topk"):
            student.rank(query, TEXTS)
    with pytest.raises(ValueError, match=r"documents is one text \('a tent'\); give a list"):
        student.rank("bike", "a tent")


def test_how_many_to_rank(student: DSE) -> None:
    assert student.rank("bike", TEXTS, top_k=0) == []
    assert len(student.rank("bike", TEXTS, top_k=np.int64(2))) == len(student.topk("bike", TEXTS, np.int64(2))[0]) == 2
    for wrong in (-1, 1.5, "2"):
        with pytest.raises(ValueError, match=f"top_k is {wrong!r}; give how many documents to return, or None for all"):
            student.rank("bike", TEXTS, top_k=wrong)
        with pytest.raises(ValueError, match=f"k is {wrong!r}; ask for at least one candidate"):
            student.topk("bike", TEXTS, wrong)


def test_rank_of_embeddings(student: DSE) -> None:
    embeddings = student.encode(TEXTS)
    expected = student.rank("bike", TEXTS)
    assert student.rank("bike", embeddings) == student.rank("bike", list(embeddings)) == expected
    with pytest.raises(ValueError, match="Embeddings hold no texts"):
        student.rank("bike", embeddings, return_documents=True)


# ------------------------------------------------------------------------------------------------------------ pairs


def test_pairs_from_zip(student: DSE) -> None:
    expected = student.predict(list(zip(TEXTS, TEXTS[::-1], strict=True)))
    np.testing.assert_array_equal(student.predict(zip(TEXTS, TEXTS[::-1], strict=True)), expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (FRAME[["text", "price"]], "inputs is a DataFrame; give pairs"),
        ({"a": "b", "c": "d"}, "inputs is a dict; give pairs"),
        ([{"a": "b", "c": "d"}], r"Input 0 is \[\{.*\}\] \(list\); give pairs of texts"),
        ([("a", "b"), {"a": "b", "c": "d"}], r"Input 1 is \{.*\} \(dict\); give pairs of texts"),
        ([("a", "b"), {"a"}], r"Input 1 is \{.*\} \(set\); give pairs of texts"),
        ([("a", "b"), FRAME], r"Input 1 is .* \(DataFrame\)"),
        (3, r"Input 0 is 3 \(int\)"),
    ],
    ids=repr,
)
def test_what_is_no_pairs(inputs: Any, message: str, student: DSE) -> None:
    with pytest.raises(ValueError, match=message):
        student.predict(inputs)


def test_a_long_input_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError) as caught:
        as_pairs([["a" * 500]], singular=False)
    assert len(str(caught.value)) < 200


# ------------------------------------------------------------------------------------------------------- embeddings


def test_blocks_of_embeddings(student: DSE) -> None:
    embeddings, normalised = student.encode(TEXTS), student.encode(TEXTS, normalize_embeddings=True)
    assert student.topk("bike", iter([embeddings[:2], embeddings[2:]])) == student.topk("bike", TEXTS)
    assert student.topk("bike", iter([])) == [[]]
    for second, message in (
        (normalised, "embeddings of length 1"),
        (embeddings.astype(np.int8), "embeddings of type int8"),
        ("a tent", "a block is a str; give embeddings"),
    ):
        with pytest.raises(ValueError, match=message):
            student.topk("bike", iter([embeddings, second]))


def test_embeddings_in_lists(student: DSE) -> None:
    matrix = student.score_matrix(TEXTS, TEXTS)
    arrays, tensors = student.encode(TEXTS), student.encode(TEXTS, convert_to_numpy=False)
    for form in (list(arrays), tuple(arrays), tensors, arrays.astype(np.float16), torch.tensor(arrays).bfloat16()):
        np.testing.assert_allclose(student.score_matrix(form, form), matrix, atol=0.02)
    with pytest.raises(ValueError, match="not all vectors of one width"):
        student.score_matrix(TEXTS, [np.zeros(32, np.float32), np.zeros(31, np.float32)])
    with pytest.raises(ValueError, match=r"candidates: row 1 is 'a tent' \(str\) among embeddings"):
        student.score_matrix(TEXTS, [arrays[0], "a tent"])


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.filterwarnings("ignore:Computing")
def test_quantised_embeddings_are_refused(precision: str, student: DSE) -> None:
    quantised = student.encode(TEXTS * 40, precision=precision)
    for form in (quantised, list(quantised), torch.tensor(quantised)):
        for call in (student.score_matrix, student.topk):
            for arguments in ((TEXTS, form), (form, TEXTS)):
                with pytest.raises(ValueError, match=r"embeddings of type .*int8; a student scores those that"):
                    call(*arguments)
    assert as_embeddings(np.array(["a"]), "x") is None


@pytest.mark.parametrize("head", ["mlp", "dot", "bilinear", "cosine-mlp"])
def test_normalised_embeddings_are_refused(head: str, backbone: str) -> None:
    student = make_student(backbone, head=head)
    arrays = student.encode(TEXTS, normalize_embeddings=True)
    for form in (arrays, arrays.astype(np.float16), torch.tensor(arrays), torch.tensor(arrays).bfloat16()):
        for arguments in ((TEXTS, form), (form, TEXTS)):
            with pytest.raises(ValueError, match="embeddings of length 1, which this student does not give"):
                student.score_matrix(*arguments)
    with pytest.raises(ValueError, match="embeddings of length 1"):
        student.prepare(student.encode(TEXTS, normalize_embeddings=True))


def test_one_embedding_may_have_length_one_by_chance(backbone: str) -> None:
    student = make_student(backbone, head="dot", projection=6)
    with torch.no_grad():
        student.projection.linear.weight.div_(float(student.embed_texts(["a", "the"]).norm(dim=1).mean()))
        student.projection.linear.bias.zero_()
    normalised = student.encode(TEXTS, normalize_embeddings=True)
    assert student.score_matrix(normalised[:1], TEXTS).shape == (1, 3)
    with pytest.raises(ValueError, match="embeddings of length 1"):
        student.score_matrix(normalised, TEXTS)


def test_normalised_embeddings_where_they_are_right(backbone: str, encoder: str) -> None:
    cosine = make_student(backbone, head="cosine")
    normalised = cosine.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(cosine.score_matrix(TEXTS, normalised), cosine.score_matrix(TEXTS, TEXTS), atol=1e-5)
    modules = [*SentenceTransformer(encoder, device="cpu").children(), Normalize(), PairHead(8, kind="dot")]
    own = DSE(modules=modules, device="cpu", dtype="float32")
    np.testing.assert_allclose(own.score_matrix(TEXTS, own.encode(TEXTS)), own.score_matrix(TEXTS, TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    "option",
    [{"precision": "int8"}, {"normalize_embeddings": True}, {"truncate_dim": 8}, {"output_value": "token_embeddings"}],
    ids=str,
)
def test_options_that_change_the_embeddings_are_refused(option: dict[str, Any], student: DSE) -> None:
    for call in (
        lambda **kwargs: student.predict([("a", "b")], **kwargs),
        lambda **kwargs: student.raw_scores([("a", "b")], **kwargs),
        lambda **kwargs: student.score_matrix(TEXTS, TEXTS, **kwargs),
        lambda **kwargs: student.topk(TEXTS, TEXTS, **kwargs),
        lambda **kwargs: student.prepare(TEXTS, **kwargs),
    ):
        with pytest.raises(ValueError, match=rf"{next(iter(option))}=.* changes the embeddings"):
            call(**option)


def test_harmless_options_are_taken(student: DSE) -> None:
    harmless = {"precision": "float32", "normalize_embeddings": False, "convert_to_tensor": True, "batch_size": 2}
    np.testing.assert_allclose(
        student.score_matrix(TEXTS, TEXTS, **harmless), student.score_matrix(TEXTS, TEXTS), atol=1e-6
    )


def test_a_student_that_encodes_shortened_scores_in_full(student: DSE, tmp_path: Path) -> None:
    student.save(str(tmp_path))
    short = DSE(str(tmp_path), truncate_dim=8, device="cpu", dtype="float32")
    assert short.encode(TEXTS).shape == (3, 8)
    np.testing.assert_array_equal(short.predict([("a", "b")]), student.predict([("a", "b")]))
    assert short.rank("bike", TEXTS) == student.rank("bike", TEXTS)
    with pytest.raises(ValueError, match=r"expected embeddings of shape \(n, 32\), got \(3, 8\)"):
        short.score_matrix(TEXTS, short.encode(TEXTS))


def test_one_option_gives_float32_everywhere(backbone: str) -> None:
    exact, fast = (make_student(backbone, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert exact.prepare(TEXTS).embeddings.dtype == torch.float32
    one = exact.encode("a red bicycle")
    np.testing.assert_allclose(exact.encode("a red bicycle", output_value=None)["sentence_embedding"], one, atol=1e-5)
    assert np.abs(fast.encode("a red bicycle") - one).max() > 1e-4  # there is something to tell apart


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair_is_named(bad: str, student: DSE) -> None:
    for call in (
        lambda: student.predict([("a tent", "a bike"), ("a tent", bad)]),
        lambda: student.topk(["a tent", bad], TEXTS),
        lambda: student.rank("a tent", ["a bike", bad]),
    ):
        with pytest.raises(ValueError, match=r"(?i)(row|input) 1 holds half of a surrogate pair"):
            call()
    assert np.isfinite(student.predict([("a tent", "\U0001f6b2")])).all()
