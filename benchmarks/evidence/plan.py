"""Which rows the tables have, in the order in which they are made, and the commands that make them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GLUE = ("mrpc", "stsb", "qqp", "mnli", "qnli")
SEEDS = (42, 43, 44)
BLOCKS = 3  # transformer blocks of the shortened backbone

# Rows that `dse distill` makes, with the settings that make them what they are.
DISTILLED: dict[str, dict[str, Any]] = {
    "dse": {},
    "dse_no_labels": {"alpha": 1},
    "no_distillation": {"alpha": 0},
    "squared_error": {"divergence": "mse"},
    "extra_pairs": {"extra_pairs": 1},
    "unlabelled": {},  # --unlabelled FILE, see measure.py
    "unlabelled_large_teacher": {},  # likewise
    "crossfit": {"folds": 2},
    "head_dot": {"head": "dot"},
    "head_cosine": {"head": "cosine"},
    "head_bilinear": {"head": "bilinear"},
    "head_mlp_symmetric": {"head": "mlp-symmetric"},
    "one_layer": {"num_layers": 1},
    "all_at_once": {"head_steps": 0},
    "labels_first": {"cosine_steps": 0},
    "three_blocks": {"num_layers": BLOCKS},  # all there are
    "dse_large_teacher": {},
    "dse_large_teacher_no_labels": {"alpha": 1},
}
# Rows that `dse teacher` makes. The large one is twice as deep and twice as wide as the backbone of the students.
LARGE = "sentence-transformers/all-mpnet-base-v2"
TEACHERS: dict[str, tuple[str, ...]] = {
    "teacher": (),
    "teacher_labels_only": ("--bootstrap-pairs", "0"),
    "large_teacher": ("--learning-rate", "5e-5"),
}
ALONE = ("no_distillation", "cosine_untrained", "bilstm", *TEACHERS)  # these need no teacher
HEADS = tuple(name for name in DISTILLED if name.startswith("head_"))
# Rows on frozen vectors, see shallow.py.
SHALLOW = ("cosine_untrained", "frozen", "static", "bilstm")
# Rows of the transfer table: the backbone as it comes (last K layers, pooling), and students by what they learned.
UNTRAINED: dict[str, dict[str, Any]] = {
    "untrained_mean": {"num_layers": 1},
    "untrained_cls": {"num_layers": 1, "pooling": "cls"},
    "untrained_last_four": {"num_layers": 4},
}
STUDENTS = ("allnli", "stsb", "mnli", "qqp", "qnli", "mrpc")
TRANSFER = ("bag_of_words", *UNTRAINED, *(f"dse_{task}" for task in STUDENTS))
HEADLINE = ("cosine_untrained", "teacher", "dse", "no_distillation")
MAIN = ("teacher", "dse", "dse_no_labels", "no_distillation")
LARGE_MAIN = ("large_teacher", "dse_large_teacher", "dse_large_teacher_no_labels")
# Teacher, student, and the student without distillation, on the same rows: what a headline compares.
Three = tuple[str, str, str]
OWN_TEACHER: Three = ("teacher", "dse", "no_distillation")
LARGE_TEACHER: Three = ("large_teacher", "dse_large_teacher", "no_distillation")
# The same with further pairs that the teacher alone judged, beside the labelled ones.
OWN_FURTHER: Three = ("teacher", "unlabelled", "no_distillation")
LARGE_FURTHER: Three = ("large_teacher", "unlabelled_large_teacher", "no_distillation")
COMPARED = {LARGE_TEACHER: LARGE_FURTHER, OWN_TEACHER: OWN_FURTHER}
FURTHER = tuple(student for _, student, _ in COMPARED.values())
BEST = ("unlabelled_large_teacher", "dse")  # the student of each teacher that stands for it in the picture of speed
SPLITS = {"mnli": ("dev", "dev_mismatched")}


@dataclass(frozen=True)
class Row:
    """One model of the tables."""

    task: str
    name: str
    seed: int = SEEDS[0]

    @property
    def key(self) -> str:
        """What `--only` takes."""
        return f"{self.task}/{self.name}/{self.seed}"

    def folder(self, runs: Path) -> Path:
        """Where its model and `row.json` lie."""
        return runs / self.task / str(self.seed) / self.name

    def sibling(self, name: str) -> Row:
        """Another row of the same task and seed."""
        return Row(self.task, name, self.seed)

    @property
    def splits(self) -> tuple[str, ...]:
        """What it is reported on; the second MNLI set for the main rows only, to save time."""
        every = SPLITS.get(self.task, ("dev",))
        return every if self.name in (*MAIN, *LARGE_MAIN) else every[:1]

    @property
    def large(self) -> bool:
        """Whether it is the larger teacher or learns its scores."""
        return "large_teacher" in self.name

    @property
    def teacher(self) -> Row:
        """The row whose scores it learns."""
        return self.sibling("large_teacher" if self.large else "teacher")


def plan() -> Iterator[Row]:
    """Every row, the most telling first, so that whenever the run is stopped the tables are as full as can be."""
    for task in ("qqp", "mnli", "stsb"):
        yield from (Row(task, name) for name in HEADLINE)
    yield from (Row("transfer", name) for name in TRANSFER[:4])
    yield from (Row("qnli", name) for name in HEADLINE)
    # One student a backbone and head, for the picture of speed and quality.
    yield from (Row("stsb", name) for name in ("head_dot", "head_cosine", "static", "three_blocks", "one_layer"))
    yield from (Row("mrpc", name) for name in HEADLINE)
    yield from (
        Row(task, name) for name in ("dse_no_labels", "teacher_labels_only", "frozen", "bilstm") for task in GLUE
    )
    yield from (Row(task, name) for name in (*LARGE_MAIN, "unlabelled_large_teacher") for task in GLUE)
    yield from (Row("allnli", name) for name in ("teacher", "dse"))
    yield from (Row("transfer", name) for name in TRANSFER)
    yield from (
        Row(task, name)
        for name in (
            "labels_first",
            "unlabelled",
            "squared_error",
            "extra_pairs",
            "crossfit",
            "one_layer",
            "all_at_once",
            *HEADS,
            "static",
        )
        for task in GLUE
    )
    for seed in SEEDS[1:]:
        yield from (Row(task, name, seed) for task in GLUE for name in (*MAIN, *LARGE_MAIN, *FURTHER))


def rows() -> list[Row]:
    """The plan without repetitions."""
    return list(dict.fromkeys(plan()))


def command(row: Row, runs: Path, config: Path, data: Path, changed: dict[str, Any]) -> list[str]:
    """The `dse` command that trains a row; ``changed`` are options that replace the configuration's."""
    what = "teacher" if row.name in TEACHERS else "distill"
    made = ["dse", what, "--config", str(config), "--data", str(data), "--seed", str(row.seed)]
    for option, value in changed.items():
        made += [f"--{option.replace('_', '-')}", str(value)]
    if what == "teacher":
        made += TEACHERS[row.name]
    else:
        if row.name not in ALONE:
            made += ["--teacher", str(row.teacher.folder(runs)), "--scores", str(scores_file(row, runs))]
        made.append("--no-speed")
    return [*made, "--output", str(row.folder(runs))]


def scores_file(row: Row, runs: Path) -> Path:
    """Teacher scores that the rows of a task and seed share; cross-fitted ones come from other teachers."""
    name = "crossfit_scores" if row.name == "crossfit" else f"{row.teacher.name}_scores"
    return runs / row.task / str(row.seed) / f"{name}.parquet"
