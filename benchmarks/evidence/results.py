"""The measured rows: gathered from the runs into `docs/results/*.json`, and asked for by the pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.evidence.plan import COMPARED, GLUE, OWN_TEACHER, SEEDS, Three
from dse.data.tasks import get_task
from dse.files import write_json

RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"
COMMAND = "python -m benchmarks.evidence --data ../shared/data"
Measured = dict[str, Any]  # one object: task, row, split, metric, value, seed, rows, command, train_rows


def gather(folders: Sequence[Path], command: str = COMMAND, suffix: str = "") -> None:
    """Add what the runs of one setting hold to `glue.json` and `transfer.json`; rows measured elsewhere stay.

    A row is replaced by one of the same task, row, split, metric, seed and number of training rows.

    Args:
        folders: One a size.
        command: What made them.
        suffix: Behind the names of the files, for another setting than that of `configs/small`.
    """
    found: dict[str, list[Measured]] = {"glue": [], "transfer": []}
    for file in sorted(file for folder in folders for file in folder.glob("*/*/*/row.json")):
        about = json.loads(file.read_text(encoding="utf-8"))
        size, task = file.parents[3], file.parents[2].name
        about["results"] = [row | {"device": about["machine"]["device"]} for row in about["results"]]
        counts = size / "data" / task / "about.json"
        if counts.exists():  # say of how many rows the subsets are
            of = json.loads(counts.read_text(encoding="utf-8"))
            about["results"] = [
                row | {"train_rows_of": of["train"]["of"], "rows_of": of[row["split"]]["of"]}
                for row in about["results"]
            ]
        found["transfer" if task == "transfer" else "glue"].append(about)
    for name, new in found.items():
        file = RESULTS / f"{name}{suffix}.json"
        old: Measured = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": []}
        rows = {_key(row): row for row in old["rows"]} | {_key(row): row for about in new for row in about["results"]}
        if new:
            latest = {"machine": new[-1]["machine"], "versions": new[-1]["versions"]}
            ordered = [rows[key] for key in sorted(rows, key=_order)]
            write_json(file, {"command": command, **latest, "rows": ordered})


def _key(row: Measured) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("task", "train_rows", "row", "split", "metric", "seed"))


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    task, train_rows, *rest = key
    return (GLUE.index(task) if task in GLUE else len(GLUE), task, -train_rows, *map(str, rest))


@dataclass(frozen=True)
class Value:
    """A metric over seeds."""

    mean: float
    spread: float | None  # standard deviation over seeds; None for one seed
    seeds: tuple[int, ...]

    def text(self) -> str:
        """Times 100, with the spread."""
        return f"{100 * self.mean:.1f}" + ("" if self.spread is None else f" ± {100 * self.spread:.1f}")


class Table:
    """Rows of one JSON file."""

    def __init__(self, rows: Sequence[Measured]) -> None:
        self.rows = list(rows)

    @classmethod
    def read(cls, name: str) -> Table:
        """The rows of `docs/results/NAME.json`; none if it is not there."""
        file = RESULTS / f"{name}.json"
        return cls(json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else [])

    def where(self, **wanted: Any) -> Table:
        """The rows that have these values."""
        return Table([row for row in self.rows if all(row[name] == value for name, value in wanted.items())])

    def distinct(self, name: str) -> list[Any]:
        """The values of a column, in the order in which they come."""
        return list(dict.fromkeys(row[name] for row in self.rows))

    def value(self, seeds: Sequence[int] | None = None, **wanted: Any) -> Value | None:
        """Mean and spread over the seeds; None if it was not measured."""
        found = {row["seed"]: row["value"] for row in self.where(**wanted).rows if not seeds or row["seed"] in seeds}
        if not found:
            return None
        spread = stdev(found.values()) if len(found) > 1 else None
        return Value(fmean(found.values()), spread, tuple(sorted(found)))

    def best_size(self, task: str, needed: Sequence[str], seeds: int = 1) -> Table:
        """The task's rows of the seeds that all these share, at the largest number of training rows with so many."""
        own = self.where(task=task)
        for size in sorted(own.distinct("train_rows"), reverse=True):
            there = own.where(train_rows=size)
            shared = set.intersection(*(set(there.where(row=row).distinct("seed")) for row in needed))
            if len(shared) >= seeds:
                return Table([row for row in there.rows if row["seed"] in shared])
        return Table([])


@dataclass(frozen=True)
class Headline:
    """One task of the headline table: teacher, student, and the student without distillation, on the same rows."""

    task: str
    metric: str
    table: Table
    teacher: Value
    student: Value
    no_distillation: Value
    names: Three = OWN_TEACHER  # of their rows

    @property
    def shown(self) -> tuple[str, ...]:
        """The rows that tables and plots show of it."""
        teacher, student, without = self.names
        return (teacher, student, f"{student}_no_labels", without, "cosine_untrained")

    @property
    def seeded(self) -> bool:
        """Whether every seed was run."""
        return len(self.student.seeds) >= len(SEEDS)

    @property
    def retention(self) -> float:
        """Student / teacher."""
        return self.student.mean / self.teacher.mean

    @property
    def gain(self) -> float:
        """Points x 100 that distillation adds."""
        return 100 * (self.student.mean - self.no_distillation.mean)

    @property
    def gains(self) -> list[float]:
        """The same for each seed with which both were trained."""
        both = set(self.student.seeds) & set(self.no_distillation.seeds)
        own = self.table.where(split="dev", metric=self.metric)
        with_, without = ({row["seed"]: row["value"] for row in own.where(row=name).rows} for name in self.names[1:])
        return [100 * (with_[seed] - without[seed]) for seed in sorted(both)]

    @property
    def beyond(self) -> int:
        """1 or -1 where distillation gains or loses more than two standard errors over the seeds, else 0."""
        if len(self.gains) < 2 or abs(fmean(self.gains)) <= 2 * stdev(self.gains) / len(self.gains) ** 0.5:
            return 0
        return 1 if fmean(self.gains) > 0 else -1

    @property
    def train_rows(self) -> int:
        """Rows trained on, a tenth of them to choose checkpoint and threshold."""
        return int(self.table.rows[0]["train_rows"])

    @property
    def further(self) -> int | None:
        """Further pairs without labels that the student learned from; None where it had none."""
        return self.made.get("unlabelled_rows")

    def of(self, row: str, metric: str | None = None) -> Value | None:
        """Another row of the task on dev, or another metric than the main one."""
        return self.table.value(row=row, split="dev", metric=metric or self.metric)

    @property
    def made(self) -> Measured:
        """The student's row: how many rows it was trained and is reported on, and its command."""
        return self.table.where(row=self.names[1], split="dev").rows[0]


def headlines(glue: Table, seeds: int = 1, names: Three = OWN_TEACHER) -> list[Headline]:
    """The tasks for which there are all three, each at its largest size that has so many seeds."""
    found = []
    for task in GLUE:
        own = glue.best_size(task, names, seeds)
        if own.rows:
            metric = get_task(task).main_metric
            three = [own.value(row=row, split="dev", metric=metric) for row in names]
            assert all(value is not None for value in three)
            found.append(Headline(task, metric, own, *three, names))  # type: ignore[arg-type]
    return found


def compared(glue: Table) -> dict[Three, list[Headline]]:
    """The headlines of each teacher there is, the larger one first, each without and with further pairs."""
    every = [names for pair in COMPARED.items() for names in pair]
    return {names: found for names in every if (found := headlines(glue, names=names))}


def by_teacher(glue: Table) -> dict[Three, list[Headline]]:
    """Those without further pairs."""
    return {names: found for names, found in compared(glue).items() if names in COMPARED}
