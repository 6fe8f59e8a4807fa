"""What is measured: collections, models, rows, and where the intermediate results lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TOKENS = 128  # every model reads the first 128 tokens of a text
STEPS = 300  # of training, of every student alike
MOST_QUERIES = 3_000  # of a query log that play a part in training, drawn at random

POOLED = ("wikiqa", "birco_arguana")  # each query's judged documents are ranked, not the corpus
COLLECTIONS = (
    "stackfaq",
    "banking77_faq",
    "nl2bash",
    "med",
    "cisi",
    "cranfield",
    "cacm",
    "birco_arguana",
    "wikiqa",
    "scifact",
    "npl",
    "feedbackqa",
    "lisa",
    "nfcorpus_prep",
)
# The cross-encoder was trained on splits of wikiqa, qnli, feedbackqa, nl2bash and stackfaq; none of these is here.
JUDGED_BY_CROSS_ENCODER = (
    "banking77_faq",
    "med",
    "cranfield",
    "cacm",
    "cisi",
    "npl",
    "birco_arguana",
    "scifact",
)
CROSS_ENCODER_QUERIES, CROSS_ENCODER_DEPTH = 100, 50  # of each collection; documents that the cosine chose

TEACHERS = ("mpnet", "mpnet_cross_encoder")
ROWS = ("bm25", "cosine", "no_distillation", "frozen_head", "student_cosine", "student", "teacher")
METRICS = ("nDCG@10", "MRR@10", "MAP")


@dataclass(frozen=True)
class Setup:
    """The command's folders."""

    data: Path
    backbone: str
    encoder: str
    cross_encoder: str | None
    work: Path
    seed: int

    def folder(self, collection: str, teacher: str, row: str) -> Path:
        """Where the model of a row and its values lie."""
        return self.work / collection / teacher / f"{row}_{self.seed}"
