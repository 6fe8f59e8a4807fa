"""What one text, one pair and one query cost on this machine: a short measurement, kept for the next time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from sentence_transformers import CrossEncoder

from dse.data.helpdesk import read_questions
from dse.encoding.runtime import auto_dtype, one_thread
from dse.evaluation.machine import machine, versions
from dse.files import write_json
from dse.loggers import quiet
from dse.model import DSE
from dse.teacher.scoring import teacher_scores

TEXTS, PAIRS, QUERIES = 512, 128, 20  # a run of less than a minute with a small encoder
SIDE = 2048  # of the matrices whose product is timed


@dataclass(frozen=True)
class UnitCosts:
    """Costs of one core of this machine, or of its GPU, with one encoder.

    Attributes:
        encode_s: Of a text, among many.
        label_s: Of a pair, by a cross-encoder of the encoder's shape.
        query_ms: Of embedding a single query.
        gemm_gflops: Matrix products, in the precision that encoders run in here.
        texts: Mean tokens of the texts that were read.
        where: The machine, the versions and the encoder they belong to.
    """

    encode_s: float
    label_s: float
    query_ms: float
    gemm_gflops: float
    texts: float
    where: dict[str, Any]

    @classmethod
    def here(cls, encoder: str, file: Path) -> tuple[Self, bool]:
        """The costs kept for this machine, these versions and this encoder, or else measured now.

        Returns:
            The costs, and whether they were measured now.
        """
        about = machine()
        where = {"cpu": about["cpu"], "device": about["device"], "versions": versions(), "encoder": encoder}
        try:
            kept = cls(**json.loads(file.read_text(encoding="utf-8")))
            if kept.where == where:
                return kept, False
        except (OSError, ValueError, TypeError):  # none yet, or of another version
            pass
        with one_thread():
            costs = cls(*_measure(encoder), where)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(costs))
        return costs, True


def cost_file() -> Path:
    """Where the costs of this machine are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dse" / "unit_costs.json"


def _measure(encoder: str) -> tuple[float, float, float, float, float]:
    texts = [question.text for question in read_questions()[0]][:TEXTS]
    student = DSE.from_backbone(encoder)
    with quiet("sentence_transformers"):  # its scores mean nothing, its time does
        teacher = CrossEncoder(encoder, num_labels=1, device=str(student.device))
    pairs = list(zip(texts[:PAIRS], texts[PAIRS : 2 * PAIRS], strict=True))
    student.encode(texts[:32], show_progress_bar=False)
    teacher_scores(teacher, pairs[:16])
    encode = _seconds(lambda: student.encode(texts, show_progress_bar=False)) / len(texts)
    label = _seconds(lambda: teacher_scores(teacher, pairs)) / len(pairs)
    query = _seconds(lambda: [student.encode(text, show_progress_bar=False) for text in texts[:QUERIES]]) / QUERIES
    x = torch.randn(SIDE, SIDE, device=student.device).to(auto_dtype(student.device))
    product = _seconds(lambda: x @ x)
    tokens = sum(map(len, student.tokenizer(texts)["input_ids"])) / len(texts)
    return encode, label, 1000 * query, 2e-9 * SIDE**3 / product, tokens


def _seconds(work: Callable[[], Any]) -> float:
    """Of one core: what other programs do beside it counts little. Of a GPU: until it is done."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start
