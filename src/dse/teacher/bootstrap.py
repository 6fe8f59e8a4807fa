"""A backbone for teachers: a cross-encoder that has learned the cosine of the sentence encoder it is made of.

Fine-tuned on a small set of labels, a cross-encoder made of a sentence encoder predicts worse than the cosine of the
encoder itself: it was never trained to compare. So it first learns that cosine from many pairs of the training
sentences, which needs no labels, and then from the labels, now reading both sentences together (Trans-Encoder, Liu et
al., ICLR 2022, arXiv:2209.13059).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dse.data.mining import recombine, with_unlabelled
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.model import DSE
from dse.teacher.fit import TeacherPooling, fit_teacher
from dse.training.run_folder import claim_folder, data_hashes, finished
from dse.training.settings import Training

logger = logging.getLogger(__name__)

COSINE = Task("cosine", "regression", label_range=(0.0, 1.0), symmetric=True)
BATCH = 32


def bootstrap(
    backbone: str,
    train: Pairs,
    output: Path,
    count: int,
    training: Training,
    max_seq_length: int | None = None,
) -> str:
    """Teach a cross-encoder the cosine of the sentence encoder it is made of.

    Args:
        backbone: Folder or hub id of a sentence encoder; the cosine of any other encoder is uninformative.
        train: Where the sentences come from; labels are not used.
        output: Folder of the cross-encoder; if it holds the one of such a run already, nothing is trained.
        count: How many pairs it learns from, in one epoch: a sample of the training pairs and of sentences recombined
            with near ones.
        training: Optimiser settings.
        max_seq_length: Tokens of a pair.

    Returns:
        The folder, as `fit_teacher` takes it for a backbone; its pooling is ``"segments"``.

    Raises:
        MismatchError: If ``output`` holds a run with other settings or data, or anything else.
    """
    run = {"kind": "bootstrap", "backbone": backbone, "count": count, "training": training.to_dict()}
    run |= {"max_seq_length": max_seq_length, "data": data_hashes(train=replace(train, label=None))}
    claim_folder(output, run)
    if finished(output):
        return str(output)
    encoder = DSE.from_backbone(backbone, num_layers=1)

    def encode(texts: list[str]) -> Tensor:
        return encoder.encode(texts, convert_to_tensor=True, show_progress_bar=False)

    pairs = with_unlabelled(replace(train, label=None), recombine(train, encode, count, training.seed))
    pairs = pairs.select(np.sort(np.random.default_rng(training.seed).permutation(len(pairs))[:count]))
    texts = list(dict.fromkeys([*pairs.sentence1, *pairs.sentence2]))
    row = {text: i for i, text in enumerate(texts)}
    vectors = encode(texts)  # (m, d)
    u, v = (vectors[torch.tensor([row[text] for text in side])] for side in (pairs.sentence1, pairs.sentence2))
    cosine = F.cosine_similarity(u.float(), v.float()).clamp(0, 1).cpu().numpy()  # (n,)
    logger.info("%s: learning the cosine (mean %.2f) from %d pairs", output, cosine.mean(), len(pairs))
    once = replace(training, epochs=1, batch_size=max(BATCH, training.batch_size), accumulation=1, patience=None)
    fit_teacher(
        backbone,
        Pairs(pairs.sentence1, pairs.sentence2, cosine.astype(np.float64), pairs.source),
        COSINE,
        output,
        training=once,
        max_seq_length=max_seq_length,
        pooling="segments",
        claim=run,
    )
    return str(output)


def check_bootstrap(pooling: TeacherPooling) -> None:
    """Refuse to bootstrap teachers that judge by ``[CLS]``.

    Raises:
        ValueError: If the pooling is ``"cls"``.
    """
    if pooling == "cls":
        raise ValueError("bootstrap_pairs needs pooling 'segments'; [CLS] has no cosine to begin with.")
