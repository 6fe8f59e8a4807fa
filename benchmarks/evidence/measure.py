"""Make one row: train it if it is not there, measure it, and write `row.json` into its folder."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.evidence import embeddings, shallow
from benchmarks.evidence.plan import ALONE, LARGE, SHALLOW, SPLITS, TEACHERS, Row, command, scores_file
from benchmarks.evidence.subsets import UNLABELLED, Size, prepare, prepare_unlabelled
from dse.cli.config import read_config
from dse.data.metrics import best_threshold, compute_metrics
from dse.data.pairs import Pairs, load_pairs
from dse.data.tasks import Task, get_task
from dse.encoding.offline import offline_backbone
from dse.errors import BadDataError
from dse.evaluation.machine import machine, versions
from dse.files import write_json
from dse.pipeline import hold_out
from dse.teacher import label_pairs, load_teacher

logger = logging.getLogger("dse.evidence")


@dataclass(frozen=True)
class Workshop:
    """Where everything is."""

    data: str | None  # folder of data sets; None takes the hub
    size: str
    sizes: Size
    configs: Path
    runs: Path
    backbone: str | None  # None takes the configuration's, or the offline one
    large: str | None = None  # backbone of the large teacher

    def config(self, row: Row) -> Path:
        """The settings of a row's task."""
        return self.configs / f"{row.task}.yaml"

    def encoder(self, row: Row) -> str:
        """The backbone of a row's task."""
        config = self.config(row)
        configured = read_config(config, "distill").get("backbone") if config.exists() else None
        return self.backbone or configured or offline_backbone()

    def changed(self, row: Row) -> dict[str, Any]:
        """Options of `dse` that the size or the command line changes."""
        configured = read_config(self.config(row), "teacher").get("bootstrap_pairs")
        assert self.large or not row.large, "the command line asks for it"
        backbone = self.large if row.name == "large_teacher" else self.backbone
        found: dict[str, Any] = {"backbone": backbone, "epochs": self.sizes.epochs}
        if configured is not None and self.sizes.bootstrap is not None:
            found["bootstrap_pairs"] = min(configured, self.sizes.bootstrap)
        return {name: value for name, value in found.items() if value is not None}

    def folder(self, row: Row) -> Path:
        """Rows of the task, as `--data` takes them."""
        splits = SPLITS.get(row.task, ("dev",))
        return prepare(self.data, row.task, splits, self.sizes, self.runs / "data")

    def command(self, row: Row) -> str:
        """What makes this row, typed."""
        data = [] if self.data is None else ["--data", self.data]
        size = [] if self.size == "small" else ["--size", self.size]
        if self.configs.name != "small":
            size += ["--configs", str(self.configs)]
        if row.large:
            size += ["--large-backbone", LARGE]
        return shlex.join(["python", "-m", "benchmarks.evidence", *size, *data, "--only", row.key])


def make(row: Row, place: Workshop) -> None:
    """Make a row unless its results are there."""
    folder = row.folder(place.runs)
    if (folder / "row.json").exists():
        return
    more = 0
    if row.name.startswith("unlabelled"):
        more = prepare_unlabelled(place.data, row.task, place.sizes.unlabelled, place.folder(row))
        if not more:
            logger.info("%s: left out, all training rows are used with their labels", row.key)
            return
    logger.info("%s", row.key)
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    for needed in needs(row):
        make(needed, place)
    if row.task == "transfer":
        results = _transfer(row, place)
    else:
        values = _shallow(row, place) if row.name in SHALLOW else _trained(row, place)
        results = [
            _result(row, row.task, split, metric, value, rows, place)
            for split, (rows, metrics) in values.items()
            for metric, value in metrics.items()
        ]
        counts = json.loads((place.folder(row) / "about.json").read_text(encoding="utf-8"))
        sizes = {"train_rows": counts["train"]["rows"]} | ({"unlabelled_rows": more} if more else {})
        results = [result | sizes for result in results]
    about = {"results": results, "seconds": round(time.monotonic() - start), "threads": torch.get_num_threads()}
    write_json(folder / "row.json", about | {"machine": machine(), "versions": versions()})


def needs(row: Row) -> list[Row]:
    """Rows that must be there before."""
    if row.task == "transfer":
        return [Row(row.name.removeprefix("dse_"), "dse", row.seed)] if row.name.startswith("dse_") else []
    return [] if row.name in ALONE else [row.teacher]


