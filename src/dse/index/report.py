"""What an index says about itself. Nothing here needs torch or a student."""

from __future__ import annotations

from typing import Any

from dse.index import scout as scouting
from dse.index.layout import Card
from dse.index.store import Store

GROWTH = 1.1  # calibrated on so many times fewer rows, a promise is no longer given


def promise(card: Card, rows: int, *, exact: bool, k: int | None = None, where: str | None = None) -> dict[str, Any]:
    """What is known of the recall: ``text`` for a person, and ``warning``, empty if all is well."""
    if exact:
        return {"text": "exact: every row is scored", "warning": ""}
    c = card.calibration
    if c is None:
        return {
            "text": "recall not calibrated",
            "warning": "the recall of this index is not calibrated; run `dse index calibrate`.",
        }
    text = (
        f"recall@{c['k']} of at least {c['recall']:g} with confidence {c['confidence']:g}, calibrated {c['date']} on "
    )
    text += f"{c['rows']:,} rows"
    warning = ""
    if rows > GROWTH * c["rows"]:
        warning = f"it has grown from {c['rows']:,} to {rows:,} rows since its recall was calibrated; "
        warning += "run `dse index calibrate`."
    elif k is not None and k > c["k"]:
        warning = f"its recall was calibrated for k = {c['k']}, not for k = {k}."
    elif where is not None:
        text += ", for searches without a condition"
    return {"text": text, "warning": warning}


def describe(store: Store) -> dict[str, Any]:
    """The index as `info` shows it."""
    card, rows = store.card, store.count()
    two_passes = card.scout is not None and rows > scouting.EXACT_ROWS
    if two_passes and card.calibration is not None:
        two_passes = card.calibration["shortlist"] is not None
    unindexed = store.unindexed_rows()
    advice = ""
    if card.scout is None and rows > scouting.EXACT_ROWS:
        advice = "every row is scored at each search; run `dse index optimize`."
    elif unindexed > max(scouting.EXACT_ROWS, rows // 10):
        advice = f"{unindexed:,} rows were added since the last optimize and slow searches; run `dse index optimize`."
    said = promise(card, rows, exact=not two_passes)
    return {
        "path": store.path,
        "rows": rows,
        "columns": {name: str(kind) for name, kind in store.types.items() if name in store.columns},
        "dimension": card.dimension,
        "student": card.student,
        "student_source": card.source,
        "label": card.label,
        "created": card.created,
        "mode": "two passes" if two_passes else "exact",
        "scout": card.scout,
        "unindexed_rows": unindexed,
        "calibration": card.calibration,
        "promise": said["text"],
        "warning": said["warning"],
        "advice": advice,
        "fragments": len(store.data.get_fragments()),
        "version": store.data.version,
        "bytes": store.size(),
    }
