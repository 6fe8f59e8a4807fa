"""The student against the paper's formula, against sentence-transformers and against a real CrossEncoder."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassFieldValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from sentence_transformers.sentence_transformer.modules import Pooling

from dse import DSE
from dse.modules import LayerConcat, PairHead, VectorInput
from dse.scoring.kinds import HEAD_KINDS
from tests.conftest import backbones, make_student
from tests.test_modules import numpy_head

RAW = torch.nn.Identity()
Models = Callable[[str], str]


@functools.lru_cache(maxsize=4)
def hugging_face(folder: str) -> tuple[transformers.PreTrainedTokenizerBase, transformers.PreTrainedModel]:
    return transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder).eval()


def token_states(folder: str, sentence: str, num_layers: int) -> tuple[np.ndarray, list[int]]:
    """The last layers of one sentence, alone and unpadded, straight from Hugging Face: (T, K, H), and its token ids."""
    tokenizer, model = hugging_face(folder)
    features = tokenizer(sentence, return_tensors="pt")
    with torch.no_grad():
        states = model(**features, output_hidden_states=True).hidden_states[-num_layers:]
    return torch.stack(states, dim=2)[0].numpy(), features["input_ids"][0].tolist()


def numpy_embedding(folder: str, sentence: str, num_layers: int = 4) -> np.ndarray:
    """The paper's u: the mean over tokens of the last K layers side by side, (K * H,)."""
    states, _ = token_states(folder, sentence, num_layers)
    return states.reshape(len(states), -1).mean(axis=0)


def rows_read(student: SentenceTransformer) -> list[int]:
    """A list that grows by the number of rows of each batch that passes through the backbone's embeddings."""
    rows: list[int] = []
    student[0].register_forward_pre_hook(lambda module, args: rows.append(len(args[0]["input_ids"])))
    return rows