def _result(row: Row, task: str, split: str, metric: str, value: float, rows: int, place: Workshop) -> dict[str, Any]:
    """One object of the JSON."""
    return {
        "task": task,
        "row": row.name,
        "split": split,
        "metric": metric,
        "value": value,
        "seed": row.seed,
        "rows": rows,
        "command": place.command(row),
    }


Values = dict[str, tuple[int, dict[str, float]]]  # split -> rows, metrics


def _trained(row: Row, place: Workshop) -> Values:
    """Rows that `dse` itself makes."""
    data, folder, changed = place.folder(row), row.folder(place.runs), place.changed(row)
    if row.name == "three_blocks":
        changed["backbone"] = shortened(place, row)
    if row.name.startswith("unlabelled"):
        changed["unlabelled"] = data / UNLABELLED
    _dse(command(row, place.runs, place.config(row), data, changed))
    task = get_task(row.task)
    if row.name in TEACHERS:
        return _teacher(row, task, data, place)
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    metrics = report["metrics"]["student"] | {
        f"fidelity_{k}": v for k, v in report["fidelity"].items() if k == "pearson"
    }
    values = {"dev": (report["rows"], metrics)}
    for split in row.splits[1:]:
        output = folder / f"report-{split}"
        words = ["dse", "evaluate", str(folder), "--task", row.task, "--data", str(data), "--split", split]
        _dse([*words, "--no-speed", "--output", str(output)])
        report = json.loads((output / "report.json").read_text(encoding="utf-8"))
        values[split] = (report["rows"], report["metrics"]["student"])
    return values


def _teacher(row: Row, task: Task, data: Path, place: Workshop) -> Values:
    """The teacher at the threshold that is best on the validation rows, as its students are judged."""
    teacher = load_teacher(str(row.folder(place.runs)), task)
    activation: Any = teacher.activation_fn

    def scores(pairs: Pairs) -> np.ndarray:
        raw = label_pairs(teacher, pairs, task, scores_file(row, place.runs))
        return activation(torch.from_numpy(raw.astype(np.float64))).numpy() if task.kind == "regression" else raw

    validation = hold_out(load_pairs(data, task, "train"), row.seed)[1]
    assert validation.label is not None
    threshold = best_threshold(scores(validation), validation.label, task) if task.kind == "binary" else 0.0
    values: Values = {}
    for split in row.splits:
        pairs = load_pairs(data, task, split)
        assert pairs.label is not None
        values[split] = (len(pairs), compute_metrics(scores(pairs), pairs.label, task, threshold))
    return values


def _shallow(row: Row, place: Workshop) -> Values:
    """Rows on frozen vectors."""
    task, data = get_task(row.task), place.folder(row)
    train, validation = hold_out(load_pairs(data, task, "train"), row.seed)
    test = load_pairs(data, task, "dev")
    t = np.zeros((len(train), task.num_labels), np.float32)
    if row.name not in ALONE:
        teacher = load_teacher(str(row.teacher.folder(place.runs)), task)
        t = label_pairs(teacher, train, task, scores_file(row, place.runs))
    metrics = shallow.measure(row.name, task, place.encoder(row), train, validation, test, t, row.seed)
    return {"dev": (len(test), metrics)}


def _transfer(row: Row, place: Workshop) -> list[dict[str, Any]]:
    """What embeddings know besides their own task."""
    if place.data is None:
        raise BadDataError("The transfer rows need --data, a folder with mr/all.parquet, trec/train.parquet, ...")
    student = next((needed.folder(place.runs) for needed in needs(row)), None)
    report = embeddings.judge(row.name, place.encoder(row), student, place.data, place.sizes.transfer, row.seed)
    results = [_result(row, r.task, r.split, r.metric, r.value, r.rows, place) for r in report.results]
    return [result | {"train_rows": r.train_rows} for result, r in zip(results, report.results, strict=True)]


def shortened(place: Workshop, row: Row) -> str:
    """The backbone's first three blocks, as a folder."""
    from transformers import AutoModel, AutoTokenizer

    from benchmarks.evidence.plan import BLOCKS

    folder, name = place.runs / "backbones" / f"first-{BLOCKS}-blocks", place.encoder(row)
    if not (folder / "config.json").exists():
        model = AutoModel.from_pretrained(name, num_hidden_layers=BLOCKS)
        AutoTokenizer.from_pretrained(name).save_pretrained(folder)
        model.save_pretrained(folder)
    return str(folder)


def _dse(words: list[str]) -> None:
    """Run a `dse` command in this process."""
    from dse.cli import app

    logger.info("%s", shlex.join(words))
    before, sys.argv = sys.argv, words
    try:
        app([*words[1:], "--json"], standalone_mode=False)
    finally:
        sys.argv = before
