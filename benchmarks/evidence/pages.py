"""The pages about trained models, from the JSON alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

import pandas as pd

from benchmarks import records
from benchmarks.evidence import tables
from benchmarks.evidence.plan import COMPARED, COSINE, LARGE_TEACHER, SEEDS
from benchmarks.evidence.tables import FEW, NAMES, TITLES
from benchmarks.render import render, signed

EVERY = [names for pair in COMPARED.items() for names in pair]


def pages() -> dict[str, str]:
    """Every page for which there is data, by its file name."""
    made = {}
    for file in sorted(records.RESULTS.glob("glue*.json")):  # of other settings too
        made[f"{file.stem}.md"] = glue_page(file.stem)
    glue = records.frame("glue")
    if not glue.empty:
        made["ablations.md"] = ablations_page(glue)
        made["tried.md"] = tried_page(glue)
    if records.load("transfer")["rows"]:
        scores, sets = tables.transfer_tables(records.frame("transfer"))
        made["transfer.md"] = render("transfer", scores=scores, sets=sets, origin=_origin("transfer"))
    if (about := records.load("speed_quality")).get("table"):
        made["speed_quality.md"] = render("speed_quality", about=about, names=NAMES)
    return made


def glue_page(name: str) -> str:
    """The comparisons of `NAME.json`."""
    glue, parts = records.frame(name), []
    for names in EVERY:
        tasks, seeded = (tables.headline(glue, names, seeds) for seeds in (1, len(SEEDS)))
        more = seeded[~seeded.task.isin(tasks.task[tasks.seeds >= len(SEEDS)])]
        for title, own in (("", tasks), (f": {len(SEEDS)} seeds on fewer rows", more)):
            if len(own):
                commands = _commands(chain.from_iterable(own.commands))
                parts.append((TITLES[names] + title, own[tables.SHOWN], tables.degradation(own), commands))
    metrics = {TITLES[names]: tables.all_metrics(glue, names) for names in EVERY}
    return render("glue", name=name, parts=parts, metrics=metrics, origin=_origin(name))


def ablations_page(glue: pd.DataFrame) -> str:
    """Every variant beside the plain student, and what teachers gain by what they learn before the labels."""
    parts = []
    for title, own in (
        (f"At most {FEW:,} training rows", glue[glue.train_rows <= FEW]),
        ("More training rows", glue[glue.train_rows > FEW]),
    ):
        compared = tables.comparisons(own, (*tables.TRAINED, COSINE))
        if len(compared):
            cells = compared.value + " (" + compared.gain.map(signed) + ")"
            shown = tables.variants_table(compared, cells, "variant")
            parts.append((title, shown, tables.sizes(compared), _commands(own.command)))
    teachers = tables.comparisons(glue, ("teacher",), plain="teacher_labels_only")
    teachers = teachers.assign(gain=teachers.gain.map(signed)).drop(columns=["row", "train_rows", "reported on"])
    teachers = teachers.rename(columns={"plain": "labels only", "value": "cosine first"})
    return render("ablations", parts=parts, teachers=teachers, origin=_origin("glue"))


def tried_page(glue: pd.DataFrame) -> str:
    """Variants behind the plain student on average, and those ahead."""
    compared = tables.comparisons(glue, ("dse_no_labels", "no_distillation", *tables.TRAINED))
    mean = compared.groupby("row").gain.transform("mean")
    cells = compared.gain.map(signed) + compared.train_rows.map(" on {:,}".format)
    behind, ahead = (tables.variants_table(compared[kept], cells[kept], "change") for kept in (mean <= 0, mean > 0))
    return render("tried", behind=behind, ahead=ahead, commands=_commands(glue.command))


def headline_tasks() -> list[dict[str, Any]]:
    """The tasks of the larger teacher with all seeds, as README.md shows them."""
    glue = records.frame("glue")
    if glue.empty:
        return []
    tasks = tables.headline(glue, LARGE_TEACHER, len(SEEDS))
    rows: list[dict[str, Any]] = tasks[tasks.train_rows >= FEW].to_dict("records")
    return rows


def _commands(commands: Iterable[str]) -> list[str]:
    """The commands of records, without the single row each makes."""
    return sorted({re.sub(r" --only .*", "", command) for command in commands}, key=lambda text: (len(text), text))


def _origin(name: str) -> dict[str, Any]:
    """Machine and versions of a file, and on what its rows were made."""
    about, rows = records.load(name), records.frame(name)
    models = rows.drop_duplicates(["device", "task", "row", "seed", "train_rows"]) if "device" in rows else rows[:0]
    devices = models.device.value_counts() if len(models) else {}
    return about | {"name": name, "devices": [f"{device} ({count} rows)" for device, count in devices.items()]}
