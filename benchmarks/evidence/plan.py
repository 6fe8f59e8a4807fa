"""Which rows the tables have, in the order in which they are made, and the commands that make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

GLUE = ("mrpc", "stsb", "qqp", "mnli", "qnli")
SEEDS = (42, 43, 44)
BLOCKS = 3  # transformer blocks of the shortened backbone

# Rows that `dse distill` makes: what they are, and the settings that tell them from the configuration.
DISTILLED: dict[str, tuple[str, dict[str, Any]]] = {
    "dse": ("DSE, alpha 0.5", {}),
    "dse_no_labels": ("DSE, alpha 1: teacher's scores only", {"alpha": 1}),
    "no_distillation": ("DSE, alpha 0: labels only", {"alpha": 0}),
    "dse_large_teacher": ("DSE of the larger teacher, alpha 0.5", {}),
    "dse_large_teacher_no_labels": ("DSE of the larger teacher, alpha 1: its scores only", {"alpha": 1}),
    "unlabelled": ("DSE with further pairs without labels", {}),  # --unlabelled FILE, see measure.py
    "unlabelled_large_teacher": ("DSE of the larger teacher, with further pairs without labels", {}),  # likewise
    "squared_error": ("squared error between logits, as in the paper", {"divergence": "mse"}),
    "extra_pairs": ("recombined training sentences as further pairs", {"extra_pairs": 1}),
    "crossfit": ("cross-fitted teacher scores (2 folds)", {"folds": 2}),
    "head_dot": ("head: dot", {"head": "dot"}),
    "head_cosine": ("head: cosine", {"head": "cosine"}),
    "head_bilinear": ("head: bilinear", {"head": "bilinear"}),
    "head_mlp_symmetric": ("head: mlp-symmetric", {"head": "mlp-symmetric"}),
    "one_layer": ("K = 1: last layer only", {"num_layers": 1}),
    "all_at_once": ("head not fitted alone first, as in the paper", {"head_steps": 0}),
    "labels_first": ("head that learns from the labels at once, not the cosine first", {"cosine_steps": 0}),
    "three_blocks": (f"backbone cut to its first {BLOCKS} blocks", {"num_layers": BLOCKS}),  # all it has
}
# Rows that `dse teacher` makes. The large one is twice as deep and twice as wide as the backbone of the students.
LARGE = "sentence-transformers/all-mpnet-base-v2"
TEACHERS: dict[str, tuple[str, ...]] = {
    "teacher": ("teacher: cross-encoder",),
    "teacher_labels_only": ("teacher that learned from labels only", "--bootstrap-pairs", "0"),
    "large_teacher": ("larger teacher: cross-encoder", "--learning-rate", "5e-5"),
}
HEADS = tuple(name for name in DISTILLED if name.startswith("head_"))
COSINE = "cosine_untrained"  # nothing is trained but the threshold
# Rows of glue.json whose script was removed, see docs/results/README.md.
REMOVED = {
    "frozen": "frozen backbone, head trained",
    "static": "static word vectors and the head, both trained",
    "bilstm": "BiLSTM over frozen contextual vectors, and the head (labels only)",
}
# Rows of the transfer table: the backbone as it comes (last K layers, pooling), and students by what they learned.
UNTRAINED: dict[str, dict[str, Any]] = {
    "untrained_mean": {"num_layers": 1},
    "untrained_cls": {"num_layers": 1, "pooling": "cls"},
    "untrained_last_four": {"num_layers": 4},
}
STUDENTS = ("allnli", "stsb", "mnli", "qqp", "qnli", "mrpc")
TRANSFER = ("bag_of_words", *UNTRAINED, *(f"dse_{task}" for task in STUDENTS))
HEADLINE = (COSINE, "teacher", "dse", "no_distillation")
MAIN = ("teacher", "dse", "dse_no_labels", "no_distillation")
LARGE_MAIN = ("large_teacher", "dse_large_teacher", "dse_large_teacher_no_labels")
# Teacher, student, and the student without distillation on the same rows: what a table of GLUE compares.
Three = tuple[str, str, str]
OWN_TEACHER: Three = ("teacher", "dse", "no_distillation")
LARGE_TEACHER: Three = ("large_teacher", "dse_large_teacher", "no_distillation")
# The same with further pairs that the teacher alone judged, beside the labelled ones.
OWN_FURTHER: Three = ("teacher", "unlabelled", "no_distillation")
LARGE_FURTHER: Three = ("large_teacher", "unlabelled_large_teacher", "no_distillation")
COMPARED = {LARGE_TEACHER: LARGE_FURTHER, OWN_TEACHER: OWN_FURTHER}
FURTHER = tuple(student for _, student, _ in COMPARED.values())
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
        """The row whose scores it learns; of a teacher itself."""
        return Row(self.task, "large_teacher" if self.large else "teacher", self.seed)

    @property
    def needs(self) -> list[Row]:
        """Rows that must be made before."""
        if self.task == "transfer":
            return [Row(self.name.removeprefix("dse_"), "dse", self.seed)] if self.name.startswith("dse_") else []
        return [] if self.name in ("no_distillation", COSINE, *TEACHERS) else [self.teacher]

    def scores_file(self, runs: Path) -> Path:
        """Teacher scores that the rows of a task and seed share; cross-fitted ones come from other teachers."""
        name = "crossfit_scores" if self.name == "crossfit" else f"{self.teacher.name}_scores"
        return runs / self.task / str(self.seed) / f"{name}.parquet"


def _plan() -> Iterator[tuple[tuple[str, ...], tuple[str, ...], int]]:
    """Tasks, rows and seed of one block after the other."""
    first, *others = SEEDS
    for task in ("qqp", "mnli", "stsb"):
        yield (task,), HEADLINE, first
    yield ("transfer",), TRANSFER[:4], first
    yield ("qnli",), HEADLINE, first
    yield ("stsb",), ("head_dot", "head_cosine", "three_blocks", "one_layer"), first  # for the picture of speed
    yield ("mrpc",), HEADLINE, first
    yield GLUE, ("dse_no_labels", "teacher_labels_only", *LARGE_MAIN, "unlabelled_large_teacher"), first
    yield ("allnli",), ("teacher", "dse"), first
    yield ("transfer",), TRANSFER, first
    variants = ("labels_first", "unlabelled", "squared_error", "extra_pairs", "crossfit", "one_layer", "all_at_once")
    yield GLUE, (*variants, *HEADS), first
    for seed, task in product(others, GLUE):
        yield (task,), (*MAIN, *LARGE_MAIN, *FURTHER), seed


def rows() -> list[Row]:
    """Every row once, the most telling first, so that whenever the run is stopped the tables are as full as can be."""
    every = (Row(task, name, seed) for tasks, names, seed in _plan() for name, task in product(names, tasks))
    return list(dict.fromkeys(every))


def jobs(wanted: Iterable[Row]) -> list[list[list[Row]]]:
    """Rows as jobs that may run side by side, in two parts, the second after the first.

    Rows that share a teacher are one job, since they share its scores too. Transfers come last: they need students.
    """
    taught: dict[Row, list[Row]] = {}
    transfers = []
    for row in wanted:
        if row.task == "transfer":
            transfers.append([row])
        else:
            taught.setdefault(row.teacher, []).append(row)
    return [list(taught.values()), transfers]


def command(row: Row, runs: Path, config: Path, data: Path, changed: dict[str, Any]) -> list[str]:
    """The `dse` command that trains a row; ``changed`` are options that replace the configuration's."""
    kind = "teacher" if row.name in TEACHERS else "distill"
    words = ["dse", kind, "--config", str(config), "--data", str(data), "--seed", str(row.seed)]
    for option, value in changed.items():
        words += [f"--{option.replace('_', '-')}", str(value)]
    if kind == "teacher":
        words += TEACHERS[row.name][1:]
    else:
        if row.needs:
            words += ["--teacher", str(row.teacher.folder(runs)), "--scores", str(row.scores_file(runs))]
        words.append("--no-speed")
    return [*words, "--output", str(row.folder(runs))]
