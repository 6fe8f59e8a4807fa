"""Students as the server uses them: arrays in, arrays out. `DSE` is one, a student of `dse-lite` the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from dse.index.shards.sharded_index import AnyIndex


class Student(Protocol):
    """What a server asks of a student.

    Attributes:
        fingerprint: Two students with the same one score alike.
        dimension: d, the width of an embedding.
        num_labels: C, scores of a pair.
        label_names: Of the classes, where they have names.
        label: Place of the class that pairs are ranked by, where there are several and the index names one.
        threshold: Score above which a pair counts as positive.
        head: Kind of the pair head.
        dtype: What the transformer computes in.
        prompts: By name.
        default_prompt_name: Of the one before texts by themselves.
        pair_prompts: Those before first and second sentences of pairs.
        limit: Tokens read of a text.
        round_tokens: Tokens to encode at a time; a newcomer waits for no more.
    """

    fingerprint: str
    dimension: int
    num_labels: int
    label_names: list[str] | None
    label: int | None
    threshold: float
    head: str
    dtype: str
    prompts: dict[str, str | None]
    default_prompt_name: str | None
    pair_prompts: tuple[str, str]
    limit: int
    round_tokens: int

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, none left out; for any thread."""
        ...

    def encode(self, texts: list[str], prompt: str) -> np.ndarray:
        """Embeddings (n, d) float32; called by one thread."""
        ...

    def best(self, queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best candidates (n, d) of queries (q, d): raw scores and places (q, k)."""
        ...

    def pair_scores(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Raw scores of pairs of embeddings (n, d), every class: (n, C)."""
        ...

    def one_score(self, raw: np.ndarray) -> np.ndarray:
        """Of raw scores (n, C) the one that pairs are ranked by, (n,)."""
        ...

    def activate(self, raw: np.ndarray) -> np.ndarray:
        """Scores (n,) as `predict` returns them, from those that pairs are ranked by."""
        ...


def as_served(student: Any, index: AnyIndex | None) -> Student:
    """A `DSE` with an index of it, or a student of `dse-lite`, as the server uses it.

    Raises:
        MismatchError: If the student reads no texts.
    """
    if type(student).__module__.partition(".")[0] == "dse_lite":
        from dse.serve.lite_student import LiteStudent

        return LiteStudent(student)
    from dse.serve.torch_student import TorchStudent

    return TorchStudent(student, index)
