"""LlamaIndex: a student as a node postprocessor, in place of `SentenceTransformerRerank`."""

from __future__ import annotations

import os
from typing import Any

from dse.errors import need_extra
from dse.integrations.student import ranking_student
from dse.model import DSE

need_extra("llama_index", "llama-index")
from llama_index.core.bridge.pydantic import Field, PrivateAttr  # noqa: E402
from llama_index.core.callbacks import CBEventType, EventPayload  # noqa: E402
from llama_index.core.postprocessor.types import BaseNodePostprocessor  # noqa: E402
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle  # noqa: E402


class DSERerank(BaseNodePostprocessor):
    """Order retrieved nodes by a student's score with the query and keep the best.

    Args:
        student: A `DSE`, or its folder or hub id.
        top_n: How many nodes to keep.
        keep_retrieval_score: Keep the retriever's score in the node's metadata, as ``retrieval_score``.
        device: Where a student that is loaded here computes.

    Example:
        >>> from llama_index.core.schema import TextNode
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a tent", "a bike")]
        >>> len(DSERerank(getfixture("student"), top_n=1).postprocess_nodes(nodes, query_str="a red bicycle"))
        1
    """

    model: str = Field(description="Folder or hub id of the student.")
    top_n: int = Field(description="Number of nodes to return sorted by score.")
    keep_retrieval_score: bool = Field(description="Whether to keep the retrieval score in metadata.")
    _student: Any = PrivateAttr()

    def __init__(
        self,
        student: DSE | str | os.PathLike[str],
        *,
        top_n: int = 2,
        keep_retrieval_score: bool = False,
        device: str | None = None,
    ) -> None:
        name = "a DSE student" if isinstance(student, DSE) else os.fspath(student)
        super().__init__(model=name, top_n=top_n, keep_retrieval_score=keep_retrieval_score)
        self._student = ranking_student(student, device)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows the component."""
        return "DSERerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("DSERerank orders nodes for a query; give query_bundle or query_str.")
        query, texts = query_bundle.query_str, [n.node.get_content(metadata_mode=MetadataMode.EMBED) for n in nodes]
        payload = {EventPayload.NODES: nodes, EventPayload.MODEL_NAME: self.model, EventPayload.QUERY_STR: query}
        with self.callback_manager.event(CBEventType.RERANKING, payload | {EventPayload.TOP_K: self.top_n}) as event:
            hits = self._student.rank(query, texts, top_k=self.top_n, show_progress_bar=False)
            for hit in hits if self.keep_retrieval_score else []:
                nodes[hit["corpus_id"]].node.metadata["retrieval_score"] = nodes[hit["corpus_id"]].score
            best = [NodeWithScore(node=nodes[hit["corpus_id"]].node, score=hit["score"]) for hit in hits]
            event.on_end(payload={EventPayload.NODES: best})
        return best
