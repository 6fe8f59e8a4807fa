"""Entailment: from a CSV of labelled pairs to a student with three classes, by way of a teacher made of the same pairs.

    python examples/judge_entailment.py
    python examples/judge_entailment.py --pairs nli.csv --backbone sentence-transformers/all-mpnet-base-v2

The bundled file has 120 pairs: they show the way, not what a student can reach. Needs the extras `offline`, `train`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dse import DSE, Task, Training, distill, fit_teacher, label_pairs, load_pairs
from dse.data import compute_metrics, split_pairs
from dse.encoding.offline import offline_backbone

TASK = Task("nli", "multiclass", ("entailment", "neutral", "contradiction"))
QUESTIONS = [
    ("The shop closes at six.", "The shop is shut at seven in the evening."),
    ("Two men repair a roof.", "Nobody is working."),
]


def main() -> None:
    """Train teacher and student, and report both on pairs that neither has read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, default=Path(__file__).parent / "data" / "entailment.csv")
    parser.add_argument("--backbone", help="folder or hub id of an encoder; by default the one in `offline`")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--head-steps", type=int, default=256, help="most steps in which the pair head learns alone")
    parser.add_argument("--output", type=Path, default=Path("entailment"))
    arguments = parser.parse_args()
    backbone = arguments.backbone or offline_backbone()
    train, test = split_pairs(load_pairs(arguments.pairs, TASK), 0.25, seed=1)
    head_steps = arguments.head_steps
    training = Training(epochs=arguments.epochs, head_steps=head_steps, cosine_steps=head_steps)

    teacher = fit_teacher(backbone, train, TASK, arguments.output / "teacher", training=training, pooling="segments")
    scores = label_pairs(teacher, train, TASK, arguments.output / "scores.parquet")
    student = DSE.from_backbone(backbone, num_labels=3)
    student = distill(student, train, TASK, arguments.output / "student", teacher_scores=scores, training=training)

    for name, given in (
        ("teacher", label_pairs(teacher, test, TASK, arguments.output / "test.parquet")),
        ("student", student.raw_scores(test.tuples())),
    ):
        print(f"{name}  accuracy {compute_metrics(given, test.label, TASK)['accuracy']:.0%} of {len(test)} pairs")
    for pair, chances in zip(QUESTIONS, student.predict(QUESTIONS, apply_softmax=True), strict=True):
        print(" / ".join(pair), "->", TASK.labels[int(chances.argmax())], f"{chances.max():.2f}")


if __name__ == "__main__":
    main()
