"""`DSE` where the code of others expects a `CrossEncoder` or a `SentenceTransformer`."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import nn

from dse import DSE
from tests.conftest import make_student

PAIRS = [("a red bicycle", "a tent"), ("a man reads", "the old woman reads a book")]


@pytest.fixture
def saved(student: DSE, tmp_path: Path) -> str:
    student.save(str(tmp_path / "student"))
    return str(tmp_path / "student")


# ------------------------------------------------------------------------------------------------------ constructor


def test_the_constructor_of_a_cross_encoder(saved: str, student: DSE) -> None:
    ours = inspect.signature(DSE).parameters
    assert {"num_labels", "max_length", "activation_fn"} <= ours.keys()
    for kwargs in ({"max_length": 9}, {"num_labels": 1}, {"tokenizer_kwargs": {}}, {"automodel_args": {}}):
        assert DSE(saved, device="cpu", **kwargs).predict(PAIRS).shape == (2,)
    by_name = DSE(model_name=saved, device="cpu", dtype="float32")
    np.testing.assert_array_equal(by_name.predict(PAIRS), student.predict(PAIRS))


def test_max_length(saved: str) -> None:
    model = DSE(saved, device="cpu", max_length=4)
    assert model.max_length == model.max_seq_length == 4
    assert len(model.preprocess(["a red bicycle is near the river"])["input_ids"][0]) == 4
    model.max_length = 5
    assert model.max_seq_length == 5
    for wrong in (0, 67):
        with pytest.raises(ValueError, match=f"max_length is {wrong}; this student reads 1 to 66 tokens"):
            DSE(saved, device="cpu", max_length=wrong)


@pytest.mark.parametrize("wrong", ["9", 9.5])
def test_a_length_is_a_number_of_tokens(wrong: object, saved: str) -> None:
    with pytest.raises(ValueError, match=f"max_length is {wrong!r}; this student reads 1 to 66 tokens"):
        DSE(saved, device="cpu", max_length=wrong)


@pytest.mark.parametrize("name", ["max_seq_length", "foo"])
def test_an_unknown_argument_names_the_right_class(name: str, saved: str) -> None:
    with pytest.raises(TypeError, match=f"DSE takes no argument '{name}'"):
        DSE(saved, device="cpu", **{name: 1})


def test_a_path_is_taken_as_its_name_is(saved: str, student: DSE) -> None:
    model = DSE(Path(saved), device="cpu", dtype="float32")
    np.testing.assert_array_equal(model.predict(PAIRS), student.predict(PAIRS))


def test_num_labels_is_checked(saved: str) -> None:
    with pytest.raises(ValueError, match="num_labels is 3, the student gives 1 scores per pair"):
        DSE(saved, device="cpu", num_labels=3)


def test_activation_fn(saved: str, backbone: str, tmp_path: Path) -> None:
    raw = DSE(saved, device="cpu").predict(PAIRS, activation_fn=nn.Identity())
    for model in (
        DSE(saved, device="cpu", activation_fn=nn.Tanh()),
        DSE(saved, device="cpu", default_activation_function=nn.Tanh()),
    ):
        assert isinstance(model.activation_fn, nn.Tanh) and model.default_activation_function is model.activation_fn
        assert [name for name, _ in model.named_children()] == ["transformer", "layers", "pooling", "pair_head"]
        np.testing.assert_allclose(model.predict(PAIRS), np.tanh(raw), atol=1e-6)
    model.activation_fn = torch.sigmoid  # a function is no module
    np.testing.assert_allclose(model.predict(PAIRS), 1 / (1 + np.exp(-raw)), atol=1e-6)
    model.activation_fn = nn.Tanh()
    model.save(str(tmp_path / "tanh"))
    np.testing.assert_allclose(DSE(str(tmp_path / "tanh"), device="cpu").predict(PAIRS), np.tanh(raw), atol=1e-6)
    model.activation_fn = nn.Identity()
    model.save(str(tmp_path / "raw"))
    np.testing.assert_allclose(DSE(str(tmp_path / "raw"), device="cpu").predict(PAIRS), raw, atol=1e-6)
    assert isinstance(make_student(backbone).activation_fn, nn.Sigmoid)


@pytest.mark.parametrize("wrong", ["sigmoid", nn.Sigmoid, 3])
def test_an_activation_is_a_function(wrong: object, saved: str, student: DSE, monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"activation_fn is .*; give a function or a module"
    with pytest.raises(ValueError, match=message):
        DSE(saved, device="cpu", activation_fn=wrong)
    with pytest.raises(ValueError, match=message):
        student.activation_fn = wrong
    assert isinstance(student.activation_fn, nn.Sigmoid)
    monkeypatch.setattr(DSE, "encode", None)  # refused before any work
    for call in (
        lambda: student.predict(PAIRS, activation_fn=wrong),
        lambda: student.rank("a", ["b"], activation_fn=wrong),
        lambda: student.topk("a", ["b"], activation_fn=wrong),
        lambda: student.score_matrix("a", ["b"], activation_fn=wrong),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_transformer_has_the_name_of_cross_encoder(student: DSE) -> None:
    assert student.model is student[0].model


def test_nothing_follows_the_pair_head(student: DSE, encoder: str) -> None:
    with pytest.raises(ValueError, match=r"A student ends in its pair head.*Normalize before it"):
        student.append(Normalize())
    with pytest.raises(ValueError, match="ends in a PairHead, not in Normalize"):
        DSE(modules=[*student.children(), Normalize()], device="cpu")
    assert len(student) == 4


PUT_BEHIND = {
    "insert": lambda student: student.insert(4, nn.Identity()),
    "add_module": lambda student: student.add_module("more", nn.Identity()),
    "attribute": lambda student: setattr(student, "more", nn.Identity()),
    "in its place": lambda student: student.__setitem__(3, nn.Identity()),
}


@pytest.mark.parametrize("way", PUT_BEHIND)
def test_another_last_module_is_named_when_pairs_are_scored(way: str, student: DSE) -> None:
    PUT_BEHIND[way](student)
    for call in (lambda: student.predict(PAIRS), lambda: student.rank("a", ["b"]), lambda: student.info):
        with pytest.raises(ValueError, match="A student ends in a PairHead, not in Identity; put one there"):
            call()


# ------------------------------------------------------------------------------------------------- the class's name


def test_clients_that_look_at_the_name_of_the_class(student: DSE) -> None:
    """KeyBERT and BERTopic."""
    assert "sentence_transformers" in str(type(student)) and "dse.model.DSE" in str(type(student))
    assert DSE.__name__ == "DSE" and DSE.__module__ == "dse.model"


def test_keybert(student: DSE) -> None:
    backend = pytest.importorskip("keybert.backend._utils").select_backend(student)
    assert backend.embedding_model is student


# ----------------------------------------------------------------------------------------------------------- losses


def train_step(student: DSE, loss: nn.Module, labels: torch.Tensor) -> torch.Tensor:
    student.train()
    features = [student.preprocess([pair[side] for pair in PAIRS]) for side in (0, 1)]
    value = loss(features, labels)
    value.backward()
    return value.detach()


@pytest.mark.parametrize("num_layers", [1, 4])
def test_adaptive_layer_loss_reads_every_layer(num_layers: int, backbone: str) -> None:
    """With fewer layers than the student joins, the first of them is repeated."""
    seen = []
    student = make_student(backbone, num_layers=num_layers)
    inner = losses.CosineSimilarityLoss(student)
    student.pooling.register_forward_hook(lambda m, args, out: seen.append(out["sentence_embedding"].detach()))
    loss = losses.AdaptiveLayerLoss(student, inner, n_layers_per_step=-1, kl_temperature=0)
    assert train_step(student, loss, torch.tensor([0.2, 0.9])).isfinite()
    first_side = [tuple(embedding[0, -8:].tolist()) for embedding in seen[::2]]
    assert len(first_side) == len(set(first_side)) == 6  # embeddings and five layers
    assert student.config.output_hidden_states in (list(range(-num_layers, 0)), True)  # all, before transformers 5.23
    plain = make_student(backbone, num_layers=num_layers).eval()
    assert "all_layer_embeddings" not in plain(plain.preprocess(["a"]))


@pytest.mark.parametrize(("head", "warned"), [("mlp", True), ("cosine-mlp", True), ("cosine", False), ("dot", False)])
def test_a_loss_of_embeddings_leaves_the_head_behind(
    head: str, warned: bool, backbone: str, caplog: pytest.LogCaptureFixture
) -> None:
    student = make_student(backbone, head=head)
    with caplog.at_level(logging.WARNING, logger="dse"):
        for _ in range(2):
            train_step(student, losses.CosineSimilarityLoss(student), torch.tensor([0.2, 0.9]))
        student.eval().encode("a red bicycle")
    messages = [record.message for record in caplog.records if "leaves the pair head as it is" in record.message]
    assert len(messages) == warned


def test_distilling_does_not_warn(student: DSE, caplog: pytest.LogCaptureFixture) -> None:
    student.train()
    features = student.preprocess(["a", "b"])
    with caplog.at_level(logging.WARNING, logger="dse"):
        student(features | {"pairs": torch.tensor([[0, 1]])}, pairs=True)["scores"].sum().backward()
        student.predict(PAIRS)
    assert not caplog.records
