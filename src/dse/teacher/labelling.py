"""Teacher scores that are kept: each under the pair and the teacher it belongs to, none computed twice."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.runtime import Dtype, FastCopy, fingerprint
from dse.errors import BadDataError, MismatchError
from dse.files import write_table
from dse.teacher.bootstrap import bootstrap
from dse.teacher.fit import TeacherPooling, check_bootstrap, check_outputs, fit_teacher, load_teacher, teacher_scores
from dse.training.settings import Training

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

SHARD = 2_000  # pairs between two writes: what a killed run loses at most


def score_key(teacher: str, sentence1: str, sentence2: str) -> bytes:
    """Hash of a teacher's fingerprint and a pair: a score is only ever found under the pair and teacher it belongs to.

    Example:
        >>> score_key("t", "a", "bc") == score_key("t", "ab", "c")
        False
    """
    digest = hashlib.blake2b(digest_size=16)
    for text in (teacher, sentence1, sentence2):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


class ScoreFile:
    """Teacher scores on disk: one Parquet file, and while a run is under way a folder of shards beside it.

    Columns: ``key`` (hash of teacher, sentence1, sentence2), ``sentence1``, ``sentence2``, ``teacher``, ``scores``.

    Args:
        path: The Parquet file; it need not exist yet.

    Raises:
        BadDataError: If a file there cannot be read or is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.shards = self.path.with_name(self.path.name + ".shards")
        self.scores: dict[bytes, list[float]] = {}
        self.teachers: dict[tuple[str, str], str] = {}  # pair -> fingerprint, for cross-fitted files
        for file in [self.path, *sorted(self.shards.glob("*.parquet"))]:
            if file.exists():
                self._read(file)

    def _read(self, file: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(file, columns=_schema().names).cast(_schema())
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadDataError(f"{file} is no file of teacher scores ({reason}); delete it and label again.") from error
        columns = (table[name].to_pylist() for name in table.column_names)
        for key, first, second, teacher, scores in zip(*columns, strict=True):
            self.scores[key] = scores
            self.teachers[first, second] = teacher

    def missing(self, teacher: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Distinct pairs this teacher has not scored yet."""
        return [pair for pair in dict.fromkeys(pairs) if score_key(teacher, *pair) not in self.scores]

    def add(self, teacher: str, pairs: Sequence[tuple[str, str]], scores: np.ndarray) -> None:
        """Write one shard, whole or not at all."""
        self.shards.mkdir(parents=True, exist_ok=True)
        number = len(list(self.shards.glob("*.parquet")))
        write_table(self.shards / f"{number:06d}.parquet", _table(teacher, pairs, scores))
        for pair, row in zip(pairs, scores.tolist(), strict=True):
            self.scores[score_key(teacher, *pair)] = row
            self.teachers[pair] = teacher

    def finish(self) -> None:
        """Join the shards into the file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        shards = sorted(self.shards.glob("*.parquet"))
        if shards:
            files = [*([self.path] if self.path.exists() else []), *shards]
            table = pa.concat_tables([pq.read_table(file).cast(_schema()) for file in files])
            rows = {key: row for row, key in enumerate(table["key"].to_pylist())}
            if len(rows) < len(table):  # a run was killed between this line and the next: its shards are in the file
                table = table.take(list(rows.values()))
            write_table(self.path, table)
        shutil.rmtree(self.shards, ignore_errors=True)

    def lookup(self, pairs: Sequence[tuple[str, str]], teacher: str | None = None) -> np.ndarray:
        """Scores of pairs in their order, (n, C).

        Args:
            pairs: The pairs.
            teacher: Fingerprint of the teacher they must come from; None for cross-fitted scores, where each pair's
                own teacher is recorded with it.

        Raises:
            MismatchError: If a pair has no score of that teacher.
        """
        rows: list[list[float]] = []
        for number, pair in enumerate(pairs, start=1):
            found = self.scores.get(score_key(teacher or self.teachers.get(pair, ""), *pair))
            if found is None:
                why = "no score" if pair not in self.teachers else f"a score of teacher {self.teachers[pair]} only"
                raise MismatchError(
                    f"{self.path}: pair {number} ({pair[0]!r}, {pair[1]!r}) has {why}; "
                    "label this data with this teacher (`dse label`)."
                )
            rows.append(found)
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(rows[0]) if rows else 0)


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = {name: pa.string() for name in ("sentence1", "sentence2", "teacher")}
    return pa.schema({"key": pa.binary(16), **text, "scores": pa.list_(pa.float32())})


def _table(teacher: str, pairs: Sequence[tuple[str, str]], scores: np.ndarray) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "key": [score_key(teacher, *pair) for pair in pairs],
            "sentence1": [pair[0] for pair in pairs],
            "sentence2": [pair[1] for pair in pairs],
            "teacher": [teacher] * len(pairs),
            "scores": scores.tolist(),
        },
        schema=_schema(),
    )