# ------------------------------------------------------------------------------------------- the paper's formula


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("head", HEAD_KINDS)
def test_predict_is_the_formula(head: str, num_labels: int, backbone: str, pairs: list[tuple[str, str]]) -> None:
    student = make_student(backbone, head=head, num_labels=num_labels)
    u, v = (np.stack([numpy_embedding(backbone, pair[side]) for pair in pairs]) for side in (0, 1))
    expected = numpy_head(student.head, u, v)
    scores = student.predict(pairs, activation_fn=RAW)
    assert expected.std() > 1e-3  # there is something to tell apart
    np.testing.assert_allclose(scores, expected[:, 0] if num_labels == 1 else expected, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlnet"])
@pytest.mark.parametrize("num_layers", [1, 4])
@pytest.mark.parametrize("average_layers", [False, True])
@pytest.mark.parametrize(
    ("pooling", "skip_cls"),
    [(mode, skip) for mode in ("mean", "mean_sqrt_len_tokens", "max") for skip in (False, True)] + [("cls", False)],
)
def test_every_pooling(
    name: str, num_layers: int, average_layers: bool, skip_cls: bool, pooling: str, models: Models, sentences: list[str]
) -> None:
    folder, some = models(name), sentences[:4]
    student = make_student(
        folder, num_layers=num_layers, average_layers=average_layers, skip_cls=skip_cls, pooling=pooling
    )
    for sentence, embedding in zip(some, student.encode(some), strict=True):
        states, ids = token_states(folder, sentence, num_layers)  # (T, K, H)
        tokens = states.mean(axis=1) if average_layers else states.reshape(len(states), -1)
        is_cls = np.array(ids) == student.tokenizer.cls_token_id
        assert is_cls.sum() == 1 and is_cls[-1 if name == "xlnet" else 0]
        if pooling == "cls":
            expected = tokens[is_cls][0]
        else:
            kept = tokens[~is_cls] if skip_cls else tokens
            power = {"mean": 1.0, "mean_sqrt_len_tokens": 0.5}.get(pooling)
            expected = kept.max(axis=0) if pooling == "max" else kept.sum(axis=0) / len(kept) ** power
        np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_projection(backbone: str, sentences: list[str]) -> None:
    student = make_student(backbone, projection=6)
    dense = student.projection.linear
    expected = np.stack([numpy_embedding(backbone, s) for s in sentences]) @ dense.weight.detach().numpy().T
    embeddings = student.encode(sentences)
    np.testing.assert_allclose(embeddings, expected + dense.bias.detach().numpy(), atol=1e-5)
    assert embeddings.shape == (12, 6) == (12, student.head.embedding_dimension)
    assert student.predict([("a", "b")]).shape == (1,)


def test_frozen_backbone(backbone: str) -> None:
    frozen, free = make_student(backbone, freeze_backbone=True, projection=6), make_student(backbone, projection=6)
    assert not any(p.requires_grad for p in frozen[0].parameters())
    assert all(p.requires_grad for module in (frozen.projection, frozen.head) for p in module.parameters())
    frozen.train(), free.train()
    assert not frozen[0].training and frozen.head.training and free[0].training  # no dropout in a frozen backbone
    np.testing.assert_array_equal(frozen.encode(["a red bicycle"]), free.encode(["a red bicycle"]))


def test_number_of_layers_is_checked(backbone: str) -> None:
    make_student(backbone, num_layers=5)
    with pytest.raises(ValueError, match="uses the last 6 layers, its backbone has 5"):
        make_student(backbone, num_layers=6)


def test_head_is_drawn_from_torch(backbone: str) -> None:
    weights = [make_student(backbone, seed=seed).head.dense.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_student_of_a_cross_encoder_takes_its_backbone(teacher: CrossEncoder, tmp_path, sentences: list[str]) -> None:
    teacher.save_pretrained(str(tmp_path))
    embedding = make_student(str(tmp_path)).encode(sentences[0])
    np.testing.assert_allclose(embedding, numpy_embedding(str(tmp_path), sentences[0]), atol=1e-5)


# ------------------------------------------------------------------------------------------- eight architectures


@backbones
def test_encode_is_that_of_sentence_transformers(name: str, models: Models, sentences: list[str]) -> None:
    student = make_student(models(name))
    plain = SentenceTransformer(modules=list(student.children()), device="cpu")
    np.testing.assert_allclose(student.encode(sentences), plain.encode(sentences), atol=1e-5)


@backbones
def test_neighbours_in_the_batch_do_not_matter(name: str, models: Models, sentences: list[str]) -> None:
    student = make_student(models(name))
    alone = np.stack([student.encode(sentence) for sentence in sentences])
    assert np.ptp(alone, axis=0).min() > 1e-3  # sentences differ in every dimension
    for batch_size in (1, 3, 64):
        np.testing.assert_allclose(student.encode(sentences, batch_size=batch_size), alone, atol=1e-5)


@backbones
def test_bfloat16_stays_close(name: str, models: Models, sentences: list[str]) -> None:
    exact, fast = (make_student(models(name), dtype=dtype).encode(sentences) for dtype in ("float32", "bfloat16"))
    assert fast.dtype == np.float32 and not np.array_equal(exact, fast)
    cosine = (exact * fast).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    assert cosine.min() > 0.99


@backbones
def test_save_and_load_are_bit_exact(name: str, models: Models, tmp_path, pairs: list[tuple[str, str]]) -> None:
    student = make_student(models(name), num_labels=3)
    student.save_pretrained(str(tmp_path))
    again = DSE(str(tmp_path), dtype="float32", device="cpu")
    assert again.state_dict().keys() == student.state_dict().keys()
    assert all(torch.equal(value, student.state_dict()[key]) for key, value in again.state_dict().items())
    np.testing.assert_array_equal(again.predict(pairs), student.predict(pairs))


# ---------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "options",
    [
        {"head": "bilinear", "num_labels": 3},
        {"head": "cosine", "pooling": "max", "num_layers": 1},
        {"head": "mlp-symmetric", "projection": 6, "skip_cls": True},
        {"head": "dot", "average_layers": True, "pooling": "cls", "max_seq_length": 9},
    ],
    ids=lambda options: options["head"],
)
def test_every_option_is_saved(options: dict, backbone: str, tmp_path, pairs: list[tuple[str, str]]) -> None:
    student = make_student(backbone, **options)
    student.save_pretrained(str(tmp_path))
    again = DSE(str(tmp_path), dtype="float32", device="cpu")
    np.testing.assert_array_equal(again.predict(pairs), student.predict(pairs))
    assert again.fingerprint == student.fingerprint and again.max_seq_length == student.max_seq_length


@pytest.mark.parametrize(("noted", "length"), [(9, 9), (500, 64), (None, 64), ("no file", 64)])
def test_a_backbone_is_read_as_far_as_its_folder_says(noted, length: int, backbone: str, tmp_path) -> None:
    """`max_seq_length` of sentence_bert_config.json, but no further than the transformer reads; saved and loaded."""
    folder = shutil.copytree(backbone, tmp_path / "backbone")
    if noted != "no file":
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": noted}), encoding="utf-8")
    student = make_student(str(folder))
    assert student.max_seq_length == length
    assert make_student(str(folder), max_seq_length=20).max_seq_length == 20
    student.save_pretrained(str(tmp_path / "s"))
    assert DSE(str(tmp_path / "s"), device="cpu").max_seq_length == length


@pytest.fixture
def saved(student: DSE, tmp_path) -> Path:
    student.info = {"task": {"name": "mrpc", "labels": None}, "alpha": 0.5, "threshold": 0.25, "note": "café"}
    student.save_pretrained(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_saved_folder(saved: Path) -> None:
    files = [p for p in saved.rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".pth", ".pkl", ".pickle", ".npy", ".tmp", ".py")]
    assert len([p for p in files if p.suffix == ".safetensors"]) == 2  # backbone and head
    modules = [module["type"].split(".") for module in json.loads((saved / "modules.json").read_text())]
    assert [".".join(m) for m in modules if m[0] == "dse"] == ["dse.modules.LayerConcat", "dse.modules.PairHead"]
    assert [m[-1] for m in modules] == ["Transformer", "LayerConcat", "Pooling", "PairHead"]
    config = json.loads((saved / "config_sentence_transformers.json").read_text())
    assert config["requirements"].keys() == {"dse"}


def test_info_round_trip(saved: Path, student: DSE) -> None:
    again = DSE(str(saved), device="cpu")
    assert again.info == student.info == json.loads((saved / "dse.json").read_text(encoding="utf-8"))
    assert again.raw_threshold == 0.25 and again.label_names is None
    (saved / "dse.json").unlink()
    assert DSE(str(saved), device="cpu").info == {}


def test_lost_info_is_spoken_of(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    (saved / "dse.json").unlink()
    with caplog.at_level(logging.WARNING, "dse"):
        DSE(str(saved), device="cpu")
    assert f"{saved} has no dse.json: threshold" in caplog.text


def test_saved_files_can_be_read_by_others(saved: Path) -> None:
    usual = (saved / "modules.json").stat().st_mode
    assert {file.stat().st_mode for file in saved.rglob("*") if file.is_file()} == {usual}


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
@given(threshold=st.floats(-8, 8), shift=st.floats(-3, 3))  # beyond, float32 has one sigmoid for both
@settings(deadline=None, max_examples=40)
def test_predict_decides_at_the_threshold_as_raw_scores_do(activation: str, threshold: float, shift: float) -> None:
    head = PairHead(4, kind="dot")
    student = DSE(modules=[VectorInput(4), head], device="cpu")
    student.info = {"threshold": threshold, "activation": activation}
    raw = torch.tensor([threshold + shift, threshold - shift, threshold + 1e-3, threshold - 1e-3])
    predicted = student._activate(raw.unsqueeze(-1), None)
    clear = (raw - threshold).abs() > 5e-4
    assert torch.equal((predicted > student.threshold)[clear], (raw > student.raw_threshold)[clear])


def test_info_names_labels_and_activation(backbone: str, pairs: list[tuple[str, str]]) -> None:
    student = make_student(backbone)
    assert (student.threshold, student.raw_threshold, student.label_names) == (0.5, 0.0, None)
    student.info = {"task": {"labels": ["no", "yes"]}, "activation": "identity"}
    assert student.label_names == ["no", "yes"]
    np.testing.assert_array_equal(student.predict(pairs), student.predict(pairs, activation_fn=RAW))


def test_plain_sentence_transformers_needs_trust(saved: Path, student: DSE, sentences: list[str]) -> None:
    plain = SentenceTransformer(str(saved), trust_remote_code=True, device="cpu")
    np.testing.assert_allclose(plain.encode(sentences), student.encode(sentences), atol=1e-5)
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(saved), device="cpu")


def test_foreign_code_still_needs_trust(saved: Path) -> None:
    modules = json.loads((saved / "modules.json").read_text())
    modules[2]["type"] = "json.decoder.JSONDecoder"
    (saved / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="trust_remote_code"):
        DSE(str(saved), device="cpu")


def test_folder_without_a_head(backbone: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"no pair head; DSE\.from_backbone"):
        DSE(backbone, device="cpu")
    SentenceTransformer(backbone, device="cpu").save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="no pair head"):
        DSE(str(tmp_path), device="cpu")


