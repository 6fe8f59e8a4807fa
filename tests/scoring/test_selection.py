"""The k best candidates are those of the plain formula: any head, precision, block size, source of candidates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from dse.modules import PairHead
from dse.scoring import exact, fastpass
from dse.scoring import selection as scoring
from dse.scoring.kinds import HEAD_KINDS
from tests.scoring.test_exact import Largest, embeddings, every_pair, kind
from tests.test_modules import D, random_head

__all__ = ["kind"]  # the fixture

kinds = st.sampled_from(HEAD_KINDS)
blocks = st.sampled_from([1, 7, 64, 1000])
dtypes = st.sampled_from([torch.float32, torch.bfloat16])
sizes = st.sampled_from([0, 1, 3, 40, 150, 400])  # up to k + 96 all candidates are scored in float32


def whole_numbers(head: PairHead, n: int, seed: int) -> torch.Tensor:
    """Embeddings that, like the head's weights now, are small integers: sums are exact, equal scores are equal."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.round_()
    return torch.randint(-2, 3, (n, D), generator=torch.Generator().manual_seed(seed)).float()


def topk_in_blocks(block: int, *args: object) -> tuple[torch.Tensor, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastpass, "BLOCK", block)
        patch.setattr(exact, "exact_block", lambda device: block)
        patch.setattr(scoring, "EXACT_BLOCK", block)
        return scoring.topk(*args)


