"""What several shards say, as one index would say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dse.index.calibration import Best
from dse.index.info import Known, promise


def merged_answer(answers: Sequence[dict[str, Any]], k: int) -> dict[str, Any]:
    """The answer to one query; equal scores keep the order of the shards.

    Args:
        answers: Of each shard, with raw scores.
        k: How many rows.
    """
    hits: dict[str, dict[str, Any]] = {}
    for hit in sorted((hit for answer in answers for hit in answer["hits"]), key=lambda hit: -hit["score"]):
        hits.setdefault(hit["id"], hit)  # a row on its way from one shard to another is in both
    steps = dict.fromkeys(step for answer in answers for step in answer["seconds"] if step != "encode")
    return {
        "hits": list(hits.values())[:k],
        "mode": "two passes" if any(answer["mode"] == "two passes" for answer in answers) else "exact",
        "scored": sum(answer["scored"] for answer in answers),
        "seconds": {step: max(answer["seconds"].get(step, 0.0) for answer in answers) for step in steps},
    }


def merged_known(known: Sequence[Known]) -> Known:
    """What a promise of the whole rests on: a calibration counts if all shards have the same one, of them alone."""
    calibrations = [dict(each.calibration or {}) for each in known]
    made = [calibration.pop("shards", None) for calibration in calibrations]
    whole = made[0] is not None and made[0]["count"] == len(known) and all(other == made[0] for other in made)
    return Known(
        calibrations[0] if whole else None, sum(each.changed for each in known), sum(each.rows for each in known)
    )


def merged_recalls(parts: Sequence[Best], k: int) -> np.ndarray:
    """Share of the k best of all shards that their shortlists hold, by query and length, (q, lengths)."""
    scores = np.concatenate([part.scores for part in parts], axis=1)  # (q, k of all)
    found = np.concatenate([part.found for part in parts], axis=1)  # (q, k of all, lengths)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Best(np.take_along_axis(scores, best, axis=1), np.take_along_axis(found, best[:, :, None], axis=1)).recalls


def merged_info(path: str, parts: Sequence[tuple[dict[str, Any], Known]]) -> dict[str, Any]:
    """What `CandidateIndex.info` returns, of the whole."""
    infos = [info for info, _ in parts]
    known = merged_known([known for _, known in parts])
    exact = all(info["mode"] == "exact" for info in infos)
    promised = promise(known, exact=exact)
    advice = [f"{info['path']}: {info['advice']}" for info in infos if info["advice"]]
    sizes = [info["bytes"] for info in infos]
    first = infos[0]
    return {
        "path": path,
        "rows": known.rows,
        "columns": {name: kind for info in reversed(infos) for name, kind in info["columns"].items()},
        **{name: first[name] for name in ("dimension", "student", "student_source", "label")},
        "created": min(info["created"] for info in infos),
        "mode": "exact" if exact else "two passes",
        "scout": None,
        "unindexed_rows": sum(info["unindexed_rows"] for info in infos),
        "changed_rows": known.changed,
        "calibration": known.calibration,
        "promise": promised["text"],
        "warning": promised["warning"],
        "advice": " ".join(advice),
        "fragments": sum(info["fragments"] for info in infos),
        "version": sum(info["version"] for info in infos),
        "bytes": None if None in sizes else sum(sizes),
        "shards": infos,
    }
