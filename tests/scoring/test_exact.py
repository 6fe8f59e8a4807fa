"""Float32 scores, in blocks and with everything one-sided computed once, are those `PairHead.score` gives."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from dse.modules import PairHead
from dse.scoring import exact as scoring
from dse.scoring.kinds import HEAD_KINDS
from tests.test_modules import D, random_head

settings.register_profile("tiny", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("tiny")

kinds = st.sampled_from(HEAD_KINDS)
blocks = st.sampled_from([1, 2, 3, 7, 64])
sizes = st.integers(0, 9)


@pytest.fixture(params=HEAD_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def embeddings(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def every_pair(head: PairHead, queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """The scores to compare with, (q, n, C): the formula on all pairs at once."""
    shape = (len(queries), len(candidates), D)
    return head.score(queries[:, None].expand(shape), candidates[None].expand(shape)).detach()


@given(kinds, st.integers(1, 3), blocks, st.integers(1, 6), st.integers(1, 6), st.integers(0, 15), st.integers(0, 99))
def test_score_pairs(kind: str, labels: int, block: int, m: int, k: int, n: int, seed: int) -> None:
    head, u, v = random_head(kind, labels, seed), embeddings(m, seed), embeddings(k, seed + 1)
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randint(high, (n,), generator=generator) for high in (m, k))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "exact_block", lambda device: block)
        scores = scoring.score_pairs(head, u, v, left, right)
    assert scores.shape == (n, labels) and scores.dtype == torch.float32
    torch.testing.assert_close(scores, head.score(u[left], v[right]).detach(), atol=1e-4, rtol=1e-4)


@given(kinds, st.integers(1, 3), blocks, sizes, sizes, st.integers(0, 99))
def test_score_matrix(kind: str, labels: int, block: int, q: int, n: int, seed: int) -> None:
    head, queries, candidates = random_head(kind, labels, seed), embeddings(q, seed), embeddings(n, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "exact_block", lambda device: block)
        scores = scoring.score_matrix(head, queries, candidates)
    assert scores.shape == (q, n, labels) and scores.dtype == torch.float32
    torch.testing.assert_close(scores, every_pair(head, queries, candidates), atol=1e-4, rtol=1e-4)


class Largest(TorchDispatchMode):
    """Remembers the most elements that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_score_matrix_goes_block_by_block(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "exact_block", lambda device: 64)
    q, n = 3, 1000
    head, queries, candidates = random_head(kind), embeddings(q, 0), embeddings(n, 1)
    with Largest() as largest:
        scoring.score_matrix(head, queries, candidates)
    assert largest.elements <= q * n  # the answer itself, and no (n, hidden) beside it


def test_symmetric_heads_give_symmetric_matrices(kind: str) -> None:
    head, u = random_head(kind), embeddings(7, 0)
    scores = scoring.score_matrix(head, u, u).squeeze(-1)
    assert torch.allclose(scores, scores.T, atol=1e-5) == head.symmetric


def test_nothing_to_score(kind: str) -> None:
    head, some, none = random_head(kind, 2), embeddings(3, 0), embeddings(0, 0)
    assert scoring.score_matrix(head, none, some).shape == (0, 3, 2)
    assert scoring.score_matrix(head, some, none).shape == (3, 0, 2)
    assert scoring.score_pairs(head, some, some, *torch.empty(2, 0, dtype=torch.long)).shape == (0, 2)


def test_zero_vectors_have_a_score(kind: str) -> None:
    head = random_head(kind)
    u = torch.cat([torch.zeros(1, D), embeddings(2, 0)])
    scores = scoring.score_matrix(head, u, u)
    assert scores.isfinite().all()
    torch.testing.assert_close(scores, every_pair(head, u, u), atol=1e-5, rtol=1e-5)


