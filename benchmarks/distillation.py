"""Teacher and students on MRPC and STS-B, at alpha 0, 0.5 and 1, by the commands a user would type.

    python -m benchmarks.distillation --data ../shared/data

Runs `dse teacher` and `dse distill` in real processes, goes on where it stopped, and writes
`docs/results/distillation.json` and `.md`. `--data` is a folder as `dse distill --data` takes it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from dse.files import write_json, write_text

TASKS = ("mrpc", "stsb")
ALPHAS = (0.5, 1.0, 0.0)
ROWS = {0.5: "dse", 1.0: "dse_no_labels", 0.0: "no_distillation"}
RESULTS = Path(__file__).parent.parent / "docs" / "results"


def commands(task: str, data: str, runs: Path, seed: int) -> list[tuple[str, list[str]]]:
    """What is run for a task: the teacher, then one student per alpha."""
    common = ["--task", task, "--data", data, "--seed", str(seed)]
    folder = runs / f"{task}-{seed}"
    teacher = str(folder / "teacher")
    made = [("teacher", ["dse", "teacher", *common, "--output", teacher])]
    for alpha in ALPHAS:
        output = str(folder / f"alpha-{alpha:g}")
        made.append(
            (
                ROWS[alpha],
                ["dse", "distill", *common, "--teacher", teacher, "--alpha", f"{alpha:g}", "--output", output],
            )
        )
    return made


def run(command: list[str]) -> None:
    """Run one command unless its result is there already."""
    output = Path(command[command.index("--output") + 1])
    done = output / ("training.json" if command[1] == "teacher" else "report/report.json")
    if done.exists():
        return
    print(shlex.join(command), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "dse", *command[1:]], check=True, stdout=subprocess.DEVNULL)


def measured(task: str, seed: int, steps: list[tuple[str, list[str]]]) -> list[dict[str, Any]]:
    """One object per row and metric, read from the reports."""
    rows: list[dict[str, Any]] = []
    for row, command in steps[1:]:
        report = json.loads(
            (Path(command[command.index("--output") + 1]) / "report/report.json").read_text(encoding="utf-8")
        )
        common = {"task": task, "split": report["split"], "rows": report["rows"], "seed": seed}
        if row == "dse":
            for metric, value in report["metrics"]["teacher"].items():
                rows.append(
                    common | {"row": "teacher", "metric": metric, "value": value, "command": shlex.join(steps[0][1])}
                )
        for metric, value in report["metrics"]["student"].items():
            rows.append(
                common
                | {
                    "row": row,
                    "metric": metric,
                    "value": value,
                    "retention": report["retention"].get(metric),
                    "fidelity": report["fidelity"],
                    "command": shlex.join(command),
                }
            )
    return rows


def page(rows: list[dict[str, Any]], machine: dict[str, Any], versions: dict[str, Any], command: str) -> str:
    """The page: what the reader learns, one table a task, the commands."""
    lines = ["# Distillation on MRPC and STS-B", "", *_lessons(rows), ""]
    for task in TASKS:
        own = [row for row in rows if row["task"] == task]
        metrics = list(dict.fromkeys(row["metric"] for row in own))
        size = own[0]["rows"]
        lines += [f"## {task}, {own[0]['split']} ({size:,} rows)", ""]
        lines += ["| row | " + " | ".join(f"{m} | retention" for m in metrics) + " |"]
        lines += ["| --- |" + " ---: | ---: |" * len(metrics)]
        for name in dict.fromkeys(row["row"] for row in own):
            cells = []
            for metric in metrics:
                row = next(r for r in own if r["row"] == name and r["metric"] == metric)
                kept = row.get("retention")
                cells += [f"{row['value'] * 100:.1f}", "" if kept is None else f"{kept * 100:.1f} %"]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += ["", *(f"    {c}" for c in dict.fromkeys(row["command"] for row in own)), ""]
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines += [
        "`dse`: alpha 0.5, labels and teacher. `dse_no_labels`: alpha 1, teacher only. `no_distillation`: alpha 0,",
        "labels only. Retention is the student's metric over the teacher's on the same rows. Checkpoint and threshold",
        "are chosen on a tenth of the training rows; dev is only reported on. One seed: a point or so is noise.",
        "",
        f"Made by `{command}` on {machine.get('cpu', 'this machine')}; {made_with}.",
        "",
    ]
    return "\n".join(lines)


def _lessons(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for task in TASKS:
        own = [row for row in rows if row["task"] == task]
        metric = own[0]["metric"]
        by_row = {row["row"]: row["value"] * 100 for row in own if row["metric"] == metric}
        lines.append(
            f"- {task}: {metric} of the teacher {by_row['teacher']:.1f}, of the student {by_row['dse']:.1f} "
            f"({by_row['dse_no_labels']:.1f} from scores alone, {by_row['no_distillation']:.1f} without distillation)."
        )
    lines.append("")
    lines.append(
        "The backbone (all-MiniLM-L6-v2) is a sentence encoder already, so a student starts close to its teacher or "
        "ahead of it: retention near 100 % says little. What distillation itself gives is the difference between "
        "`dse` or `dse_no_labels` and `no_distillation`."
    )
    return lines


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with mrpc/ and stsb/")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where models go")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--tasks", nargs="*", default=TASKS, help="run these only; the page needs all")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        steps = commands(task, options.data, options.runs, options.seed)
        if task in options.tasks:
            for _, command in steps:
                run(command)
        if all(Path(c[c.index("--output") + 1], "training.json").exists() for _, c in steps):
            rows += measured(task, options.seed, steps)
    if {row["task"] for row in rows} != set(TASKS):
        return
    report = json.loads(
        (options.runs / f"{TASKS[0]}-{options.seed}" / "alpha-0.5" / "report/report.json").read_text(encoding="utf-8")
    )
    command = f"python -m benchmarks.distillation --data {options.data}"
    result = {"command": command, "machine": report["machine"], "versions": report["versions"], "rows": rows}
    write_json(RESULTS / "distillation.json", result)
    write_text(RESULTS / "distillation.md", page(rows, report["machine"], report["versions"], command))


if __name__ == "__main__":
    main()
