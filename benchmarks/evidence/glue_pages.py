"""`glue.md`, `ablations.md` and `tried.md`, from `glue.json`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from benchmarks.evidence.plan import GLUE, MAIN, SEEDS, SHALLOW
from benchmarks.evidence.results import Headline, Measured, Table, Value, headlines
from benchmarks.evidence.text import closing, markdown, number, part, what
from dse.tasks import get_task

PAPER = 4.6  # % average relative degradation: the abstract of Barkan et al., AAAI 2020; BERT-large, all training rows
KEPT = ("task", "metric", "teacher", "student", "retention", "no labels", "no distillation")
FEW = 1_000  # training rows below which a number says little
VARIANTS = (
    *(
        "squared_error",
        "unlabelled",
        "extra_pairs",
        "no_extra_pairs",  # of an earlier recipe; no longer in the plan
        "crossfit",
        "head_dot",
        "head_cosine",
        "head_bilinear",
        "head_mlp_symmetric",
        "one_layer",
    ),
    *("all_at_once", "three_blocks"),
    *SHALLOW,
)


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
    better = [task.task for task in found if task.better]
    return [
        f"## {len(SEEDS)} seeds",
        "",
        f"Mean ± standard deviation over seeds {', '.join(map(str, SEEDS))}, that of the gain over the gains of each",
        f"seed. Beyond two standard errors distillation is better than none on {', '.join(better) or 'no task'}.",
        "",
        *markdown(rows, left=2),
        "",
        *(_data(task) for task in found),
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
        said.append(_few(few))
    if not weak:
        return said
    return [
        *said,
        f"On {', '.join(weak)} the teacher itself is behind the student that never saw it: the backbone is a sentence "
        "encoder already, and the cross-encoder made from it with few rows is a weak teacher. There a retention near "
        "or above 100 % proves nothing; the gain does.",
    ]


def _few(tasks: list[str]) -> str:
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
        "unlabelled pairs too": number(of("unlabelled")),
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


# ----------------------------------------------------------------------------------------------------- ablations


ByTask = dict[str, tuple[Value, Value]]  # task -> variant and plain student


def comparisons(glue: Table, variants: Sequence[str] = VARIANTS) -> dict[str, ByTask]:
    """For each variant and task: the variant and the plain student, at the same size and of the same seeds."""
    found: dict[str, ByTask] = {}
    for row in variants:
        for task in GLUE:
            own, metric = glue.best_size(task, ("dse", row)), get_task(task).main_metric
            variant = own.value(row=row, split="dev", metric=metric)
            plain = own.value(variant.seeds, row="dse", split="dev", metric=metric) if variant else None
            if variant and plain:
                found.setdefault(row, {})[task] = (variant, plain)
    return found


def ablations_page(glue: Table) -> str:
    """Every variant against the plain student."""
    found = comparisons(glue)
    tasks = [task for task in GLUE if any(task in by_task for by_task in found.values())]
    rows = []
    for row, by_task in found.items():
        cells = {task: _difference(*by_task[task]) if task in by_task else "" for task in tasks}
        rows.append({"variant": what(row)} | cells | {"mean": f"{_mean_gain(by_task):+.1f}"})
    ordered = sorted(found, key=lambda row: -_mean_gain(found[row]))
    if not ordered:
        return "# What each part of the student is worth\n\nNot measured yet.\n"
    best, worst = ordered[0], ordered[-1]
    sizes = {task: _compared(glue, found, task) for task in tasks}
    few = [task for task, row in sizes.items() if row["train_rows"] < FEW]
    lines = ["# What each part of the student is worth", "", *([f"- {_few(few)}"] if few else [])]
    lines += [
        f"- Nearest to the plain student, or ahead: {what(best)} ({_mean_gain(found[best]):+.1f} points on average).",
        f"- Furthest behind: {what(worst)} ({_mean_gain(found[worst]):+.1f}).",
        "",
        *markdown(rows),
        "",
        "Main metric of each task x 100 on dev (MRPC and QQP F1, STS-B Spearman, QNLI and MNLI-m accuracy); in",
        "brackets the difference to the plain student (alpha 0.5, last 4 layers, head mlp) trained on the same rows",
        "with the same seed. Differences of some points are noise on sets of a few hundred rows. Empty: not yet.",
        "",
        "## Data",
        "",
    ]
    for task, row in sizes.items():
        lines.append(
            f"- {task}: trained on {part(row['train_rows'], row['train_rows_of'])} rows, reported on "
            f"{part(row['rows'], row['rows_of'])}{_further(glue, task)}."
        )
    return "\n".join([*lines, "", *_teachers(glue), *closing("glue")])


def _further(glue: Table, task: str) -> str:
    """How many pairs the row with unlabelled ones had besides."""
    rows = glue.best_size(task, ("dse", "unlabelled")).where(row="unlabelled").rows
    return f"; {rows[0]['unlabelled_rows']:,} further pairs without labels" if rows else ""


def _teachers(glue: Table) -> list[str]:
    """What the teachers gain by what they learn before the labels."""
    rows = []
    for task in GLUE:
        own, metric = glue.best_size(task, ("teacher", "teacher_labels_only")), get_task(task).main_metric
        alone = own.value(row="teacher_labels_only", split="dev", metric=metric)
        first = own.value(alone.seeds, row="teacher", split="dev", metric=metric) if alone else None
        if alone and first:
            size = own.rows[0]
            cells = {"task": task, "metric": metric, "labels only": number(alone), "cosine first": number(first)}
            gained = {"gain": f"{100 * (first.mean - alone.mean):+.1f}"}
            rows.append(cells | gained | {"trained on": part(size["train_rows"], size["train_rows_of"])})
    if not rows:
        return []
    said = "Teachers that first learn what the cosine of their backbone says (`--bootstrap-pairs`), and others:"
    return ["## The teacher", "", said, "", *markdown(rows, left=2), ""]


def _compared(glue: Table, found: dict[str, ByTask], task: str) -> Measured:
    """One of the rows that a task's variants are compared with."""
    some = glue.best_size(task, ("dse", next(row for row in found if task in found[row])))
    return some.where(row="dse", split="dev").rows[0]


