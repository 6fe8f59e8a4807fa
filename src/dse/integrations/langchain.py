"""LangChain: a student as a `BaseCrossEncoder`, for `CrossEncoderReranker` and whatever else takes one."""

from __future__ import annotations

import os

from dse.errors import need_extra
from dse.integrations.student import ranking_student
from dse.model import DSE

need_extra("langchain_core", "langchain")
from langchain_core.cross_encoders import BaseCrossEncoder  # noqa: E402


class DSECrossEncoder(BaseCrossEncoder):
    """A student in place of `HuggingFaceCrossEncoder`.

    Args:
        student: A `DSE`, or its folder or hub id.
        device: Where a student that is loaded here computes.
        batch_size: Texts the transformer reads at a time.

    Example:
        >>> encoder = DSECrossEncoder(getfixture("student"))
        >>> [0 < score < 1 for score in encoder.score([("a red bicycle", "a bike")])]
        [True]
    """

    def __init__(
        self, student: DSE | str | os.PathLike[str], *, device: str | None = None, batch_size: int = 32
    ) -> None:
        self.student, self.batch_size = ranking_student(student, device), batch_size

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """One score per pair; a text that is in several pairs is read once."""
        scores: list[float] = self.student.predict(
            text_pairs, batch_size=self.batch_size, show_progress_bar=False
        ).tolist()
        return scores
