"""`dse evaluate --corpus`: measure how a student ranks a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dse.cli import options as o

RANKING = "Ranking"  # a panel of --help


@dataclass(frozen=True)
class RankingOptions:
    """The collection to rank, and by what."""

    corpus: Annotated[
        str | None,
        typer.Option("--corpus", help="Documents: file, folder or hub name. Ranks them.", rich_help_panel=RANKING),
    ] = None
    queries: Annotated[
        str | None,
        typer.Option("--queries", help="Queries, also .txt. Default: beside the corpus.", rich_help_panel=RANKING),
    ] = None
    qrels: Annotated[
        str | None,
        typer.Option("--qrels", help="Judgements, also TREC's. Default: in that folder.", rich_help_panel=RANKING),
    ] = None
    pool: Annotated[
        bool,
        typer.Option("--pool", help="Rank each query's judged documents only.", rich_help_panel=RANKING),
    ] = False
    backbone: o.BackboneOption = None

    def check_unused(self) -> None:
        """Refuse options that mean nothing without a corpus."""
        given = {"--queries": self.queries, "--qrels": self.qrels, "--pool": self.pool, "--backbone": self.backbone}
        if names := [name for name, value in given.items() if value]:
            raise typer.BadParameter(f"{names[0]} needs --corpus, the documents to rank.")


def evaluate_corpus(
    student: str, options: RankingOptions, teacher: str | None, split: str, output: Path | None, as_json: bool
) -> None:
    """Read the collection, measure, write the report, print the table."""
    from dse.data.collection_files import load_collection
    from dse.errors import need_extra

    assert options.corpus is not None
    for package in ("bm25s", "ir_measures", "Stemmer"):
        need_extra(package, "ranking")
    collection = load_collection(options.corpus, options.queries, options.qrels, split=split)
    if not collection.judgements and teacher is None:
        raise typer.BadParameter("give judgements with --qrels, or a teacher to agree with by --teacher.")
    from dse import DSE
    from dse.evaluation.ranking import evaluate_ranking, ranking_table, write_ranking_report
    from dse.teacher import load_ranking_teacher

    report = evaluate_ranking(
        DSE(student),
        collection,
        backbone=o.backbone_or_offline(options.backbone),
        teacher=load_ranking_teacher(teacher) if teacher else None,
        pool=options.pool,
        split=split,
        command=o.command_line(),
        show_progress_bar=o.on_terminal(),
    )
    if output is not None:
        write_ranking_report(report, output)
    o.show(report.to_dict(), ranking_table(report), as_json)
