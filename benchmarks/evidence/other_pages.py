"""`transfer.md` and `speed_quality.md`, from the JSON of the same names."""

from __future__ import annotations

import json
from statistics import fmean

from benchmarks.evidence.glue_pages import FEW
from benchmarks.evidence.plan import BEST, TRANSFER, UNTRAINED, Row
from benchmarks.evidence.results import RESULTS, Table
from benchmarks.evidence.text import closing, markdown, number, signed, what
from dse.evaluation.transfer_tasks import SEVEN, TRANSFER_TASKS

MAIN = {"sentence": "accuracy", "pair": "accuracy", "relatedness": "pearson", "cosine": "spearman"}


def transfer_page(transfer: Table) -> str:
    """SentEval."""
    tasks = [name for name in TRANSFER_TASKS if name in transfer.distinct("task")]
    largest = {task: max(transfer.where(task=task).distinct("train_rows")) for task in tasks}
    rows, means = [], {}
    for row in [name for name in TRANSFER if name in transfer.distinct("row")]:
        values = {
            task: transfer.value(row=row, task=task, train_rows=largest[task], metric=MAIN[TRANSFER_TASKS[task].kind])
            for task in tasks
        }
        seven = [values[name] for name in SEVEN if values.get(name)]
        if len(seven) == len(SEVEN):
            means[row] = fmean(value.mean for value in seven if value)
        cells = {task: number(values[task]) for task in SEVEN if task in values}
        cells |= {"mean of 7": f"{100 * means[row]:.1f}" if row in means else ""}
        cells |= {task: number(values[task]) for task in tasks if task not in SEVEN}
        rows.append({"embedding": what(row)} | cells)
    best = max(means, key=lambda row: means[row])
    untrained = [row for row in means if row in UNTRAINED]
    lines = ["# Universal sentence representations: what embeddings know besides their own task", ""]
    lines.append(f"- Best mean of the seven classification sets: {what(best)}, {100 * means[best]:.1f}.")
    trained = [row for row in means if row.startswith("dse_")]
    if trained and untrained:
        ours, theirs = (max(names, key=lambda row: means[row]) for names in (trained, untrained))
        lines.append(
            f"- Best student: {what(ours)}, {100 * (means[ours] - means[theirs]):+.1f} points to the best untrained "
            f"pooling ({what(theirs)}). The backbone, all-MiniLM-L6-v2, is a sentence encoder trained on a billion "
            "pairs; a student's own task has to add to that."
        )
    fewest = min(largest.values())
    if fewest < FEW:
        lines.append(
            f"- A subset: a set has as few as {fewest:,} training rows here, and a difference of some points is noise."
        )
    lines += ["", *markdown(rows), "", *_data(transfer, largest), ""]
    return "\n".join([*lines, *closing("transfer")])


def _data(transfer: Table, largest: dict[str, int]) -> list[str]:
    splits = []
    for task, size in largest.items():
        row = transfer.where(task=task, train_rows=size).rows[0]
        splits.append(f"{task} {row['rows']:,} ({row['split']}, trained on {size:,})")
    return [
        "SentEval's protocol: embeddings frozen, a logistic regression for each data set, its regularisation chosen",
        "inside the training rows (`dse transfer`). Accuracy x 100; SICK-R and STS-B Pearson x 100. MRPC and SICK are",
        "reported on dev where there is no test file; SST-2 is trained on whole sentences, not on SentEval's phrases.",
        "MRPC shares pairs with STS-B, and SICK sentences with it: mind this in the rows trained on those.",
        "",
        "Rows reported on (subsets drawn at random where a set has more): " + "; ".join(splits) + ".",
    ]


def speed_page() -> str:
    """Speed and quality in one picture."""
    about = json.loads((RESULTS / "speed_quality.json").read_text(encoding="utf-8"))
    lines = ["# Speed and quality", ""]
    by_name = {row["model"]: row for row in about["table"]}
    q, n = about["queries"], about["candidates"]
    for student in (name for name in BEST if name in by_name):
        dse, teacher = by_name[student], by_name[Row(about["task"], student).teacher.name]
        lines += [
            f"- {q:,} queries x {n:,} candidates: the {what(teacher['model']).partition(':')[0]} needs "
            f"{_seconds(teacher['seconds'])}, its student {_seconds(dse['seconds'])} from text and "
            f"{_seconds(dse['seconds_embedded'])} with the candidates embedded before, at "
            f"{signed(dse['quality'] - teacher['quality'])} points of {about['metric']} on {about['task']}. It "
            f"overtakes the teacher at {dse['break_even']:.2f} pairs per distinct sentence.",
        ]
    lines += [
        "- Below break-even there is no gain (0.5 pairs per distinct sentence is the least there can be: every "
        "sentence in one pair).",
        "- Quality here is that of the very models timed, see below; on more rows: [GLUE](glue.md),",
        "  [ablations](ablations.md).",
        "",
        "![Time against quality](plots/speed_quality.png)",
        "",
    ]
    rows = []
    for row in about["table"]:
        rows.append(
            {
                "model": what(row["model"]),
                f"{about['metric']} x 100": "" if row["quality"] is None else f"{row['quality']:.1f}",
                "sentences/s": "" if row["sentences_per_s"] is None else f"{row['sentences_per_s']:,.0f}",
                "pairs/s": f"{row['pairs_per_s']:,.0f}",
                "from text": _seconds(row["seconds"]),
                "candidates embedded": "" if row["seconds_embedded"] is None else _seconds(row["seconds_embedded"]),
                "break-even": "" if row["break_even"] is None else f"{row['break_even']:.2f}",
            }
        )
    lines += [*markdown(rows), "", *(f"- {note}" for note in about["notes"]), ""]
    lines += ["## BERT-large's dimensions, random weights", ""]
    lines += [*markdown([{k: str(v) for k, v in row.items()} for row in about["large"]]), ""]
    return "\n".join([*lines, *closing("speed_quality")])


def _seconds(value: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if value >= 2 * size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:.2g} s" if value >= 1 else f"{1000 * value:.0f} ms"