def test_unknown_dtype(backbone: str, saved: Path) -> None:
    for build in (lambda: DSE(str(saved), dtype="half", device="cpu"), lambda: make_student(backbone, dtype="half")):
        with pytest.raises(ValueError, match="Unknown dtype 'half'; choose auto, float32 or bfloat16"):
            build()


# ---------------------------------------------------------------------- one contract: a CrossEncoder and a student


@pytest.fixture(params=["CrossEncoder", "DSE"])
def build(request: pytest.FixtureRequest, backbone: str) -> Callable[[int], CrossEncoder | DSE]:
    """Number of labels -> a scorer of pairs; what follows must hold for both."""

    def make(num_labels: int) -> CrossEncoder | DSE:
        torch.manual_seed(3)
        if request.param == "DSE":
            return make_student(backbone, num_labels=num_labels)
        return CrossEncoder(backbone, num_labels=num_labels, device="cpu")

    return make


@pytest.mark.parametrize("num_labels", [1, 3])
def test_contract_of_predict(num_labels: int, build, pairs: list[tuple[str, str]]) -> None:
    scorer = build(num_labels)
    n, tail = len(pairs), () if num_labels == 1 else (num_labels,)
    scores = scorer.predict(pairs)
    assert isinstance(scores, np.ndarray) and scores.dtype == np.float32 and scores.shape == (n, *tail)
    for same in ([list(pair) for pair in pairs], tuple(pairs), np.array(pairs), np.array(pairs, dtype=object)):
        np.testing.assert_allclose(scorer.predict(same), scores, atol=1e-6)
    np.testing.assert_allclose(scorer.predict(inputs=pairs, batch_size=2), scores, atol=1e-6)
    np.testing.assert_allclose(scorer.predict(sentences=pairs, num_workers=0), scores, atol=1e-6)

    tensor = scorer.predict(pairs, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32 and tensor.shape == (n, *tail)
    rows = scorer.predict(pairs, convert_to_numpy=False)
    assert isinstance(rows, list) and len(rows) == n
    assert all(isinstance(row, torch.Tensor) and row.shape == tail for row in rows)
    torch.testing.assert_close(torch.stack(rows), tensor)
    np.testing.assert_allclose(tensor, scores, atol=1e-6)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_contract_of_one_pair(num_labels: int, build) -> None:
    scorer, tail = build(num_labels), () if num_labels == 1 else (num_labels,)
    expected = scorer.predict([("a red bicycle", "a tent")])[0]
    for pair in (("a red bicycle", "a tent"), ["a red bicycle", "a tent"], np.array(["a red bicycle", "a tent"])):
        score = scorer.predict(pair)
        assert isinstance(score, np.float32 if num_labels == 1 else np.ndarray) and np.shape(score) == tail
        np.testing.assert_allclose(score, expected, atol=1e-6)
    for kwargs in ({"convert_to_tensor": True}, {"convert_to_numpy": False}):
        score = scorer.predict(("a red bicycle", "a tent"), **kwargs)
        assert isinstance(score, torch.Tensor) and score.shape == tail


@pytest.mark.parametrize("num_labels", [1, 3])
def test_contract_of_no_pairs(num_labels: int, build) -> None:
    scorer = build(num_labels)
    for nothing in ([], np.empty((0, 2), dtype=object)):
        scores = scorer.predict(nothing)
        assert isinstance(scores, np.ndarray) and scores.shape == (0,)
    tensor = scorer.predict([], convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and len(tensor) == 0
    assert scorer.predict([], convert_to_numpy=False) == []


def test_contract_of_activations(build, pairs: list[tuple[str, str]]) -> None:
    one, three = build(1), build(3)
    assert isinstance(one.activation_fn, torch.nn.Sigmoid) and isinstance(three.activation_fn, torch.nn.Identity)
    raw = one.predict(pairs, activation_fn=RAW)
    np.testing.assert_allclose(one.predict(pairs), 1 / (1 + np.exp(-raw)), atol=1e-6)
    np.testing.assert_allclose(one.predict(pairs, activation_fct=RAW), raw, atol=1e-6)  # its name before
    np.testing.assert_allclose(one.predict(pairs, apply_softmax=True), one.predict(pairs), atol=1e-6)  # no effect
    logits = three.predict(pairs)
    np.testing.assert_allclose(three.predict(pairs, activation_fn=RAW), logits, atol=1e-6)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(three.predict(pairs, apply_softmax=True), shares, atol=1e-5)
    np.testing.assert_allclose(three.predict(pairs, activation_fn=torch.nn.Tanh()), np.tanh(logits), atol=1e-5)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_contract_of_batch_size(batch_size: int, build) -> None:
    for call in (
        lambda scorer: scorer.predict([("a", "b")], batch_size=batch_size),
        lambda scorer: scorer.rank("a", ["b"], batch_size=batch_size),
    ):
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            call(build(1))


def test_contract_of_rank(build, sentences: list[str]) -> None:
    scorer, query = build(1), "who sells the red bicycle"
    scores = scorer.predict([(query, document) for document in sentences])
    ranking = scorer.rank(query, sentences)
    assert all(entry.keys() == {"corpus_id", "score"} for entry in ranking)
    assert all(type(entry["corpus_id"]) is int and type(entry["score"]) is float for entry in ranking)
    assert [entry["corpus_id"] for entry in ranking] == np.argsort(-scores, kind="stable").tolist()
    np.testing.assert_allclose([entry["score"] for entry in ranking], np.sort(scores)[::-1], atol=1e-6)

    assert scorer.rank(query, sentences, top_k=3) == ranking[:3]
    assert scorer.rank(query, sentences, top_k=99) == ranking
    assert scorer.rank(query, []) == []
    with_text = scorer.rank(query, sentences, return_documents=True)
    assert with_text == [entry | {"text": sentences[entry["corpus_id"]]} for entry in ranking]
    raw = scorer.rank(query, sentences, activation_fn=RAW)
    assert [entry["corpus_id"] for entry in raw] == [entry["corpus_id"] for entry in ranking]
    assert any(not 0 <= entry["score"] <= 1 for entry in raw) or raw[0]["score"] != ranking[0]["score"]


def test_contract_of_rank_ties_and_old_keywords(build) -> None:
    scorer, documents = build(1), ["bike", "a red bicycle", "bike", "a red bicycle"]
    order = [entry["corpus_id"] for entry in scorer.rank("a tent", documents, batch_size=1)]
    assert order in ([0, 2, 1, 3], [1, 3, 0, 2])
    old = scorer.rank("a tent", documents, convert_to_numpy=True, convert_to_tensor=False, num_workers=0)
    assert [entry["corpus_id"] for entry in old] == order


def test_contract_of_rank_with_several_labels(build) -> None:
    with pytest.raises(ValueError, match="predict"):
        build(3).rank("a", ["b", "c"])


def test_contract_of_processing_kwargs(build, sentences: list[str]) -> None:
    """Options for the tokenizer in one call: here, read the first tokens only."""
    scorer, short = build(1), {"text": {"max_length": 5, "truncation": True}}
    pairs = [(sentences[6], sentences[10]), (sentences[10], sentences[6])]
    cut = scorer.predict(pairs, processing_kwargs=short)
    assert cut.shape == (2,) and not np.allclose(cut, scorer.predict(pairs), atol=1e-5)


@pytest.mark.parametrize("method", ["predict", "rank"])
def test_signatures_are_those_of_cross_encoder(method: str) -> None:
    ours, theirs = (list(inspect.signature(getattr(cls, method)).parameters.values()) for cls in (DSE, CrossEncoder))
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


def test_contract_of_evaluators(build, pairs: list[tuple[str, str]], sentences: list[str]) -> None:
    one, three, texts = build(1), build(3), [list(pair) for pair in pairs]
    binary = CrossEncoderClassificationEvaluator(texts, [0, 1] * 5, write_csv=False)(one)
    assert 0.5 <= binary["accuracy"] <= 1 and 0 < binary["average_precision"] <= 1
    classes = CrossEncoderClassificationEvaluator(texts, three.predict(pairs).argmax(axis=1).tolist(), write_csv=False)
    assert classes(three)["f1_macro"] == 1.0  # graded against its own answers
    own = one.predict(pairs, activation_fn=RAW).tolist()
    correlation = CrossEncoderCorrelationEvaluator(texts, own, write_csv=False)(one)
    assert correlation["spearman"] == pytest.approx(1)
    best = one.rank("bike", sentences)[0]["corpus_id"]
    samples = [{"query": "bike", "positive": [sentences[best]], "negative": sentences[:best] + sentences[best + 1 :]}]
    assert CrossEncoderRerankingEvaluator(samples, write_csv=False)(one)["mrr@10"] == 1.0


# ------------------------------------------------------------------------------------------- predict, ours alone


@pytest.mark.parametrize(
    ("inputs", "row"),
    [
        ([("a", "b"), ("a", "b", "c")], 1),
        ([("a", "b"), ("a",)], 1),
        ([("a", "b"), ("a", "b"), ("a", 3)], 2),
        ([("a", "b"), ("a", None)], 1),
        ([("a", "b"), "ab"], 1),  # a text of two letters is no pair
        (["a", "b", "c"], 0),
        ("ab", 0),
    ],
)
def test_what_is_not_a_pair_is_named(inputs: object, row: int, student: DSE) -> None:
    with pytest.raises(ValueError, match=rf"Input {row} is .*; give pairs of texts"):
        student.predict(inputs)


def test_predict_reads_each_sentence_once(student: DSE, pairs: list[tuple[str, str]]) -> None:
    rows = rows_read(student)
    student.predict(pairs * 3)
    assert sum(rows) == len({text for pair in pairs for text in pair})


def test_scores_do_not_depend_on_the_other_pairs(student: DSE, pairs: list[tuple[str, str]]) -> None:
    together = student.predict(pairs, activation_fn=RAW)
    alone = [student.predict(pair, activation_fn=RAW) for pair in pairs]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert abs(together[0] - together[1]) > 1e-4  # the paper's head is not symmetric


def test_contract_of_prompts(build) -> None:
    """A prompt stands before the first sentence only."""
    scorer = build(1)
    scorer.prompts = {"q": "the old "}
    expected = scorer.predict([("the old man reads", "dog")])
    for kwargs in ({"prompt": "the old "}, {"prompt_name": "q"}):
        np.testing.assert_allclose(scorer.predict([("man reads", "dog")], **kwargs), expected, atol=1e-6)
    assert not np.allclose(scorer.predict([("man reads", "dog")]), expected, atol=1e-6)
    ranked = scorer.rank("man reads", ["dog"], prompt_name="q")
    assert ranked[0]["score"] == pytest.approx(float(expected[0]), abs=1e-6)
    scorer.default_prompt_name = "q"
    np.testing.assert_allclose(scorer.predict([("man reads", "dog")]), expected, atol=1e-6)
    with pytest.raises(ValueError, match="Prompt name 'other' not found"):
        scorer.predict([("a", "b")], prompt_name="other")


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_queries_and_documents_have_prompts_of_their_own(name: str, student: DSE) -> None:
    """As `encode_query` and `encode_document` have it: for models such as E5."""
    texts = ["dog", "man reads", "dog"]
    expected = student.predict([("the old man reads", f"two {text}") for text in texts])
    twice, other = student.predict([("the old dog", "two dog"), ("who man reads", "two dog")])
    student.prompts = {"query": "the old ", name: "two "}
    assert student.pair_prompts == ("the old ", "two ")
    np.testing.assert_allclose(student.predict([("man reads", text) for text in texts]), expected, atol=1e-5)
    np.testing.assert_allclose(student.predict(("dog", "dog")), twice, atol=1e-5)  # on both sides
    np.testing.assert_allclose(student.predict(("man reads", "dog"), prompt="who "), other, atol=1e-5)
    np.testing.assert_allclose(student.score_matrix("man reads", texts)[0], expected, atol=1e-5)
    order = np.argsort(-expected, kind="stable").tolist()
    for documents in (texts, student.prepare(texts)):
        hits = student.rank("man reads", documents)
        assert [hit["corpus_id"] for hit in hits] == order
        np.testing.assert_allclose([hit["score"] for hit in hits], expected[order], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts": {"query": "the old ", "passage": "two "}},
        {"prompts": {"corpus": "two "}},
        {"prompts": {"all": "the old "}, "default_prompt_name": "all"},
        {"prompts": {"query": "the old ", "document": "two ", "passage": "who "}},
    ],
    ids=str,
)
def test_encoded_queries_and_documents_score_as_texts_do(settings: dict, saved: Path, sentences: list[str]) -> None:
    """sentence-transformers gives every model an empty prompt `document`, which hides that of passages."""
    student = DSE(str(saved), device="cpu", dtype="float32", **settings)
    queries, documents = sentences[:3], sentences[3:]
    expected = student.score_matrix(queries, documents)
    encoded = student.score_matrix(student.encode_query(queries), student.encode_document(sentences=documents))
    np.testing.assert_allclose(encoded, expected, atol=1e-5)
    plain = student.encode(documents, prompt="")
    np.testing.assert_allclose(student.encode_document(documents, prompt=""), plain, atol=1e-6)
    np.testing.assert_allclose(student.encode_query(documents, None, ""), plain, atol=1e-6)


# ----------------------------------------------------------------------------------------- score_matrix and topk


@pytest.mark.parametrize("num_labels", [1, 3])
def test_score_matrix(num_labels: int, backbone: str, sentences: list[str]) -> None:
    student = make_student(backbone, num_labels=num_labels)
    queries, candidates = sentences[:3], sentences[2:9]
    matrix = student.score_matrix(queries, candidates)
    expected = np.stack([student.predict([(q, c) for c in candidates]) for q in queries])
    assert isinstance(matrix, np.ndarray) and matrix.dtype == np.float32 and matrix.shape == expected.shape
    np.testing.assert_allclose(matrix, expected, atol=1e-5)
    u, v = student.encode(queries), student.encode(candidates, convert_to_tensor=True)
    for left, right in [(u, candidates), (queries, v), (u, v), (np.array(queries), tuple(candidates))]:
        np.testing.assert_allclose(student.score_matrix(left, right), matrix, atol=1e-6)
    np.testing.assert_allclose(student.score_matrix(u.astype(np.float16), v), matrix, atol=1e-2)
    raw = student.score_matrix(queries, candidates, activation_fn=RAW, batch_size=2)
    np.testing.assert_allclose(1 / (1 + np.exp(-raw)) if num_labels == 1 else raw, matrix, atol=1e-5)


def test_score_matrix_of_nothing(student: DSE, sentences: list[str]) -> None:
    assert student.score_matrix([], sentences).shape == (0, 12)
    assert student.score_matrix(sentences, []).shape == (12, 0)


def test_one_text_is_not_its_letters(student: DSE, sentences: list[str]) -> None:
    query = sentences[0]
    np.testing.assert_array_equal(student.score_matrix(query, sentences), student.score_matrix([query], sentences))
    np.testing.assert_array_equal(student.score_matrix(sentences, query), student.score_matrix(sentences, [query]))
    assert student.topk(query, query) == student.topk([query], [query])


def test_topk_agrees_with_rank(student: DSE, sentences: list[str]) -> None:
    found = student.topk(sentences[:2], sentences, k=5)
    assert len(found) == 2
    for query, hits in zip(sentences[:2], found, strict=True):
        ranking = student.rank(query, sentences, top_k=5)
        assert [hit["corpus_id"] for hit in hits] == [entry["corpus_id"] for entry in ranking]
        np.testing.assert_allclose([h["score"] for h in hits], [e["score"] for e in ranking], atol=1e-6)
        assert all(type(hit["corpus_id"]) is int and type(hit["score"]) is float for hit in hits)
    u, v = student.encode(sentences[:2]), student.encode(sentences)
    assert [[h["corpus_id"] for h in hits] for hits in student.topk(u, v, 5)] == [
        [h["corpus_id"] for h in hits] for hits in found
    ]
    raw = student.topk(sentences[:2], sentences, 5, activation_fn=RAW)
    logits = np.array([[h["score"] for h in hits] for hits in raw])
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), [[h["score"] for h in hits] for hits in found], atol=1e-6)


