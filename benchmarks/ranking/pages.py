"""`docs/results/ranking.md`, made of `ranking.json`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from benchmarks import records
from benchmarks.ranking.plan import (
    CROSS_ENCODER_DEPTH,
    CROSS_ENCODER_QUERIES,
    EARLIER,
    KNOWN_TO_CROSS_ENCODER,
    METRICS,
    NAMES,
    POOLED,
    SHORT,
    TEACHER_PAIRS,
    TEACHERS,
)
from benchmarks.render import render, signed

SHOWN = {
    "bm25": "BM25",
    "cosine": "free cosine",
    "no_distillation": "no distillation",
    "student": "student",
    "student_maps": "student with maps",
    "cross_encoder_alone": "cross-encoder alone",
    "teacher": "teacher",
}


def page() -> str:
    """`ranking.md`."""
    about = records.load("ranking")
    tables = {teacher: _table(about, teacher) for teacher in TEACHERS}
    return render(
        "ranking",
        origin=about,
        tables={NAMES[teacher]: table for teacher, table in tables.items() if len(table)},
        frozen=[_frozen_row(row) for row in about["frozen"]],
        elsewhere=_elsewhere_rows(about["elsewhere"]),
        labelled=_labelled(about),
        reached=_reached(about),
        alternative=any(row["no distillation"] for table in tables.values() for row in table),
        leads={SHORT[teacher]: lead for teacher in TEACHERS if (lead := _lead(teacher, about["summaries"]))["all"]},
        pooled=" and ".join(POOLED),
        known=" and ".join(KNOWN_TO_CROSS_ENCODER),
        queries=CROSS_ENCODER_QUERIES,
        depth=CROSS_ENCODER_DEPTH,
        pairs=f"{TEACHER_PAIRS:,}",
    )


def _table(about: dict[str, Any], teacher: str) -> list[dict[str, Any]]:
    frame = pd.DataFrame(about["rows"])
    frame = frame[(frame.teacher == teacher) & (frame.metric == METRICS[0])]
    rows = []
    for summary in (entry for entry in about["summaries"] if entry["teacher"] == teacher):
        found = frame[frame.collection == summary["collection"]].set_index("row").value
        row: dict[str, Any] = {"collection": summary["collection"], "queries": str(summary["queries"])}
        row |= {title: f"{100 * found[name]:.1f}" if name in found else "" for name, title in SHOWN.items()}
        row["teacher - cosine"] = _with_span(summary, "lead")
        if "gain" in summary:
            row["student - cosine"] = _with_span(summary, "gain")
            row["lead kept"] = "no lead" if summary["share"] is None else f"{100 * summary['share']:.0f} %"
            row["training"] = summary.get("training", EARLIER)
        rows.append(row)
    return [dict.fromkeys(max(rows, key=len), "") | row for row in rows]


def _lead(teacher: str, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """On how many collections a teacher is ahead of the free cosine, and where it is behind."""
    entries = [entry for entry in summaries if entry["teacher"] == teacher]
    behind = [entry["collection"] for entry in entries if entry["lead"] < 0]
    return {"all": len(entries), "real": sum(entry["lead_low"] > 0 for entry in entries), "behind": ", ".join(behind)}


def _with_span(entry: dict[str, Any], name: str) -> str:
    low, high = (signed(100 * entry[f"{name}_{end}"]) for end in ("low", "high"))
    return f"{signed(100 * entry[name])} ({low} to {high})"


def _frozen_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "collection": row["collection"],
        "queries": str(row["queries"]),
        "free cosine": f"{100 * row['cosine']:.1f}",
        "head alone": f"{100 * row['head']:.1f}",
        "gain": _with_span(row, "gain"),
    }


def _labelled(about: dict[str, Any]) -> list[dict[str, Any]]:
    """WikiQA's students of labels, by seed."""
    frame = pd.DataFrame(about["rows"])
    frame = frame[(frame.teacher == "labels") & (frame.row != "frozen_head")]
    if frame.empty:
        return []
    wide = frame.pivot_table(index=["row", "seed"], columns="metric", values="value").reset_index()
    return [
        {"student": SHOWN[row["row"]], "seed": str(row["seed"])} | {name: f"{100 * row[name]:.1f}" for name in METRICS}
        for row in wide.to_dict("records")
    ]


def _elsewhere_rows(falls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not falls:
        return []
    wide = pd.DataFrame(falls)
    wide["student of"] = (
        wide.trained_on + ", " + wide.teacher.map({"mpnet": "mpnet", "mpnet_cross_encoder": "cross-encoder"})
    )
    wide["points"] = [signed(100 * value) for value in wide.difference]
    table = wide.pivot_table(index="student of", columns="collection", values="points", aggfunc="first").reset_index()
    rows: list[dict[str, Any]] = table.fillna("").to_dict("records")
    return rows


def _reached(about: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures aimed at, and what was measured."""
    rows = [row for teacher in TEACHERS for row in _reached_with(teacher, about["summaries"])]
    if about["frozen"]:
        mean = np.mean([row["gain"] for row in about["frozen"]])
        rows.append(_aim("head alone on frozen vectors, labels, mean", "+3 points", f"{signed(100 * mean)} points"))
    if about["elsewhere"]:
        worst = min(about["elsewhere"], key=lambda row: row["difference"])
        text = f"{signed(100 * worst['difference'])} points ({worst['trained_on']}, on {worst['collection']})"
        rows.append(_aim("largest fall on another collection", "2 points", text))
    return rows


def _reached_with(teacher: str, summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    entries = [entry for entry in summaries if entry["teacher"] == teacher and "gain" in entry]
    if not entries:
        return []
    real = [entry["share"] for entry in entries if entry["share"] is not None]
    better = sum(entry["gain_low"] > 0 for entry in entries)
    worse = [entry["collection"] for entry in entries if entry["gain"] < -0.01]
    heads = [entry["head"] for entry in entries if "head" in entry]
    head = f"{signed(100 * np.mean(heads))} points ({len(heads)} of {len(entries)})" if heads else "not measured"
    mean = f"{100 * np.mean(real):.0f} %" if real else "no real lead"
    name, among = SHORT[teacher], f"of {len(entries)}"
    return [
        _aim(f"{name}: mean share of its lead kept, where the lead is real", "70 %", f"{mean} ({len(real)} {among})"),
        _aim(f"{name}: better than the free cosine beyond the interval", "7 of 10", f"{better} {among}"),
        _aim(f"{name}: worse than it by more than a point", "none", ", ".join(worse) or "none"),
        _aim(f"{name}: maps beside the cosine alone, mean", "+1.0 point", head),
    ]


def _aim(figure: str, aim: str, measured: str) -> dict[str, Any]:
    return {"figure": figure, "aim": aim, "measured": measured}


def pages() -> dict[str, str]:
    """The page, if anything is measured."""
    return {"ranking.md": page()} if records.load("ranking")["rows"] else {}
