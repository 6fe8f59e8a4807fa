"""`/health`, `/info`, `/v1/models` and `/metrics`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from dse.serve.answers import json_response, problems, serving_of
from dse.serve.metrics import Metrics

router = APIRouter()


@router.get("/health")
@router.get("/ping")
async def health() -> dict[str, str]:
    """Answer, so that it is known that the server does."""
    return {"status": "ok"}


@router.get("/info", responses=problems)
async def info(request: Request) -> Response:
    """The student, the index and the limits, with the names that TEI gives them."""
    serving = serving_of(request)
    student, settings = serving.student, serving.settings
    kind = "reranker" if student.num_labels == 1 or student.label is not None else "classifier"
    names = student.label_names or [f"LABEL_{i}" for i in range(student.num_labels)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    answer: dict[str, Any] = {
        "model_id": serving.name,
        "model_sha": serving.fingerprint,
        "model_dtype": student.dtype,
        "model_type": {kind: labels},
        "max_input_length": student.limit,
        "max_client_batch_size": settings.max_texts,
        "max_batch_requests": settings.max_requests,
        "max_request_tokens": settings.max_tokens,
        "max_body_bytes": settings.max_body,
        "timeout_seconds": settings.timeout,
        "head": student.head,
        "dimension": student.dimension,
        "threshold": student.threshold if student.num_labels == 1 else None,
        "version": version("dse"),
        "teacher": getattr(request.app.state.teacher, "name", None),
        "index": None,
    }
    if serving.index is not None:
        known = await serving.threads.run(serving.index.info)
        shown = ("rows", "columns", "label", "mode", "promise", "warning", "advice", "version")
        answer["index"] = {name: known[name] for name in shown}
    return json_response(answer)


@router.get("/v1/models", responses=problems)
async def models(request: Request) -> dict[str, Any]:
    """The one model, as OpenAI lists models."""
    name = serving_of(request).name
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "dse"}]}


@router.get("/metrics", response_class=Response, responses=problems)
async def metrics(request: Request) -> Response:
    """Counters, as Prometheus reads them."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.page(), media_type=CONTENT_TYPE_LATEST)
