"""Entailment: from a CSV of labelled pairs to a student that says whether the second text follows from the first.

    python examples/judge_entailment.py
    python examples/judge_entailment.py --pairs nli.csv --teacher my-cross-encoder

The bundled file has 120 pairs. A teacher made of so few has nothing to add, so the student learns from labels alone
unless you give it a teacher. Needs the extras `offline` and `train`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dse import DSE, Distillation, Task, Training, distill, label_pairs, load_pairs, load_teacher
from dse.data import compute_metrics, split_pairs
from dse.encoding.offline import offline_backbone

TASK = Task("nli", "binary", ("not_entailment", "entailment"), metrics=("average_precision", "accuracy"))
QUESTIONS = [
    ("The bakery opens at seven.", "You can buy bread there at eight."),
    ("The bakery opens at seven.", "The bakery is popular."),
]


def main() -> None:
    """Train the student, and report it on pairs that it has not read, beside the cosine of its backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, default=Path(__file__).parent / "data" / "entailment.csv")
    parser.add_argument("--teacher", help="folder or hub id of a cross-encoder trained for the task")
    parser.add_argument("--backbone", help="folder or hub id of an encoder; by default the one in `offline`")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--head-steps", type=int, default=256, help="most steps in which the pair head learns alone")
    parser.add_argument("--output", type=Path, default=Path("entailment"))
    arguments = parser.parse_args()
    backbone = arguments.backbone or offline_backbone()
    train, test = split_pairs(load_pairs(arguments.pairs, TASK), 0.25, seed=1)

    scores, alpha = None, 0.0
    if arguments.teacher:
        teacher = load_teacher(arguments.teacher, TASK)
        scores, alpha = label_pairs(teacher, train, TASK, arguments.output / "scores.parquet"), 0.5
    training = Training(arguments.epochs, head_steps=arguments.head_steps)
    settings = {"teacher_scores": scores, "distillation": Distillation(alpha), "training": training}
    student = distill(DSE.from_backbone(backbone), train, TASK, arguments.output / "student", **settings)

    models = {"cosine": DSE.from_backbone(backbone, head="cosine", num_layers=1), "student": student}
    for name, model in models.items():
        metrics = compute_metrics(model.raw_scores(test.tuples())[:, 0], test.label, TASK)
        print(f"{name:<8} average precision {metrics['average_precision']:.2f} on {len(test)} pairs")
    print(f"a guess  average precision {test.label.mean():.2f}")
    for pair, chance in zip(QUESTIONS, student.predict(QUESTIONS), strict=True):
        print(f"{chance:.2f}  {' / '.join(pair)}")


if __name__ == "__main__":
    main()
