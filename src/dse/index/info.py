"""What an index says of itself. Nothing here needs torch or a student."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from dse.index import scout as scouting
from dse.index.layout import SCOUT
from dse.index.snapshot import Snapshot

CHANGED = 0.1  # a calibration holds until so many of its rows have changed, as a share
MOST_FILES = 32  # small ones: with 64 a search took several times as long


@dataclass(frozen=True)
class Known:
    """What a promise of recall rests on.

    Attributes:
        calibration: What `calibrate` found; None before.
        changed: Rows added and removed since.
        rows: Of the index.
    """

    calibration: dict[str, Any] | None
    changed: int
    rows: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Of one commit."""
        return cls(snapshot.manifest.calibration, snapshot.changed_rows(), snapshot.count())


def promise(known: Known, *, exact: bool, k: int | None = None, where: str | None = None) -> dict[str, str]:
    """What is known of the recall: ``text``, and ``warning``, empty if the calibration applies."""
    if exact:
        return {"text": "exact: every row is scored", "warning": ""}
    c = known.calibration
    if c is None:
        return {
            "text": "recall not calibrated",
            "warning": "the recall of this index is not calibrated; run `dse index calibrate`.",
        }
    if "shards" in c:
        return {
            "text": "recall not calibrated for this shard alone",
            "warning": f"its recall was calibrated as one of {c['shards']['count']} shards, not alone; search them "
            "together, or run `dse index calibrate`.",
        }
    text = f"recall@{c['k']} of at least {c['recall']:g} with confidence {c['confidence']:g}, calibrated {c['date']}"
    text += f" on {c['rows']:,} rows"
    warning = ""
    if known.changed > CHANGED * c["rows"]:
        how = f"has grown from {c['rows']:,} to {known.rows:,} rows"
        if known.rows <= (1 + CHANGED) * c["rows"]:
            how = f"had {c['rows']:,} rows, and {known.changed:,} were added or removed (one replaced is both)"
        warning = f"it {how} since its recall was calibrated; run `dse index calibrate`."
    elif k is not None and k > c["k"]:
        warning = f"its recall was calibrated for k = {c['k']}, not for k = {k}."
    elif where is not None:
        text += ", for searches without a condition"
    return {"text": text, "warning": warning}


def index_info(snapshot: Snapshot) -> dict[str, Any]:
    """What `CandidateIndex.info` returns."""
    manifest, facts = snapshot.manifest, Known.of(snapshot)
    rows = facts.rows
    two_passes = manifest.scout is not None and rows > scouting.EXACT_ROWS
    if two_passes and manifest.calibration is not None:
        two_passes = manifest.calibration["shortlist"] is not None
    unindexed = _unindexed_rows(snapshot)
    advice = ""
    if manifest.scout is None and rows > scouting.EXACT_ROWS:
        advice = "every row is scored at each search; run `dse index optimize`."
    elif unindexed > max(scouting.EXACT_ROWS, rows // 10):
        advice = f"{unindexed:,} rows were added since the last optimize and slow searches; run `dse index optimize`."
    elif (small := snapshot.small_files()) > MOST_FILES:
        advice = f"{small} small files of rows slow searches; run `dse index optimize`."
    known = promise(facts, exact=not two_passes)
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
        "changed_rows": facts.changed,
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
        if f"{SCOUT}_idx" not in {index["name"] for index in snapshot.data.list_indices()}:
            return int(snapshot.data.count_rows())  # `optimize` has named the scout, and has not made its index yet
        return int(snapshot.data.stats.index_stats(f"{SCOUT}_idx")["num_unindexed_rows"])


def _size(snapshot: Snapshot) -> int | None:
    """Bytes on disk; None for an object store."""
    if not snapshot.local:
        return None
    size = 0
    for folder, _, names in os.walk(snapshot.path):  # not `rglob`: a writer may remove a file or folder meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(folder, name)).st_size
    return size
