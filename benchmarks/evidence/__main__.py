"""Train and measure every row of the tables, go on where it stopped, and write the pages of `docs/results`.

    python -m benchmarks.evidence --data ../shared/data                   # small: at most 1,000 training rows a task
    python -m benchmarks.evidence --data ../shared/data --size tiny       # at most 500
    python -m benchmarks.evidence --data ../shared/data --size medium     # at most 3,000, in the configured epochs
    python -m benchmarks.evidence --data ../shared/data --size full       # all rows
    python -m benchmarks.evidence --data ../shared/data --large-backbone sentence-transformers/all-mpnet-base-v2
    python -m benchmarks.evidence --configs configs/paper --size full     # the paper's setting, from the hub, on a GPU
    python -m benchmarks.evidence --data ../shared/data --ray auto        # on a Ray cluster with one folder for all
    python -m benchmarks.evidence --pages                                 # only write the pages from what is measured

A row is a folder under `--runs` with its model and `row.json`; one that has it is not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.evidence.plan import GLUE, LARGE, jobs, rows
from benchmarks.evidence.subsets import SIZES
from benchmarks.records import Record, merge, within
from dse.cli.options import workers

if TYPE_CHECKING:
    from benchmarks.evidence.measure import Setup

COMMAND = "python -m benchmarks.evidence --data ../shared/data"
KEY = ("task", "train_rows", "row", "split", "metric", "seed")


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; rows that are not planned, or whose backbone is not given, are refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of GLUE's sets as Parquet (mrpc/train.parquet, ...); default: the hub")
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--configs", type=Path, default=Path("configs/small"), help="one YAML file a task")
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"), help="where models and results go")
    parser.add_argument("--backbone", help="folder or hub id; default: the configuration's, or the offline MiniLM")
    parser.add_argument(
        "--large-backbone", help=f"make the rows of a larger teacher, of this folder or hub id ({LARGE})"
    )
    parser.add_argument("--only", nargs="+", metavar="TASK/ROW/SEED", help="make these rows and no pages")
    parser.add_argument("--pages", action="store_true", help="make no row, write the pages from those measured")
    parser.add_argument("--minutes", type=float, help="start no further row after so many minutes")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="make rows side by side on this Ray cluster; `local` starts one"
    )
    options = parser.parse_args(arguments)
    known = {row.key: row for row in rows()}
    for key in options.only or ():
        if key not in known:
            parser.error(f"There is no row {key}; rows are TASK/ROW/SEED, as in mrpc/dse/42 (see plan.py).")
        if known[key].large and options.large_backbone is None:
            parser.error(f"{key} needs --large-backbone {LARGE} or a folder of it.")
    return options


def gather(folders: Sequence[Path], command: str = COMMAND, suffix: str = "") -> None:
    """Add the rows of these sizes to `glue.json` and `transfer.json`; rows measured elsewhere stay.

    Args:
        folders: One a size.
        command: What made them.
        suffix: Behind the names of the files, for another setting than that of `configs/small`.
    """
    measured: dict[str, list[dict[str, Any]]] = {"glue": [], "transfer": []}
    for file in sorted(file for folder in folders for file in folder.glob("*/*/*/row.json")):
        about, task = json.loads(file.read_text(encoding="utf-8")), file.parents[2].name
        counts = file.parents[3] / "data" / task / "about.json"  # of how many rows the subsets are
        totals = json.loads(counts.read_text(encoding="utf-8")) if counts.exists() else None
        for record in about["results"]:
            record["device"] = about["machine"]["device"]
            if totals:
                record |= {"train_rows_of": totals["train"]["of"], "rows_of": totals[record["split"]]["of"]}
        measured["transfer" if task == "transfer" else "glue"].append(about)
    for name, rows_measured in measured.items():
        merge(f"{name}{suffix}", rows_measured, KEY, command, _order)


def _order(record: Record) -> tuple[Any, ...]:
    task, train_rows, *rest = (record[column] for column in KEY)
    return (GLUE.index(task) if task in GLUE else len(GLUE), task, -train_rows, *map(str, rest))


def make_wanted(options: argparse.Namespace, setup: Setup) -> None:
    """Make the rows that are asked for: one after the other as planned, or on the workers of a cluster."""
    from benchmarks.evidence.measure import make_all

    wanted = [row for row in rows() if not row.large or options.large_backbone]
    wanted = [row for row in wanted if options.only is None or row.key in options.only]
    parts = [[[row] for row in wanted]] if options.ray is None else jobs(wanted)
    end = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    if options.ray is not None:  # files that several workers would write
        for row in wanted:
            if row.task != "transfer":
                setup.pairs(row)
    with workers(options.ray) as run:
        for part in parts:
            left = None if end is None else (end - time.monotonic()) / 60
            for _ in run(partial(make_all, setup=setup), within(left, part)):
                pass


def main() -> None:
    """Make what is missing, then the pages."""
    options = options_of()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dse").setLevel(logging.INFO)
    usual = options.configs.name == "small"
    runs = options.runs / (options.size if usual else f"{options.configs.name}-{options.size}")
    if not options.pages:
        from benchmarks.evidence.measure import Setup

        given = (options.backbone, options.large_backbone)
        setup = Setup(options.data, options.size, SIZES[options.size], options.configs, runs, *given)
        make_wanted(options, setup)
    if options.only is None:
        from benchmarks import pages
        from benchmarks.evidence.plots import draw

        if usual:
            gather([options.runs / size for size in SIZES])
        else:
            command = shlex.join(["python", "-m", "benchmarks.evidence", *sys.argv[1:]])
            gather([runs], command, f"_{options.configs.name}")
        draw()
        pages.write()


if __name__ == "__main__":
    main()