def test_a_head_stays_in_float32_and_so_do_its_scores(kind: str) -> None:
    """Whatever precision the model around it is moved to."""
    head = random_head(kind, 2).bfloat16()
    exact = PairHead(**head.get_config_dict())
    exact.load_state_dict({name: value.float() for name, value in head.state_dict().items()})
    u, v = embeddings(4, 0), embeddings(5, 1)
    torch.testing.assert_close(scoring.score_matrix(head, u, v), every_pair(exact, u, v), atol=1e-5, rtol=1e-5)
    index = torch.arange(4)
    pairs = scoring.score_pairs(head, u, v, index, index)
    torch.testing.assert_close(pairs, exact.score(u, v[:4]).detach(), atol=1e-5, rtol=1e-5)
    assert next(head.parameters()).dtype == torch.float32


@given(kinds, st.integers(1, 3), st.integers(1, 150), st.integers(0, 99))
def test_a_score_does_not_depend_on_the_other_pairs_of_the_call(kind: str, labels: int, n: int, seed: int) -> None:
    head, u, v = wide_head(kind, labels), wide(2, seed), wide(300, seed + 1)
    pairs = torch.arange(300)
    everything = scoring.score_pairs(head, u, v, pairs % 2, pairs)
    some = torch.randperm(300, generator=torch.Generator().manual_seed(seed))[:n]
    torch.testing.assert_close(scoring.score_pairs(head, u, v, some % 2, some), everything[some], atol=0, rtol=0)
    alone = scoring.score_pairs(head, u, v[some], some % 2, torch.arange(n))
    torch.testing.assert_close(alone, everything[some], atol=0, rtol=0)
    matrix = scoring.score_matrix(head, u[1:], v[some])[0]
    odd = some % 2 == 1
    torch.testing.assert_close(matrix[odd], everything[some][odd], atol=0, rtol=0)


def wide(n: int, seed: int) -> torch.Tensor:
    """Embeddings as wide as real ones: products of these are long enough to be added in different orders."""
    return torch.randn(n, 768, generator=torch.Generator().manual_seed(seed))


@cache
def wide_head(kind: str, labels: int) -> PairHead:
    torch.manual_seed(0)
    return PairHead(768, labels, kind, hidden_dimension=128)


def test_memory_maps_score_as_tensors(kind: str, tmp_path: Path) -> None:
    head, queries, candidates = random_head(kind, 2), embeddings(2, 0), embeddings(40, 1).half()
    np.save(tmp_path / "candidates.npy", candidates.numpy())
    mapped = np.load(tmp_path / "candidates.npy", mmap_mode="r")
    expected = scoring.score_matrix(head, queries, candidates)
    torch.testing.assert_close(scoring.score_matrix(head, queries, mapped), expected, atol=0, rtol=0)


# --------------------------------------------------------------------------------------------- checked input


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_unusable_embeddings_are_named(value: float) -> None:
    bad = embeddings(6, 0)
    bad[3, 2] = bad[5, 0] = value
    with pytest.raises(ValueError, match="candidates: the embedding in row 3 "):
        scoring.check_embeddings(bad, random_head("mlp"), "candidates")


@given(kinds, st.sampled_from([1, 3, 64]), st.integers(1, 200), st.integers(0, 199))
def test_unusable_candidates_are_named_by_their_row(kind: str, block: int, n: int, bad: int) -> None:
    candidates = embeddings(n, 0)
    candidates[bad % n, 1] = float("inf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "exact_block", lambda device: block)
        with pytest.raises(ValueError, match=f"candidates: the embedding in row {bad % n} "):
            scoring.score_matrix(random_head(kind), embeddings(2, 1), candidates)


@pytest.mark.parametrize("shape", [(4, D + 1), (D,), (2, 3, D), (4, 1)])
def test_embeddings_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"queries: expected embeddings of shape \(n, {D}\), got \({shape[0]}"):
        scoring.check_embeddings(torch.zeros(shape), random_head("mlp"), "queries")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_checked_embeddings_are_float32(dtype: torch.dtype) -> None:
    given_ = embeddings(3, 0).to(dtype)
    checked = scoring.check_embeddings(given_, random_head("mlp"), "queries")
    assert checked.dtype == torch.float32
    np.testing.assert_array_equal(checked, given_.float())