def _difference(variant: Value, plain: Value) -> str:
    return f"{variant.text()} ({100 * (variant.mean - plain.mean):+.1f})"


def _mean_gain(by_task: ByTask) -> float:
    return 100 * fmean(variant.mean - plain.mean for variant, plain in by_task.values())


def tried_page(glue: Table) -> str:
    """What did not help, as far as it was measured."""
    variants = [row for row in VARIANTS if row != "cosine_untrained"]  # nothing was trained there
    trained = comparisons(glue, ("dse_no_labels", "no_distillation", *variants))
    behind = {row: by_task for row, by_task in trained.items() if _mean_gain(by_task) <= 0}
    ahead = {row: by_task for row, by_task in trained.items() if _mean_gain(by_task) > 0}
    few = [
        task for task in GLUE if any(task in by_task and _is_few(glue, row, task) for row, by_task in trained.items())
    ]
    lines = [
        "# What was tried and did not help",
        "",
        *([_few(few), ""] if few else []),
        "Every change below was trained and measured against the plain student (alpha 0.5, last 4 layers, head mlp) on",
        "the same rows with the same seed, and is on average not better. It stays an option, not the default.",
        "",
        *_list(behind),
        "",
        "On average ahead of the plain student, but not adopted on so few runs:",
        "",
        *_list(ahead),
        "",
        "Points of each task's main metric x 100 on dev. With one seed and a few hundred rows, a point or so is noise.",
        "",
    ]
    return "\n".join([*lines, *closing("glue")])


def _is_few(glue: Table, row: str, task: str) -> bool:
    return bool(glue.best_size(task, ("dse", row)).rows[0]["train_rows"] < FEW)


def _list(rows: dict[str, ByTask]) -> list[str]:
    lines = []
    for row, by_task in sorted(rows.items(), key=lambda item: _mean_gain(item[1])):
        each = ", ".join(f"{task} {100 * (a.mean - b.mean):+.1f}" for task, (a, b) in by_task.items())
        lines.append(f"- {what(row)}: {_mean_gain(by_task):+.1f} points on average ({each}).")
    return lines or ["- Nothing yet."]
