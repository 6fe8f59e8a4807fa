"""The server to compare with: the same in front, and behind it a `CrossEncoder` that reads every pair.

python -m dse.bench.cross_encoder_server FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request
from sentence_transformers import CrossEncoder
from starlette.responses import Response

from dse.serve.answers import json_response
from dse.serve.guard import Guard
from dse.serve.metrics import Metrics
from dse.serve.schemas import RerankRequest
from dse.serve.server import bind, run
from dse.serve.settings import Settings


def create_app(folder: str) -> FastAPI:
    """`/rerank` in TEI's shape by `CrossEncoder.rank` with its defaults, one request at a time."""
    model, thread = CrossEncoder(folder), ThreadPoolExecutor(1)
    app = FastAPI()

    @app.post("/rerank")
    async def rerank(asked: RerankRequest, request: Request) -> Response:
        def rank() -> list[dict[str, float]]:
            hits = model.rank(asked.query or "", asked.texts or [], show_progress_bar=False)
            return [{"index": int(hit["corpus_id"]), "score": float(hit["score"])} for hit in hits]

        return json_response(await asyncio.get_running_loop().run_in_executor(thread, rank))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    app.add_middleware(Guard, settings=Settings(timeout=600), metrics=Metrics())
    return app


if __name__ == "__main__":
    with bind("127.0.0.1", 0) as bound:
        app = create_app(sys.argv[1])
        print(f"Serving at http://127.0.0.1:{bound.getsockname()[1]} now", flush=True)  # noqa: T201
        run(app, bound)
