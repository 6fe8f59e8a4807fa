"""Pairs and tasks, collections and lists: what is read, and metrics of scores.

Files and hub data sets are read by one strict reader, which names every bad row (`tables`; `batches` as Arrow).
Only `recombine`, which compares embeddings, needs torch.
"""

from __future__ import annotations

from dse.data.collection import Collection, Texts
from dse.data.collection_files import load_collection, load_corpus, load_judgements, load_queries
from dse.data.lists import Lists, load_lists
from dse.data.metrics import best_threshold, compute_metrics
from dse.data.mining import recombine, with_unlabelled
from dse.data.pairs import Pairs, load_pairs, read_sentences, split_pairs
from dse.data.task import Task, align_labels
from dse.data.tasks import TASKS, get_task

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
