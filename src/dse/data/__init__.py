"""Sentence pairs and what their labels mean: read from files and the hub, checked row by row, split, mined.

Nothing here needs torch, but for `recombine`, which searches embeddings.
"""

from __future__ import annotations

from dse.data.collection import Collection, Texts
from dse.data.collection_files import load_collection, load_corpus, load_judgements, load_queries
from dse.data.lists import Lists, load_lists
from dse.data.metrics import best_threshold, compute_metrics
from dse.data.mining import recombine, with_unlabelled
from dse.data.pairs import Pairs, load_pairs, read_sentences, split_pairs
from dse.data.tasks import TASKS, Task, align_labels, get_task

__all__ = [
    "TASKS",
    "Collection",
    "Lists",
    "Pairs",
    "Task",
    "Texts",
    "align_labels",
    "best_threshold",
    "compute_metrics",
    "get_task",
    "load_collection",
    "load_corpus",
    "load_judgements",
    "load_lists",
    "load_pairs",
    "load_queries",
    "read_sentences",
    "recombine",
    "split_pairs",
    "with_unlabelled",
]
