"""Measured values as flat records: measured where they are missing, gathered in `docs/results/NAME.json`.

A file holds ``{"command", "machine", "versions", "rows": [record, ...]}``; a record is one metric of one model. While
a benchmark runs, each model has a folder with its own records in `row.json`, so that a stopped run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dse.evaluation.machine import machine, versions
from dse.files import write_json

Record = dict[str, Any]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"


def load(name: str) -> dict[str, Any]:
    """The content of `docs/results/NAME.json`; no rows if it is absent."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": []}


def frame(name: str) -> pd.DataFrame:
    """The records of `docs/results/NAME.json`, one a row; empty if the file is absent."""
    return pd.DataFrame(load(name)["rows"])


def measure_missing(folder: Path, measure: Callable[[], list[Record]]) -> None:
    """Write what ``measure`` returns to ``folder/row.json`` unless that is there; nothing if it returns no record."""
    file, start = folder / "row.json", time.monotonic()
    if file.exists():
        return
    if results := measure():
        folder.mkdir(parents=True, exist_ok=True)
        about = {"results": results, "seconds": round(time.monotonic() - start), "threads": machine()["threads"]}
        write_json(file, about | {"machine": machine(), "versions": versions()})


def within(minutes: float | None, items: Iterable[Any]) -> Iterator[Any]:
    """The items, none after so many minutes; None sets no limit."""
    start = time.monotonic()
    for item in items:
        if minutes is not None and time.monotonic() - start > 60 * minutes:
            return
        yield item


def joined(before: Sequence[Record], now: Sequence[Record], key: Sequence[str]) -> list[Record]:
    """Records of earlier runs and of this one, which replaces those with the same key; the order stays."""
    return list({tuple(record[name] for name in key): record for record in [*before, *now]}.values())


def merge(
    name: str,
    measured: Sequence[dict[str, Any]],
    key: Sequence[str],
    command: str,
    order: Callable[[Record], Any] | None = None,
) -> None:
    """Add measured rows to `docs/results/NAME.json`; those measured elsewhere stay.

    Args:
        name: Of the file.
        measured: Contents of `row.json` files.
        key: Columns that tell records apart; a new record replaces the one with the same values.
        command: The command that measures all rows.
        order: Sorts the records; by default in the order of the key.
    """
    if not measured:
        return
    now = [record for about in measured for record in about["results"]]
    rows = sorted(
        joined(load(name)["rows"], now, key), key=order or (lambda record: [str(record[column]) for column in key])
    )
    latest = {"machine": measured[-1]["machine"], "versions": measured[-1]["versions"]}
    write_json(RESULTS / f"{name}.json", {"command": command, **latest, "rows": rows})
