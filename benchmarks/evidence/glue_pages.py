"""`glue.md`, from `glue.json`."""

from __future__ import annotations

from statistics import fmean, stdev

from benchmarks.evidence.plan import COMPARED, GLUE, SEEDS, Three
from benchmarks.evidence.results import Headline, Table, Value, compared, headlines
from benchmarks.evidence.text import TITLES, closing, markdown, number, part, signed, what
from dse.data.tasks import get_task

PAPER = 4.6  # % average relative degradation: the abstract of Barkan et al., AAAI 2020; BERT-large, all training rows
KEPT = ("task", "metric", "teacher", "student", "retention", "no labels", "no distillation", "gain", "trained on")
PLAIN = {further[1]: names[1] for names, further in COMPARED.items()}  # the student without further pairs
FEW = 1_000  # training rows below which a number says little


def glue_page(glue: Table, name: str = "glue") -> str:
    """The headline tables of `NAME.json`."""
    every = compared(glue)
    lines = ["# GLUE: what a student keeps of its teacher", ""]
    lines += [
        f"For comparison: the paper reports an average relative degradation of {PAPER} %, with BERT-large and all",
        "training rows; with another backbone or fewer rows it is another measurement.",
        "",
    ]
    for names, found in every.items():
        lines += [*([f"## {TITLES[names]}", ""] if len(every) > 1 else []), *_lessons(found), ""]
        lines += [*markdown([headline_row(task) for task in found], left=2), ""]
    lines += [f"![Teachers, students and untrained cosine on each task](plots/{name}.png)", ""]
    lines += [
        "All values x 100, on GLUE's dev sets; ± is the standard deviation over seeds, and where there is none, one",
        "seed was run. Retention: student / teacher on the same rows. Gain: points that the teacher adds over alpha 0,",
        "the same student trained on labels only; its ± is over the gains of each seed. Fidelity: Pearson r of the",
        "scores of student and teacher. Checkpoint and threshold are chosen on a tenth of the training rows; dev is",
        "only reported on (but see the [note on MRPC](README.md)). Further pairs: other rows of the training set,",
        "without labels, judged by the teacher alone (`--unlabelled`), in as many epochs, so in more steps; without",
        "distillation there is nothing to learn from them.",
        "",
        "## Data",
        "",
        *dict.fromkeys(_data(task) for found in every.values() for task in found),
        "",
        *(line for names in every for line in _seeds(glue, names)),
    ]
    for names, found in every.items():
        lines += [f"## All metrics: {_small(TITLES[names])}", ""]
        lines += [line for task in found for line in _all_metrics(task)]
    return "\n".join([*lines, *closing(name)])


def _seeds(glue: Table, names: Three) -> list[str]:
    """Where the headline had fewer seeds: every seed, on fewer training rows."""
    more = {task.task for task in headlines(glue, names=names) if task.seeded}
    found = [task for task in headlines(glue, len(SEEDS), names) if task.task not in more]
    if not found:
        return []
    rows = [{name: cell for name, cell in headline_row(task).items() if name in KEPT} for task in found]
    return [
        f"## {len(SEEDS)} seeds on fewer rows: {_small(TITLES[names])}",
        "",
        f"- {beyond(found)}",
        *(f"- {said}" for said in warnings(found)),
        *(_data(task) for task in found),
        "",
        *markdown(rows, left=2),
        "",
    ]


def _small(title: str) -> str:
    return title[0].lower() + title[1:]


def beyond(found: list[Headline]) -> str:
    """Where distillation is better or worse than none by more than the seeds explain."""
    better, worse = (", ".join(task.task for task in found if task.beyond == sign) or "no task" for sign in (1, -1))
    return (
        f"Beyond two standard errors over {len(SEEDS)} seeds distillation is better than none on {better} and worse "
        f"on {worse}."
    )


def _gain(task: Headline) -> str:
    """Points that distillation adds, with their spread over the seeds."""
    spread = f" ± {stdev(task.gains):.1f}" if len(task.gains) > 1 else ""
    return f"{signed(task.gain)}{spread}"


def _lessons(found: list[Headline]) -> list[str]:
    better = [task.task for task in found if task.gain > 0]
    lines = [
        f"- {degradation(found)}.",
        f"- Distillation (alpha 0.5) is better than none on {len(better)} of {len(found)}"
        + (f": {', '.join(better)}." if better else "."),
    ]
    seeds = [task for task in found if task.seeded]
    lines += [f"- {beyond(seeds)}"] if seeds else []
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
    _, student, _ = task.names
    return {
        "task": task.task,
        "metric": task.metric,
        "teacher": number(task.teacher),
        "student": number(task.student),
        "retention": f"{100 * task.retention:.1f} %",
        "no labels": _cell(task, task.of(f"{student}_no_labels")),
        "without further pairs": _cell(task, task.of(PLAIN[student])) if student in PLAIN else "",
        "no distillation": number(task.no_distillation),
        "gain": _gain(task),
        "fidelity r": number(task.of(student, "fidelity_pearson")),
        "untrained cosine": number(task.of("cosine_untrained")),
        "trained on": f"{task.train_rows:,}",
        "further pairs": f"{task.further:,}" if task.further else "",
        "seeds": str(len(task.student.seeds)),
    }


def _cell(task: Headline, value: Value | None) -> str:
    """A cell that says so where fewer seeds were run than of the student."""
    fewer = value is not None and 1 < len(value.seeds) < len(task.student.seeds)
    return f"{number(value)} ({len(value.seeds)} seeds)" if value and fewer else number(value)


def _data(task: Headline) -> str:
    row = task.made
    more = f" and {task.further:,} further pairs" if task.further else ""
    return (
        f"- {task.task}: trained on {part(row['train_rows'], row['train_rows_of'])} rows{more}, reported on "
        f"{part(row['rows'], row['rows_of'])} rows of dev."
    )


def _all_metrics(task: Headline) -> list[str]:
    lines, metrics = [], get_task(task.task).metrics
    for split in task.table.distinct("split"):
        own = task.table.where(split=split)
        rows = []
        for row in [row for row in task.shown if row in own.distinct("row")]:
            cells = {metric: _cell(task, own.value(row=row, metric=metric)) for metric in metrics}
            rows.append({"row": what(row)} | cells)
        lines += [f"### {task.task}, {split} ({own.rows[0]['rows']:,} rows)", "", *markdown(rows), ""]
    return lines
