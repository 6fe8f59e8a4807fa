"""What several examples share: the bundled help-desk questions, and a student that ranks them."""

from __future__ import annotations

import argparse
from pathlib import Path

from dse import DSE
from dse.data.helpdesk import read_questions, split_questions
from dse.quickstart import run
from dse.training.ranking import RankingTraining


def options(about: str | None) -> argparse.ArgumentParser:
    """The options of an example that needs a student: which one, and how long to train where there is none yet."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--student", type=Path, default=Path("example-student"), help="folder; made if it is not there")
    parser.add_argument("--steps", type=int, default=40, help="training steps of a student that has to be made")
    return parser


def load_student(arguments: argparse.Namespace) -> DSE:
    """The student in the folder; where there is none, a short run of the quickstart makes one (about a minute)."""
    if not (arguments.student / "modules.json").is_file():
        run(arguments.student, settings=RankingTraining(steps=arguments.steps, kept=0.0), show_progress_bar=True)
    return DSE(str(arguments.student))


def catalogue_and_queries() -> tuple[list[str], list[str], list[list[bool]]]:
    """The catalogue (540 texts), new questions (270), and for each question which texts of the catalogue answer it."""
    questions, _ = read_questions()
    split = split_questions(questions)
    texts = [question.text for question in questions]
    return [texts[i] for i in split.catalogue], [texts[i] for i in split.queries], split.relevant.tolist()
