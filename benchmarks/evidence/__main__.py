"""Train and measure every row of the tables, go on where it stopped, and write the pages of `docs/results`.

    python -m benchmarks.evidence --data ../shared/data                   # small: at most 1,000 training rows a task
    python -m benchmarks.evidence --data ../shared/data --size tiny       # at most 500
    python -m benchmarks.evidence --data ../shared/data --size medium     # at most 3,000, in the configured epochs
    python -m benchmarks.evidence --data ../shared/data --size full       # all rows
    python -m benchmarks.evidence --data ../shared/data --large-backbone sentence-transformers/all-mpnet-base-v2
    python -m benchmarks.evidence --configs configs/paper --size full     # the paper's setting, from the hub, on a GPU
    python -m benchmarks.evidence --pages                                 # only write the pages from what is there

A row is a folder under `--runs` with its model and `row.json`; one that is there is not made again.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from pathlib import Path

from benchmarks.evidence.plan import LARGE, rows
from benchmarks.evidence.results import gather
from benchmarks.evidence.subsets import SIZES


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """What is asked for; rows of a larger teacher need to be told where it is."""
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
    parser.add_argument("--pages", action="store_true", help="make no row, write the pages from those there are")
    parser.add_argument("--minutes", type=float, help="start no further row after so many minutes")
    options = parser.parse_args(arguments)
    known = {row.key: row for row in rows()}
    for key in options.only or ():
        if key not in known:
            parser.error(f"There is no row {key}; rows are TASK/ROW/SEED, as in mrpc/dse/42 (see plan.py).")
        if known[key].large and options.large_backbone is None:
            parser.error(f"{key} needs --large-backbone {LARGE} or a folder of it.")
    return options


def main() -> None:
    """Make what is missing, then the pages."""
    options = options_of()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dse").setLevel(logging.INFO)
    from benchmarks.evidence.measure import Workshop, make

    usual = options.configs.name == "small"
    runs = options.runs / (options.size if usual else f"{options.configs.name}-{options.size}")
    place = Workshop(
        options.data, options.size, SIZES[options.size], options.configs, runs, options.backbone, options.large_backbone
    )
    start = time.monotonic()
    for row in rows():
        late = options.minutes is not None and time.monotonic() - start > 60 * options.minutes
        left_out = options.pages or late or (row.large and options.large_backbone is None)
        if not left_out and (options.only is None or row.key in options.only):
            make(row, place)
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
