"""What an index says of itself. Nothing here needs torch or a student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dse.index import scout as scouting
from dse.index.layout import SCOUT, Manifest
from dse.index.snapshot import Snapshot

GROWTH = 1.1  # a calibration holds until the rows have become so many times more


def promise(
    manifest: Manifest, rows: int, *, exact: bool, k: int | None = None, where: str | None = None
) -> dict[str, str]:
    """What is known of the recall: ``text``, and ``warning``, empty if the calibration applies."""
    if exact:
        return {"text": "exact: every row is scored", "warning": ""}
    c = manifest.calibration
    if c is None:
        return {
            "text": "recall not calibrated",
            "warning": "the recall of this index is not calibrated; run `dse index calibrate`.",
        }
    text = f"recall@{c['k']} of at least {c['recall']:g} with confidence {c['confidence']:g}, calibrated {c['date']}"
    text += f" on {c['rows']:,} rows"
    warning = ""
    if rows > GROWTH * c["rows"]:
        warning = (
            f"it has grown from {c['rows']:,} to {rows:,} rows since its recall was calibrated; "
            "run `dse index calibrate`."
        )
    elif k is not None and k > c["k"]:
        warning = f"its recall was calibrated for k = {c['k']}, not for k = {k}."
    elif where is not None:
        text += ", for searches without a condition"
    return {"text": text, "warning": warning}


def index_info(snapshot: Snapshot) -> dict[str, Any]:
    """What `CandidateIndex.info` returns."""
    manifest, rows = snapshot.manifest, snapshot.count()
    two_passes = manifest.scout is not None and rows > scouting.EXACT_ROWS
    if two_passes and manifest.calibration is not None:
        two_passes = manifest.calibration["shortlist"] is not None
    unindexed = _unindexed_rows(snapshot)
    advice = ""
    if manifest.scout is None and rows > scouting.EXACT_ROWS:
        advice = "every row is scored at each search; run `dse index optimize`."
    elif unindexed > max(scouting.EXACT_ROWS, rows // 10):
        advice = f"{unindexed:,} rows were added since the last optimize and slow searches; run `dse index optimize`."
    known = promise(manifest, rows, exact=not two_passes)
    return {
        "path": snapshot.path,
        "rows": rows,
        "columns": {name: str(kind) for name, kind in snapshot.types.items() if name in snapshot.columns},
        "dimension": manifest.dimension,
        "student": manifest.student,
        "student_source": manifest.source,
        "label": manifest.label,
        "created": manifest.created,
        "mode": "two passes" if two_passes else "exact",
        "scout": manifest.scout,
        "unindexed_rows": unindexed,
        "calibration": manifest.calibration,
        "promise": known["text"],
        "warning": known["warning"],
        "advice": advice,
        "fragments": len(snapshot.data.get_fragments()),
        "version": snapshot.data.version,
        "bytes": _size(snapshot),
    }


def _unindexed_rows(snapshot: Snapshot) -> int:
    """Rows added since the scout's index was last brought up to date; they are searched one by one."""
    if snapshot.manifest.scout is None:
        return 0
    with snapshot.reading():
        return int(snapshot.data.stats.index_stats(f"{SCOUT}_idx")["num_unindexed_rows"])


def _size(snapshot: Snapshot) -> int | None:
    """Bytes on disk; None for an object store."""
    if not snapshot.local:
        return None
    return sum(file.stat().st_size for file in Path(snapshot.path).rglob("*") if file.is_file())
