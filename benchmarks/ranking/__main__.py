"""Measure how students rank: BM25, the free cosine, no teacher, students and teachers, on the collections of a folder.

    python -m benchmarks.ranking --data ../shared/data/ir --encoder DIR [--cross-encoder DIR]

Writes docs/results/ranking.json, ranking.md and ranking.png. A stopped run goes on; rows that are measured stay.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from benchmarks import pages, records
from benchmarks.ranking.measure import embed_teacher, measure_forgetting, measure_row
from benchmarks.ranking.plan import COLLECTIONS, FROZEN, JUDGED_BY_CROSS_ENCODER, OF_ONE_TEACHER, ROWS, TEACHERS, Setup
from benchmarks.ranking.plots import draw
from benchmarks.ranking.summary import write
from dse.encoding.offline import offline_backbone


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="Folder of collections, each with corpus, queries, qrels."
    )
    parser.add_argument(
        "--encoder", default="sentence-transformers/all-mpnet-base-v2", help="Teacher that embeds texts."
    )
    parser.add_argument("--cross-encoder", help="Teacher that reads pairs, of benchmarks.ranking.cross_encoder.")
    parser.add_argument("--backbone", help="What students start from; by default MiniLM.")
    parser.add_argument("--work", type=Path, default=Path("runs/ranking"), help="Folder of students and values.")
    parser.add_argument("--collections", nargs="*", default=list(COLLECTIONS))
    parser.add_argument("--teachers", nargs="*", default=[*TEACHERS, "labels"])
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--minutes", type=float, help="No row is begun after so many minutes.")
    parser.add_argument("--elsewhere", action="store_true", help="Measure students on other collections too.")
    parser.add_argument("--embed-only", action="store_true", help="Only embed the texts with the teacher.")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    backbone = options.backbone or offline_backbone()
    setup = Setup(options.data, backbone, options.encoder, options.cross_encoder, options.work, options.seed)
    if options.embed_only:
        for name in records.within(options.minutes, options.collections):
            embed_teacher(name, setup)
            logging.info("%s: embedded", name)
        return
    wanted = [
        (name, teacher, row)
        for teacher in TEACHERS
        if teacher in options.teachers
        for row in options.rows
        for name in options.collections
        if OF_ONE_TEACHER.get(row, teacher) == teacher
        and (teacher == "mpnet" or (name in JUDGED_BY_CROSS_ENCODER and setup.cross_encoder))
    ]
    if "labels" in options.teachers:
        wanted += [("wikiqa", "labels", row) for row in ("student", "student_maps") if row in options.rows]
        wanted += [(name, "labels", "frozen_head") for name in FROZEN if name in options.collections]
    if options.elsewhere:
        wanted += [(name, teacher, "elsewhere") for name, teacher, row in wanted if row == "student"]
    for name, teacher, row in records.within(options.minutes, wanted):
        if row == "elsewhere":
            measure_forgetting(name, teacher, setup)
        else:
            measure_row(name, teacher, row, setup)
    write(setup)
    draw()
    pages.write()


if __name__ == "__main__":
    main()