def test_topk_at_the_edges(student: DSE, sentences: list[str]) -> None:
    assert [len(hits) for hits in student.topk(sentences[:2], sentences[:3], k=10)] == [3, 3]
    assert student.topk(sentences[:2], []) == [[], []]
    assert student.topk([], sentences) == []
    same = student.topk("bike", ["a tent", *["a red bicycle"] * 3], k=4)[0]
    assert [hit["corpus_id"] for hit in same if hit["corpus_id"]] == [1, 2, 3]
    with pytest.raises(ValueError, match="k is 0"):
        student.topk("bike", sentences, k=0)


def test_topk_needs_one_label(backbone: str) -> None:
    with pytest.raises(ValueError, match="topk needs one score per pair, this student gives 3"):
        make_student(backbone, num_labels=3).topk("bike", ["a"])


def test_unusable_embeddings(student: DSE, sentences: list[str]) -> None:
    good, bad = student.encode(sentences), student.encode(sentences)
    bad[4, 0] = np.nan
    for call in (student.score_matrix, student.topk):
        with pytest.raises(ValueError, match="candidates: the embedding in row 4 holds NaN"):
            call(good, bad)
        with pytest.raises(ValueError, match=r"queries: expected embeddings of shape \(n, 32\), got \(12, 31\)"):
            call(good[:, :31], good)


