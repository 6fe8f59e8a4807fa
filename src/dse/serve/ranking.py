"""`/rerank`, `/v1/rerank` and `/v2/rerank`: what there is to rank decides the shape of the answer."""

from __future__ import annotations

import time
import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from dse.serve.answers import RankedText, Ranking, json_response, problems, record_of, serving_of, usage
from dse.serve.errors import RequestError
from dse.serve.schemas import RerankRequest
from dse.serve.serving import Embedded, Serving

router = APIRouter()
Ranked = list[tuple[int, float]]  # places of candidates and their scores, best first
Answers = list[RankedText] | list[list[RankedText]] | Ranking


@router.post("/rerank", response_model=Answers, responses=problems)
@router.post("/v1/rerank", response_model=Answers, responses=problems)
@router.post("/v2/rerank", response_model=Answers, responses=problems)
async def rerank(asked: RerankRequest, request: Request) -> Response:
    """Order texts, or rows of the index, by their scores with a query, best first."""
    serving, record = serving_of(request), record_of(request)
    record.tei = asked.texts is not None
    queries, texts = _checked(serving, asked)
    left, right, embedded = await _embed(serving, asked, queries, texts)
    record.add(*embedded)
    ranked = await serving.threads.run(_ranked, serving, left, right, asked)
    if asked.return_documents and texts is None:
        texts = await _texts(serving, asked.ids or [], ranked)
    if asked.texts is not None:
        lists: list[Any] = [[_tei(hit, asked, texts) for hit in ranking] for ranking in ranked]
        return json_response(lists if asked.queries is not None else lists[0])
    lists = [[_cohere(hit, asked, texts) for hit in ranking] for ranking in ranked]
    read = embedded[0]
    meta: dict[str, Any] = {
        "api_version": {"version": "1" if request.url.path.startswith("/v1/") else "2"},
        "billed_units": {"search_units": 0},
        "tokens": {"input_tokens": read.tokens},
    }
    if warnings := _warnings(serving, asked, read, len(queries)):
        meta["warnings"] = warnings
    answer = {"id": str(uuid.uuid4()), "object": "rerank", "model": serving.name, "created": int(time.time())}
    answer |= {"results": lists if asked.queries is not None else lists[0], "usage": usage(read.tokens), "meta": meta}
    return json_response(answer)


def _checked(serving: Serving, asked: RerankRequest) -> tuple[list[str], list[str] | None]:
    """The queries, and the texts to rank: None where these are rows."""
    queries = [asked.query] if asked.query is not None else asked.queries or []
    texts = asked.texts if asked.texts is not None else asked.documents
    candidates = asked.ids or [] if texts is None else texts
    what = "ids" if texts is None else "texts" if asked.texts is not None else "documents"
    serving.need_one_score()
    serving.check_count(len(queries), "queries")
    serving.check_count(len(candidates), what)
    pairs, most = len(queries) * len(candidates), serving.settings.max_pairs
    if pairs > most:
        raise RequestError(413, f"These are {pairs:,} pairs, at most {most:,} go into a request; send several.")
    return queries, texts


async def _embed(
    serving: Serving, asked: RerankRequest, queries: list[str], texts: list[str] | None
) -> tuple[np.ndarray, np.ndarray, list[Embedded]]:
    """Embeddings of queries and candidates, and whence they are, that of the queries first."""
    first, second = serving.student.pair_prompts
    wanted = [(first, query) for query in queries]
    if texts is None:
        # One after the other: at once, each would wait for the other's Python.
        rows = await serving.rows(asked.ids or [])
        read = await serving.embed(wanted, truncate=asked.truncate)
        return read.vectors, rows.vectors, [read, rows]
    read = await serving.embed([*wanted, *((second, text) for text in texts)], truncate=asked.truncate)
    return read.vectors[: len(queries)], read.vectors[len(queries) :], [read]


def _ranked(serving: Serving, left: np.ndarray, right: np.ndarray, asked: RerankRequest) -> list[Ranked]:
    """For each query the candidates to return, best first; equal scores keep the order of the request."""
    k = min(asked.top_n or len(right), len(right))
    rankings = []
    for raw, places in zip(*serving.student.best(left, right, k), strict=True):
        ranking = list(zip(places.tolist(), serving.shown(raw, asked.raw_scores), strict=True))
        if asked.score_threshold is not None:
            ranking = [hit for hit in ranking if hit[1] >= asked.score_threshold]
        rankings.append(ranking)
    return rankings


async def _texts(serving: Serving, ids: list[str], ranked: list[Ranked]) -> list[str]:
    """Texts of the rows that are returned, at the places of their ids."""
    wanted = {ids[place] for ranking in ranked for place, _ in ranking}
    rows = await serving.threads.run(serving.need_index().get, wanted)
    return [rows[id]["text"] if id in rows else "" for id in ids]


def _tei(hit: tuple[int, float], asked: RerankRequest, texts: list[str] | None) -> dict[str, Any]:
    place, score = hit
    shown: dict[str, Any] = {"index": place, "score": score}
    if asked.return_documents and texts is not None:
        shown["text"] = texts[place]
    return shown


def _cohere(hit: tuple[int, float], asked: RerankRequest, texts: list[str] | None) -> dict[str, Any]:
    place, score = hit
    shown: dict[str, Any] = {"index": place, "relevance_score": score}
    if asked.ids is not None:
        shown["id"] = asked.ids[place]
    if asked.return_documents and texts is not None:
        shown["document"] = {"text": texts[place]}
    return shown


def _warnings(serving: Serving, asked: RerankRequest, read: Embedded, queries: int) -> list[str]:
    """What a client should know of the answer."""
    limit, warnings = serving.student.limit, []
    if read.cut:
        names = [f"query {i}" if i < queries else f"document {i - queries}" for i in read.cut]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        warnings.append(f"Read to {limit} tokens only, the rest left out: {', '.join(names[:10])}{more}.")
    if asked.max_tokens_per_doc is not None and asked.max_tokens_per_doc < limit:
        warnings.append(f"max_tokens_per_doc is not used; texts are read to {limit} tokens.")
    return warnings
