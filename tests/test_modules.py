"""LayerConcat and PairHead: the paper's formula, written again in numpy, and what is saved of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dse.modules import HEAD_KINDS, LayerConcat, PairHead

D = 6


def numpy_head(head: PairHead, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """s(u, v) as the paper and the table in `dse.scoring.kinds` write it; u, v (n, d) -> (n, C)."""
    w = {name: p.detach().numpy().astype(np.float64) for name, p in head.named_parameters()}
    if "mlp" in head.kind:
        sides = [u + v] if head.kind == "mlp-symmetric" else [u, v]
        x = np.concatenate([*sides, u * v, np.abs(u - v)], axis=1)
        hidden = np.maximum(x @ w["dense.weight"].T + w["dense.bias"], 0)
        scores = hidden @ w["out.weight"].T + w["out.bias"]
        return scores + numpy_cosine(head, u, v) * w["slope"] if head.kind == "cosine-mlp" else scores
    if head.kind == "bilinear":
        return np.stack([((u @ m) * v).sum(axis=1) for m in w["weight"]], axis=1) + w["bias"]
    if head.kind == "cosine-map":
        u, v = (x[:, -(head.cosine_dimension or x.shape[1]) :] for x in (u, v))
        u, v = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8) for x in (u, v))
        u, v = (x + x @ w[f"{side}.weight"].T + w[f"{side}.bias"] for x, side in ((u, "left"), (v, "right")))
    if head.kind in ("cosine", "cosine-map"):
        product = numpy_cosine(head, u, v)
    else:
        assert head.kind == "dot", f"write the formula of {head.kind} here"
        product = (u * v).sum(axis=1, keepdims=True)
    return product @ w["out.weight"].T + w["out.bias"]


def numpy_cosine(head: PairHead, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cosine of the last values of u and v, (n, 1)."""
    u, v = (x[:, -(head.cosine_dimension or x.shape[1]) :] for x in (u, v))
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
    return (u * v).sum(axis=1, keepdims=True)


@pytest.fixture(params=HEAD_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def random_head(kind: str, num_labels: int = 1, seed: int = 0, **kwargs: object) -> PairHead:
    torch.manual_seed(seed)
    head = PairHead(D, num_labels, kind, hidden_dimension=10, **kwargs)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


@pytest.mark.parametrize("cosine_dimension", [None, 1, 4])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_head_is_the_formula(kind: str, num_labels: int, cosine_dimension: int | None) -> None:
    head = random_head(kind, num_labels, cosine_dimension=cosine_dimension)
    u, v = torch.randn(2, 7, D)
    scores = head.score(u, v)
    assert scores.shape == (7, num_labels)
    np.testing.assert_allclose(scores.detach(), numpy_head(head, u.double().numpy(), v.double().numpy()), atol=1e-5)
    # leading axes are free
    grid = head.score(u[:, None].expand(7, 7, D), v[None].expand(7, 7, D))
    assert grid.shape == (7, 7, num_labels)
    torch.testing.assert_close(grid[2, 5], head.score(u[2], v[5]), atol=1e-5, rtol=1e-5)


def test_symmetric_heads_are_symmetric_and_no_others(kind: str) -> None:
    head = random_head(kind, 2)
    u, v = torch.randn(2, 9, D)
    same = torch.allclose(head.score(u, v), head.score(v, u), atol=1e-6)
    assert same == head.symmetric == (kind in ("mlp-symmetric", "dot", "cosine"))


@pytest.mark.parametrize("cosine_dimension", [None, 4])
def test_products_of_vectors_order_pairs_as_the_score(kind: str, cosine_dimension: int | None) -> None:
    for seed in range(4):  # so that the slope has either sign
        head = random_head(kind, seed=seed, cosine_dimension=cosine_dimension)
        u, v = torch.randn(40, D), 3 * torch.randn(40, D)
        with torch.no_grad():
            vectors = head.formula.product_vectors(head, u, v)
            if vectors is None:
                return
            products, scores = (vectors[0] * vectors[1]).sum(dim=1), head.score(u, v)[:, 0]
        rise, step = scores[products.argsort()].diff(), scores.std()
        assert (rise > -1e-4 * step).all(), "vectors inherited from another kind?"


def test_lengths_change_no_score_of_kinds_that_ignore_them_and_of_no_others(kind: str) -> None:
    head = random_head(kind)
    u, v = torch.randn(2, 9, D)
    same = torch.allclose(head.score(u, v), head.score(2 * u, 3 * v), atol=1e-5)
    assert same == head.formula.ignores_length


def test_heads_of_one_weight_are_a_similarity_on_another_scale() -> None:
    assert [kind for kind in HEAD_KINDS if PairHead(D, 2, kind).has_one_weight] == ["dot", "cosine"]


def test_unlike_signs_of_the_difference_do_not_matter() -> None:
    """|u - v| and not u - v: with no other feature than the last, swapping the sides changes nothing."""
    head = random_head("mlp")
    with torch.no_grad():
        head.dense.weight[:, : 3 * D] = 0
    u, v = torch.randn(2, 9, D)
    torch.testing.assert_close(head.score(u, v), head.score(v, u))


@pytest.mark.parametrize("width", [0, D + 1, -1])
def test_a_cosine_of_more_values_than_there_are_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"cosine_dimension is {width}; choose 1 to {D}"):
        PairHead(D, kind="cosine", cosine_dimension=width)


