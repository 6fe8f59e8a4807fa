"""`glue.md`, from `glue.json`."""

from __future__ import annotations

from statistics import fmean, stdev

from benchmarks.evidence.plan import GLUE, MAIN, SEEDS
from benchmarks.evidence.results import Headline, Table, Value, headlines
from benchmarks.evidence.text import closing, markdown, number, part, what
from dse.tasks import get_task

PAPER = 4.6  # % average relative degradation: the abstract of Barkan et al., AAAI 2020; BERT-large, all training rows
KEPT = ("task", "metric", "teacher", "student", "retention", "no labels", "no distillation")
FEW = 1_000  # training rows below which a number says little


def glue_page(glue: Table, name: str = "glue") -> str:
    """The headline table of `NAME.json`."""
    found = headlines(glue)
    lines = ["# GLUE: what a student keeps of its teacher", "", *_lessons(found), ""]
    lines += [*markdown([headline_row(task) for task in found], left=2), ""]
    lines += [f"![Teacher, students and untrained cosine on each task](plots/{name}.png)", ""]
    lines += [
        "All values x 100, on GLUE's dev sets; ± is the standard deviation over seeds, and where there is none, one",
        "seed was run. Retention: student / teacher on the same rows. Gain: points that the teacher adds over alpha 0,",
        "the same student trained on labels only. Fidelity: Pearson r of the scores of student and teacher.",
        "Checkpoint and threshold are chosen on a tenth of the training rows; dev is only reported on (but see the",
        "[note on MRPC](README.md)).",
        "",
        "## Data",
        "",
        *(_data(task) for task in found),
        "",
        *_seeds(glue),
        *_unlabelled(glue),
        "## All metrics",
        "",
    ]
    for task in found:
        lines += _all_metrics(task)
    return "\n".join([*lines, *closing(name)])


def _seeds(glue: Table) -> list[str]:
    """The main rows where every seed was run, on fewer training rows than the headline where that had one seed."""
    found = headlines(glue, len(SEEDS))
    if not found:
        return []
    rows = []
    for task in found:
        row = headline_row(task)
        gain = f"{task.gain:+.1f} ± {stdev(task.gains):.1f}"
        rows.append({name: row[name] for name in KEPT} | {"gain": gain, "trained on": row["trained on"]})
    better, worse = (", ".join(task.task for task in found if task.beyond == sign) or "no task" for sign in (1, -1))
    return [
        f"## {len(SEEDS)} seeds",
        "",
        f"Mean ± standard deviation over seeds {', '.join(map(str, SEEDS))}, that of the gain over the gains of each",
        f"seed. Beyond two standard errors distillation is better than none on {better} and worse on {worse}.",
        "",
        *markdown(rows, left=2),
        "",
        *(f"- {said}" for said in warnings(found)),
        *(_data(task) for task in found),
        "",
    ]


def unlabelled_rows(glue: Table) -> list[dict[str, str]]:
    """Students that saw further pairs which the teacher alone judged, at every size that has them."""
    rows = []
    for task in GLUE:
        metric = get_task(task).main_metric
        own = glue.where(task=task, split="dev", metric=metric)
        for size in sorted(own.where(row="unlabelled").distinct("train_rows")):
            there = own.where(train_rows=size)
            further, seeds = there.where(row="unlabelled").rows[0], there.where(row="unlabelled").distinct("seed")
            values = {row: there.value(seeds, row=row) for row in ("teacher", "dse", "no_distillation", "unlabelled")}
            with_, without = values["unlabelled"], values["no_distillation"]
            if with_ and without:
                cells = {"task": task, "metric": metric, "teacher": number(values["teacher"])}
                cells |= {"no distillation": number(without), "student": number(values["dse"])}
                cells |= {"with further pairs": number(with_), "gain": f"{100 * (with_.mean - without.mean):+.1f}"}
                rows.append(cells | {"labelled": f"{size:,}", "further pairs": f"{further['unlabelled_rows']:,}"})
    return rows