@given(kinds, dtypes, blocks, st.integers(0, 3), sizes, st.integers(1, 12), st.integers(0, 99))
def test_topk(kind: str, dtype: torch.dtype, block: int, q: int, n: int, k: int, seed: int) -> None:
    head, queries, candidates = random_head(kind, 1, seed), embeddings(q, seed), embeddings(n, seed + 1)
    best, rows = topk_in_blocks(block, head, queries, candidates, k, dtype)
    expected = every_pair(head, queries, candidates).squeeze(-1)
    assert best.shape == rows.shape == (q, min(k, n)) and rows.dtype == torch.long
    torch.testing.assert_close(best, expected.topk(min(k, n), dim=1).values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(best, expected.gather(1, rows), atol=1e-4, rtol=1e-4)  # rows are those of the scores
    assert all(len(set(row)) == len(row) for row in rows.tolist())


@given(kinds, dtypes, st.integers(1, 400), st.integers(1, 12), st.integers(0, 99))
def test_topk_is_the_same_bit_for_bit_however_it_is_computed(
    kind: str, dtype: torch.dtype, n: int, k: int, seed: int
) -> None:
    head, queries, candidates = random_head(kind, 1, seed), embeddings(3, seed), embeddings(n, seed + 1)
    best, rows = scoring.topk(head, queries, candidates, k)
    for other in (
        topk_in_blocks(7, head, queries, candidates, k, dtype),
        scoring.topk(head, queries, iter(candidates.split(50)), k, dtype),
        scoring.topk(head, queries, candidates.numpy(), k, dtype),
    ):
        assert torch.equal(rows, other[1])
        assert torch.equal(best, other[0])
    alone = scoring.topk(head, queries[1:2], candidates, k, dtype)
    assert torch.equal(best[1:2], alone[0]) and torch.equal(rows[1:2], alone[1])


@given(kinds.filter(lambda kind: "cosine" not in kind), dtypes, blocks, st.sampled_from([1, 8, 90]), st.integers(1, 12))
def test_topk_ties_come_in_the_candidates_order(
    kind: str, dtype: torch.dtype, block: int, distinct: int, k: int
) -> None:
    head = random_head(kind, 1, distinct)
    queries, few = whole_numbers(head, 3, k), whole_numbers(head, distinct, k + 1)
    candidates = torch.cat([few, few.flip(0), few])  # each three times
    best, rows = topk_in_blocks(block, head, queries, candidates, k, dtype)
    for query, scores in enumerate(every_pair(head, queries, candidates).squeeze(-1).tolist()):
        expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
        assert rows[query].tolist() == expected
        assert best[query].tolist() == [scores[i] for i in expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [13, 1300])
def test_all_candidates_tied(n: int, dtype: torch.dtype) -> None:
    head = random_head("mlp")
    candidates = whole_numbers(head, 1, 0).expand(n, D)
    _, rows = topk_in_blocks(64, head, whole_numbers(head, 2, 1), candidates, 6, dtype)
    assert rows.tolist() == [[0, 1, 2, 3, 4, 5]] * 2


def test_a_shortlist_that_proves_too_short_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 candidates that bfloat16 cannot tell apart, the best ones last: only a longer shortlist finds them."""
    head, query = random_head("dot"), embeddings(1, 0)
    torch.nn.init.constant_(head.out.weight, 2.0)
    noise = embeddings(300, 1) * 1e-4
    candidates = torch.cat([embeddings(200, 2) * 0.1 - query, query + noise])
    expected = every_pair(head, query, candidates).squeeze(-1).topk(5)
    lengths: list[int] = []
    shortlist: Callable[..., tuple[torch.Tensor, torch.Tensor]] = scoring.shortlist
    monkeypatch.setattr(
        scoring, "shortlist", lambda f, c, size, first: (lengths.append(size), shortlist(f, c, size))[1]
    )
    best, _ = scoring.topk(head, query, candidates, 5, torch.bfloat16)
    torch.testing.assert_close(best, expected.values, atol=1e-5, rtol=1e-5)
    assert lengths == [101, 404]


def test_topk_never_holds_all_scores(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastpass, "BLOCK", 16)
    monkeypatch.setattr(exact, "exact_block", lambda device: 64)
    seen: list[int] = []
    call = fastpass.FastPass.__call__
    monkeypatch.setattr(
        fastpass.FastPass, "__call__", lambda self, c, b: (seen.append(b.stop - b.start), call(self, c, b))[1]
    )
    q, n, k, head = 20, 8000, 5, random_head(kind)
    queries, candidates = embeddings(q, 0), embeddings(n, 1)
    with Largest() as largest:
        best, _ = scoring.topk(head, queries, candidates, k)
    assert sum(seen) == n and max(seen) <= 16  # every candidate once, a block at a time
    kept = k + scoring.MARGIN + scoring.SPARE
    assert 0 < largest.elements <= max(q * (16 + kept), scoring.EXACT_BLOCK * 4 * D) < q * n
    torch.testing.assert_close(best, every_pair(head, queries, candidates).squeeze(-1).topk(k).values)


def test_nothing_to_rank(kind: str) -> None:
    some, none = embeddings(3, 0), embeddings(0, 0)
    for queries, candidates in [(none, some), (some, none), (none, none), (none, embeddings(200, 0))]:
        best, rows = scoring.topk(random_head(kind), queries, candidates, 2)
        assert best.shape == rows.shape == (len(queries), min(2, len(candidates)))
    best, _ = scoring.topk(random_head(kind), some, iter(()), 2)
    assert best.shape == (3, 0)


def test_memory_maps_are_read_in_place(kind: str, tmp_path: Path) -> None:
    head, queries, candidates = random_head(kind), embeddings(2, 0), embeddings(500, 1).half()
    np.save(tmp_path / "candidates.npy", candidates.numpy())
    mapped = np.load(tmp_path / "candidates.npy", mmap_mode="r")
    best, rows = scoring.topk(head, queries, mapped, 4)
    expected = scoring.topk(head, queries, candidates, 4)
    assert torch.equal(best, expected[0]) and torch.equal(rows, expected[1])


@pytest.mark.parametrize("n", [20, 500])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unusable_candidates_are_named(kind: str, value: float, n: int, dtype: torch.dtype) -> None:
    bad = embeddings(n, 0)
    bad[n - 3, 2] = value
    with pytest.raises(ValueError, match=f"candidates: the embedding in row {n - 3} "):
        scoring.topk(random_head(kind), embeddings(2, 1), bad, 4, dtype)
    with pytest.raises(ValueError, match=f"candidates: the embedding in row {n - 3} "):
        scoring.topk(random_head(kind), embeddings(2, 1), iter(bad.split(15)), 4, dtype)


def test_candidates_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=rf"candidates: expected embeddings of shape \(n, {D}\)"):
        scoring.topk(random_head("mlp"), embeddings(1, 0), torch.zeros(5, D + 1), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_block_size_is_measured_where_it_pays(dtype: torch.dtype) -> None:
    fast_pass = fastpass.FastPass(random_head("mlp"), embeddings(1, 0), dtype)
    assert fast_pass.block_size(fastpass.MEASURE_FROM) in (512, 1024, 2048, 4096)


@pytest.mark.parametrize("fastest", [512, 1024, 4096])
def test_the_fastest_block_size_is_taken(fastest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock by which a candidate costs 1 in blocks of one size and 2 in all others."""
    now = [0.0]

    def call(self: fastpass.FastPass, candidates: torch.Tensor, block: slice) -> None:
        size = block.stop - block.start
        now[0] += size * (1 if size == fastest else 2)

    monkeypatch.setattr(fastpass.FastPass, "__call__", call)
    monkeypatch.setattr(fastpass.time, "perf_counter", lambda: now[0])
    fastpass._measured_block.cache_clear()
    fast_pass = fastpass.FastPass(random_head("mlp"), embeddings(1, 0))
    assert fast_pass.block_size(fastpass.MEASURE_FROM) == fastest
    measured = now[0]
    assert fast_pass.block_size(fastpass.MEASURE_FROM) == fastest and now[0] == measured  # once a process
    assert fast_pass.block_size(fastpass.MEASURE_FROM - 1) == fastpass.BLOCK and now[0] == measured
    without_hidden_layer = fastpass.FastPass(random_head("dot"), embeddings(1, 0))
    assert without_hidden_layer.block_size(fastpass.MEASURE_FROM) == fastpass.BLOCK and now[0] == measured
    monkeypatch.setattr(fastpass, "LARGEST", 600 * D * 4)  # bytes: room for blocks of 512 alone
    fastpass._measured_block.cache_clear()
    assert fast_pass.block_size(fastpass.MEASURE_FROM) == 512
    fastpass._measured_block.cache_clear()


@given(
    kinds,
    dtypes,
    st.sampled_from([1, 7, 64]),
    st.integers(1, 300),
    st.integers(0, 299),
    st.sampled_from([1, 40, 120, 300]),
)
@example(kind="mlp", dtype=torch.float32, block=64, n=300, bad=200, part=120)  # a shortlist of the second part
def test_an_unusable_candidate_is_named_by_its_row_in_all_candidates(
    kind: str, dtype: torch.dtype, block: int, n: int, bad: int, part: int
) -> None:
    candidates = embeddings(n, 0)
    candidates[bad % n, 2] = float("nan")
    for given_ in (candidates, iter(candidates.split(part))):
        with pytest.raises(ValueError, match=f"candidates: the embedding in row {bad % n} "):
            topk_in_blocks(block, random_head(kind), embeddings(2, 1), given_, 4, dtype)