def label_pairs(
    teacher: CrossEncoder,
    pairs: Pairs,
    task: Task | None = None,
    output: str | Path | None = None,
    *,
    batch_size: int = 32,
    dtype: Dtype = "auto",
    show_progress_bar: bool = False,
) -> np.ndarray:
    """Raw logits of the teacher for pairs, kept in a file.

    A killed run loses at most one shard of 2,000 pairs; a pair the file already holds is never scored again.

    Args:
        teacher: Any cross-encoder.
        pairs: What to score.
        task: As in `teacher_scores`; always give it when scores are to train a student.
        output: Parquet file to keep the scores in, to go on from and to add to; None keeps nothing.
        batch_size: Pairs the transformer reads at a time.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it.
        show_progress_bar: Whether to show one.

    Returns:
        Float32 logits without activation, (n, C), row i for pair i.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
        BadDataError: If ``output`` exists and is no file of scores.
    """
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "show_progress_bar": show_progress_bar}
    rows = pairs.tuples()
    if output is None:
        return teacher_scores(teacher, rows, task, **settings)
    name = teacher_name(teacher, task)
    file, fast = ScoreFile(output), FastCopy()
    todo = file.missing(name, rows)
    logger.info("%s: %d of %d distinct pairs to score", output, len(todo), len(set(rows)))
    for start in range(0, len(todo), SHARD):
        shard = todo[start : start + SHARD]
        file.add(name, shard, teacher_scores(teacher, shard, task, fast=fast, **settings))
    file.finish()
    return file.lookup(rows, name)


def teacher_name(teacher: CrossEncoder, task: Task | None) -> str:
    """Fingerprint of a teacher together with the order in which a task reads its outputs.

    Task and names of the outputs decide order and sign of the scores, so they are part of whose scores these are.

    Raises:
        MismatchError: If the teacher's outputs do not fit the task.
    """
    order = ""
    if task is not None:
        order = f"-{task.positive or ''}-{','.join(task.labels)}-{check_outputs(teacher, task)}"
    return hashlib.blake2b((fingerprint(teacher) + order).encode(), digest_size=16).hexdigest()


def cross_fit(
    backbone: str,
    pairs: Pairs,
    task: Task,
    output: str | Path,
    *,
    folds: int,
    training: Training | None = None,
    dtype: Dtype = "auto",
    show_progress_bar: bool = False,
    pooling: TeacherPooling = "cls",
    bootstrap_pairs: int = 0,
    **kwargs: Any,
) -> np.ndarray:
    """Out-of-fold scores: every pair is scored by a teacher that was not trained on its label.

    Scores of a teacher for its own training pairs are over-confident (Dao et al., ICLR 2021). Trains one teacher
    per fold in ``OUTPUT.folds/``; goes on where an interrupted run stopped.

    Args:
        backbone: What the teachers are fine-tuned from.
        pairs: Labelled pairs; equal pairs, in either order, share a fold.
        task: What their labels mean.
        output: Parquet file of the scores.
        folds: K, at least 2.
        training: Optimiser settings of each teacher.
        dtype: As in `label_pairs`.
        show_progress_bar: As in `label_pairs`.
        pooling: As `fit_teacher` takes it.
        bootstrap_pairs: As `fit_teacher` takes it; done once for all folds, as it reads texts and no labels.
        **kwargs: As `fit_teacher` takes them.

    Returns:
        Float32 logits without activation, (n, C).

    Raises:
        ValueError: If there are fewer than 2 folds or more folds than distinct pairs, or a teacher that judges by
            ``[CLS]`` is to be bootstrapped.
    """
    training, output = training or Training(), Path(output)
    rows = pairs.tuples()
    groups: dict[tuple[str, ...], int] = {}
    group = np.array([groups.setdefault(tuple(sorted(pair)), len(groups)) for pair in rows])
    if not 2 <= folds <= len(groups):
        raise ValueError(
            f"folds is {folds}; choose at least 2 and at most {len(groups)}, the number of distinct pairs."
        )
    fold = np.random.default_rng(training.seed).permutation(len(groups))[group] % folds  # (n,)
    scores = np.empty((len(rows), task.num_labels), np.float32)
    teachers = output.with_name(output.name + ".folds")
    if bootstrap_pairs:
        check_bootstrap(pooling)
        backbone = bootstrap(
            backbone, pairs, teachers / "bootstrap", bootstrap_pairs, training, kwargs.get("max_seq_length")
        )
    for k in range(folds):
        folder = teachers / str(k)
        if (folder / "training.json").exists():  # written last
            teacher = load_teacher(str(folder), task)
        else:
            settings = replace(training, seed=training.seed + k)
            rest = pairs.select(np.flatnonzero(fold != k))
            teacher = fit_teacher(backbone, rest, task, folder, training=settings, pooling=pooling, **kwargs)
        own = np.flatnonzero(fold == k)
        scores[own] = label_pairs(
            teacher, pairs.select(own), task, output, dtype=dtype, show_progress_bar=show_progress_bar
        )
    return scores