def test_a_diverged_student_does_not_score(student: DSE) -> None:
    with torch.no_grad():
        student[0].model.embeddings.word_embeddings.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="inputs: the embedding in row 0 holds NaN"):
        student.predict([("a", "b")])


# --------------------------------------------------------------------------------------------------------- encode


def test_encode_reads_each_sentence_once_and_keeps_the_order(student: DSE, sentences: list[str]) -> None:
    rows = rows_read(student)
    single = student.encode(sentences)
    assert sum(rows) == len(sentences)
    rows.clear()
    repeated = [sentences[i] for i in (5, 1, 1, 0, 5, 6, 1)]
    np.testing.assert_allclose(student.encode(repeated), single[[5, 1, 1, 0, 5, 6, 1]], atol=1e-5)
    assert sum(rows) == 4


def test_encode_forms(student: DSE, sentences: list[str]) -> None:
    rows = student.encode(sentences)
    assert isinstance(rows, np.ndarray) and rows.shape == (12, 32) and rows.dtype == np.float32
    one = student.encode(sentences[3])
    assert one.shape == (32,)
    np.testing.assert_allclose(one, rows[3], atol=1e-5)
    tensor = student.encode(sentences, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and tensor.shape == (12, 32)
    np.testing.assert_array_equal(tensor, rows)
    listed = student.encode(sentences, convert_to_numpy=False)
    assert isinstance(listed, list) and all(isinstance(row, torch.Tensor) for row in listed)
    np.testing.assert_array_equal(torch.stack(listed), rows)
    np.testing.assert_array_equal(student.encode(np.array(sentences)), rows)
    assert student.get_embedding_dimension() == 32


def test_encode_nothing(student: DSE) -> None:
    plain = SentenceTransformer(modules=list(student.children()), device="cpu")
    for kwargs in ({}, {"convert_to_tensor": True}, {"convert_to_numpy": False}):
        ours, theirs = student.encode([], **kwargs), plain.encode([], **kwargs)
        assert type(ours) is type(theirs) and len(ours) == len(theirs) == 0


@pytest.mark.parametrize(
    "kwargs",
    [
        {"normalize_embeddings": True},
        {"truncate_dim": 5},
        {"truncate_dim": 5, "normalize_embeddings": True},
        {"precision": "int8"},
        {"precision": "ubinary"},
        {"prompt": "the old "},
        {"prompt_name": "q"},
        {"processing_kwargs": {"text": {"max_length": 5, "truncation": True}}},
        {"task": "query"},
        {"batch_size": 2, "show_progress_bar": False},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Computing int8")
def test_encode_options_are_those_of_sentence_transformers(kwargs: dict, student: DSE, sentences: list[str]) -> None:
    plain = SentenceTransformer(modules=list(student.children()), device="cpu", prompts={"q": "two old "})
    student.prompts = plain.prompts
    sentences = sentences * 9  # int8 takes its scale from the sentences: 100 or more
    ours, theirs = student.encode(sentences, **kwargs), plain.encode(sentences, **kwargs)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    if ours.dtype.kind == "f":
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    elif kwargs["precision"] == "int8":
        assert np.abs(ours.astype(int) - theirs).max() <= 1  # a rounding apart
    else:
        assert np.unpackbits(ours ^ theirs).mean() < 0.01  # the sign of a zero
    if kwargs.keys() & {"prompt", "prompt_name", "processing_kwargs"}:
        assert not np.allclose(ours, student.encode(sentences), atol=1e-4)


def test_encode_prompt_left_out_of_the_pooling(student: DSE, sentences: list[str]) -> None:
    student[2].include_prompt = False
    plain = SentenceTransformer(modules=list(student.children()), device="cpu")
    ours = student.encode(sentences, prompt="the old ")
    np.testing.assert_allclose(ours, plain.encode(sentences, prompt="the old "), atol=1e-5)
    student[2].include_prompt = True
    assert not np.allclose(ours, student.encode(sentences, prompt="the old "), atol=1e-4)


def test_encode_other_outputs(student: DSE, sentences: list[str]) -> None:
    plain = SentenceTransformer(modules=list(student.children()), device="cpu")
    repeated = [*sentences[:4], sentences[0]]
    ours, theirs = (m.encode(repeated, output_value="token_embeddings") for m in (student, plain))
    assert len(ours) == 5
    for a, b, text in zip(ours, theirs, repeated, strict=True):
        assert a.shape == (len(student.tokenizer(text)["input_ids"]), 32)
        torch.testing.assert_close(a, b)
    features = student.encode(repeated, output_value=None)
    assert len(features) == 5 and {"input_ids", "token_embeddings", "sentence_embedding"} <= features[0].keys()
    torch.testing.assert_close(features[4]["sentence_embedding"], features[0]["sentence_embedding"])


def test_encode_refuses_the_training_switch(student: DSE) -> None:
    with pytest.raises(ValueError, match="additional keyword arguments"):
        student.encode(["a"], pairs=True)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        student.encode(["a"], batch_size=0)


def test_encode_leaves_no_trace(backbone: str, sentences: list[str]) -> None:
    """After a bfloat16 encode the weights are the float32 ones, and training works."""
    student = make_student(backbone, dtype="bfloat16").train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    student.encode(sentences)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    student.train()
    features = student.preprocess(sentences[:2])
    student(features | {"pairs": torch.tensor([[0, 1]])}, pairs=True)["scores"].sum().backward()
    assert student[0].model.embeddings.word_embeddings.weight.grad is not None


@pytest.mark.parametrize("fused", [False, True])
def test_bfloat16_follows_training(fused: bool, backbone: str, sentences: list[str]) -> None:
    """An evaluation in the midst of training sees the weights of that moment."""
    student = make_student(backbone, dtype="bfloat16")
    stale = student.encode(sentences)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.1, fused=fused)
    student(student.preprocess(sentences[:2]))["sentence_embedding"].square().sum().backward()
    optimizer.step()
    fresh = make_student(backbone, dtype="bfloat16")
    fresh.load_state_dict(student.state_dict())
    followed = student.encode(sentences)
    np.testing.assert_array_equal(followed, fresh.encode(sentences))
    assert not np.allclose(followed, stale, atol=0.01)


def test_bfloat16_follows_load_state_dict(backbone: str, sentences: list[str]) -> None:
    student, other = make_student(backbone, dtype="bfloat16"), make_student(backbone, dtype="bfloat16")
    stale = student.encode(sentences)
    with torch.no_grad():
        other[0].model.embeddings.word_embeddings.weight.mul_(-1)
    student.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(student.encode(sentences), other.encode(sentences))
    assert not np.allclose(student.encode(sentences), stale, atol=0.01)


def test_forward_scores_what_predict_scores(student: DSE, pairs: list[tuple[str, str]]) -> None:
    """What training optimises is what predict returns."""
    texts = sorted({text for pair in pairs for text in pair})
    index = torch.tensor([[texts.index(text) for text in pair] for pair in pairs])
    student.eval()
    with torch.no_grad():
        scores = student(student.preprocess(texts) | {"pairs": index}, pairs=True)["scores"]
    np.testing.assert_allclose(scores.squeeze(1), student.predict(pairs, activation_fn=RAW), atol=1e-5)


def test_pickled_students_encode(student: DSE, sentences: list[str]) -> None:
    """As in a new process, where transformers has not yet met the backbone's class."""
    from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY as registry

    expected = student.encode(sentences)  # installs hooks that cannot be pickled
    data, known = pickle.dumps(student), dict(registry)
    np.testing.assert_array_equal(student.encode(sentences), expected)
    registry.clear()
    try:
        travelled = pickle.loads(data)
        np.testing.assert_array_equal(travelled.encode(sentences), expected)
    finally:
        dict.update(registry, known)
    assert travelled.fingerprint == student.fingerprint
    np.testing.assert_array_equal(copy.deepcopy(student).encode(sentences), expected)


@pytest.mark.slow
def test_two_processes(student: DSE, sentences: list[str], pairs: list[tuple[str, str]]) -> None:
    embeddings, scores = student.encode(sentences), student.predict(pairs)
    pool = student.start_multi_process_pool(["cpu", "cpu"])
    try:
        for chunk_size in (None, 5):
            shared = student.encode(sentences * 2, pool=pool, chunk_size=chunk_size)
            np.testing.assert_allclose(shared, np.tile(embeddings, (2, 1)), atol=1e-5)
        np.testing.assert_allclose(student.predict(pairs, pool=pool, chunk_size=3), scores, atol=1e-5)
        assert student.predict([], pool=pool).shape == (0,)
    finally:
        student.stop_multi_process_pool(pool)


class OlderConfig(transformers.BertConfig):
    """As transformers before 5.23 have it: all layers or none."""

    def __setattr__(self, name, value):
        if name == "output_hidden_states" and isinstance(value, list):
            raise StrictDataclassFieldValidationError(name, TypeError("expected bool"))
        super().__setattr__(name, value)


def test_older_transformers_give_all_layers_and_the_same_embeddings(backbone):
    student = DSE.from_backbone(backbone, num_layers=2)
    expected = student.encode(["a red bicycle", "a tent"])
    older = OlderConfig(num_hidden_layers=student.config.num_hidden_layers)
    LayerConcat(8, num_layers=2).on_model_ready(SimpleNamespace(config=older))
    assert older.output_hidden_states is True
    student.config.output_hidden_states = True
    np.testing.assert_array_equal(student.encode(["a red bicycle", "a tent"]), expected)


@pytest.mark.parametrize("mode", ["cls", "mean", "max", ["cls", "mean"]])
def test_a_student_of_an_encoder_pools_and_prompts_as_it_does(backbone, tmp_path, mode):
    transformer = Transformer(backbone)
    pooling = Pooling(transformer.get_embedding_dimension(), mode)
    prompts = {"query": "the old ", "document": ""}
    encoder = SentenceTransformer(modules=[transformer, pooling], prompts=prompts, device="cpu")
    encoder.save(str(tmp_path / "encoder"))
    student = DSE.from_backbone(str(tmp_path / "encoder"), num_layers=1, head="cosine", dtype="float32", device="cpu")
    assert student.pair_prompts == ("the old ", "")
    texts = ["a red bicycle", "a tent"]
    if isinstance(mode, str):
        np.testing.assert_allclose(student.encode_query(texts), encoder.encode_query(texts), atol=1e-5)
    else:  # two embeddings side by side are none that a student has; its own default then
        assert student.encode(texts).shape[1] == transformer.get_embedding_dimension()
    other = DSE.from_backbone(str(tmp_path / "encoder"), num_layers=1, head="cosine", pooling="max", prompts={})
    assert other.pair_prompts == ("", "") and other[2].pooling_mode == "max"
