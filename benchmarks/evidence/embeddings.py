"""Rows of the transfer table: which embeddings are judged by `dse.evaluation.transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from benchmarks.evidence.plan import UNTRAINED
from dse import DSE
from dse.evaluation.transfer import TransferReport, transfer


class BagOfWords:
    """Mean of the backbone's input embeddings: no transformer at all."""

    def __init__(self, backbone: str) -> None:
        model = SentenceTransformer(backbone)
        self.tokenizer = model.tokenizer
        self.words = model[0].auto_model.get_input_embeddings().weight.detach().numpy()

    def encode(self, sentences: list[str], **_: Any) -> np.ndarray:
        """Embeddings, (n, h); zero for a text without words."""
        ids = self.tokenizer(sentences, add_special_tokens=False, truncation=True, max_length=256)["input_ids"]
        return np.stack([self.words[row].mean(axis=0) if row else np.zeros_like(self.words[0]) for row in ids])


def judge(name: str, backbone: str, student: Path | None, data: str, rows: int | None, seed: int) -> TransferReport:
    """Judge one of the rows; ``student`` is the folder of a trained one."""
    model: Any
    if student is not None:
        model = DSE(str(student))
    elif name == "bag_of_words":
        model = BagOfWords(backbone)
    else:
        model = DSE.from_backbone(backbone, **UNTRAINED[name])
    return transfer(model, data, folds=10 if rows is None else 5, max_rows=rows, seed=seed)
