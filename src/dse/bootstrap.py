"""A cross-encoder that first learns what a model of single sentences already knows.

Fine-tuned on few labels, a cross-encoder made of a sentence encoder is a weaker judge than the encoder itself: it was
never asked to compare. So it is first taught the scores that the encoder, or better a student trained on the labels,
gives to many pairs of the training sentences, which needs no labels, and learns from the labels after that, now reading
both sentences together (Trans-Encoder, Liu et al., ICLR 2022, arXiv:2109.13059).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dse.data import Pairs
from dse.distillation import raw_scores
from dse.errors import MismatchError
from dse.mining import recombine, with_unlabelled
from dse.model import DSE
from dse.tasks import Task
from dse.teacher import fit_teacher
from dse.training import Training

logger = logging.getLogger(__name__)

LIKENESS = Task("likeness", "regression", label_range=(0.0, 1.0))
BATCH = 32


def bootstrap(
    backbone: str,
    train: Pairs,
    output: Path,
    count: int,
    training: Training,
    source: str | None = None,
    max_seq_length: int | None = None,
) -> str:
    """Teach a cross-encoder the scores of a model that reads sentences one by one.

    Args:
        backbone: Folder or hub id of the encoder the cross-encoder is made of.
        train: Where the sentences come from; labels are not used.
        output: Folder of the cross-encoder. One that is there is taken as it is.
        count: How many pairs it reads, once: of the training pairs and of sentences recombined with near ones.
        training: Optimiser settings.
        source: Folder or hub id of a student with one score; None takes the cosine of ``backbone``, a sentence encoder.
        max_seq_length: Tokens of a pair.

    Returns:
        The folder, as `fit_teacher` takes it for a backbone.

    Raises:
        MismatchError: If the student's score is not a probability or a likeness between 0 and 1.
    """
    if (output / "training.json").exists():  # written last
        return str(output)
    model = DSE.from_backbone(backbone, num_layers=1) if source is None else DSE(source)
    if source is not None and not (model.num_labels == 1 and isinstance(model.activation_fn, nn.Sigmoid)):
        raise MismatchError(
            f"The student {source} does not give one score between 0 and 1 per pair; leave out bootstrap_from, which "
            "takes the cosine of the backbone, or name a student of a binary task or of labels scaled to 0..1."
        )

    def encode(texts: list[str]) -> Tensor:
        return model.encode(texts, convert_to_tensor=True, show_progress_bar=False)

    pairs = with_unlabelled(replace(train, label=None), recombine(train, encode, count, training.seed))
    some = np.sort(np.random.default_rng(training.seed).permutation(len(pairs))[:count])
    pairs = pairs.select(some)
    score = (
        cosine_scores(model, pairs) if source is None else torch.from_numpy(raw_scores(model, pairs)[:, 0]).sigmoid()
    )
    logger.info("%s: %d pairs to learn the score from, %.2f on average", output, len(pairs), score.mean())
    fit_teacher(
        backbone,
        replace(pairs, label=score.double().numpy()),
        LIKENESS,
        output,
        training=replace(training, epochs=1, batch_size=max(BATCH, training.batch_size), accumulation=1, patience=None),
        max_seq_length=max_seq_length,
        pooling="segments",
    )
    return str(output)


def cosine_scores(encoder: DSE, pairs: Pairs) -> Tensor:
    """Cosines of the embeddings of pairs, (n,) between 0 and 1."""
    texts = list(dict.fromkeys([*pairs.sentence1, *pairs.sentence2]))
    row = {text: i for i, text in enumerate(texts)}
    vectors: Tensor = encoder.encode(texts, convert_to_tensor=True, show_progress_bar=False)  # (m, d)
    u, v = (vectors[[row[text] for text in side]].float() for side in (pairs.sentence1, pairs.sentence2))
    return F.cosine_similarity(u, v).clamp(0, 1).cpu()
