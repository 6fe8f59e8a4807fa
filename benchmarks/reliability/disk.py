"""A full disk and a read-only folder at every write: one sentence, and what lay there before stays whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.reliability.processes import answer_of, fork, wait
from dse import DSE
from dse.index import CandidateIndex
from dse.index.store import Store
from dse.teacher.kept_scores import ScoreFile

ROWS = [{"id": str(i), "text": f"a dog {i}", "n": i} for i in range(60)]
SIZE = 4 << 20  # of the file system that is filled
TASK = ["--task", "pairs", "--kind", "binary", "--labels", "different,alike"]


def commands(models: Path, work: Path) -> dict[str, list[str]]:
    """What writes, by name; every command writes into the folder ``work``."""
    pairs, index, trained = str(models / "pairs.jsonl"), str(work / "index"), ["--epochs", "1", "--dtype", "float32"]
    data = [*TASK, "--data", pairs]
    judged = ["--teacher", str(models / "teacher"), "--no-speed", "-o", str(work / "student")]
    promise = ["-k", "3", "--recall", "0.5", "--confidence", "0.5"]
    vectors = ["--embeddings", str(models / "vectors.jsonl"), "--queries", str(models / "vectors.jsonl")]
    return {
        "label": ["label", str(models / "teacher"), *data, "-o", str(work / "scores.parquet")],
        "teacher": ["teacher", *data, "--backbone", str(models / "backbone"), *trained, "-o", str(work / "teacher")],
        "distill": ["distill", *data, "--test-data", pairs, "--backbone", str(models / "backbone"), *trained, *judged],
        "embeddings": ["distill", *vectors, "--qrels", str(models / "qrels.csv"), "-o", str(work / "head")],
        "evaluate": ["evaluate", str(models / "student"), *data, "--no-speed", "-o", str(work / "report")],
        "add": ["index", "add", index, str(models / "more.jsonl")],
        "upsert": ["index", "upsert", index, str(models / "changed.jsonl")],
        "delete": ["index", "delete", index, "--where", "n < 30"],
        "optimize": ["index", "optimize", index, "--keep-minutes", "0"],
        "calibrate": ["index", "calibrate", index, "--queries", str(models / "queries.txt"), *promise],
        "rebuild": ["index", "rebuild", index, "--student", str(models / "other")],
    }


def prepare(models: Path, work: Path, students: Sequence[DSE]) -> None:
    """The models and data that the commands read, and what lies in the folder before they run."""
    from tests.conftest import build_backbone

    build_backbone("bert", models / "backbone")  # of more layers than the usual student takes
    for student, name in zip(students, ("student", "other"), strict=True):
        student.save(str(models / name))
    rows = [{"sentence1": f"a dog {i}", "sentence2": f"a cat {i % 3}", "label": i % 2} for i in range(40)]
    _jsonl(models / "pairs.jsonl", rows)
    _jsonl(models / "few.jsonl", rows[:10])
    _jsonl(models / "more.jsonl", [{"id": f"m{i}", "text": f"a cat {i}", "n": 1000 + i} for i in range(40)])
    _jsonl(models / "changed.jsonl", [row | {"text": f"a bike {row['n']}"} for row in ROWS[:40]])
    _jsonl(models / "vectors.jsonl", [{"id": f"d{i}", "embedding": [i % 7, i % 5, i % 3, 1]} for i in range(60)])
    judged = [f"d{i},d{(i * k) % 60},{k % 2}" for i in range(60) for k in (3, 4, 7) if (i * k) % 60 != i]
    (models / "qrels.csv").write_text("\n".join(["query_id,doc_id,relevance", *dict.fromkeys(judged)]) + "\n")
    (models / "queries.txt").write_text("".join(f"a dog {i}\n" for i in range(12)))
    (work / "notes.txt").write_text("the user's own\n")

    def index() -> None:
        made = CandidateIndex.create(work / "index", str(models / "student"))
        for start in range(0, len(ROWS), 20):
            made.add(ROWS[start : start + 20])

    label = commands(models, work)["label"]
    label[label.index(str(models / "pairs.jsonl"))] = str(models / "few.jsonl")
    for job in (index, partial(_command, label)):
        if code := wait(fork(job, models / "log"), 120):
            raise RuntimeError(f"{job} ended with {code}: {(models / 'log').read_text()[-1000:]}")


def _jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _command(arguments: Sequence[str]) -> None:
    """The command line, in this process."""
    from dse.cli import main

    sys.argv = ["dse", *arguments]
    try:
        main()
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code or 0))


def rows_of(work: Path) -> dict[str, Any]:
    """What an index and a file of scores hold."""
    index = CandidateIndex(work / "index", next(iter(_students_of(work))))
    index.search("a dog", k=3)
    rows = Store(work / "index").data.to_table().to_pylist()
    return {
        "index": {row["id"]: [row["text"], row["n"]] for row in rows},
        "index_rows": len(rows),
        "scores": ScoreFile(work / "scores.parquet").table.num_rows,
    }


def _students_of(work: Path) -> Iterator[DSE]:
    """The student that made an index."""
    manifest = Store(work / "index").manifest
    folder = Path(str(manifest.source))
    for path in (folder, *folder.parent.iterdir()):
        if (path / "dse.json").exists() and (student := DSE(str(path), device="cpu")).fingerprint == manifest.student:
            yield student


def faults(name: str, before: dict[str, Any], after: dict[str, Any] | None, done: dict[str, Any]) -> list[str]:
    """What is wrong after a command that failed: lost, doubled or changed rows."""
    if after is None:
        return ["the index or the scores cannot be read"]
    wrong = []
    if after["index_rows"] != len(after["index"]):
        wrong.append("doubled rows")
    if after["scores"] < before["scores"]:
        wrong.append("lost scores")
    possible = [before["index"]] + [done["index"]] * (name in ("add", "upsert", "delete"))
    if after["index"] not in possible:
        wrong.append("rows of the index are neither those before nor those after")
    return wrong


def hashes(work: Path) -> dict[str, str]:
    """Hash of each file outside of the index, which has files of many commits."""
    files = [path for path in work.rglob("*") if path.is_file() and "index" not in path.relative_to(work).parts]
    return {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextlib.contextmanager
def full(work: Path, start: Path, free: int) -> Iterator[Callable[[], None]]:
    """A small file system with a copy of the folder ``start``, and so many bytes left; yields what frees the rest."""
    _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(work))
    try:
        shutil.copytree(start, work, dirs_exist_ok=True)
        filler = work / ".filler"
        with filler.open("wb") as file:
            file.write(b"x" * max(0, shutil.disk_usage(work).free - free))
        yield filler.unlink
    finally:
        _umount(work)


@contextlib.contextmanager
def read_only(work: Path, start: Path, _: int) -> Iterator[Callable[[], None]]:
    """The folder ``start`` mounted so that nothing can be written, by root neither; yields what ends that."""
    _mount("-t", "tmpfs", "-o", f"size={8 * SIZE}", "tmpfs", str(work))
    try:
        shutil.copytree(start, work, dirs_exist_ok=True)
        _mount("-o", "remount,ro", str(work))
        yield partial(_mount, "-o", "remount,rw", str(work))
    finally:
        _umount(work)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _umount(work: Path) -> None:
    subprocess.run(["umount", str(work)], check=True, capture_output=True)


def campaign(students: Sequence[DSE], names: Sequence[str], free: Sequence[int]) -> dict[str, Any]:
    """Run commands where nothing can be written, then again where it can.

    Args:
        students: Two of one width.
        names: Of the commands.
        free: Bytes that are left on the full disk; each command runs once for each, and once in a read-only folder.
    """
    from benchmarks.reliability.training import prepare_models

    with tempfile.TemporaryDirectory() as folder:
        models, start, work = (Path(folder, name) for name in ("models", "start", "work"))
        for path in (models, start, work):
            path.mkdir()
        try:
            _mount("-t", "tmpfs", "tmpfs", str(work))
            _umount(work)
        except (OSError, subprocess.CalledProcessError) as error:
            return {"disk_trials": 0, "disk_skipped": f"no file system can be mounted here ({error})"}
        prepare_models(models)
        prepare(models, start, students)
        # The index knows its student by path, and its own path nowhere.
        before, log, wrong, failed = answer_of(partial(rows_of, start), models / "log"), models / "log", list[str](), 0
        trials = [(name, full, bytes_left) for name in names for bytes_left in free]
        trials += [(name, read_only, 0) for name in names]
        for name, kind, bytes_left in trials:
            with kind(work, start, bytes_left) as make_writable:
                found = _trial(name, commands(models, work)[name], work, before, make_writable, log)
            failed += found.pop("failed")
            wrong += [f"{name}, {kind.__name__} ({bytes_left} bytes): {problem}" for problem in found["wrong"]]
            for problem in wrong[len(wrong) - len(found["wrong"]) :]:
                print(problem, file=sys.stderr)
    return {
        "disk_trials": len(trials),
        "disk_trials_refused": failed,
        "disk_errors": len(wrong),
        "first_disk_error": wrong[0] if wrong else None,
    }


def _trial(
    name: str, command: Sequence[str], work: Path, before: dict[str, Any], make_writable: Callable[[], None], log: Path
) -> dict[str, Any]:
    """One command that cannot write, and the same again when it can."""
    kept, wrong = hashes(work), []
    log.write_text("")
    code = wait(fork(partial(_command, command), log), 300)
    said = log.read_text()
    lines = [line for line in said.splitlines() if line.startswith(("Error", "Traceback")) or "panicked" in line]
    if code < 0 or (code and (len(lines) != 1 or not lines[0].startswith("Error: ") or "unexpected" in lines[0])):
        wrong.append(f"ends with {code} and prints {said[-600:]!r}")
    present = hashes(work)
    own = "scores.parquet" if name == "label" and code == 0 else None  # what a command that succeeds may change
    if lost := [file for file in kept if present.get(file) != kept[file] and file != own]:
        wrong.append(f"changes {', '.join(lost)}")
    if left := [file for file in present if file.endswith(".tmp")]:
        wrong.append(f"leaves {', '.join(left)}")
    after = answer_of(partial(rows_of, work), log)
    make_writable()
    log.write_text("")
    again = wait(fork(partial(_command, command), log), 300)
    done = answer_of(partial(rows_of, work), log)
    if again or done is None:
        wrong.append(f"does not go on: {log.read_text()[-600:]!r}")
    else:
        wrong += faults(name, before, after, done)
    return {"failed": int(code != 0), "wrong": wrong}
