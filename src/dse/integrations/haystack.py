"""Haystack: a student as a ranker component, in place of `SentenceTransformersSimilarityRanker`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from dse.errors import need_extra
from dse.integrations.student import ranking_student
from dse.model import DSE

need_extra("haystack", "haystack")
from haystack import Document, component, default_from_dict, default_to_dict  # noqa: E402


@component
class DSERanker:
    """Order documents by a student's score with the query.

    Args:
        student: Folder or hub id of the student, or a `DSE`, with which a pipeline cannot be written to a file. To
            read such a file: ``Pipeline.loads(text, allowed_modules=["dse.integrations.haystack"])``.
        top_k: How many documents to return.
        device: Where a student that is loaded here computes.

    Example:
        >>> ranker = DSERanker(getfixture("student"), top_k=1)
        >>> documents = [Document(content="a tent"), Document(content="a bike")]
        >>> len(ranker.run(query="a red bicycle", documents=documents)["documents"])
        1
    """

    def __init__(self, student: DSE | str | os.PathLike[str], top_k: int = 10, device: str | None = None) -> None:
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; return at least one document.")
        self.student = student if isinstance(student, DSE) else os.fspath(student)
        self.top_k, self.device = top_k, device
        self._model: DSE | None = None

    def warm_up(self) -> None:
        """Load the student."""
        if self._model is None:
            self._model = ranking_student(self.student, self.device)

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator, unused-ignore]
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Return the best documents, best first, as copies with the student's score.

        Raises:
            ValueError: If a document has no text.
        """
        self.warm_up()
        assert self._model is not None
        for document in documents:
            if document.content is None:
                raise ValueError(f"Document {document.id} has no text (content); leave it out.")
        texts, k = [document.content for document in documents], self.top_k if top_k is None else top_k
        hits: list[Any] = self._model.rank(query, texts, top_k=k, show_progress_bar=False)
        return {"documents": [replace(documents[hit["corpus_id"]], score=hit["score"]) for hit in hits]}

    def to_dict(self) -> dict[str, Any]:
        """What a pipeline's file says of this component.

        Raises:
            ValueError: If the student was given as a model.
        """
        if not isinstance(self.student, str):
            raise ValueError("A pipeline's file names the student; give DSERanker its folder or hub id.")
        state: dict[str, Any] = default_to_dict(self, student=self.student, top_k=self.top_k, device=self.device)
        return state

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DSERanker:
        """The component that a pipeline's file describes."""
        ranker: DSERanker = default_from_dict(cls, data)
        return ranker