def _unlabelled(glue: Table) -> list[str]:
    rows = unlabelled_rows(glue)
    if not rows:
        return []
    return [
        "## With further pairs that nobody labelled",
        "",
        "Other rows of the training set, without labels, judged by the teacher alone (`--unlabelled`), in as many",
        "epochs, so in more steps. Gain: over the student from the same labels without distillation, which has nothing",
        "to learn from such pairs.",
        "",
        *markdown(rows, left=2),
        "",
    ]


def _lessons(found: list[Headline]) -> list[str]:
    better = [task.task for task in found if task.gain > 0]
    lines = [
        f"- {degradation(found)} (the paper reports {PAPER} %, with BERT-large and all training rows: another "
        "measurement where backbone or rows are others).",
        f"- Distillation (alpha 0.5) is better than none on {len(better)} of {len(found)}"
        + (f": {', '.join(better)}." if better else "."),
    ]
    return [*lines, *(f"- {said}" for said in warnings(found))]


def degradation(found: list[Headline]) -> str:
    """The average over the tasks with enough rows to mean something."""
    enough = [task for task in found if task.train_rows >= FEW]
    if not enough:
        return f"Average relative degradation: no task has {FEW:,} training rows yet."
    average = 100 * fmean(1 - task.retention for task in enough)
    names = "five tasks" if len(enough) == len(GLUE) else ", ".join(task.task for task in enough)
    return f"Average relative degradation of the student against its teacher ({names}): **{average:.1f} %**"


def warnings(found: list[Headline]) -> list[str]:
    """What must be known before the numbers are believed: few rows, weak teachers."""
    few = [task.task for task in found if task.train_rows < FEW]
    weak = [task.task for task in found if task.teacher.mean < task.no_distillation.mean]
    said = []
    if few:
        said.append(too_few(few))
    if not weak:
        return said
    return [
        *said,
        f"On {', '.join(weak)} the teacher itself is behind the student that never saw it: the backbone is a sentence "
        "encoder already, and the cross-encoder made from it with few rows is a weak teacher. There a retention near "
        "or above 100 % proves nothing; the gain does.",
    ]


def too_few(tasks: list[str]) -> str:
    """The warning."""
    return (
        f"On {', '.join(tasks)} fewer than {FEW:,} rows were trained on: those numbers show that everything works, "
        "not what a student is worth."
    )


def headline_row(task: Headline) -> dict[str, str]:
    """One task of the headline table."""

    def of(row: str, metric: str = task.metric) -> Value | None:
        return task.table.value(row=row, split="dev", metric=metric)

    return {
        "task": task.task,
        "metric": task.metric,
        "teacher": number(task.teacher),
        "student": number(task.student),
        "retention": f"{100 * task.retention:.1f} %",
        "no labels": number(of("dse_no_labels")),
        "no distillation": number(task.no_distillation),
        "gain": f"{task.gain:+.1f}",
        "fidelity r": number(of("dse", "fidelity_pearson")),
        "untrained cosine": number(of("cosine_untrained")),
        "trained on": f"{task.train_rows:,}",
        "seeds": str(len(task.student.seeds)),
    }


def _data(task: Headline) -> str:
    row = task.table.where(row="dse", split="dev").rows[0]
    return (
        f"- {task.task}: trained on {part(row['train_rows'], row['train_rows_of'])} rows, reported on "
        f"{part(row['rows'], row['rows_of'])} rows of dev."
    )


def _all_metrics(task: Headline) -> list[str]:
    lines = []
    for split in task.table.distinct("split"):
        own = task.table.where(split=split)
        metrics = get_task(task.task).metrics
        rows = []
        for row in [name for name in (*MAIN, "cosine_untrained") if name in own.distinct("row")]:
            cells = {metric: number(own.value(row=row, metric=metric)) for metric in metrics}
            rows.append({"row": what(row)} | cells)
        lines += [f"### {task.task}, {split} ({own.rows[0]['rows']:,} rows)", "", *markdown(rows), ""]
    return lines
