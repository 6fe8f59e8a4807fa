"""Sentences on five subjects, pairs of them whose labels follow from the subjects, and what compares two models."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task

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
GRADE = Task("grade", "regression", label_range=(1.0, 5.0))  # the lowest label is not 0
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
    low, high = task.label_range or (0.0, 1.0)
    label = {
        "binary": (apart == 0).astype(np.float32),
        "regression": (high - (high - low) / 4 * apart).astype(np.float32),
        "multiclass": np.minimum(apart, 2).astype(np.int64),
    }[task.kind]
    return Pairs([a for a, _ in chosen], [b for _, b in chosen], label, "samples")


def make_scores(pairs: Pairs, task: Task, seed: int = 0) -> np.ndarray:
    """Scores of a teacher that is mostly right, (n, C)."""
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


def save_teacher(folder: Path, backbone: str, names: tuple[str, ...] = ("score",), **kwargs) -> str:
    """Save a random cross-encoder whose outputs have these names; returns its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        teacher = CrossEncoder(backbone, num_labels=len(names), device="cpu", **kwargs)
    teacher.config.id2label = dict(enumerate(names))
    teacher.save_pretrained(str(folder))
    return str(folder)
