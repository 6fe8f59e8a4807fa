"""`kill -9` at random moments of indexes, of labelling and of training; counts go on where a stopped campaign was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.reliability.index_life import kill_index
from benchmarks.reliability.training import kill_training, training_jobs
from dse import DSE
from dse.files import write_json

FAULTS = ("lost_rows", "doubled_rows", "wrong_scores", "wrong_vectors", "different_models", "left_over", "errors")
OF_ONE_INDEX = 20  # kills, then another begins


def campaign(students: list[DSE], kills: int, file: Path) -> Iterator[dict[str, Any]]:
    """Kill so often; yields what is known so far.

    Args:
        students: Two of one width, for the indexes.
        kills: How many at least; a run that is under way then is brought to its end.
        file: Keeps the counts of a campaign until it is complete.
    """
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"rounds": 0, "counts": {}, "during": {}}
    counts, during = Counter[str](known["counts"]), Counter[str](known["during"])
    with TemporaryDirectory() as folder:
        jobs = training_jobs(Path(folder, "training"))
        while counts["kills"] < kills:
            number = known["rounds"] = known["rounds"] + 1
            life = Path(folder, f"index-{number}")
            life.mkdir()
            of_index, under_way = kill_index(life, students, min(OF_ONE_INDEX, kills), seed=number)
            counts.update(of_index)
            during.update(under_way)
            for job in jobs:
                of_job = kill_training(job, Path(folder, f"{job.name}-{number}"), seed=number)
                counts.update(of_job)
                during[job.name] += of_job["kills"]
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, known | {"counts": counts, "during": during})
            yield {
                "kills": counts["kills"],
                "killed_during": dict(during.most_common()),
                "finished_runs": counts["finished_runs"],
                **{name: counts[name] for name in FAULTS},
            }
    file.unlink()
