"""Make one row: train its model, measure it, and keep the records in its folder."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from benchmarks.evidence.plan import BLOCKS, COSINE, DISTILLED, LARGE, SPLITS, TEACHERS, UNTRAINED, Row, command
from benchmarks.evidence.subsets import UNLABELLED, Size, prepare, prepare_unlabelled
from benchmarks.records import Record, measure_missing
from dse import DSE
from dse.cli.config import read_config
from dse.data.metrics import best_threshold, compute_metrics
from dse.data.pairs import Pairs, load_pairs
from dse.data.tasks import Task, get_task
from dse.encoding.offline import offline_backbone
from dse.errors import BadDataError
from dse.evaluation.transfer import transfer
from dse.files import write_text
from dse.pipeline import hold_out
from dse.teacher import label_pairs, load_teacher

logger = logging.getLogger("dse.evidence")

Values = dict[str, tuple[int, dict[str, float]]]  # split -> number of rows, metrics


@dataclass(frozen=True)
class Setup:
    """Data, size and folders of a run."""

    data: str | None  # folder of data sets; None takes the hub
    size: str
    limits: Size  # what the size is
    configs: Path  # a YAML file for each task
    runs: Path  # folder of this size's models and records
    backbone: str | None  # of students and teachers; None takes the configuration's, or the offline one
    large: str | None = None  # backbone of the larger teacher

    def config(self, row: Row) -> Path:
        """The settings of a row's task."""
        return self.configs / f"{row.task}.yaml"

    def encoder(self, row: Row) -> str:
        """The backbone of a row's task."""
        config = self.config(row)
        configured = read_config(config, "distill").get("backbone") if config.exists() else None
        return self.backbone or configured or offline_backbone()

    def changed(self, row: Row) -> dict[str, Any]:
        """Options of `dse` that size or command line change."""
        assert self.large or not row.large, "the command line asks for it"
        backbone = self.large if row.name == "large_teacher" else self.backbone
        changed: dict[str, Any] = {"backbone": backbone, "epochs": self.limits.epochs}
        configured = read_config(self.config(row), "teacher").get("bootstrap_pairs")
        if configured is not None and self.limits.bootstrap is not None:
            changed["bootstrap_pairs"] = min(configured, self.limits.bootstrap)
        if row.name == "three_blocks":
            changed["backbone"] = _shortened(self, row)
        if row.name.startswith("unlabelled"):
            changed["unlabelled"] = self.pairs(row) / UNLABELLED
        return {name: value for name, value in changed.items() if value is not None}

    def pairs(self, row: Row) -> Path:
        """The folder with the pairs of the task, as `--data` takes it."""
        splits = SPLITS.get(row.task, ("dev",))
        return prepare(self.data, row.task, splits, self.limits, self.runs / "data")

    def command(self, row: Row) -> str:
        """What makes this row, typed."""
        words = [] if self.size == "small" else ["--size", self.size]
        if self.configs.name != "small":
            words += ["--configs", str(self.configs)]
        if row.large:
            words += ["--large-backbone", LARGE]
        if self.data is not None:
            words += ["--data", self.data]
        return shlex.join(["python", "-m", "benchmarks.evidence", *words, "--only", row.key])

    def record(self, row: Row, task: str, split: str, metric: str, value: float, rows: int) -> Record:
        """One metric of a row."""
        about = {"task": task, "row": row.name, "split": split, "metric": metric, "value": value}
        return about | {"seed": row.seed, "rows": rows, "command": self.command(row)}


def make(row: Row, setup: Setup) -> None:
    """Make a row, and those it needs, unless its records are there."""
    measure_missing(row.folder(setup.runs), lambda: _measure(row, setup))


def make_all(wanted: Sequence[Row], setup: Setup) -> None:
    """Make rows one after the other: what a worker runs."""
    for row in wanted:
        make(row, setup)


def _measure(row: Row, setup: Setup) -> list[Record]:
    sizes = {}
    if row.name.startswith("unlabelled"):
        more = prepare_unlabelled(setup.data, row.task, setup.limits.unlabelled, setup.pairs(row))
        if not more:
            logger.info("%s: left out, all training rows are used with their labels", row.key)
            return []
        sizes = {"unlabelled_rows": more}
    for needed in row.needs:
        make(needed, setup)
    logger.info("%s", row.key)
    if row.task == "transfer":
        return _transfer(row, setup)
    if row.name == COSINE:
        values = _cosine(row, setup)
    else:
        changed = setup.changed(row)
        _dse(command(row, setup.runs, _settings(row, setup, changed), setup.pairs(row), changed))
        values = _teacher(row, setup) if row.name in TEACHERS else _student(row, setup)
    counts = json.loads((setup.pairs(row) / "about.json").read_text(encoding="utf-8"))
    sizes = {"train_rows": counts["train"]["rows"]} | sizes
    return [
        setup.record(row, row.task, split, metric, value, rows) | sizes
        for split, (rows, metrics) in values.items()
        for metric, value in metrics.items()
    ]


