"""Batches by length, the low-precision copy."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder

from dse import DSE
from dse.encoding import runtime
from dse.encoding.fast_copy import FastCopy
from dse.encoding.runtime import length_batches, resolve_dtype, run_sorted

# ----------------------------------------------------------------------------------------------------- batches


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 200), max_size=60), st.integers(1, 16), st.integers(1, 600))
def test_length_batches(lengths: list[int], batch_size: int, batch_tokens: int) -> None:
    batches = list(length_batches(lengths, batch_size, batch_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    padded = [len(batch) * max(lengths[i] for i in batch) for batch in batches]
    assert all(tokens <= batch_tokens or len(batch) == 1 for tokens, batch in zip(padded, batches, strict=True))
    assert all(1 <= len(batch) <= 4 * batch_size for batch in batches)
    sizes = [lengths[i] for batch in batches for i in batch]
    assert sizes == sorted(sizes, reverse=True)


def test_full_batches_of_equal_texts() -> None:
    assert [len(batch) for batch in length_batches([10] * 25, 4, 100)] == [10, 10, 5]


def test_run_sorted_keeps_the_order_over_chunks(
    student: DSE, sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "CHUNK", 5)  # 12 sentences: chunks of 5, 5 and 2
    shapes = []

    def lengths(features: dict[str, torch.Tensor]) -> torch.Tensor:
        shapes.append(tuple(features["input_ids"].shape))
        return features["attention_mask"].sum(dim=1, keepdim=True)

    rows = run_sorted(student, sentences, lengths, batch_size=1, device=student.device)
    assert rows.squeeze(1).tolist() == [len(student.tokenizer(text)["input_ids"]) for text in sentences]
    assert sum(n for n, _ in shapes) == len(sentences)
    assert all(n * width <= runtime.TOKENS_PER_ROW["cpu"] or n == 1 for n, width in shapes)


def test_long_texts_are_tokenized_in_small_chunks(
    student: DSE, sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of 16,384 long texts took a gigabyte."""
    expected, read, preprocess = student.encode(sentences), [], student.preprocess
    monkeypatch.setattr(runtime, "CHUNK_CHARACTERS", 100)
    monkeypatch.setattr(
        student, "preprocess", lambda texts, **kwargs: read.append(texts) or preprocess(texts, **kwargs)
    )
    student.encode(sentences)
    assert [text for texts in read for text in texts] == sentences
    assert len(read) > 2 and all(sum(map(len, texts[:-1])) < 100 for texts in read)
    np.testing.assert_allclose(student.encode(sentences), expected, atol=1e-5)


def test_run_sorted_reads_pairs_of_texts(teacher: CrossEncoder, pairs: list[tuple[str, str]]) -> None:
    """The teacher is run by the same function: its logits are CrossEncoder's own."""
    rows = run_sorted(
        teacher,
        pairs,
        lambda features: teacher(features)["scores"].detach(),
        batch_size=2,
        device=teacher.device,
    )
    expected = teacher.predict(pairs, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    torch.testing.assert_close(rows.squeeze(-1), expected, atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------- dtype


def test_unknown_dtype_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'float16'; choose auto, float32 or bfloat16"):
        resolve_dtype("float16", torch.device("cpu"))


@pytest.mark.parametrize("capable", [True, False])
def test_auto_dtype_asks_the_hardware(capable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": capable})
    expected = torch.bfloat16 if capable else torch.float32
    assert resolve_dtype("auto", torch.device("cpu")) == expected
    assert resolve_dtype("auto", torch.device("meta")) == torch.float32
    assert resolve_dtype("float32", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(
    ("features", "fast"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "AMD EPYC 9R14", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "AMD EPYC 7R13", "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_without_a_matrix_unit_float32_is_faster_on_intel(
    features: dict[str, str | bool], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert resolve_dtype("auto", torch.device("cpu")) == (torch.bfloat16 if fast else torch.float32)


# --------------------------------------------------------------------------------------------------- fast copy


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


def step(module: torch.nn.Module, make_optimizer) -> None:
    optimizer = make_optimizer(module.parameters())
    module(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_float32_is_the_module_itself() -> None:
    module = network()
    assert FastCopy().of(module, torch.float32) is module
    assert FastCopy().of(module.bfloat16(), torch.bfloat16) is module


def test_copy_is_made_once_and_leaves_the_module_alone() -> None:
    module, fast = network(), FastCopy()
    before = copy.deepcopy(module.state_dict())
    made = fast.of(module, torch.bfloat16)
    assert fast.of(module, torch.bfloat16) is made
    assert all(p.dtype == torch.bfloat16 and not p.requires_grad for p in made.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    ],
    ids=["sgd", "adamw", "foreach", "fused"],
)
def test_copy_follows_an_optimizer(make_optimizer) -> None:
    module, fast = network(), FastCopy()
    made = fast.of(module, torch.bfloat16)
    step(module, make_optimizer)
    again = fast.of(module, torch.bfloat16)
    assert again is not made
    assert torch.equal(again[0].weight, module[0].weight.bfloat16())


@pytest.mark.parametrize("assign", [False, True])
def test_copy_follows_load_state_dict(assign: bool) -> None:
    module, fast = network(), FastCopy()
    fast.of(module, torch.bfloat16)
    module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()}, assign=assign)
    assert torch.equal(fast.of(module, torch.bfloat16)[2].bias, module[2].bias.bfloat16())


def test_copy_does_not_travel() -> None:
    fast = FastCopy()
    fast.of(network(), torch.bfloat16)
    for travelled in (pickle.loads(pickle.dumps(fast)), copy.deepcopy(fast)):
        assert travelled._copy is None
        assert travelled.of(network(), torch.bfloat16)[0].weight.dtype == torch.bfloat16


def test_two_threads_of_a_program_each_get_theirs_back():
    def search() -> tuple[int, int]:
        torch.set_num_threads(2)
        with runtime.one_thread():
            inside = torch.get_num_threads()
            barrier.wait(10)
        return inside, torch.get_num_threads()

    before, barrier = torch.get_num_threads(), threading.Barrier(2)
    try:
        with ThreadPoolExecutor(2) as pool:
            found = [future.result() for future in [pool.submit(search), pool.submit(search)]]
    finally:
        torch.set_num_threads(before)
    assert found == [(1, 2)] * 2
