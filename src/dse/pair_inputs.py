"""What callers give a student to score, made into lists of texts and float embeddings, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from dse.data.text_files import is_text
from dse.scoring.products import as_tensor

# Options of `encode` that make other embeddings than those a student was trained on, and their harmless values.
CHANGES_EMBEDDINGS: dict[str, tuple[Any, ...]] = {
    "precision": (None, "float32"),
    "normalize_embeddings": (None, False),
    "truncate_dim": (None,),
    "output_value": ("sentence_embedding",),
    "convert_to_numpy": (None, True, False),
    "convert_to_tensor": (None, True, False),
}
UNIT = 1e-3  # how near to 1 the length of a normalised embedding is, in half precision too


def as_texts(inputs: Any, what: str) -> list[str]:
    """A list of texts from a list, a tuple, an array, a column of a table or a generator.

    Raises:
        ValueError: If it is something else, naming it.
    """
    if isinstance(inputs, str | bytes):
        raise ValueError(f"{what} is one text ({inputs[:40]!r}); give a list of texts.")
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns") or not isinstance(inputs, Iterable):
        kind = type(inputs).__name__
        raise ValueError(f"{what} is a {kind}; give a list of texts, such as one column of a table.")
    texts = inputs.tolist() if isinstance(inputs, np.ndarray) else list(inputs)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{what}: row {row} is {_shown(text)}; give texts.")
        if not is_text(text):
            raise ValueError(f"{what}: row {row} holds half of a surrogate pair, which is no character; leave it out.")
    return texts


def as_pairs(inputs: Any, singular: bool) -> list[Sequence[str]]:
    """A list of pairs of texts.

    Raises:
        ValueError: If it is something else, naming the row.
    """
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
        raise ValueError(f"inputs is a {type(inputs).__name__}; give pairs of texts, as zip(first, second).")
    pairs: list[Any] = list(inputs) if isinstance(inputs, Iterator) or not singular else [inputs]
    for row, pair in enumerate(pairs):
        fits = isinstance(pair, list | tuple | np.ndarray) and len(pair) == 2
        if not fits or not all(isinstance(text, str) for text in pair):
            raise ValueError(f"Input {row} is {_shown(pair)}; give pairs of texts, (sentence1, sentence2).")
        if not all(map(is_text, pair)):
            raise ValueError(f"Input {row} holds half of a surrogate pair, which is no character; leave it out.")
    return pairs


def as_embeddings(inputs: Any, what: str) -> Tensor | np.ndarray | None:
    """The embeddings given, (n, d) and not copied, or None for anything that is no embeddings.

    Raises:
        ValueError: If they are quantised, or of different widths.
    """
    if isinstance(inputs, list | tuple) and len(inputs) and isinstance(inputs[0], Tensor | np.ndarray):
        for row, given in enumerate(inputs):
            if not isinstance(given, Tensor | np.ndarray):
                raise ValueError(f"{what}: row {row} is {_shown(given)} among embeddings; give texts or embeddings.")
        rows = [as_tensor(row) for row in inputs]
        if len({row.shape for row in rows}) > 1 or rows[0].ndim != 1:
            raise ValueError(f"{what}: a list of arrays that are not all vectors of one width; give (n, d).")
        inputs = torch.stack(rows)
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "USO":
        return None
    if not isinstance(inputs, Tensor | np.ndarray):
        return None
    if not (inputs.is_floating_point() if isinstance(inputs, Tensor) else inputs.dtype.kind == "f"):
        raise ValueError(
            f"{what}: embeddings of type {inputs.dtype}; a student scores those that `encode` gives in float32, or "
            "their float16 or bfloat16."
        )
    return cast("Tensor | np.ndarray", inputs)


def all_of_length_one(embeddings: Tensor | np.ndarray) -> bool:
    """Whether embeddings look normalised, by the first of them."""
    if embeddings.ndim != 2 or len(embeddings) == 0:
        return False
    lengths = torch.as_tensor(np.array(e) if isinstance(e := embeddings[:8], np.ndarray) else e).float().norm(dim=1)
    return bool((lengths - 1).abs().max() < UNIT)


def encode_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for `encode`, without those that say nothing.

    Raises:
        ValueError: If one of them would change the embeddings.
    """
    for name, harmless in CHANGES_EMBEDDINGS.items():
        if name in options and options[name] not in harmless:
            raise ValueError(
                f"{name}={options[name]!r} changes the embeddings, and a student scores those it was trained with; "
                "leave it out, or use encode."
            )
    return {name: value for name, value in options.items() if name not in CHANGES_EMBEDDINGS}


def check_activation(activation: Any) -> None:
    """Refuse an activation that cannot be applied to scores, before any are computed.

    Raises:
        ValueError: If it is no function, or the class of a module in place of a module.
    """
    if activation is not None and (isinstance(activation, type) or not callable(activation)):
        raise ValueError(f"activation_fn is {activation!r}; give a function or a module, such as torch.nn.Sigmoid().")


def query_prompt(student: Any, prompt: str | None, prompt_name: str | None) -> str:
    """What stands before the first text of a pair: the prompt given, as `encode_query` and `CrossEncoder` have it."""
    if prompt is None and prompt_name is None and student.prompts.get("query"):
        prompt_name = "query"
    return student._resolve_prompt(prompt, prompt_name) or ""


def document_prompt(student: Any) -> str:
    """What stands before the second text of a pair: the student's own prompt for documents, as in `encode_document`."""
    return next((student.prompts[name] for name in ("document", "passage", "corpus") if student.prompts.get(name)), "")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
