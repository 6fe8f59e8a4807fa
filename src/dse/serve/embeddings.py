"""`/embed` and `/v1/embeddings`: a student is a sentence encoder too."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from dse.serve.answers import Embeddings, json_response, problems, record_of, serving_of, usage
from dse.serve.errors import RequestError
from dse.serve.schemas import EmbeddingsRequest, EmbedRequest
from dse.serve.serving import Embedded, Serving

router = APIRouter()


@router.post("/embed", response_model=list[list[float]], responses=problems)
async def embed(asked: EmbedRequest, request: Request) -> Response:
    """Embed texts, as TEI does: brought to length one unless ``normalize`` is false."""
    serving = serving_of(request)
    read = await _embed(serving, request, asked.inputs, "inputs", asked.prompt_name, asked.truncate)
    vectors = _unit(read.vectors) if asked.normalize else read.vectors
    return await serving.threads.run(lambda: json_response(vectors.tolist()))


@router.post("/v1/embeddings", response_model=Embeddings, responses=problems)
async def embeddings(asked: EmbeddingsRequest, request: Request) -> Response:
    """Embed texts, as OpenAI does: brought to length one."""
    serving = serving_of(request)
    if asked.dimensions not in (None, serving.student.dimension):
        raise RequestError(422, f"dimensions: this student gives {serving.student.dimension} only; leave it out.")
    texts: Any = asked.input
    read = await _embed(serving, request, texts, "input", None, asked.truncate)
    vectors = _unit(read.vectors)

    def written() -> Response:
        data = [
            {"object": "embedding", "index": i, "embedding": _written(vector, asked.encoding_format)}
            for i, vector in enumerate(vectors)
        ]
        return json_response({"object": "list", "data": data, "model": serving.name, "usage": usage(read.tokens)})

    return await serving.threads.run(written)


async def _embed(
    serving: Serving,
    request: Request,
    given: str | list[str],
    what: str,
    prompt_name: str | None,
    truncate: bool | None,
) -> Embedded:
    texts = [given] if isinstance(given, str) else given
    serving.check_count(len(texts), what)
    prompts, name = serving.student.prompts, prompt_name or serving.student.default_prompt_name
    if prompt_name is not None and prompt_name not in prompts:
        known = ", ".join(name for name, prompt in prompts.items() if prompt) or "none"
        raise RequestError(422, f"prompt_name: this student has no such prompt, only {known}.")
    prompt = (prompts[name] if name else None) or ""
    read = await serving.embed([(prompt, text) for text in texts], truncate=truncate)
    record_of(request).add(read)
    return read


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) brought to length one."""
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return unit


def _written(vector: np.ndarray, encoding: str) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