def test_the_mlp_beside_a_cosine_starts_at_zero() -> None:
    head, (u, v) = PairHead(D, 2, "cosine-mlp", cosine_dimension=3), torch.randn(2, 5, D)
    cosine = torch.nn.functional.cosine_similarity(u[:, -3:], v[:, -3:])
    torch.testing.assert_close(head.score(u, v), 5 * cosine[:, None].expand(5, 2))


def test_moved_vectors_start_as_the_vectors() -> None:
    head, (u, v) = PairHead(D, 2, "cosine-map", cosine_dimension=3), torch.randn(2, 5, D)
    cosine = torch.nn.functional.cosine_similarity(u[:, -3:], v[:, -3:])
    torch.testing.assert_close(head.score(u, v), head.out(cosine[:, None]))


@pytest.mark.parametrize("kind", ["dot", "cosine", "cosine-mlp", "cosine-map"])
def test_untrained_one_label_heads_rank_alike_sentences_first(kind: str) -> None:
    head, u = PairHead(D, 1, kind), torch.randn(1, D)
    assert head.score(u, u) > head.score(u, -u)


def test_head_in_the_pipeline(kind: str) -> None:
    head = random_head(kind, dropout=0.5)
    embeddings = torch.randn(4, D)
    pairs = torch.tensor([[0, 1], [3, 3], [2, 0]])
    head.eval()
    features = {"sentence_embedding": embeddings, "pairs": pairs}
    assert head(dict(features)).keys() == features.keys()  # encode: nothing happens
    scored = head(dict(features), pairs=True)["scores"]
    torch.testing.assert_close(scored, head.score(embeddings[[0, 3, 2]], embeddings[[1, 3, 0]]))
    head.train()
    assert not torch.allclose(head(dict(features), pairs=True)["scores"], scored)  # dropout in training


def test_dropout_is_drawn_once_per_sentence() -> None:
    """A sentence in two pairs of the batch is the same vector in both."""
    head = random_head("dot", dropout=0.5).train()
    features = {"sentence_embedding": torch.randn(2, D), "pairs": torch.tensor([[0, 1], [0, 1], [1, 0]])}
    a, b, c = head(features, pairs=True)["scores"]
    assert a == b == c


def test_gradients_reach_every_parameter(kind: str) -> None:
    head = random_head(kind, 3)
    head.score(*torch.randn(2, 5, D)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("cosine_dimension", [None, 2])
def test_head_saves_bit_exact(kind: str, num_labels: int, cosine_dimension: int | None, tmp_path) -> None:
    head = random_head(kind, num_labels, dropout=0.3, cosine_dimension=cosine_dimension)
    head.save(str(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = PairHead.load(str(tmp_path))
    assert again.get_config_dict() == head.get_config_dict()
    assert again.state_dict().keys() == head.state_dict().keys()
    assert all(torch.equal(value, head.state_dict()[name]) for name, value in again.state_dict().items())


def test_head_without_weights_says_so(tmp_path) -> None:
    random_head("mlp").save(str(tmp_path))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        PairHead.load(str(tmp_path))


def test_unknown_head_lists_the_known() -> None:
    with pytest.raises(ValueError, match=f"'maxsim'; choose one of mlp, .*{', '.join(HEAD_KINDS[1:])}"):
        PairHead(D, kind="maxsim")


# ------------------------------------------------------------------------------------------------------ layers


def layer_features() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "all_layer_embeddings": (None, *torch.randn(3, 2, 4, D)),  # the first was not asked for
        "input_ids": torch.tensor([[7, 1, 2, 0], [7, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]),
    }


def test_layers_are_joined_in_their_order() -> None:
    features = layer_features()
    states = features["all_layer_embeddings"]
    layers = LayerConcat(D, 2).eval()
    joined = layers(features)
    assert torch.equal(joined["token_embeddings"], torch.cat(states[-2:], dim=-1))
    assert "all_layer_embeddings" not in joined  # or every layer stays in memory
    assert layers.get_embedding_dimension() == 2 * D


def test_layers_are_averaged() -> None:
    features = layer_features()
    states = features["all_layer_embeddings"]
    layers = LayerConcat(D, 3, average=True)
    torch.testing.assert_close(layers(features)["token_embeddings"], sum(states[1:]) / 3)
    assert layers.get_embedding_dimension() == D


def test_skipped_token_leaves_the_mask_only_there() -> None:
    mask = LayerConcat(D, 1, skip_token_id=7)(layer_features())["attention_mask"]
    assert mask.tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
    assert LayerConcat(D, 1)(layer_features())["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_layers_save_their_configuration_only(tmp_path) -> None:
    LayerConcat(D, 3, average=True, skip_token_id=7).save(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    again = LayerConcat.load(str(tmp_path))
    assert (again.hidden_dimension, again.num_layers, again.average, again.skip_token_id) == (D, 3, True, 7)


def test_no_layers_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_layers is 0"):
        LayerConcat(D, 0)
