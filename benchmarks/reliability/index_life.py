"""The life of an index that is killed at random moments, and a model of what must be there afterwards.

A forked process adds, replaces and deletes rows, optimises, calibrates and changes the student until it is killed. What
it is about to do, and what it has done, goes to a journal. Then another process compares the index with the journal:
what had ended must be there whole, what had not begun must not, and of what was under way any number of batches from
the first on.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.processes import answer_of, fork, wait
from dse import DSE
from dse.data.arrow_vectors import matrix
from dse.index import CandidateIndex, scout
from dse.index.store import Store

BATCH = 20
Rows = dict[str, dict[str, Any]]  # by id: text and columns


class Life:
    """What happens to an index, and what it must hold.

    Args:
        folder: Where index and journal are.
        students: Two of one width, to change between.
    """

    def __init__(self, folder: Path, students: list[DSE]) -> None:
        self.path, self.journal, self.log = folder / "index", folder / "journal.jsonl", folder / "log"
        self.students = students

    # ---------------------------------------------------------------------------------------------- the model

    def batches(self, action: dict[str, Any]) -> list[tuple[Rows, set[str]]]:
        """An action as the commits it makes: rows written, ids removed."""
        if action["do"] == "delete":
            return [({}, set(action["ids"]))]
        rows = [self.row(number, action["version"], action["half"]) for number in action.get("numbers", [])]
        return [({row["id"]: row for row in rows[i : i + BATCH]}, set()) for i in range(0, len(rows), BATCH)]

    @staticmethod
    def row(number: int, version: int, half: bool) -> dict[str, Any]:
        """A row; some have a price that is not whole, so that the column has to be widened."""
        text = f"a dog {number} of version {version}"
        return {
            "id": f"row {number}",
            "text": text,
            "price": number + 0.5 if half else number,
            f"v{version % 7}": version,
        }

    def expected(self) -> tuple[Rows, list[tuple[Rows, set[str]]]]:
        """What the journal says must be there, and the commits of an action that had not ended."""
        rows: Rows = {}
        under_way: list[tuple[Rows, set[str]]] = []
        for line in self.journal.read_text().splitlines():
            entry = json.loads(line)
            if "do" in entry:
                under_way = self.batches(entry)
                continue
            for written, removed in under_way[: entry.get("settled")]:
                rows |= written
                rows = {name: row for name, row in rows.items() if name not in removed}
            under_way = []
        return rows, under_way

    def note(self, entry: dict[str, Any]) -> None:
        """Write to the journal."""
        with self.journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def lines(self) -> int:
        """How many lines the journal has."""
        return self.journal.read_text().count("\n")

    # ---------------------------------------------------------------------------------------------- what happens

    def busy(self, seed: int) -> None:
        """Act until killed."""
        scout.EXACT_ROWS = 100
        generator, index = random.Random(seed), None
        while True:
            if index is None or generator.random() < 0.1:
                index = CandidateIndex(self.path, self.student())
            action = self.action(generator)
            self.note(action)
            self.act(index, action)
            self.note({"done": action["do"]})

    def student(self) -> DSE:
        """The one that made the index."""
        made_with = Store(self.path).manifest.student
        return next(student for student in self.students if student.fingerprint == made_with)

    def action(self, generator: random.Random) -> dict[str, Any]:
        """What to do next."""
        rows, _ = self.expected()
        numbers = [int(name.split()[1]) for name in rows]
        kinds = ["add"] * 3 + ["upsert"] * 2 + ["delete"] * 2 + ["optimize"] * 2 + ["calibrate", "rebuild"]
        do = generator.choice(kinds if len(rows) < 400 else [*kinds, *["delete"] * 8]) if rows else "add"
        action: dict[str, Any] = {"do": do, "version": generator.randrange(10**6), "half": generator.random() < 0.3}
        if do == "add":
            first = max(numbers, default=-1) + 1
            action["numbers"] = list(range(first, first + generator.randrange(1, 3 * BATCH)))
        elif do == "upsert":
            action["numbers"] = generator.sample(numbers, min(len(numbers), generator.randrange(1, 3 * BATCH)))
        elif do == "delete":
            action["ids"] = generator.sample(sorted(rows), generator.randrange(1, len(rows) // 2 + 2))
        elif do == "rebuild":
            action["student"] = generator.randrange(2)
        return action

    def act(self, index: Any, action: dict[str, Any]) -> None:
        """Do it."""
        do = action["do"]
        if do in ("add", "upsert"):
            rows = [row for written, _ in self.batches(action) for row in written.values()]
            (index.add if do == "add" else index.upsert)(rows, batch_size=BATCH)
        elif do == "delete":
            index.delete(action["ids"])
        elif do == "optimize":
            index.optimize(keep=timedelta(0))
        elif do == "calibrate":
            queries = np.random.default_rng(action["version"]).standard_normal((12, 32)).astype(np.float32)
            index.calibrate(queries, k=3, recall=0.5, confidence=0.5)
        else:
            index.rebuild(self.students[action["student"]])

    # ---------------------------------------------------------------------------------------------- what is left

    def check(self) -> dict[str, int]:
        """Compare the index with the journal, and write down how much of what was under way is there."""
        student, store = self.student(), Store(self.path)
        index = CandidateIndex(self.path, student)
        found = store.data.to_table().to_pylist()
        rows, under_way = self.expected()
        possible, settled = [dict(rows)], 0
        for written, removed in under_way:
            rows = {name: row for name, row in (rows | written).items() if name not in removed}
            possible.append(rows)
        stored = {row["id"]: row for row in found}
        faults = Counter(doubled_rows=len(found) - len(stored))
        differences = [self.differing(stored, wanted) for wanted in possible]
        settled = min(range(len(possible)), key=differences.__getitem__)
        faults["lost_rows"] += differences[settled]
        hits = index.search("a dog", k=5, exact=True)
        faults["lost_rows"] += len(hits) != min(5, len(stored))
        names = list(stored)[:: max(1, len(stored) // 8)]
        vectors = student.encode([stored[name]["text"] for name in names]) if names else np.empty((0, 32))
        kept = store.find(names, ["id", "embedding"])
        for name, vector in zip(kept["id"].to_pylist(), matrix(kept["embedding"]), strict=True):
            faults["wrong_vectors"] += not np.allclose(vector, vectors[names.index(name)], atol=0.02)
        self.note({"settled": settled})
        return dict(faults)

    @staticmethod
    def differing(stored: Rows, wanted: Rows) -> int:
        """Rows that are absent, should be, or hold something else."""

        def same(row: dict[str, Any], other: dict[str, Any]) -> bool:
            names = [name for name in row if name not in ("embedding", "scout")]
            return all(row[name] == other.get(name) for name in names) and all(name in row for name in other)

        both = stored.keys() & wanted.keys()
        return len(stored.keys() ^ wanted.keys()) + sum(not same(stored[name], wanted[name]) for name in both)


def kill_index(folder: Path, students: list[DSE], kills: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Kill the life of one index so often: what was wrong afterwards, and what was under way."""
    generator, counts, under_way = random.Random(seed), Counter[str](kills=0), Counter[str]()
    life = Life(folder, students)
    life.journal.touch()
    wait(fork(partial(CandidateIndex.create, life.path, students[0]), life.log), 60)
    while counts["kills"] < kills:
        end = life.lines() + generator.choice([1, 1, 3, 3, 5, 9])
        child = fork(partial(life.busy, generator.randrange(2**32)), life.log)
        code = wait(child, generator.expovariate(1 / 0.15), lambda end=end: life.lines() >= end)
        last = json.loads((life.journal.read_text().splitlines() or ["{}"])[-1])
        faults = answer_of(life.check, life.log)
        counts.update(faults or {})
        if code != -signal.SIGKILL or faults is None:
            counts["errors"] += 1
            print(life.log.read_text()[-2000:], file=sys.stderr)
            break  # what it holds is unknown
        counts["kills"] += 1
        under_way[last.get("do", "between actions")] += 1
    return counts, under_way