def _settings(row: Row, setup: Setup, changed: dict[str, Any]) -> Path:
    """The settings of a row: those of its task and, in a file of its own, what makes the row what it is."""
    own = dict(DISTILLED[row.name][1]) if row.name in DISTILLED else {}
    if row.name == "crossfit" and "epochs" in changed:
        own["teacher_epochs"] = changed["epochs"]
    if not own:
        return setup.config(row)
    folder = row.folder(setup.runs)  # a student's folder holds nothing else before it is made
    file = folder.with_name(f"{folder.name}.settings.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, yaml.safe_dump(read_config(setup.config(row), "distill") | own))
    return file


def _student(row: Row, setup: Setup) -> Values:
    """What the reports of `dse distill` and `dse evaluate` say."""
    folder = row.folder(setup.runs)
    values: Values = {}
    for split in row.splits:
        output = folder / ("report" if split == "dev" else f"report-{split}")
        if split != "dev":
            words = ["--task", row.task, "--data", str(setup.pairs(row)), "--split", split, "--no-speed"]
            _dse(["dse", "evaluate", str(folder), *words, "--output", str(output)])
        report = json.loads((output / "report.json").read_text(encoding="utf-8"))
        values[split] = (report["rows"], dict(report["metrics"]["student"]))
        if "pearson" in report["fidelity"]:
            values[split][1]["fidelity_pearson"] = report["fidelity"]["pearson"]
    return values


def _teacher(row: Row, setup: Setup) -> Values:
    """The teacher at the threshold that is best on the validation rows, as its students are judged."""
    task = get_task(row.task)
    teacher = load_teacher(str(row.folder(setup.runs)), task)
    activation: Any = teacher.activation_fn

    def scores(pairs: Pairs) -> np.ndarray:
        raw = label_pairs(teacher, pairs, task, row.scores_file(setup.runs))
        return activation(torch.from_numpy(raw.astype(np.float64))).numpy() if task.kind == "regression" else raw

    data = setup.pairs(row)
    validation = hold_out(load_pairs(data, task, "train"), row.seed)[1]
    tests = {split: load_pairs(data, task, split) for split in row.splits}
    return _values(task, scores(validation), validation, {split: (scores(p), p) for split, p in tests.items()})


def _cosine(row: Row, setup: Setup) -> Values:
    """Cosine of the mean-pooled last layer; for classes the log-odds of a logistic regression on this one number."""
    task, data = get_task(row.task), setup.pairs(row)
    model = DSE.from_backbone(setup.encoder(row), num_layers=1)

    def cosine(pairs: Pairs) -> np.ndarray:
        u, v = (
            model.encode(side, normalize_embeddings=True, show_progress_bar=False)
            for side in (pairs.sentence1, pairs.sentence2)
        )
        return (u * v).sum(axis=1, keepdims=True)  # (n, 1)

    train, validation = hold_out(load_pairs(data, task, "train"), row.seed)
    test = load_pairs(data, task, "dev")
    classes = task.kind == "multiclass"
    odds = LogisticRegression(C=1e3).fit(cosine(train), train.label) if classes else None

    def scores(pairs: Pairs) -> np.ndarray:
        return cosine(pairs) if odds is None else odds.decision_function(cosine(pairs))

    return _values(task, scores(validation), validation, {"dev": (scores(test), test)})


def _values(task: Task, held_out: np.ndarray, validation: Pairs, tests: dict[str, tuple[np.ndarray, Pairs]]) -> Values:
    """Metrics of scores, of a binary task at the threshold that is best on the validation rows."""
    assert validation.label is not None
    threshold = best_threshold(held_out, validation.label, task) if task.kind == "binary" else 0.0
    return {
        split: (len(pairs), compute_metrics(scores, pairs.label, task, threshold))  # type: ignore[arg-type]
        for split, (scores, pairs) in tests.items()
    }


class BagOfWords:
    """Mean of the backbone's input embeddings: no transformer at all."""

    def __init__(self, backbone: str) -> None:
        model = SentenceTransformer(backbone)
        self.tokenizer = model.tokenizer
        self.words = model[0].auto_model.get_input_embeddings().weight.detach().numpy()

    def encode(self, sentences: list[str], **_: Any) -> np.ndarray:
        """Embeddings, (n, h); zero for a text without words."""
        ids = self.tokenizer(sentences, add_special_tokens=False, truncation=True, max_length=256)["input_ids"]
        return np.stack([self.words[row].mean(axis=0) if row else np.zeros_like(self.words[0]) for row in ids])


def _transfer(row: Row, setup: Setup) -> list[Record]:
    """What embeddings know besides their own task."""
    if setup.data is None:
        raise BadDataError("The transfer rows need --data, a folder with mr/all.parquet, trec/train.parquet, ...")
    model: Any
    if row.needs:
        model = DSE(str(row.needs[0].folder(setup.runs)))
    elif row.name == "bag_of_words":
        model = BagOfWords(setup.encoder(row))
    else:
        model = DSE.from_backbone(setup.encoder(row), **UNTRAINED[row.name])
    most = setup.limits.transfer
    report = transfer(model, setup.data, folds=10 if most is None else 5, max_rows=most, seed=row.seed)
    return [
        setup.record(row, r.task, r.split, r.metric, r.value, r.rows) | {"train_rows": r.train_rows}
        for r in report.results
    ]


def _shortened(setup: Setup, row: Row) -> str:
    """The backbone's first three blocks, as a folder."""
    from transformers import AutoModel, AutoTokenizer

    folder, name = setup.runs / "backbones" / f"first-{BLOCKS}-blocks", setup.encoder(row)
    if not (folder / "config.json").exists():
        model = AutoModel.from_pretrained(name, num_hidden_layers=BLOCKS)
        AutoTokenizer.from_pretrained(name).save_pretrained(folder)
        model.save_pretrained(folder)
    return str(folder)


def _dse(words: list[str]) -> None:
    """Run a `dse` command in this process."""
    from dse.cli import app

    logger.info("%s", shlex.join(words))
    before, sys.argv = sys.argv, words  # the report names the command
    try:
        app([*words[1:], "--json"], standalone_mode=False)
    finally:
        sys.argv = before
