"""The projection that a student of rankings begins with: the map itself, what decides about it, and its file."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dse import DSE
from dse.training import linear_start
from dse.training.linear_start import FREE, PENALTY, UNSEEN, fit_map, fit_projection, projection_of, several_layers
from dse.training.settings import RankingTraining
from tests.training.ranking_samples import CORPUS


def numpy_parts(layers: np.ndarray, teacher: np.ndarray, width: int) -> np.ndarray:
    """The z_i of the equations, (r, H + D)."""
    blocks = layers.reshape(len(layers), -1, width)
    x = (blocks / np.linalg.norm(blocks, axis=2).mean(axis=0)[:, None]).reshape(len(layers), -1)
    centred = x - x.mean(axis=0)
    gram = centred.T @ centred
    penalty = PENALTY * np.trace(gram) / len(gram)
    last, t = centred[:, -width:], teacher - teacher.mean(axis=0)
    u, s, v = np.linalg.svd(last.T @ t, full_matrices=False)
    near = np.concatenate([np.zeros((len(gram) - width, t.shape[1])), u @ v * s.sum() / (last**2).sum()])
    w = near + np.linalg.inv(gram + penalty * np.eye(len(gram))) @ centred.T @ (t - centred @ near)
    mapped = centred @ w + teacher.mean(axis=0)
    mapped /= np.linalg.norm(mapped, axis=1).mean()
    return np.concatenate([FREE**0.5 * x[:, -width:], (1 - FREE) ** 0.5 * mapped], axis=1)


def cosines(e: np.ndarray) -> np.ndarray:
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    return e @ e.T


def random_data(texts: int, layers: int = 3, width: int = 16, dimension: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    h = torch.randn(texts, layers * width, generator=draw) + 2
    return h, F.normalize(h[:, :dimension] + torch.randn(texts, dimension, generator=draw), dim=1)


def test_cosines_are_those_of_the_equations():
    layers, teacher = random_data(texts=12)  # fewer than axes, so that none is lost
    weight, bias = fit_map(layers, teacher, width=16)
    found = layers.numpy() @ weight.T + bias
    expected = numpy_parts(layers.double().numpy(), teacher.double().numpy(), 16)
    np.testing.assert_allclose(cosines(found), cosines(expected), atol=1e-4)


def test_of_many_texts_the_first_principal_axes_are_kept():
    layers, teacher = random_data(texts=400)
    weight, bias = fit_map(layers, teacher, width=16)
    z = numpy_parts(layers.double().numpy(), teacher.double().numpy(), 16)  # (400, 26)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    axes = unit.T @ unit / 400 + np.diag([UNSEEN / 16] * 16 + [0] * 10)
    expected = z @ np.linalg.eigh(axes)[1][:, -16:]
    np.testing.assert_allclose(cosines(layers.numpy() @ weight.T + bias), cosines(expected), atol=1e-4)


def test_what_few_texts_do_not_show_is_the_last_layers():
    layers, teacher = random_data(texts=3)
    weight, bias = fit_map(layers, teacher, width=16)
    others, _ = random_data(texts=60)
    last = others[3:, -16:].numpy()
    assert np.corrcoef(cosines(others[3:].numpy() @ weight.T + bias).ravel(), cosines(last).ravel())[0, 1] > 0.7


@pytest.fixture
def texts() -> list[str]:
    return list(CORPUS)


def several(backbone: str, **settings) -> DSE:
    plain = DSE.from_backbone(backbone, head="cosine", num_layers=1, device="cpu")
    return DSE.from_backbone(backbone, head="cosine", device="cpu", **several_layers(plain) | settings)


def cosines_of(student: DSE, texts: list[str]) -> np.ndarray:
    return cosines(student.encode(texts, show_progress_bar=False))


def earlier_layer(backbone: str, texts: list[str]) -> np.ndarray:
    """A teacher that the layers below the last one hold, but for its mean."""
    both = DSE.from_backbone(backbone, head="cosine", num_layers=2, device="cpu").encode(texts, show_progress_bar=False)
    earlier = both[:, : both.shape[1] // 2]
    return earlier - earlier.mean(axis=0)


def test_it_brings_lists_nearer_to_a_teacher_of_an_earlier_layer(backbone, texts, tmp_path, caplog):
    plain = DSE.from_backbone(backbone, head="cosine", num_layers=1, device="cpu")
    teacher = earlier_layer(backbone, texts)
    student = several(backbone)
    with caplog.at_level("INFO"):
        fit_projection(student, texts, [], teacher, tmp_path, RankingTraining())
    assert "left out" not in caplog.text
    off = [np.abs(cosines_of(model, texts) - cosines(teacher)).mean() for model in (plain, student)]
    assert off[1] < off[0]
    dense = projection_of(student)
    assert dense is not None
    assert not dense.linear.weight.requires_grad


def test_a_teacher_that_nothing_can_be_learned_of_leaves_the_free_cosine(backbone, texts, tmp_path, caplog):
    plain = DSE.from_backbone(backbone, head="cosine", num_layers=1, device="cpu")
    free = plain.encode(texts, show_progress_bar=False)
    student = several(backbone)
    with caplog.at_level("INFO"):
        fit_projection(student, texts, [], free, tmp_path, RankingTraining())  # the free cosine itself
    assert "left out" in caplog.text
    np.testing.assert_allclose(cosines_of(student, texts), cosines(free), atol=1e-5)


def test_a_killed_run_goes_on_with_what_was_fitted(backbone, texts, tmp_path, monkeypatch, caplog):
    vectors = earlier_layer(backbone, texts)
    first, second = several(backbone), several(backbone)
    with caplog.at_level("INFO"):
        fit_projection(first, texts, [], vectors, tmp_path, RankingTraining())
    assert "left out" not in caplog.text
    monkeypatch.setattr(linear_start, "RankingLists", None)  # nothing is embedded again
    fit_projection(second, texts, [], vectors, tmp_path, RankingTraining())
    np.testing.assert_array_equal(*(model.encode(texts, show_progress_bar=False) for model in (first, second)))


@pytest.mark.parametrize(
    "settings",
    [{"num_layers": 1, "projection": None}, {"num_layers": 1}, {"projection": 12}, {"average_layers": True}],
)
def test_other_students_are_left_as_they_are(backbone, texts, tmp_path, settings):
    student = several(backbone, **settings)
    before = student.encode(texts, show_progress_bar=False)
    assert projection_of(student) is None
    fit_projection(student, texts, [], np.ones((len(texts), 4), np.float32), tmp_path, RankingTraining())
    np.testing.assert_array_equal(student.encode(texts, show_progress_bar=False), before)
    assert not list(tmp_path.iterdir())


def test_a_backbone_of_one_layer_has_no_projection(backbone):
    plain = DSE.from_backbone(backbone, head="cosine", num_layers=1, device="cpu")
    plain.transformers_model.config.num_hidden_layers = 1
    assert several_layers(plain) == {"num_layers": 1}
