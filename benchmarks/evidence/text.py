"""What the pages of the evidence share: names of rows in words, Markdown tables, the last lines of a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from benchmarks.evidence.plan import COMPARED, LARGE, LARGE_TEACHER, OWN_TEACHER
from benchmarks.evidence.results import COMMAND, RESULTS, Value

ROWS = {
    "teacher": "teacher: cross-encoder",
    "teacher_labels_only": "teacher that learned from labels only",
    "large_teacher": "larger teacher: cross-encoder",
    "dse_large_teacher": "DSE of the larger teacher, alpha 0.5",
    "dse_large_teacher_no_labels": "DSE of the larger teacher, alpha 1: its scores only",
    "dse": "DSE, alpha 0.5",
    "dse_no_labels": "DSE, alpha 1: teacher's scores only",
    "no_distillation": "DSE, alpha 0: labels only",
    "squared_error": "squared error between logits, as in the paper",
    "extra_pairs": "recombined pairs beside the training pairs, which the teacher alone judges",
    "unlabelled": "further pairs of the task without their labels, which the teacher alone judges",
    "unlabelled_large_teacher": "DSE of the larger teacher, with further pairs of the task without their labels",
    "crossfit": "DSE on cross-fitted teacher scores (2 folds)",
    "head_dot": "head: dot",
    "head_cosine": "head: cosine",
    "head_bilinear": "head: bilinear",
    "head_mlp_symmetric": "head: mlp-symmetric",
    "one_layer": "K = 1: last layer only",
    "all_at_once": "head not fitted alone first, as in the paper",
    "labels_first": "head that learns from the labels at once, not the cosine of the backbone first",
    "three_blocks": "backbone cut to its first 3 blocks",
    "frozen": "frozen backbone, head trained",
    "static": "static word vectors, trained, and the head",
    "bilstm": "BiLSTM over frozen contextual vectors, and the head (labels only)",
    "cosine_untrained": "cosine of the untrained backbone, mean pooled",
    "bag_of_words": "bag of vectors: mean of the backbone's word embeddings",
    "untrained_mean": "untrained backbone, last layer, mean",
    "untrained_cls": "untrained backbone, last layer, [CLS]",
    "untrained_last_four": "untrained backbone, last 4 layers side by side, mean",
}

TITLES = {
    LARGE_TEACHER: f"A teacher larger than the student ({LARGE.rpartition('/')[2]}, 110 M parameters, against 23 M)",
    OWN_TEACHER: "A teacher made of the student's own backbone",
}
TITLES |= {COMPARED[names]: f"{title}, and further pairs that nobody labelled" for names, title in TITLES.items()}


def what(row: str) -> str:
    """A row in words."""
    return ROWS.get(row) or f"DSE distilled on {row.removeprefix('dse_').upper()}"


def number(value: Value | None) -> str:
    """A cell."""
    return "" if value is None else value.text()


def signed(points: float) -> str:
    """A difference in points; one that rounds to nothing has no minus."""
    return f"{round(points, 1) + 0.0:+.1f}"


def markdown(rows: Sequence[dict[str, str]], left: int = 1) -> list[str]:
    """A table; the first columns stand left, the others right; columns without a cell are left out."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    rules = ["---" if i < left else "---:" for i in range(len(names))]
    lines = [names, rules, *([row[name] for name in names] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def closing(name: str) -> list[str]:
    """Command, machine and versions, from the JSON of a table."""
    about = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    made = {tuple(row[key] for key in ("device", "task", "row", "seed", "train_rows")) for row in about.get("rows", ())}
    counts = Counter(device for device, *_ in made).most_common()
    devices = f"Made on: {', '.join(f'{device} ({count} rows)' for device, count in counts)}. " if counts else ""
    machine = ", ".join(f"{key} {value}" for key, value in about["machine"].items())
    versions = ", ".join(f"{key} {value}" for key, value in about["versions"].items())
    return [
        "## How it was made",
        "",
        f"    {about.get('command', COMMAND)}",
        "",
        f"The command of every single row is in [{name}.json]({name}.json). {devices}Latest machine: "
        f"{machine}. Versions: {versions}.",
        "",
    ]


def part(rows: int, of: int) -> str:
    """How many rows, and of how many they are a subset."""
    return f"all {rows:,}" if rows == of else f"{rows:,} of {of:,}"
