"""How a transformer is run here: in which dtype and in which batches.

Student and teacher share these: both read many texts whose lengths differ.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

Dtype = Literal["auto", "float32", "bfloat16"]


def auto_dtype(device: torch.device) -> torch.dtype:
    """The fastest dtype that is safe on a device: bfloat16 where the hardware multiplies it faster, else float32.

    Intel's processors do so with their matrix unit alone. In 512-bit vectors (``avx512_bf16``), AMD's do, and Intel's
    take half as long again as for float32; docs/decisions/scoring.md has the figures.

    Example:
        >>> auto_dtype(torch.device("cpu")) in (torch.float32, torch.bfloat16)
        True
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        features = torch.cpu.get_capabilities()
        intel = "Intel" in str(features.get("cpu_name", ""))
        fast = bool(features.get("amx_bf16") or (features.get("avx512_bf16") and not intel))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def resolve_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """Turn ``"auto"``, ``"float32"`` or ``"bfloat16"`` into a torch dtype for a device.

    Raises:
        ValueError: If the name is another one.
    """
    if dtype == "auto":
        return auto_dtype(device)
    if dtype in ("float32", "bfloat16"):
        return torch.float32 if dtype == "float32" else torch.bfloat16
    raise ValueError(f"Unknown dtype {dtype!r}; choose auto, float32 or bfloat16.")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread of torch: for small work beside a library with threads of its own.

    OpenMP's threads wait for the next product by spinning, on the cores the other library needs. The number belongs to
    the calling thread; only a thread that uses torch for the first time meanwhile starts with one as well.

    Example:
        >>> before = torch.get_num_threads()
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def remove_capture_hooks(model: nn.Module) -> None:
    """Take out the hooks by which transformers collects hidden states: local functions, which cannot be pickled.

    The next forward installs them again.
    """
    for module in model.modules():
        for key, hook in list(module._forward_hooks.items()):
            if str(getattr(hook, "__module__", "")).startswith("transformers."):
                del module._forward_hooks[key]
        if getattr(module, "_output_capturing_hooks_installed", False):
            module.__dict__["_output_capturing_hooks_installed"] = False


def register_capture(model: nn.Module) -> None:
    """Make an unpickled model give its hidden states in a new process.

    transformers notes in the constructor, once per class, which outputs it can collect; unpickling runs none.
    """
    from transformers import PreTrainedModel  # not above: a process of a shard encodes nothing and needs none of it

    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            with torch.device("meta"):
                type(module)(copy.deepcopy(module.config))


def length_batches(lengths: Sequence[int], batch_size: int, batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first, so that little is spent on padding.

    Args:
        lengths: Token count of every text.
        batch_size: Rows of a batch at full length; batches of shorter texts hold up to four times as many.
        batch_tokens: Tokens of a batch, padding included; a single longer text is a batch of its own.

    Example:
        >>> list(length_batches([3, 9, 4, 8], batch_size=2, batch_tokens=18))
        [[1, 3], [2, 0]]
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = max(1, min(4 * batch_size, batch_tokens // longest))
        yield order[start : start + size].tolist()
        start += size


# Tokens a "row" of batch_size stands for. A CPU is fastest with small batches (of 256 to
# 16,384 tokens a batch, 512 to 2,048 did best); a GPU wants more work at a time.
TOKENS_PER_ROW = {"cpu": 32}
TOKENS_PER_ROW_ELSEWHERE = 256
# What is tokenized at a time: tokens take a hundred bytes each until they are batched. Leaves enough to sort.
CHUNK = 16_384  # texts
CHUNK_CHARACTERS = 1_000_000


def run_sorted(
    model: BaseModel,
    inputs: Sequence[Any],
    forward: Callable[[dict[str, Any]], Tensor],
    *,
    batch_size: int,
    device: torch.device,
    prompt: str | None = None,
    description: str = "Batches",
    show_progress_bar: bool = False,
    **preprocess_kwargs: Any,
) -> Tensor:
    """Apply ``forward`` to texts (or pairs of texts) in batches sorted by token count.

    Args:
        model: Whose tokenizer reads the inputs.
        inputs: Texts, or pairs of texts.
        forward: From padded features on ``device`` to one row per input.
        batch_size: As in `length_batches`.
        device: Where to compute.
        prompt: Put before every text.
        description: What the progress bar says.
        show_progress_bar: Whether there is one.
        **preprocess_kwargs: Handed to the tokenizing module.

    Returns:
        Rows in the order of the inputs, on ``device``.
    """
    unpadded = {"text": {"padding": False}, "common": {"return_tensors": None}}
    output: Tensor | None = None
    per_row = TOKENS_PER_ROW.get(device.type, TOKENS_PER_ROW_ELSEWHERE)
    with tqdm(total=len(inputs), desc=description, disable=not show_progress_bar, unit="text") as bar:
        start = 0
        for chunk in _chunks(inputs):
            encoded = dict(model.preprocess(chunk, prompt=prompt, processing_kwargs=unpadded, **preprocess_kwargs))
            columns = {k: v for k, v in encoded.items() if isinstance(v, list) and len(v) == len(chunk)}
            shared = {k: v for k, v in encoded.items() if k not in columns}
            lengths = [len(ids) for ids in columns["input_ids"]]
            for rows in length_batches(lengths, batch_size, batch_size * per_row):
                batch = {key: [values[i] for i in rows] for key, values in columns.items()}
                features = dict(model.tokenizer.pad(batch, padding=True, return_tensors="pt"))
                features = {k: v.to(device) for k, v in features.items()} | shared
                result = forward(features)
                if output is None:
                    output = result.new_empty((len(inputs), *result.shape[1:]))
                output[torch.as_tensor(rows, device=device) + start] = result
                bar.update(len(rows))
            start += len(chunk)
    assert output is not None, "run_sorted needs at least one input"
    return output


def _chunks(inputs: Sequence[Any]) -> Iterator[list[Any]]:
    """Texts, or pairs of texts, that are tokenized together."""
    chunk, characters = [], 0
    for text in inputs:
        chunk.append(text)
        characters += len(text) if isinstance(text, str) else sum(map(len, text))
        if len(chunk) >= CHUNK or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
