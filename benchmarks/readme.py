"""What README.md shows of the results: one table of quality, the times, and the output of the quickstart, shortened."""

from __future__ import annotations

from statistics import mean
from typing import Any

from benchmarks import records
from benchmarks.evidence.pages import headline_tasks
from benchmarks.render import duration

# Paragraphs of the quickstart's output: what is asked, the table, what was learned, gained and lost, an example.
SHOWN = 5
MODELS = ("cosine", "student", "teacher")  # of a ranking
LARGE_TEACHER, STUDENT, COSINE = "large_teacher", "dse", "cosine_untrained"  # models of speed_quality.json


def quickstart() -> str:
    """The beginning of the quickstart's output, as a block; empty if it is not kept."""
    file = records.RESULTS / "quickstart.txt"
    if not file.exists():
        return ""
    paragraphs = file.read_text(encoding="utf-8").strip().split("\n\n")
    kept = paragraphs[:SHOWN]
    kept[2] = "\n".join(kept[2].splitlines()[:2])
    return "```text\n" + "\n\n".join(kept) + "\n```\n"


def rows() -> list[dict[str, Any]]:
    """Ranking, pairs and time, each beside what is free."""
    return [*_ranking(), *_pairs(), *_time()]


def _ranking() -> list[dict[str, Any]]:
    about = records.load("ranking")
    values = {(row["collection"], row["teacher"], row["row"], row["metric"]): row["value"] for row in about["rows"]}
    measured = [entry for entry in about.get("summaries", ()) if entry["teacher"] == "mpnet" and "gain" in entry]
    if not measured:
        return []

    def line(what: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
        metric = entries[0]["metric"]
        found = [[values[entry["collection"], "mpnet", row, metric] for entry in entries] for row in MODELS]
        return _row(f"rank: {what}", metric, *(f"{100 * mean(of_model):.1f}" for of_model in found))

    lines = [line(f"mean of {len(measured)} collections", measured)]
    return lines + [line(entry["collection"], [entry]) for entry in measured if entry["share"] is not None]


def _pairs() -> list[dict[str, Any]]:
    return [
        _row(f"pairs: {task['task']}", task["metric"], task["untrained cosine"], task["student"], task["teacher"])
        | {"student, labels only": task["labels only"]}
        for task in headline_tasks()
    ]


def _time() -> list[dict[str, Any]]:
    about = records.load("speed_quality")
    seconds = {row["model"]: row["seconds"] for row in about.get("table", ())}
    if not {COSINE, STUDENT, LARGE_TEACHER} <= seconds.keys():
        return []
    what = f"{about['queries']} x {about['candidates']:,} pairs"
    return [_row(what, "time from text", *(duration(seconds[name]) for name in (COSINE, STUDENT, LARGE_TEACHER)))]


def _row(what: str, metric: str, free: str, student: str, teacher: str) -> dict[str, Any]:
    return {"": what, "measured": metric, "free cosine": free, "student": student, "teacher": teacher}
