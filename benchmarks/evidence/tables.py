"""The tables of the pages as data frames, from the records of `glue.json` and `transfer.json`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmarks.evidence.plan import (
    COMPARED,
    COSINE,
    DISTILLED,
    GLUE,
    LARGE,
    LARGE_TEACHER,
    MAIN,
    OWN_TEACHER,
    REMOVED,
    TEACHERS,
    TRANSFER,
    Three,
)
from benchmarks.render import part, signed, spread
from dse.data.tasks import get_task
from dse.evaluation.transfer_tasks import SEVEN, TRANSFER_TASKS

FEW = 1_000  # training rows below which a number says little
NAMES = {name: about[0] for name, about in (DISTILLED | TEACHERS).items()} | REMOVED
NAMES |= {
    COSINE: "cosine of the untrained backbone, mean pooled",
    "bag_of_words": "mean of the backbone's word embeddings",
    "untrained_mean": "untrained backbone, last layer, mean",
    "untrained_cls": "untrained backbone, last layer, [CLS]",
    "untrained_last_four": "untrained backbone, last 4 layers side by side, mean",
}
NAMES |= {name: f"DSE distilled on {name.removeprefix('dse_').upper()}" for name in TRANSFER if name not in NAMES}
TITLES = {
    LARGE_TEACHER: f"A teacher larger than the student ({LARGE.rpartition('/')[2]}, 110 M parameters, against 23 M)",
    OWN_TEACHER: "A teacher made of the student's own backbone",
}
TITLES |= {COMPARED[names]: f"{title}, and further pairs without labels" for names, title in TITLES.items()}
PLAIN = {further[1]: names[1] for names, further in COMPARED.items()}  # the student without further pairs
TRAINED = tuple(name for name in (*DISTILLED, *REMOVED) if name not in MAIN and "large_teacher_no" not in name)
MAIN_METRIC = {"sentence": "accuracy", "pair": "accuracy", "relatedness": "pearson", "cosine": "spearman"}
ROWS = ("trained on", "further pairs", "reported on")
SHOWN = [
    *("task", "metric", "teacher", "student", "retention", "labels only", "gain", "teacher's scores only"),
    *("without further pairs", "fidelity r", "untrained cosine", "seeds", *ROWS),
]


def best_size(glue: pd.DataFrame, task: str, needed: Sequence[str], seeds: int = 1) -> pd.DataFrame:
    """Records of the task at the largest number of training rows at which all ``needed`` rows share so many seeds.

    Only the shared seeds are kept: a teacher of three seeds beside a student of one says nothing about retention.
    """
    for _, own in sorted(glue.query("task == @task").groupby("train_rows"), reverse=True, key=lambda group: group[0]):
        shared = set.intersection(*(set(own.query("row == @name").seed) for name in needed))
        if len(shared) >= seeds:
            return own[own.seed.isin(shared)]
    return glue.iloc[:0]


def by_seed(records: pd.DataFrame, metric: str, split: str = "dev") -> pd.DataFrame:
    """One metric, a line a seed and a column a row of the plan."""
    chosen = records.query("metric == @metric and split == @split")
    return chosen.pivot(index="seed", columns="row", values="value")


def shown(names: Three) -> tuple[str, ...]:
    """The rows that tables and plots show of a comparison."""
    teacher, student, without = names
    return (teacher, student, f"{student}_no_labels", without, COSINE)


def headline(glue: pd.DataFrame, names: Three, seeds: int = 1) -> pd.DataFrame:
    """Teacher, student and the student without distillation, a line a task, each at its largest size.

    Besides the cells of a page (`SHOWN`): `degradation` (1 - retention), `gains` (points of each seed), `train_rows`,
    and `commands` of the records.
    """
    teacher, student, without = names
    lines = []
    for task in GLUE:
        own, metric = best_size(glue, task, names, seeds), get_task(task).main_metric
        if own.empty:
            continue
        values, count = by_seed(own, metric), own[own.row == student].seed.nunique()
        fidelity = by_seed(own, "fidelity_pearson").get(student, pd.Series(dtype=float))
        cells = {name: spread(values[name], count) for name in values}
        gains = 100 * (values[student] - values[without])
        made = own.query("row == @student and split == 'dev'").iloc[0]
        retention = values[student].mean() / values[teacher].mean()
        lines.append(
            {
                "task": task,
                "metric": metric,
                "teacher": cells[teacher],
                "student": cells[student],
                "retention": f"{100 * retention:.1f} %",
                "labels only": cells[without],
                "gain": signed(gains.mean()) + (f" ± {gains.std():.1f}" if len(gains) > 1 else ""),
                "teacher's scores only": cells.get(f"{student}_no_labels", ""),
                "without further pairs": cells.get(PLAIN.get(student, ""), ""),
                "fidelity r": spread(fidelity),
                "untrained cosine": cells.get(COSINE, ""),
                "seeds": count,
                **_rows(made),
                "degradation": 1 - retention,
                "gains": list(gains),
                "train_rows": made.train_rows,
                "commands": list(own[own.row.isin(names)].command),
            }
        )
    return pd.DataFrame(lines, columns=[*SHOWN, "degradation", "gains", "train_rows", "commands"])


def _rows(made: pd.Series) -> dict[str, str]:
    """How many rows a student was trained and is reported on."""
    further = made.get("unlabelled_rows", 0)
    cells = (part(made.train_rows, made.train_rows_of), f"{further:,.0f}" if further > 0 else "")
    return dict(zip(ROWS, (*cells, part(made.rows, made.rows_of)), strict=True))


def degradation(tasks: pd.DataFrame) -> float:
    """The average relative degradation over the tasks with enough rows to mean something."""
    enough = tasks[tasks.train_rows >= FEW]
    return 100 * enough.degradation.mean()


def all_metrics(glue: pd.DataFrame, names: Three) -> pd.DataFrame:
    """Every metric of the rows that a comparison shows, on every split."""
    lines = []
    for task in GLUE:
        own, metrics = best_size(glue, task, names), get_task(task).metrics
        seeds = own[own.row == names[1]].seed.nunique()
        for split in own.split.unique():
            rows = own[(own.split == split) & own.row.isin(shown(names))]
            for name in (name for name in shown(names) if name in set(rows.row)):
                values = rows[rows.row == name].groupby("metric").value
                cells = {metric: spread(group, seeds) for metric, group in values if metric in metrics}
                about = {"task": task, "split": f"{split}, {rows.rows.iloc[0]:,} rows", "model": NAMES[name]}
                lines.append(about | cells)
    return pd.DataFrame(lines)


def comparisons(glue: pd.DataFrame, variants: Sequence[str], plain: str = "dse") -> pd.DataFrame:
    """Each variant beside the plain row of the same task, size and seeds, a line a variant and task."""
    lines = []
    for variant in variants:
        for task in GLUE:
            own, metric = best_size(glue, task, (plain, variant)), get_task(task).main_metric
            if not own.empty:
                values, made = by_seed(own, metric), own.query("row == @variant and split == 'dev'").iloc[0]
                gain = 100 * (values[variant].mean() - values[plain].mean())
                cells = {"metric": metric, "plain": spread(values[plain]), "value": spread(values[variant])}
                about = {"row": variant, "task": task} | cells | {"gain": gain, "train_rows": made.train_rows}
                lines.append(about | _rows(made))
    columns = ["row", "task", "metric", "plain", "value", "gain", "train_rows", *ROWS]
    return pd.DataFrame(lines, columns=columns)


def variants_table(compared: pd.DataFrame, cells: pd.Series, header: str) -> pd.DataFrame:
    """A line a variant, a column a task, the best on average first."""
    tasks = [task for task in GLUE if task in set(compared.task)]
    wide = compared.assign(cell=cells).pivot(index="row", columns="task", values="cell")[tasks].fillna("")
    mean = compared.groupby("row").gain.mean().sort_values(ascending=False, kind="stable")
    wide = wide.loc[mean.index].assign(mean=mean.map(signed))
    return wide.rename(NAMES).rename_axis(header).reset_index()


def sizes(compared: pd.DataFrame) -> pd.DataFrame:
    """How many rows the students of each task were trained and are reported on, a column a task."""
    distinct = compared.groupby("task")[list(ROWS)].agg(lambda cells: " or ".join(filter(None, cells.unique())))
    wide = distinct.T[[task for task in GLUE if task in distinct.index]]
    return wide[(wide != "").any(axis=1)].rename_axis("rows").reset_index()


def transfer_tables(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """SentEval: a line an embedding, each set at its largest size; and how many rows each set has."""
    largest = records.train_rows == records.groupby("task").train_rows.transform("max")
    main = records.metric == records.task.map(lambda task: MAIN_METRIC[TRANSFER_TASKS[task].kind])
    values = records[largest & main]
    wide = values.pivot(index="row", columns="task", values="value")
    tasks = [*SEVEN, *(task for task in TRANSFER_TASKS if task in wide and task not in SEVEN)]
    wide = wide.reindex(index=[name for name in TRANSFER if name in wide.index], columns=tasks)
    wide.insert(len(SEVEN), "mean of 7", wide[list(SEVEN)].mean(axis=1, skipna=False))
    cells = wide.map(lambda value: "" if pd.isna(value) else f"{100 * value:.1f}")
    values = values.assign(rows=values.rows.map("{:,}".format), train_rows=values.train_rows.map("{:,}".format))
    sets = values.drop_duplicates("task").set_index("task")[["split", "rows", "train_rows"]].T
    sets = sets.reindex(columns=tasks).rename({"rows": "reported on", "train_rows": "trained on"})
    return cells.rename(NAMES).rename_axis("embedding").reset_index(), sets.rename_axis("rows").reset_index()
