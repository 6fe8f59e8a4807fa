"""The low-precision copy and the fingerprint follow whatever changes the weights."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dse import DSE
from dse.encoding.fast_copy import FastCopy, Watch, switches
from dse.errors import MismatchError
from tests.conftest import make_student

TEXTS = ["a red bicycle", "the blue tent is near the river", "a man reads"]


def every(change: Callable[[nn.Parameter], object]) -> Callable[[DSE], None]:
    def apply(student: DSE) -> None:
        for parameter in student[0].parameters():
            change(parameter)

    return apply


def one_word(student: DSE) -> None:
    student[0].model.embeddings.word_embeddings.weight.data[student.tokenizer("bicycle")["input_ids"][1]] += 1


def one_bias(student: DSE) -> None:
    student[0].model.encoder.layer[2].output.dense.bias.data[3] += 1


def numpy_view(student: DSE) -> None:
    student[0].model.encoder.layer[2].output.dense.weight.detach().numpy()[:] *= 0.5


def another_activation(student: DSE) -> None:
    student[0].model.encoder.layer[0].intermediate.intermediate_act_fn = nn.ReLU()


def hook(student: DSE) -> None:
    student[0].model.encoder.layer[0].output.register_forward_hook(lambda module, args, output: output * 2)


CHANGES: dict[str, Callable[[DSE], None]] = {
    "p.data.mul_": every(lambda p: p.data.mul_(0.5)),
    "p.data.mul_ twice": every(lambda p: p.data.mul_(-1)),
    "p.data.copy_": every(lambda p: p.data.copy_(torch.flip(p.data, (0,)))),
    "p.data =": every(lambda p: setattr(p, "data", p.data * 0.5)),
    "p.detach().add_": every(lambda p: p.detach().add_(0.1)),
    "one word": one_word,
    "one bias": one_bias,
    "a numpy view": numpy_view,
    "another activation": another_activation,
    "a hook": hook,
}


@pytest.mark.parametrize("change", CHANGES)
def test_bfloat16_follows_every_change(change: str, backbone: str) -> None:
    student, fresh = make_student(backbone, dtype="bfloat16"), make_student(backbone, dtype="bfloat16")
    stale = student.encode(TEXTS)
    CHANGES[change](student)
    CHANGES[change](fresh)  # has no copy yet
    np.testing.assert_array_equal(student.encode(TEXTS), fresh.encode(TEXTS))
    assert not np.array_equal(student.encode(TEXTS), stale)


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in ("another activation", "a hook")])
def test_prepared_candidates_of_other_weights_are_refused(change: str, student: DSE) -> None:
    candidates = student.prepare(TEXTS)
    CHANGES[change](student)
    with pytest.raises(MismatchError, match="prepared by student"):
        student.rank("bike", candidates)


def test_averaged_weights(backbone: str) -> None:
    """As `torch.optim.swa_utils` and exponential averages of trainers write them."""
    student, other = make_student(backbone, dtype="bfloat16"), make_student(backbone, dtype="bfloat16", seed=1)
    other[0].model.encoder.layer[3].output.dense.weight.data.mul_(2)
    stale, before = student.encode(TEXTS), student.fingerprint
    for average, weight in zip(student.parameters(), other.parameters(), strict=True):
        average.data.mul_(0.9).add_(weight.data, alpha=0.1)
    assert not np.array_equal(student.encode(TEXTS), stale) and student.fingerprint != before


def test_adapters_of_peft(backbone: str) -> None:
    peft = pytest.importorskip("peft")
    student = make_student(backbone, dtype="bfloat16")
    model = student[0].model
    plain, names = student.encode(TEXTS), [student.fingerprint]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name in ("one", "two"):
            settings = peft.LoraConfig(target_modules=["query", "value"], r=2, init_lora_weights=False)
            peft.inject_adapter_in_model(settings, model, adapter_name=name)
    layers = [module for module in model.modules() if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer)]

    def use(names: list[str]) -> None:
        for layer in layers:
            layer.set_adapter(names)

    outputs = [plain]
    for active in (["one"], ["two"], ["one", "two"]):
        use(active)
        outputs.append(student.encode(TEXTS))
        names.append(student.fingerprint)
    assert all(not np.array_equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
    assert len(set(names)) == 4
    use(["one"])
    np.testing.assert_array_equal(student.encode(TEXTS), outputs[1])
    assert student.fingerprint == names[1]
    assert student.train(not student.training).fingerprint == names[1]
    for layer in layers:
        layer.enable_adapters(False)
    np.testing.assert_array_equal(student.encode(TEXTS), plain)
    assert switches(make_student(backbone)) == []


def test_a_transformer_wrapped_by_peft(backbone: str) -> None:
    peft = pytest.importorskip("peft")
    student = make_student(backbone, dtype="bfloat16")
    plain, inner = student.encode(TEXTS), student[0].model
    lora = {"target_modules": ["query", "value"], "r": 2, "init_lora_weights": False}
    student[0].model = peft.get_peft_model(inner, peft.LoraConfig(**lora))
    outputs = [plain, student.encode(TEXTS)]
    with student[0].model.disable_adapter():
        np.testing.assert_array_equal(student.encode(TEXTS), plain)
    np.testing.assert_array_equal(student.encode(TEXTS), outputs[1])
    for layer in student[0].modules():
        if isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer):
            layer.scaling["default"] *= 3
    outputs.append(student.encode(TEXTS))
    assert all(not np.array_equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
    student = make_student(backbone)
    student[0].model = peft.get_peft_model(student[0].model, peft.LoraConfig(**lora, task_type="FEATURE_EXTRACTION"))
    with pytest.raises(ValueError, match=r"gave its last layer only; put adapters .* with student\.add_adapter"):
        student.encode(TEXTS)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([torch.float32, torch.bfloat16]), st.booleans())
def test_a_watch_sees_any_scaling(rows: int, columns: int, dtype: torch.dtype, transposed: bool) -> None:
    weight = torch.rand(rows, columns, dtype=dtype) + 1
    layer = nn.Linear(1, 1)
    layer.weight = nn.Parameter(weight.T if transposed else weight)
    watch = Watch(layer)
    assert watch.holds(layer)
    layer.weight.data.mul_(2)
    assert not watch.holds(layer)


def test_a_watch_of_weights_that_are_no_numbers() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.data.fill_(torch.nan)
    assert Watch(layer).holds(layer)


def test_a_student_made_in_inference_mode_encodes(backbone: str) -> None:
    with torch.inference_mode():
        student = make_student(backbone, dtype="bfloat16")
    assert np.array_equal(student.encode(TEXTS), make_student(backbone, dtype="bfloat16").encode(TEXTS))
    assert student.fingerprint == make_student(backbone).fingerprint


def test_the_word_embeddings_are_not_copied(backbone: str) -> None:
    student = make_student(backbone, dtype="bfloat16")
    made = student._fast.of(student[0], torch.bfloat16)
    table = student[0].model.embeddings.word_embeddings.weight
    assert not any(p.shape == table.shape for p in made.parameters())
    assert made.model.dtype == torch.bfloat16


def test_one_copy_for_all_threads() -> None:
    module, fast, start = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), FastCopy(), threading.Barrier(8)

    def take(_: int) -> nn.Module:
        start.wait()
        return fast.of(module, torch.bfloat16)

    with ThreadPoolExecutor(8) as pool:
        assert len({id(made) for made in pool.map(take, range(8))}) == 1


def test_importing_hooks_no_optimiser() -> None:
    from torch.optim.optimizer import _global_optimizer_post_hooks

    assert not [hook for hook in _global_optimizer_post_hooks.values() if hook.__module__.startswith("dse")]
