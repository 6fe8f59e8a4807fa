"""The report about rankings, as plain data: `evaluate_ranking` makes it, `ranking_table` and the page show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from dse.evaluation.fields import validated
from dse.evaluation.ranking.intervals import Interval, LeadKept
from dse.evaluation.ranking.metrics import Floats

# Names of the rows. Those on the 100 of a first stage rerank its 100 best documents of each query.
BM25, COSINE, STUDENT, TEACHER = "BM25", "backbone's cosine", "student", "teacher"
FIRST_STAGES = {BM25: "BM25's 100", COSINE: "cosine's 100"}


def reranking(ranker: str, first_stage: str) -> str:
    """Name of the row in which a ranker orders what a first stage kept.

    Example:
        >>> reranking(STUDENT, COSINE)
        "student on cosine's 100"
    """
    return f"{ranker} on {FIRST_STAGES[first_stage]}"


@dataclass(frozen=True)
class RankingRow:
    """One ranker.

    Attributes:
        name: Which.
        metrics: For each metric the mean over the queries, with its interval.
        over_cosine: For each metric the mean difference to the row of the backbone's cosine; empty without that row
            and for that row itself.
    """

    name: str
    metrics: dict[str, Interval]
    over_cosine: dict[str, Interval]


@dataclass(frozen=True)
class CurvePoint:
    """nDCG@10 among this many candidates, which hold all judged documents of the query."""

    candidates: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RankingReport:
    """What was ranked, by which rankers, how well, how and where.

    Attributes:
        collection: Its name.
        split: Name of the split.
        pool: Whether each query's judged documents were ranked, instead of the corpus.
        corpus: Where the documents come from.
        queries: Where the queries come from.
        documents: Size of the corpus.
        query_count: How many queries the rows are means of; with judgements, those that have a relevant document.
        judgement_count: How many judgements these have.
        left_out: Queries that are themselves a document, which is left out of their rankings.
        rows: Metrics by judgements; empty without any.
        lead_kept: Of the teacher's lead over the backbone's cosine; empty without all three rows.
        agreement: Agreement with the teacher, on candidates that both scored; empty without a teacher.
        agreement_queries: How many queries these are means of: those whose candidates the teacher orders.
        curve: The phantom-hit curve by row; empty without judgements, in pools, and for a small corpus.
        bought: For a student made in rounds, after each: the teacher's pairs so far, and the divergence of held-out
            lists from the teacher's before and after the round.
        training: How the student was trained, in sentences; empty where the report was made later.
        backbone: Whose cosine it is; None without.
        fingerprints: ``{"student": ..., "teacher": ...}``.
        student_info: What the student remembers of its distillation.
        seed: Of the draws of queries and of the subsets of the curve.
        draws: Number of draws of the bootstrap.
        command: The command that made this report.
        date: When, in UTC.
        machine: Where.
        versions: With what.
        values: For each row and metric one value a query; not part of the JSON.
    """

    collection: str
    split: str
    pool: bool
    corpus: str
    queries: str
    documents: int
    query_count: int
    judgement_count: int
    left_out: int
    rows: list[RankingRow]
    lead_kept: list[LeadKept]
    agreement: list[RankingRow]
    agreement_queries: int
    curve: dict[str, list[CurvePoint]]
    backbone: str | None
    fingerprints: dict[str, str]
    student_info: dict[str, Any]
    seed: int
    draws: int
    command: str | None
    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    values: dict[str, dict[str, Floats]] = field(repr=False, compare=False)
    bought: list[dict[str, float]] = field(default_factory=list)
    training: str = ""

    def row(self, name: str) -> RankingRow | None:
        """The row of this name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the values of single queries, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "values"}
        for name in ("rows", "lead_kept", "agreement"):
            values[name] = [asdict(entry) for entry in values[name]]
        curve = {name: [asdict(point) for point in points] for name, points in self.curve.items()}
        return values | {"curve": curve}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The report that `to_dict` gave, without the values of single queries.

        Raises:
            ValueError: If a value is missing or of the wrong type.
        """
        return cls(**validated(cls, values), values={})
