"""`/teacher`: what the teacher says of the same texts, for the page at `/`. It reads every pair, so it is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from dse.errors import MismatchError
from dse.serve.answers import RankedText, json_response, problems, serving_of
from dse.serve.errors import RequestError
from dse.serve.schemas import TeacherRequest

MOST_TEXTS = 100  # read for one request
Score = Callable[[str, list[str]], np.ndarray]  # a query and texts (n,) to scores (n,)

router = APIRouter()


class Teacher:
    """A teacher that scores in a thread of its own, one request at a time.

    Args:
        name: Of the model, as responses give it.
        score: What scores.
    """

    def __init__(self, name: str, score: Score) -> None:
        self.name, self._score, self._thread = name, score, ThreadPoolExecutor(1, "dse-teacher")

    async def scores(self, query: str, texts: list[str]) -> list[float]:
        """Scores of the texts with the query."""
        scores = await asyncio.get_running_loop().run_in_executor(self._thread, self._score, query, texts)
        return [float(score) for score in scores]

    def close(self) -> None:
        """Wait for the request it is at; the others are given up."""
        self._thread.shutdown(cancel_futures=True)


def read_teacher(path: str) -> Teacher:
    """Load a cross-encoder, or an encoder whose cosine is the score.

    Raises:
        BadDataError: If there is no such model.
        MismatchError: If it gives several scores a pair.
    """
    from sentence_transformers import CrossEncoder

    from dse.model import DSE
    from dse.teacher.load import load_ranking_teacher

    teacher: Any = load_ranking_teacher(path)
    if isinstance(teacher, CrossEncoder | DSE):
        if teacher.num_labels != 1:
            raise MismatchError(f"{path} gives {teacher.num_labels} scores per pair and ranks nothing; give another.")
        return Teacher(
            Path(path).name, lambda q, texts: teacher.predict([(q, text) for text in texts], show_progress_bar=False)
        )

    def cosines(query: str, texts: list[str]) -> np.ndarray:
        left = teacher.encode_query(query, normalize_embeddings=True)
        right = teacher.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)
        products: np.ndarray = right @ left
        return products

    return Teacher(Path(path).name, cosines)


@router.post("/teacher", response_model=list[RankedText], responses=problems)
async def teacher(asked: TeacherRequest, request: Request) -> Response:
    """Order texts by the teacher's scores, best first; only on a server started with ``--teacher``."""
    known: Teacher | None = request.app.state.teacher
    if known is None:
        raise RequestError(404, "This server has no teacher; start it with one: dse serve STUDENT --teacher FOLDER.")
    serving_of(request).check_count(len(asked.texts), "texts")
    if len(asked.texts) > MOST_TEXTS:
        raise RequestError(
            413, f"texts holds {len(asked.texts):,}, the teacher reads at most {MOST_TEXTS}; send fewer."
        )
    scores = await known.scores(asked.query, asked.texts)
    if not np.isfinite(scores).all():
        raise RequestError(422, "The teacher's score of one of the texts is NaN or infinite; leave it out.")
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    return json_response([{"index": place, "score": scores[place]} for place in order])
