"""`/search`: the best rows of the index."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from dse.errors import BadDataError
from dse.serve.answers import Found, FoundByEach, json_response, problems, record_of, serving_of
from dse.serve.errors import RequestError
from dse.serve.schemas import SearchRequest

router = APIRouter()


@router.post("/search", response_model=Found | FoundByEach, responses=problems)
async def search(asked: SearchRequest, request: Request) -> Response:
    """Find the best rows of the index for a query; ``where`` is a condition on their columns."""
    serving = serving_of(request)
    index = serving.need_index()
    queries = [asked.query] if asked.query is not None else asked.queries or []
    serving.check_count(len(queries), "queries")
    most = serving.settings.max_texts
    if asked.k * len(queries) > most:
        raise RequestError(413, f"k: at most {most:,} rows go into an answer, of all queries together.")
    prompt = serving.student.pair_prompts[0]
    read = await serving.embed([(prompt, query) for query in queries], truncate=asked.truncate)
    record_of(request).add(read)
    find = partial(index.explain, read.vectors, asked.k, where=asked.where, exact=asked.exact)
    try:
        answers = await serving.threads.run(find)
    except BadDataError as error:
        if asked.where is None:
            raise
        raise RequestError(422, f"where: {error}") from error
    found = [_found(answer) for answer in answers]
    return json_response({"results": found} if asked.queries is not None else found[0])


def _found(answer: dict[str, Any]) -> dict[str, Any]:
    kept = {name: answer[name] for name in ("hits", "mode", "scored")}
    return kept | {"promise": answer["promise"]["text"]}
