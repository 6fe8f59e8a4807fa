"""`ablations.md` and `tried.md`, from `glue.json`: what each part is worth, and what did not help."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from benchmarks.evidence.glue_pages import FEW, too_few
from benchmarks.evidence.plan import GLUE, HEADS, SHALLOW
from benchmarks.evidence.results import Measured, Table, Value
from benchmarks.evidence.text import closing, markdown, number, part, signed, what
from dse.data.tasks import get_task

VARIANTS = (
    "squared_error",
    "unlabelled",
    "dse_large_teacher",
    "unlabelled_large_teacher",
    "extra_pairs",
    "crossfit",
    *HEADS,
    "one_layer",
    "all_at_once",
    "labels_first",
    "three_blocks",
    *SHALLOW,
)
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
    little, more = (
        Table([row for row in glue.rows if (row["train_rows"] > FEW) == larger]) for larger in (False, True)
    )
    found = comparisons(little) or comparisons(more)
    ordered = sorted(found, key=lambda row: -_mean_gain(found[row]))
    if not ordered:
        return "# What each part of the student is worth\n\nNot measured yet.\n"
    best, worst = ordered[0], ordered[-1]
    few = [task for task in GLUE if any(row["train_rows"] < FEW for row in _plain(little, task))]
    lines = ["# What each part of the student is worth", "", *([f"- {too_few(few)}"] if few else [])]
    lines += [
        f"- Nearest to the plain student, or ahead: {what(best)} ({signed(_mean_gain(found[best]))} points on "
        "average).",
        f"- Furthest behind: {what(worst)} ({signed(_mean_gain(found[worst]))}).",
        "",
        "Main metric of each task x 100 on dev (MRPC and QQP F1, STS-B Spearman, QNLI and MNLI-m accuracy); in",
        "brackets the difference to the plain student (alpha 0.5, last 4 layers, head mlp) trained on the same rows",
        "with the same seed. A point is noise on these sets, most of which were run with one seed. Empty: not run.",
        "",
    ]
    for title, table in ((f"At most {FEW:,} training rows", little), ("More training rows", more)):
        lines += _variants(title, table)
    return "\n".join([*lines, *_teachers(glue), *closing("glue")])


def _variants(title: str, glue: Table) -> list[str]:
    """One table of variants; nothing if none was run."""
    found = comparisons(glue)
    if not found:
        return []
    tasks = [task for task in GLUE if any(task in by_task for by_task in found.values())]
    rows = []
    for row, by_task in found.items():
        cells = {task: _difference(*by_task[task]) if task in by_task else "" for task in tasks}
        rows.append({"variant": what(row)} | cells | {"mean": signed(_mean_gain(by_task))})
    data = []
    for task in tasks:
        row = _plain(glue, task)[0]
        data.append(
            f"- {task}: trained on {part(row['train_rows'], row['train_rows_of'])} rows, reported on "
            f"{part(row['rows'], row['rows_of'])}{_further(glue, task)}."
        )
    return [f"## {title}", "", *markdown(rows), "", *data, ""]


def _plain(glue: Table, task: str) -> list[Measured]:
    """Rows of the plain student that a task's variants are compared with."""
    return glue.best_size(task, ("dse",)).where(row="dse", split="dev").rows


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
            gained = {"gain": signed(100 * (first.mean - alone.mean))}
            rows.append(cells | gained | {"trained on": part(size["train_rows"], size["train_rows_of"])})
    if not rows:
        return []
    said = "Teachers that first learn what the cosine of their backbone says (`--bootstrap-pairs`), and others:"
    return ["## The teacher", "", said, "", *markdown(rows, left=2), ""]


def _difference(variant: Value, plain: Value) -> str:
    return f"{variant.text()} ({signed(100 * (variant.mean - plain.mean))})"


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
        *([too_few(few), ""] if few else []),
        "Every change below was trained and measured against the plain student (alpha 0.5, last 4 layers, head mlp) on",
        "the same rows with the same seed, and is on average not better. It stays an option, not the default.",
        "",
        *_list(glue, behind),
        "",
        "On average ahead of the plain student, but not in the recipe of these tables:",
        "",
        *_list(glue, ahead),
        "",
        "Points of each task's main metric x 100 on dev, and on how many training rows. Of one seed a point is noise.",
        "",
    ]
    return "\n".join([*lines, *closing("glue")])


def _is_few(glue: Table, row: str, task: str) -> bool:
    return bool(glue.best_size(task, ("dse", row)).rows[0]["train_rows"] < FEW)


def _list(glue: Table, rows: dict[str, ByTask]) -> list[str]:
    lines = []
    for row, by_task in sorted(rows.items(), key=lambda item: _mean_gain(item[1])):
        each = ", ".join(
            f"{task} {signed(100 * (a.mean - b.mean))} on {glue.best_size(task, ('dse', row)).rows[0]['train_rows']:,}"
            for task, (a, b) in by_task.items()
        )
        lines.append(f"- {what(row)}: {signed(_mean_gain(by_task))} points on average ({each}).")
    return lines or ["- Nothing yet."]
