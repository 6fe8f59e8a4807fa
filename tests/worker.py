"""The process that tests kill, resume and run on two ranks.

python -m tests.worker student|ranks BACKBONE OUTPUT SECONDS   trains a student (SECONDS: pause before a batch)
python -m tests.worker ranking BACKBONE OUTPUT SECONDS         learns a ranking (SECONDS: pause before a step)
python -m tests.worker rounds BACKBONE OUTPUT SECONDS          learns from pairs, killed by itself at every stage
python -m tests.worker rankers BACKBONE OUTPUT 0               makes two students that rank, alone or on ranks
python -m tests.worker label TEACHER OUTPUT SECONDS            labels pairs     (SECONDS: pause before a shard)
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dse import DSE
from dse.data import Texts
from dse.teacher import labelling
from dse.training import distill as distillation
from dse.training.settings import Training
from tests.conftest import make_student
from tests.samples import BINARY, make_pairs, make_scores, tensors

LONG = Training(epochs=2, batch_size=16, checkpoint_steps=4, learning_rate=1e-3, head_learning_rate=1e-2, seed=7)


def train_long(backbone: str, output: Path) -> DSE:
    """Thirteen batches an epoch, dropout on, validation that chooses among seven or eight checkpoints."""
    train, validation = make_pairs(BINARY, 200, 1), make_pairs(BINARY, 40, 2)
    student = make_student(backbone, dtype="auto", head_dropout=0.1)
    scores = make_scores(train, BINARY)
    return distillation.distill(
        student, train, BINARY, output, teacher_scores=scores, validation=validation, training=LONG
    )


def train_on_ranks(backbone: str, output: Path) -> None:
    """Data-parallel: two epochs of 64 pairs; each process writes what it ends with and how often it saved a model."""
    save, saved = DSE.save, []
    DSE.save = lambda self, path, *args, **kwargs: saved.append(path) or save(self, path, *args, **kwargs)
    train, validation = make_pairs(BINARY, 64, 1), make_pairs(BINARY, 20, 2)
    student = make_student(backbone)
    before = tensors(student)
    settings = Training(epochs=2, batch_size=8, learning_rate=1e-3, head_learning_rate=1e-2)
    distillation.distill(
        student,
        train,
        BINARY,
        output,
        teacher_scores=make_scores(train, BINARY),
        validation=validation,
        training=settings,
    )
    end = {"before": before, "after": tensors(student), "saves": len(saved)}
    torch.save(end, output.with_name(f"rank{os.environ['RANK']}.pt"))


SMALL_ROUNDS = {"LIST": 6, "ROUND": 6 * 20}  # of `dse.ranking.rounds`, for `make_rankers`
LABELLED, SMALL_SHARD = 60, 6

# Between and within drawing, scoring and training of the first round, then of the second, and at the end.
KILLS = [
    "rounds.draw_candidates:0",
    "_Scorer.scores:1",
    "ranking_loop.save_checkpoint:2",
    "ranking.write_json:0",
    "_Scorer.scores:1",
    "RankingTrainer._step:2",
    "shutil.rmtree:0",
]


def label_slowly(teacher: str, output: Path, seconds: float) -> None:
    """Label `LABELLED` pairs in shards of `SMALL_SHARD`."""
    from sentence_transformers import CrossEncoder

    labelling.SHARD = SMALL_SHARD
    score = labelling.teacher_scores

    def slowly(*args: object, **kwargs: object) -> np.ndarray:
        time.sleep(seconds)
        return score(*args, **kwargs)

    labelling.teacher_scores = slowly
    labelling.label_pairs(CrossEncoder(teacher, device="cpu"), make_pairs(BINARY, LABELLED), BINARY, output)


def learn_ranking(backbone: str, output: Path) -> None:
    """Learn the ranking of the samples in twelve steps, a checkpoint every four, the bank renewed after six."""
    from dse.training import ranking
    from tests.training.ranking_samples import CORPUS, QUERIES, VECTORS

    settings = ranking.RankingTraining(
        steps=12, batch_size=16, learning_rate=1e-3, checkpoint_steps=4, refreshes=1, seed=7
    )
    student = make_student(backbone, head="cosine", num_layers=1, dtype="auto")
    ranking.distill_ranking(student, CORPUS, QUERIES, output, teacher_vectors=VECTORS, settings=settings)


def rank_slowly(backbone: str, output: Path, seconds: float) -> None:
    """`learn_ranking`, with a pause before each step."""
    import logging

    from dse.training import ranking_loop

    logging.basicConfig(level=logging.INFO)
    step = ranking_loop.RankingTrainer._step

    def slowly(self: object, number: int) -> float:
        time.sleep(seconds)
        return step(self, number)

    ranking_loop.RankingTrainer._step = slowly
    learn_ranking(backbone, output)


def make_rankers(backbone: str, output: Path) -> None:
    """A student of vectors and one of scored pairs and vectors; each process writes what it ends with and was asked."""
    from dse.ranking import RankingRecipe, make_ranker
    from dse.teacher import load_ranking_teacher
    from dse.training.ranking import RankingTraining
    from tests.training.ranking_samples import CORPUS, QUERIES, SubjectTeacher

    settings = RankingTraining(steps=6, batch_size=7, learning_rate=1e-3, checkpoint_steps=2, dtype="float32", seed=3)
    documents = Texts([f"d{i}" for i in range(len(CORPUS))], list(CORPUS))
    queries = Texts([f"q{i}" for i in range(len(QUERIES))], list(QUERIES))
    recipe = RankingRecipe(backbone, (), {"device": "cpu"}, settings, teacher_pairs=6 * 40)
    encoder, subjects = load_ranking_teacher(os.environ["ENCODER"]), SubjectTeacher(fingerprint="subjects")
    end: dict[str, Any] = {}
    for name, teachers in {"vectors": [encoder], "pairs": [subjects, encoder]}.items():
        report = make_ranker(documents, queries, recipe, output / name, teacher=teachers)
        student = DSE(str(output / name), device="cpu", dtype="float32")
        end[name] = report.to_dict()["rows"], tensors(student), student.score_matrix(QUERIES, CORPUS)
    torch.save({**end, "asked": len(subjects.asked)}, output.with_name(f"{output.name}{os.environ.get('RANK', '')}.pt"))


def rank_in_rounds(backbone: str, output: Path, kills: list[str]) -> None:
    """Make a student in two rounds, in one process after the other: each but the last kills itself with -9.

    Args:
        backbone: Folder.
        output: Folder of the student; beside it a text file names the pairs that the teacher scored.
        kills: Where each process dies: a stage, and how many of that stage it completes.
    """
    import signal

    import bm25s
    import Stemmer

    assert bm25s and Stemmer
    from dse.ranking import rounds
    from dse.teacher import kept_scores, pair_teacher
    from dse.training import ranking, ranking_loop, ranking_maps
    from tests.training.ranking_samples import CORPUS, QUERIES, SubjectTeacher

    settings = ranking.RankingTraining(
        steps=8, batch_size=8, learning_rate=1e-3, checkpoint_steps=1, refreshes=1, seed=7
    )
    rounds.LIST, rounds.ROUND, pair_teacher.SHARD, ranking_maps.STEPS = 6, 6 * 20, 50, 25
    documents = Texts([f"d{i}" for i in range(len(CORPUS))], list(CORPUS))
    queries = Texts([f"q{i}" for i in range(20)], QUERIES[:20])
    stages: list[tuple[Any, str]] = [
        (rounds, "draw_candidates"),
        (rounds, "write_json"),
        (pair_teacher._Scorer, "scores"),
        (kept_scores.ScoreFile, "finish"),
        (ranking_loop.RankingTrainer, "_step"),
        (ranking_loop, "save_checkpoint"),
        (DSE, "save_pretrained"),
        (ranking, "write_json"),
        (rounds.shutil, "rmtree"),
    ]

    def stop(stage: str, number: int) -> None:
        """Kill this process when it begins this stage for the number-th time, counted from 0."""
        names = [f"{owner.__name__.split('.')[-1]}.{name}" for owner, name in stages]
        owner, attribute = stages[names.index(stage)]
        inner, calls = getattr(owner, attribute), []

        def counted(*args: object, **kwargs: object) -> object:
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            calls.append(None)
            return inner(*args, **kwargs)

        setattr(owner, attribute, counted)

    class Noted(SubjectTeacher):
        fingerprint = "subjects"

        def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
            with output.with_suffix(".txt").open("a", encoding="utf-8") as file:
                file.writelines(f"{a}\t{b}\n" for a, b in pairs)
            return super().predict(pairs)

    def work() -> None:
        teacher = pair_teacher.PairTeacher([Noted()], output / "teacher_scores.parquet")
        student = make_student(backbone, head="cosine-map", num_layers=1, dtype="auto")
        plan = rounds.plan_rounds(len(queries), 6 * 40, settings.seed)
        rounds.train_in_rounds(student, documents, queries, teacher, output, rounds=plan, settings=settings)

    make_student(backbone, head="cosine-map", num_layers=1)  # what is loaded here, no child loads again
    for kill in [*kills, None]:
        child = os.fork()
        if child == 0:
            if kill is not None:
                name, number = kill.split(":")
                stop(name, int(number))
            work()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == (-signal.SIGKILL if kill else 0), f"{kill}: {status}"


def main(what: str, folder: str, output: str, seconds: float) -> None:
    """Run the command at the top of this file."""
    if what == "rankers":
        from dse.ranking import rounds

        vars(rounds).update(SMALL_ROUNDS)
        return make_rankers(folder, Path(output))
    if what == "ranking":
        return rank_slowly(folder, Path(output), seconds)
    if what == "rounds":
        rank_in_rounds(folder, Path(output) / "whole", [])
        return rank_in_rounds(folder, Path(output) / "killed", KILLS)
    if what == "label":
        return label_slowly(folder, Path(output), seconds)
    collate = distillation.DistillationCollator.__call__

    def slowly(self: object, rows: list) -> dict:
        time.sleep(seconds)
        return collate(self, rows)

    distillation.DistillationCollator.__call__ = slowly
    {"student": train_long, "ranks": train_on_ranks}[what](folder, Path(output))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:4], float(sys.argv[4]))
