"""What responses hold, for the description at /docs, and how they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from dse.serve.serving import Embedded, Serving


class RankedText(BaseModel):
    """A text of TEI's ranking."""

    index: int
    score: float
    text: str | None = None


class Text(BaseModel):
    """A document of Cohere's ranking."""

    text: str


class RankedDocument(BaseModel):
    """A document of Cohere's ranking; `id` is that of a row."""

    index: int
    relevance_score: float
    id: str | None = None
    document: Text | None = None


class Usage(BaseModel):
    """Tokens read, those of cached texts included."""

    prompt_tokens: int
    total_tokens: int


class Ranking(BaseModel):
    """Cohere's ranking, with the fields of Jina's, vLLM's and infinity's; of several queries one list each."""

    id: str
    object: str = "rerank"
    model: str
    created: int
    results: list[RankedDocument] | list[list[RankedDocument]]
    usage: Usage
    meta: dict[str, Any]


class Label(BaseModel):
    """A class and its score."""

    label: str
    score: float


class Score(BaseModel):
    """A pair's score."""

    index: int
    object: str = "score"
    score: float


class Scores(BaseModel):
    """vLLM's scores."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage


class Embedding(BaseModel):
    """A text's embedding: numbers, or float32 in base64."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    """OpenAI's embeddings."""

    object: str = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Hit(BaseModel):
    """A row of the index; `scout_rank` is its place in the shortlist."""

    id: str
    score: float
    text: str
    metadata: dict[str, Any]
    scout_rank: int | None = None


class Found(BaseModel):
    """What a search found, and how: `mode` is exact or two passes, `promise` what is known of the recall."""

    hits: list[Hit]
    mode: str
    scored: int
    promise: str


class FoundByEach(BaseModel):
    """What each of several queries found."""

    results: list[Found]


class Problem(BaseModel):
    """A request that was refused: `error` is a sentence (TEI) or an object (OpenAI), `message` the sentence always."""

    error: str | dict[str, Any]
    error_type: str
    message: str
    detail: str


problems: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "No JSON, or an empty list.",
        401: "The token is missing or wrong.",
        404: "There is no index.",
        408: "The body came too slowly.",
        413: "The body, or the number of texts, is too large.",
        422: "A field does not fit.",
        429: "Too many requests wait; the header Retry-After says when to come again.",
        500: "The server failed.",
        503: "The index has been changed to another student.",
        504: "It took too long.",
    }.items()
}


@dataclass
class Record:
    """What is noted of a request for its headers and its line in the log.

    Attributes:
        request_id: Its name.
        tei: Whether errors have TEI's shape.
        asked: Embeddings that it needed.
        hits: Those that were in the cache.
        cut: Texts that were longer than the student reads.
    """

    request_id: str
    tei: bool
    asked: int = 0
    hits: int = 0
    cut: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What the response says of it."""
        headers = {"X-Request-Id": self.request_id}
        if self.asked:
            headers["X-DSE-Cache"] = f"{self.hits}/{self.asked}"
        if self.cut:
            headers["X-DSE-Truncated"] = str(self.cut)
        return headers

    def add(self, *embedded: Embedded) -> None:
        """Note embeddings that were needed."""
        for each in embedded:
            self.asked += len(each)
            self.hits += each.hits
            self.cut += len(each.cut)


def record_of(request: Request) -> Record:
    """What is noted of a request."""
    record: Record = request.scope["dse"]
    return record


def serving_of(request: Request) -> Serving:
    """The student and index in use; a request asks once and keeps them."""
    serving: Serving = request.app.state.serving
    return serving


def usage(tokens: int) -> dict[str, int]:
    """Tokens read, as OpenAI writes them."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def json_response(content: Any) -> Response:
    """A response; dates and the like in the rows of an index become text."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    return Response(body.encode(), media_type="application/json")
