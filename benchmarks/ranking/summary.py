"""`docs/results/ranking.json`: every row with its interval, leads, gains and shares."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import records
from benchmarks.ranking.plan import EARLIER, METRICS, TEACHERS, Setup
from dse.evaluation.machine import machine, versions
from dse.evaluation.ranking.intervals import draw_queries, interval, share_of_lead
from dse.files import write_json

COMMAND = "python -m benchmarks.ranking --data ../shared/data/ir --encoder DIR --cross-encoder DIR --elsewhere"
KEYS = {  # what tells the entries of each part apart
    "rows": ("collection", "teacher", "row", "metric", "seed"),
    "summaries": ("collection", "teacher"),
    "elsewhere": ("trained_on", "teacher", "collection"),
    "frozen": ("collection",),
}
Values = dict[tuple[str, str, str, str], np.ndarray]  # collection, teacher, row, metric -> one value a query


def write(setup: Setup) -> None:
    """Add what is measured to `docs/results/ranking.json`; what another work folder gave stays."""
    values: Values = {}
    trainings: dict[tuple[str, str], str] = {}
    elsewhere, labelled = [], []
    for file in sorted(setup.work.glob("*/*/*/row.json")):
        for record in json.loads(file.read_text(encoding="utf-8"))["results"]:
            found = np.array(record["values"])
            if record["teacher"] == "labels" and record["row"] != "frozen_head":  # of every seed
                labelled.append({**record, **_interval(found), "queries": len(found), "command": COMMAND})
                del labelled[-1]["values"]
                continue
            if record["seed"] != setup.seed:
                continue
            if "trained_on" in record:
                elsewhere.append({**record, "values": None, "value": float(found.mean()), "queries": len(found)})
            else:
                values[record["collection"], record["teacher"], record["row"], record["metric"]] = found
                if "training" in record:
                    trainings[record["collection"], record["teacher"]] = record["training"]
    rows = [
        dict(zip(("collection", "teacher", "row", "metric"), key, strict=True))
        | _interval(found)
        | {"queries": len(found), "seed": setup.seed, "command": COMMAND}
        for key, found in values.items()
    ]
    # The default student is its cosine, so both names mean one model.
    rows += [row | {"row": "student_cosine"} for row in rows if row["row"] == "student"]
    summaries = [
        summary | {"training": trainings.get((name, teacher), EARLIER)}
        for teacher in TEACHERS
        for name in dict.fromkeys(key[0] for key in values)
        if (summary := summarise(values, name, teacher))
    ]
    about: dict[str, Any] = {"command": COMMAND, "machine": machine(), "versions": versions()}
    found_now = {
        "rows": [*rows, *labelled],
        "summaries": summaries,
        "elsewhere": _falls(elsewhere),
        "frozen": _frozen(values),
    }
    before = records.load("ranking")
    about |= {name: records.joined(before.get(name, []), entries, KEYS[name]) for name, entries in found_now.items()}
    write_json(records.RESULTS / "ranking.json", about)


def summarise(values: Values, name: str, teacher: str) -> dict[str, Any] | None:
    """The teacher's lead over the free cosine, what the student gained and kept of it; None if rows are missing."""
    metric = METRICS[0]
    found = {row: values.get((name, teacher, row, metric)) for row in ("cosine", "student", "student_maps", "teacher")}
    cosine, student, maps, best = found.values()
    if cosine is None or best is None:
        return None
    entry = {"collection": name, "teacher": teacher, "metric": metric, "queries": len(cosine)}
    entry |= _difference("lead", best - cosine)
    if student is None:
        return entry
    entry |= _difference("gain", student - cosine)
    share = share_of_lead(student, best, cosine, draw_queries(len(cosine)))
    entry["share"] = None if share is None else share.value
    entry["share_low"], entry["share_high"] = (None, None) if share is None else (share.low, share.high)
    if maps is not None:
        entry |= _difference("gain_with_maps", maps - cosine) | _difference("head", maps - student)
    return entry


def _difference(name: str, found: np.ndarray) -> dict[str, Any]:
    return {f"{name}{end}": value for end, value in zip(("", "_low", "_high"), _triple(found), strict=True)}


def _triple(found: np.ndarray) -> tuple[float, float, float]:
    mean = interval(found, draw_queries(len(found)))
    return mean.value, mean.low, mean.high


def _interval(found: np.ndarray) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), _triple(found), strict=True))


def _falls(records_: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each student, and each other collection, the difference to the free cosine there."""
    if not records_:
        return []
    table = pd.DataFrame(records_)
    keys = ["trained_on", "teacher", "collection", "queries"]
    wide = table.pivot_table(index=keys, columns="row", values="value").reset_index()
    wide["difference"] = wide.student - wide.cosine
    rows: list[dict[str, Any]] = wide.to_dict("records")
    return rows


def _frozen(values: Values) -> list[dict[str, Any]]:
    """The head alone, on the backbone's vectors, learned from labels."""
    metric, found = METRICS[0], []
    for name, teacher, row, of in values:
        if (row, of) != ("frozen_head", metric) or (name, "mpnet", "cosine", metric) not in values:
            continue
        head, cosine = values[name, teacher, row, metric], values[name, "mpnet", "cosine", metric]
        gain = dict(zip(("gain", "gain_low", "gain_high"), _triple(head - cosine), strict=True))
        about = {"collection": name, "queries": len(head), "cosine": float(cosine.mean()), "head": float(head.mean())}
        found.append(about | gain)
    return found
