"""A start near the teacher: a linear map of the backbone's last layers, fitted before anything trains.

    x_i = [h_i1 / s_1, ..., h_iK / s_K]              # (K H,)  pooled layers of text i; s_k: mean length of layer k
    R   = argmin sum_i |(x_iK - x̄_K) R - (t_i - t̄)|²     # (H, D)  of rotations with a scale (orthogonal Procrustes)
    W   = argmin sum_i |(x_i - x̄) W - (t_i - t̄)|² + λ |W - [0, ..., R]|²     # (K H, D)  t: the teacher's vectors
    m_i = ((x_i - x̄) W + t̄) / ρ                      # (D,)  ρ: the mean length of the m_i is 1
    z_i = [√a x_iK, √(1-a) m_i]                      # (H + D,)  the last layer, whose cosine is free, beside the map
    e_i = Uᵀ z_i                                     # (H,)  U: the first H principal axes of the z_i

All of it is linear in the layers, so it is one projection; an embedding is as wide as the backbone's own. Steps of
training change each weight a little and see few texts; the regression sees many at once and takes seconds. On texts of
another kind W does what R does, which keeps the cosines of the last layer.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sentence_transformers.sentence_transformer.modules import Dense
from torch import Tensor, nn
from torch.nn import functional as F

from dse.files import write_tensors
from dse.model import DSE
from dse.modules import LayerConcat, PairHead
from dse.ranks import ranks
from dse.training.ranking_lists import RankingLists, prompted
from dse.training.settings import RankingTraining

logger = logging.getLogger(__name__)

LAYERS = 6  # the last ones, at most: the regression has K H unknowns for each dimension of the teacher
FREE = 0.5  # a, the share of the free cosine
PENALTY = 1.0  # λ, as a share of the mean eigenvalue of the regression
MOST_TEXTS = 20_000  # that it is fitted to
UNSEEN = 1e-3  # weight of the last layer's axes that no text shows, beside 1 of all others
FILE = "linear_start.safetensors"

Map = tuple[NDArray[np.float32], NDArray[np.float32]]


def several_layers(plain: DSE) -> dict[str, int]:
    """Keywords of `DSE.from_backbone` for a student that has such a projection.

    Args:
        plain: The student of one layer.
    """
    backbone: Any = plain.transformers_model
    layers = getattr(backbone.config, "num_hidden_layers", 1)
    if layers < 2:
        return {"num_layers": 1}
    return {"num_layers": min(LAYERS, layers), "projection": plain.head.embedding_dimension}


def projection_of(student: DSE) -> Dense | None:
    """The projection to the width of one layer, of a student that puts several side by side; None without."""
    modules = list(student.children())
    layers = next((module for module in modules if isinstance(module, LayerConcat)), None)
    dense = next((module for module in modules if isinstance(module, Dense)), None)
    if layers is None or dense is None or layers.average or layers.num_layers < 2:
        return None
    return dense if dense.out_features == layers.hidden_dimension else None


def fit_projection(
    student: DSE,
    corpus: Sequence[str],
    queries: Sequence[str],
    vectors: np.ndarray,
    folder: Path,
    settings: RankingTraining,
    show_progress_bar: bool = False,
) -> None:
    """Let the projection of a student bring its embeddings near the teacher's vectors, and be fixed from then on.

    Held-out lists decide: if they are no closer to the teacher's than those of the free cosine, the projection gives
    the last layer as it is. What was fitted is kept in a file, so that a killed run goes on with the same.

    Args:
        student: One that `projection_of` finds a projection in; of others nothing is changed.
        corpus: The documents, n texts.
        queries: Queries, q texts.
        vectors: The teacher's, a row for each document, then for each query, (n + q, D).
        folder: Of the file.
        settings: Seed and temperatures of the lists.
        show_progress_bar: Whether to show one.

    Raises:
        MismatchError: If vectors do not fit the texts.
        BadDataError: If there are fewer than two documents, or the teacher's vectors cannot be learned.
    """
    dense = projection_of(student)
    if dense is None:
        return
    file = folder / FILE
    if ranks().from_first(file.exists):
        found = load_file(file)
        _apply(dense, (found["weight"], found["bias"]))
        return
    lists = RankingLists(corpus, queries, vectors, settings, student.device)
    rows = np.concatenate([lists.held_out, lists.anchors[:MOST_TEXTS]])
    layers = _layers(student, lists, rows, show_progress_bar)  # (r, K H)
    known = slice(len(lists.held_out), None)
    fitted = ranks().from_first(lambda: fit_map(layers[known], lists.teacher[rows[known]], dense.out_features))
    free = _last_layer(dense)
    bank = _bank(lists, rows, layers, free)
    documents = torch.from_numpy(np.sort(rows[rows < lists.n])).to(bank.device)
    lists.begin(bank, documents)
    before, after = (
        float(lists.divergences(lists.held_out, e[lists.held_out.tolist()], e, documents).mean())
        for e in (bank, _bank(lists, rows, layers, fitted))
    )
    message = "start: a linear map of the last layers; its divergence among %s texts is %.4f, the free cosine's %.4f"
    logger.info(message + ("" if after < before else "; left out"), f"{len(rows):,}", after, before)
    chosen = ranks().from_first(lambda: fitted if after < before else free)
    _apply(dense, chosen)
    if ranks().first:
        write_tensors(file, {"weight": chosen[0], "bias": chosen[1]}, {})
    ranks().wait()


@torch.no_grad()
def fit_map(layers: Tensor, teacher: Tensor, width: int) -> Map:
    """Weight (H, K H) and bias (H,) of the projection; its equations stand above.

    Args:
        layers: The pooled layers of each text side by side, (r, K H).
        teacher: The teacher's vectors, of length 1, (r, D).
        width: H.

    Example:
        >>> layers = torch.randn(500, 12)
        >>> weight, bias = fit_map(layers, F.normalize(layers[:, :3], dim=1), width=4)
        >>> weight.shape, bias.shape
        ((4, 12), (4,))
    """
    layers, t = layers.cpu().double(), teacher.cpu().double()  # (r, K H), (r, D)
    length = layers.reshape(len(layers), -1, width).norm(dim=2).mean(dim=0).clamp_min(1e-6)  # (K,)
    scale = length.repeat_interleave(width)  # (K H,)
    layers = layers / scale
    mean, mean_t = layers.mean(dim=0), t.mean(dim=0)
    x, t = layers - mean, t - mean_t
    gram = x.T @ x  # (K H, K H)
    penalty = PENALTY * gram.diagonal().mean().clamp_min(1e-9)
    gram.diagonal().add_(penalty)
    near = torch.cat([x.new_zeros(len(gram) - width, t.shape[1]), _rotation(x[:, -width:], t)])  # (K H, D)
    w = torch.linalg.solve(gram, x.T @ t + penalty * near)  # (K H, D)
    shift = mean_t - mean @ w
    rho = (layers @ w + shift).norm(dim=1).mean().clamp_min(1e-9)
    last = torch.eye(len(w), dtype=w.dtype)[:, -width:]  # (K H, H)
    joined = torch.cat([FREE**0.5 * last, (1 - FREE) ** 0.5 * w / rho], dim=1)  # (K H, H + D)
    bias = torch.cat([w.new_zeros(width), (1 - FREE) ** 0.5 * shift / rho])  # (H + D,)
    z = F.normalize(layers @ joined + bias, dim=1)  # (r, H + D)
    axes = z.T @ z / len(z)
    axes[:width, :width].diagonal().add_(UNSEEN / width)
    u = torch.linalg.eigh(axes).eigenvectors.flip(1)[:, :width]  # (H + D, H)
    weight = (joined @ u).T / scale  # (H, K H)
    return weight.float().numpy(), (bias @ u).float().numpy()


def _rotation(x: Tensor, t: Tensor) -> Tensor:
    """The rotation with a scale that brings rows of mean 0, (r, H), nearest to others, (r, D): (H, D)."""
    u, s, v = torch.linalg.svd(x.T @ t, full_matrices=False)
    rotation: Tensor = u @ v * (s.sum() / x.square().sum().clamp_min(1e-9))
    return rotation


def _last_layer(dense: Dense) -> Map:
    """The projection that gives the last layer as it is."""
    weight = np.zeros((dense.out_features, dense.in_features), np.float32)
    weight[:, -dense.out_features :] = np.eye(dense.out_features, dtype=np.float32)
    return weight, np.zeros(dense.out_features, np.float32)


@torch.no_grad()
def _apply(dense: Dense, fitted: Map) -> None:
    for parameter, values in zip((dense.linear.weight, dense.linear.bias), fitted, strict=True):
        parameter.copy_(torch.from_numpy(values))
    dense.requires_grad_(False)


def _layers(student: DSE, lists: RankingLists, rows: NDArray[np.int64], show_progress_bar: bool) -> Tensor:
    """What the projection is given for these texts, (r, K H)."""
    texts = prompted(lists.texts, lists.n, student.pair_prompts)
    encoder: list[Any] = [module for module in student.children() if not isinstance(module, Dense | PairHead)]
    dimension = encoder[-1].get_embedding_dimension()
    modules: OrderedDict[str, nn.Module] = OrderedDict((str(place), module) for place, module in enumerate(encoder))
    modules["pair_head"] = PairHead(dimension, kind="cosine")
    unprojected = DSE(modules=modules, dtype=student.inference_dtype, device=str(student.device))
    own = [texts[row] for row in ranks().part(rows.tolist())]  # prompts stand before them already
    found: Tensor = unprojected.embed_texts(own, show_progress_bar=show_progress_bar).clone().float()
    return ranks().joined(found, len(rows))


def _bank(lists: RankingLists, rows: NDArray[np.int64], layers: Tensor, fitted: Map) -> Tensor:
    """Embeddings of these texts, of length 1, and zeros for all others, (m, H)."""
    weight, bias = (torch.from_numpy(values).to(layers.device) for values in fitted)
    bank = layers.new_zeros(len(lists.texts), len(weight))
    bank[torch.from_numpy(rows).to(bank.device)] = F.normalize(layers @ weight.T + bias, dim=1)
    return bank
