"""The page of docs/results from the JSON of a campaign."""

from __future__ import annotations

from typing import Any

from benchmarks.render import render

# Title, name of the count, names of what must be zero.
PARTS = (
    (
        "`kill -9` at random moments",
        "kills",
        ("lost_rows", "doubled_rows", "wrong_scores", "wrong_vectors", "different_models", "left_over", "errors"),
    ),
    ("small files with one mutated row each", "mutated_rows", ("misread_rows",)),
    ("random conditions, against DuckDB", "conditions", ("wrong_conditions",)),
    ("calls of threads that share one index and one student, writers among them", "thread_calls", ("thread_errors",)),
    ("commands on a full disk or in a read-only folder", "disk_trials", ("disk_errors",)),
)


def page(found: dict[str, Any]) -> str:
    """The page; parts that were not run are left out."""
    rows = [
        {
            "what": what,
            "count": f"{found[count]:,}",
            "wrong": ", ".join(f"{name.replace('_', ' ')} {found[name]}" for name in wrong if name in found),
        }
        for what, count, wrong in PARTS
        if found.get(count)
    ]
    if "predicts" in found:
        growth = f"{found['bytes_per_predict']:,} bytes a call"
        rows.append({"what": "memory of one process", "count": f"{found['predicts']:,} predicts", "wrong": growth})
    return render("reliability", rows=rows, notes=list(_notes(found)), command=found["command"], about=found)


def _notes(found: dict[str, Any]) -> list[str]:
    notes = {
        "killed_during": "Under way when killed: {}. A journal says what an index must hold; a trained model must be, "
        "bit for bit, that of an undisturbed run; each kept score is there once.",
        "mutated_rows_read_as": "Mutated rows by what they are read as: {}. Files are csv, tsv, jsonl, Parquet, plain "
        "text and TREC's; pandas and pyarrow judge what a row means. A row is read so, or refused with its number.",
        "refused_rows": "{} mutated rows were refused.",
        "refused_conditions": "{} conditions were refused; each of the others found the rows that DuckDB found.",
        "calls": "Calls of threads: {}.",
        "disk_trials_refused": "{} commands could not write and ended with one sentence; what had been there was "
        "whole, and the same command went on as soon as it could write.",
        "disk_skipped": "Full disk and read-only folder: {}.",
        "memory_growth_mib": "Memory grew by {} MiB from a fifth of the predicts to their end.",
    }
    return [text.format(_text(found[name])) for name, text in notes.items() if name in found]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count:,}" for name, count in value.items())
    return f"{value:,}" if isinstance(value, int | float) else str(value)
