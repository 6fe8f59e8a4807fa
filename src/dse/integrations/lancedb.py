"""LanceDB: a student as a `Reranker` of vector, full-text and hybrid searches."""

from __future__ import annotations

import os
from typing import Any, Literal

from dse.errors import need_extra
from dse.integrations.student import ranking_student
from dse.model import DSE

need_extra("lancedb", "lancedb")
from lancedb.rerankers import CrossEncoderReranker  # noqa: E402


class DSEReranker(CrossEncoderReranker):
    """A student in place of `CrossEncoderReranker`: ``table.search(...).rerank(DSEReranker(student))``.

    Args:
        student: A `DSE`, or its folder or hub id.
        column: Column of the texts.
        return_score: ``relevance`` returns the student's score alone, ``all`` the searches' scores beside it.
        device: Where a student that is loaded here computes.
        batch_size: Texts the transformer reads at a time.

    Example:
        >>> import pyarrow as pa
        >>> found = pa.table({"text": ["a tent", "a bike"], "_distance": [0.1, 0.2]})
        >>> DSEReranker(getfixture("student")).rerank_vector("a red bicycle", found).column_names
        ['text', '_relevance_score']
    """

    def __init__(
        self,
        student: DSE | str | os.PathLike[str],
        column: str = "text",
        return_score: Literal["relevance", "all"] = "relevance",
        device: str | None = None,
        batch_size: int = 32,
    ) -> None:
        name = "a DSE student" if isinstance(student, DSE) else os.fspath(student)
        super().__init__(name, column, device, return_score, trust_remote_code=False, batch_size=batch_size)
        self.model: Any = ranking_student(student, device)  # which the parent would load as a CrossEncoder

    def __str__(self) -> str:
        return f"DSEReranker(student={self.model_name})"
