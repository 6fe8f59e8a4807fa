"""Everyday sentences on five subjects, and pairs of them whose labels follow from the subjects.

Run as a module it is the process that the tests kill:

    python -m tests.everyday student|ranks BACKBONE OUTPUT SECONDS   trains a student (SECONDS: pause before a batch)
    python -m tests.everyday label TEACHER OUTPUT SECONDS            labels pairs     (SECONDS: pause before a shard)
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from dse import DSE
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.teacher import labelling
from dse.training import distill as distillation
from dse.training.settings import Training
from tests.conftest import make_student

SUBJECTS = {
    "bicycles": (
        "a man buys a new red bicycle",
        "who sells the old green bike in the city",
        "the woman rides her bicycle to the river and not to the train.",
        "two bikes are near the small garden",
        "the child never rides a bike",
    ),
    "camping": (
        "many people sleep in tents by the river",
        "where is the large blue tent",
        "a tent is not a house.",
        "the children slept under a tent today and yesterday",
        "how big is the new tent of the old man and where is it",
    ),
    "animals": (
        "the dog runs very quickly over the garden",
        "a cat sleeps",
        "three birds sit on the big house and see a cat",
        "what eats the bird",
        "the old dog never sees the small cat under the car.",
    ),
    "reading": (
        "she reads a book in the garden",
        "the woman buys two new books about the river",
        "who reads to the children today",
        "a very old book is on the train.",
        "people read slowly",
    ),
    "travel": (
        "the train to the city is slow",
        "many cars are in the city and very few are near the river.",
        "a man drives the car to the train quickly",
        "where is the new train",
        "people travel by car or by train, never on a bicycle",
    ),
}
SUBJECT_OF = {text: number for number, texts in enumerate(SUBJECTS.values()) for text in texts}

BINARY = Task("same-subject", "binary", labels=("different", "same"), metrics=("average_precision", "accuracy", "f1"))
REGRESSION = Task("likeness", "regression", label_range=(0.0, 5.0))
NLI = Task("nli", "multiclass", labels=("entailment", "neutral", "contradiction"))


def make_pairs(task: Task, n: int, seed: int = 0, *, subjects: range = range(5)) -> Pairs:
    """Pairs of distinct sentences, none twice in the same order, a third of them of one subject."""
    random = np.random.default_rng(seed)
    texts = [text for text, subject in SUBJECT_OF.items() if subject in subjects]
    rows = list(itertools.permutations(texts, 2))
    same = np.array([SUBJECT_OF[a] == SUBJECT_OF[b] for a, b in rows])
    alike = random.permutation(np.flatnonzero(same))[: n // 3]
    others = random.permutation(np.flatnonzero(~same))[: n - len(alike)]
    chosen = [rows[i] for i in random.permutation(np.concatenate([alike, others]))]
    apart = np.array([abs(SUBJECT_OF[a] - SUBJECT_OF[b]) for a, b in chosen])
    label = {
        "binary": (apart == 0).astype(np.float32),
        "regression": (5 - 1.25 * apart).astype(np.float32),
        "multiclass": np.minimum(apart, 2).astype(np.int64),
    }[task.kind]
    return Pairs([a for a, _ in chosen], [b for _, b in chosen], label, "everyday")


def make_scores(pairs: Pairs, task: Task, seed: int = 0) -> np.ndarray:
    """What a decent teacher says: (n, C)."""
    random = np.random.default_rng(seed)
    if task.kind == "multiclass":
        centre = 4 * np.eye(len(task.labels))[pairs.label] - 1
    else:
        low, high = task.label_range or (0.0, 1.0)
        centre = 6 * (pairs.label[:, None] - low) / (high - low) - 3
    return (centre + random.normal(size=centre.shape)).astype(np.float32)


def tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every tensor of a model by name."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference of two models' tensors."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


LONG = Training(epochs=2, batch_size=16, checkpoint_steps=4, learning_rate=1e-3, head_learning_rate=1e-2, seed=7)


def train_long(backbone: str, output: Path) -> DSE:
    """Thirteen batches an epoch, dropout on, validation that chooses among seven or eight checkpoints."""
    train, validation = make_pairs(BINARY, 200, 1), make_pairs(BINARY, 40, 2)
    student = make_student(backbone, dtype="auto", head_dropout=0.1)
    scores = make_scores(train, BINARY)
    return distillation.distill(
        student, train, BINARY, output, teacher_scores=scores, validation=validation, training=LONG
    )


def train_on_ranks(backbone: str, output: Path) -> None:
    """Data-parallel: two epochs of 64 pairs; each process writes what it ends with."""
    train, validation = make_pairs(BINARY, 64, 1), make_pairs(BINARY, 20, 2)
    student = make_student(backbone)
    before = tensors(student)
    settings = Training(epochs=2, batch_size=8, learning_rate=1e-3, head_learning_rate=1e-2)
    distillation.distill(
        student,
        train,
        BINARY,
        output,
        teacher_scores=make_scores(train, BINARY),
        validation=validation,
        training=settings,
    )
    torch.save({"before": before, "after": tensors(student)}, output.with_name(f"rank{os.environ['RANK']}.pt"))


LABELLED, SMALL_SHARD = 60, 6


def label_slowly(teacher: str, output: Path, seconds: float) -> None:
    """Label `LABELLED` pairs in shards of `SMALL_SHARD`."""
    from sentence_transformers import CrossEncoder

    labelling.SHARD = SMALL_SHARD
    score = labelling.teacher_scores

    def slowly(*args: object, **kwargs: object) -> np.ndarray:
        time.sleep(seconds)
        return score(*args, **kwargs)

    labelling.teacher_scores = slowly
    labelling.label_pairs(CrossEncoder(teacher, device="cpu"), make_pairs(BINARY, LABELLED), BINARY, output)


def main(what: str, folder: str, output: str, seconds: float) -> None:
    """See the top of this file."""
    if what == "label":
        return label_slowly(folder, Path(output), seconds)
    collate = distillation.DistillationCollator.__call__

    def slowly(self: object, rows: list) -> dict:
        time.sleep(seconds)
        return collate(self, rows)

    distillation.DistillationCollator.__call__ = slowly
    {"student": train_long, "ranks": train_on_ranks}[what](folder, Path(output))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:4], float(sys.argv[4]))
