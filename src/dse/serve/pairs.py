"""`/predict`, `/score` and `/similarity`: pairs, each scored by itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from dse.serve.answers import Label, Scores, json_response, problems, record_of, serving_of, usage
from dse.serve.schemas import PredictRequest, ScoreRequest, SimilarityRequest
from dse.serve.serving import Serving

router = APIRouter()


@router.post("/predict", response_model=list[Label] | list[list[Label]], responses=problems)
async def predict(asked: PredictRequest, request: Request) -> Response:
    """Score pairs; of a student with several classes each has a label and a probability, likeliest first."""
    serving = serving_of(request)
    raw, _ = await _raw_scores(serving, request, asked.pairs, asked.truncate, "inputs")
    labels = [_labels(serving, row, asked.raw_scores) for row in raw]
    return json_response(labels[0] if asked.single else labels)


@router.post("/score", response_model=Scores, responses=problems)
@router.post("/v1/score", response_model=Scores, responses=problems)
async def score(asked: ScoreRequest, request: Request) -> Response:
    """Score a text with another, with several, or two lists of texts in step."""
    serving = serving_of(request)
    serving.need_one_score()
    raw, tokens = await _raw_scores(serving, request, asked.pairs, asked.truncate, "text_2")
    scores = serving.shown(serving.student.one_score(raw), asked.raw_scores)
    data = [{"index": i, "object": "score", "score": value} for i, value in enumerate(scores)]
    answer = {"id": str(uuid.uuid4()), "object": "list", "created": int(time.time()), "model": serving.name}
    return json_response(answer | {"data": data, "usage": usage(tokens)})


@router.post("/similarity", response_model=list[float], responses=problems)
async def similarity(asked: SimilarityRequest, request: Request) -> Response:
    """Score a text with several others: the student's own similarity, not the cosine of embeddings."""
    serving = serving_of(request)
    serving.need_one_score()
    pairs = [(asked.inputs.source_sentence, sentence) for sentence in asked.inputs.sentences]
    raw, _ = await _raw_scores(serving, request, pairs, asked.truncate, "sentences")
    return json_response(serving.shown(serving.student.one_score(raw), False))


async def _raw_scores(
    serving: Serving, request: Request, pairs: Sequence[Sequence[str]], truncate: bool | None, what: str
) -> tuple[np.ndarray, int]:
    """Raw scores of pairs (n, C), and how many tokens were read."""
    serving.check_count(len(pairs), what)
    first, second = serving.student.pair_prompts
    texts = [(first, a) for a, _ in pairs] + [(second, b) for _, b in pairs]
    read = await serving.embed(texts, truncate=truncate)
    record_of(request).add(read)
    left, right = read.vectors[: len(pairs)], read.vectors[len(pairs) :]
    return await serving.threads.run(serving.student.pair_scores, left, right), read.tokens


def _labels(serving: Serving, raw: np.ndarray, raw_scores: bool) -> list[dict[str, Any]]:
    """Labels and scores of a pair (C,), best first."""
    names = serving.student.label_names if serving.student.num_labels > 1 else None
    if not raw_scores and len(raw) == 1:
        raw = serving.student.activate(raw)
    elif not raw_scores:
        raw = np.exp(raw - raw.max())
        raw /= raw.sum()
    labels = [{"label": names[i] if names else f"LABEL_{i}", "score": value} for i, value in enumerate(raw.tolist())]
    return sorted(labels, key=lambda label: -label["score"])
