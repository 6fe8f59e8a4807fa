"""What is measured: collections, models, rows, and where the intermediate results lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dse.training.ranking import RankingTraining

TOKENS = 128  # every model reads the first 128 tokens of a text
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
)
# The cross-encoder was trained on train splits of wikiqa, qnli, feedbackqa, nl2bash and stackfaq.
KNOWN_TO_CROSS_ENCODER = ("nl2bash", "wikiqa")  # measured on test splits of these
JUDGED_BY_CROSS_ENCODER = (*KNOWN_TO_CROSS_ENCODER, "banking77_faq", "npl", "cacm", "dbpedia_5k", "med")
TEACHER_PAIRS = 8_000  # that the cross-encoder scores for a student
CROSS_ENCODER_QUERIES, CROSS_ENCODER_DEPTH = 80, 30  # of each collection; documents that the cosine chose

ELSEWHERE = ("stackfaq", "banking77_faq", "med")  # where a student of another collection is measured too
ELSEWHERE_QUERIES = 300
STUDENT = RankingTraining()
# Where a student starts, temperatures and documents of its encoder's lists, what it learns beside documents and log.
# Results of the first default have no note of it.
TRAININGS = {
    "mpnet": "linear map, 0.1 and 0.05, first 64, short queries",
    "mpnet_cross_encoder": "last layer, 0.1 and 0.05, first 64",
}
EARLIER = "last layer, 0.1"
LABELLED = RankingTraining(steps=240, learning_rate=5e-5, kept=0.0)  # of wikiqa: its splits are alike
FROZEN = ("wikiqa", "nl2bash", "feedbackqa", "birco_arguana")  # where an answer need not be like its question

TEACHERS = ("mpnet", "mpnet_cross_encoder")
NAMES = {
    "mpnet": "all-mpnet-base-v2, its cosine",
    "mpnet_cross_encoder": "a cross-encoder made of all-mpnet-base-v2, with that encoder's cosine",
}
SHORT = {"mpnet": "mpnet", "mpnet_cross_encoder": "cross-encoder"}
ROWS = ("bm25", "cosine", "cross_encoder_alone", "teacher", "student", "student_maps", "no_distillation")
OF_ONE_TEACHER = {"cross_encoder_alone": "mpnet_cross_encoder", "no_distillation": "mpnet"}
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
