"""Kills at random moments while pairs are labelled and models are trained.

What is there after each kill must be whole, and what is there in the end must be what an undisturbed run gives: every
score once, the same weights bit for bit, nothing left over. A child process does the work, so that ``kill -9`` is real.
"""

from __future__ import annotations

import logging
import random
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers

from benchmarks.reliability.processes import answer_of, fork, wait
from dse import DSE, Distillation, Pairs, Training, fit_teacher, label_pairs, load_teacher
from dse.data.tasks import Task
from dse.encoding import fingerprint
from dse.teacher import labelling
from dse.teacher.kept_scores import ScoreFile
from dse.training.distill import distill

WORDS = (
    "a the red blue old new small bicycle tent house river cat dog man woman book is was reads sees in on by".split()
)
TASK = Task("alike", "binary", labels=("different", "alike"))
TRAINING = Training(epochs=1, batch_size=8, checkpoint_steps=2, head_steps=4, cosine_steps=4, dtype="float32")
ROWS, SHARD = 48, 6
PATIENCE = 300.0  # seconds that a run may take to end, when it is no longer killed
KILLS_IN_A_ROW = 6  # then a run may end


class Job(ABC):
    """One command, what it must leave in the end, and what must hold after every kill.

    Args:
        root: Folder with the models that it starts from, and of the undisturbed run.
    """

    name: str

    def __init__(self, root: Path) -> None:
        self.root = root
        start = time.perf_counter()
        if exit_code := wait(fork(partial(self.run, root / self.name), root / "log"), PATIENCE):
            raise RuntimeError(f"{self.name} ended with {exit_code} without any kill; see {root / 'log'}")
        self.seconds = time.perf_counter() - start
        self.expected = self.result(root / self.name)

    @abstractmethod
    def run(self, output: Path) -> None:
        """Do the work, or go on with it."""

    @abstractmethod
    def result(self, output: Path) -> object:
        """What a finished run has left, to be compared."""

    @abstractmethod
    def check(self, output: Path, finished: bool) -> dict[str, int]:
        """What is wrong, by name."""


class Labelling(Job):
    """`label_pairs`: no score is lost once it is kept, none is kept twice, and each is that of its pair."""

    name = "label"

    def run(self, output: Path) -> None:
        """Label in small shards."""
        labelling.SHARD = SHARD
        label_pairs(load_teacher(str(self.root / "teacher"), TASK, device="cpu"), _pairs(), TASK, output / "s.parquet")

    def result(self, output: Path) -> dict[tuple[str, str], float]:
        """The score of each pair."""
        table = ScoreFile(output / "s.parquet").table
        pairs = zip(table["sentence1"].to_pylist(), table["sentence2"].to_pylist(), strict=True)
        return {pair: scores[0] for pair, scores in zip(pairs, table["scores"].to_pylist(), strict=True)}

    def check(self, output: Path, finished: bool) -> dict[str, int]:
        """Scores lost, doubled and wrong."""
        kept, expected = self.result(output), self.expected
        assert isinstance(expected, dict)
        seen = output.with_suffix(".seen")
        wanted = len(expected) if finished else int(seen.read_text()) if seen.exists() else 0
        seen.write_text(str(len(kept)))
        wrong = sum(abs(score - expected.get(pair, np.inf)) > 1e-5 for pair, score in kept.items())
        rows = pq.read_metadata(output / "s.parquet").num_rows if finished else len(kept)
        # Half of a file, whose writing was killed, stays under a hidden name that nothing reads.
        visible = [path.name for path in output.iterdir() if path.name[0] != "."]
        return {
            "lost_rows": max(0, wanted - len(kept)),
            "doubled_rows": rows - len(kept),
            "wrong_scores": wrong,
            "left_over": int(finished and visible != ["s.parquet"]),
        }


class Fitting(Job):
    """A model that is trained: whole and the same as undisturbed as soon as it counts as finished."""

    def load(self, output: Path) -> DSE | torch.nn.Module:
        """The finished model."""
        return load_teacher(str(output), TASK, device="cpu")

    def result(self, output: Path) -> str:
        """The fingerprint of the model that was saved."""
        return fingerprint(self.load(output))  # type: ignore[arg-type]

    def check(self, output: Path, finished: bool) -> dict[str, int]:
        """Models that differ, and folders that stay."""
        done = (output / "training.json").exists()
        different = done and self.result(output) != self.expected
        left = finished and (not done or (output / "checkpoints").exists())
        return {"different_models": int(different), "left_over": int(left)}


class Teaching(Fitting):
    """`fit_teacher`."""

    name = "teach"

    def run(self, output: Path) -> None:
        """Fine-tune, with checkpoints that a validation chooses among."""
        backbone = str(self.root / "backbone")
        fit_teacher(backbone, _pairs(), TASK, output, validation=_pairs(12, 1), training=TRAINING, device="cpu")


class Distilling(Fitting):
    """`distill`."""

    name = "distil"

    def run(self, output: Path) -> None:
        """Train a student whose head starts at random, on scores that depend on the pair alone."""
        pairs = _pairs()
        torch.manual_seed(0)
        student = DSE.from_backbone(str(self.root / "backbone"), num_layers=2, head_dimension=8, device="cpu")
        scores = np.array([[float(len(a) - len(b))] for a, b in pairs.tuples()], np.float32)
        given = {"validation": _pairs(12, 1), "training": TRAINING, "distillation": Distillation(alpha=0.5)}
        distill(student, pairs, TASK, output, teacher_scores=scores, **given)  # type: ignore[arg-type]

    def load(self, output: Path) -> DSE:
        """The finished student."""
        return DSE(str(output), device="cpu")


def training_jobs(root: Path) -> list[Job]:
    """The jobs, each after one undisturbed run."""
    prepare_models(root)
    return [job(root) for job in (Labelling, Teaching, Distilling)]


def kill_training(job: Job, output: Path, seed: int) -> Counter[str]:
    """Start a job, kill it at a random moment, start it again, until it ends: how many kills, and what was wrong."""
    moments, counts = random.Random(seed), Counter[str](kills=0)
    output.mkdir()
    for attempt in range(KILLS_IN_A_ROW + 1):
        seconds = moments.uniform(0, job.seconds) if attempt < KILLS_IN_A_ROW else PATIENCE
        exit_code = wait(fork(partial(job.run, output), job.root / "log"), seconds)
        finished = exit_code == 0
        counts["kills"] += exit_code == -signal.SIGKILL
        counts.update(answer_of(partial(job.check, output, finished), job.root / "log") or {"errors": 1})
        if finished or exit_code not in (0, -signal.SIGKILL):
            break
    counts["finished_runs"] += finished
    counts["errors"] += not finished
    if counts["errors"]:
        print((job.root / "log").read_text()[-2000:], file=sys.stderr)
    return counts


def _pairs(rows: int = ROWS, seed: int = 0) -> Pairs:
    """Distinct pairs of short sentences, alike where their first words are."""
    generator = random.Random(seed)
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(2, 7))) + f" {i}" for i in range(2 * rows)]
    first, second = texts[:rows], texts[rows:]
    label = np.array([a.split()[0] < b.split()[0] for a, b in zip(first, second, strict=True)], np.float32)
    return Pairs(first, second, label, "random pairs")


def prepare_models(root: Path) -> None:
    """A tiny random backbone, and a teacher with a classifier."""
    logging.getLogger("dse").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, model_max_length=32)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, num_labels=1, **sizes)
    torch.manual_seed(0)
    for name, model in (
        ("backbone", transformers.BertModel(config)),
        ("teacher", transformers.BertForSequenceClassification(config)),
    ):
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
