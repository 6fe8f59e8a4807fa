"""The Markdown page of a ranking report, and the files of a report on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dse.evaluation.pages import check_report_folder, markdown_table, provenance
from dse.evaluation.plots import Plot
from dse.evaluation.ranking.agreement import AGREEMENT
from dse.evaluation.ranking.metrics import METRICS
from dse.evaluation.ranking.plots import write_plots
from dse.evaluation.ranking.render import headline, notes, page_groups
from dse.evaluation.ranking.report import RankingReport
from dse.files import write_json, write_text

WORDS = {
    "BM25": "ranks by the words that query and document share (Lucene's variant, k1 = 0.9, b = 0.4, English stop words "
    "left out, words stemmed).",
    "backbone's cosine": "cosine of the mean of the backbone's last layer: what ranks without any training.",
    "nDCG@10": "the grades of the first ten documents, each divided by the logarithm of its place, as a share of what "
    "the best order would have.",
    "MRR@10": "1 divided by the place of the first relevant document, 0 where it is not among the first ten.",
    "MAP": "mean over the relevant documents of the share of relevant ones up to their place.",
    "recall@100": "share of the relevant documents that are among the first hundred.",
    "lead kept": "(student - backbone's cosine) / (teacher - backbone's cosine) in the same metric.",
    "overlap@10": "share of the teacher's ten best candidates that are among the ten best of this ranker.",
    "Kendall tau": "how alike ranker and teacher order the candidates of a query: 100 the same order, 0 unrelated, "
    "-100 reversed.",
    "nDCG@10 (teacher)": "nDCG@10 with the teacher's scores as grades, brought to the range from 0 to 1 in each query.",
    "phantom hits": "wrong documents that a scorer rates high; the more candidates, the more of them rank first.",
}


def write_ranking_report(report: RankingReport, folder: str | Path) -> list[Path]:
    """Write `report.json`, `report.md` and `plots/*.png` (no plots, with a warning, without matplotlib).

    Args:
        report: From `dse.evaluation.evaluate_ranking`.
        folder: Where to; made if it does not exist.

    Returns:
        The files, `report.json` first.

    Raises:
        MismatchError: If the folder holds anything but a report.
    """
    check_report_folder(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = write_plots(report, folder)
    write_json(folder / "report.json", report.to_dict())
    write_text(folder / "report.md", ranking_page(report, drawn))
    return [folder / "report.json", folder / "report.md", *(folder / plot.file for plot in drawn)]


def ranking_results(report: RankingReport) -> str:
    """Markdown: headline, tables and notes."""
    blocks = [f"**{headline(report)}**"]
    for title, group in page_groups(report).items():
        blocks += [f"## {title}", markdown_table(group)]
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in notes(report))])


def ranking_page(report: RankingReport, drawn: Sequence[Plot]) -> str:
    """The whole page: results, the meaning of the words, the data, and how the report was made."""
    blocks = [ranking_results(report)]
    blocks += [f"![{plot.alt}]({plot.file})" for plot in drawn]
    meanings = [f"- **{word}**: {meaning}" for word, meaning in words(report).items()]
    blocks += ["## What the words mean", "\n".join(meanings)]
    blocks += ["## Data", data(report), "## How it was made"]
    if report.training:
        blocks.append(report.training)
    if report.command is not None:
        blocks.append(f"```bash\n{report.command}\n```")
    facts = [f"seed of the intervals: {report.seed}", *([f"backbone: {report.backbone}"] if report.backbone else [])]
    blocks.append("\n".join([*(f"- {fact}" for fact in facts), provenance(report.to_dict())]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def words(report: RankingReport) -> dict[str, str]:
    """The words that this report uses, with their meanings."""
    absent = set(METRICS) - set(report.rows[0].metrics if report.rows else ())
    absent |= set() if report.agreement else set(AGREEMENT)
    absent |= set() if report.lead_kept else {"lead kept"}
    absent |= set() if report.backbone else {"backbone's cosine"}
    absent |= set() if report.curve else {"phantom hits"}
    return {word: meaning for word, meaning in WORDS.items() if word not in absent}


def data(report: RankingReport) -> str:
    """Which queries and documents were reported on."""
    judged = f", {report.judgement_count:,} judgements" if report.judgement_count else ", no judgements"
    kind = "judged" if report.judgement_count else "scored"
    pool = f" Each query's {kind} documents are ranked, not the corpus." if report.pool else ""
    return (
        f"{report.query_count:,} queries from `{report.queries}`, split {report.split}{judged}; {report.documents:,} "
        f"documents from `{report.corpus}`.{pool}"
    )
