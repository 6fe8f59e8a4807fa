"""Teacher scores kept in a file: each under the pair and the teacher it belongs to, none computed twice.

Scores that are not finite are never kept; those of a file that has some are missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from dse.errors import BadDataError, MismatchError
from dse.files import write_table

SCHEMA = pa.schema(
    {
        "key": pa.binary(16),  # `score_key` of teacher and pair
        "sentence1": pa.string(),
        "sentence2": pa.string(),
        "teacher": pa.string(),  # name, see `dse.teacher.labelling.teacher_name`
        "scores": pa.list_(pa.float32()),  # raw logits, C
    }
)


def score_key(teacher: str, sentence1: str, sentence2: str) -> bytes:
    """Hash of a teacher's fingerprint and a pair, under which its scores are kept.

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
    """Teacher scores on disk: one Parquet file, and while pairs are being labelled a folder of shards beside it.

    Args:
        path: The Parquet file, with the columns of `SCHEMA`; it need not exist yet.

    Raises:
        BadDataError: If something of that name cannot be read or has other columns.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = ScoreFile(Path(folder, "scores.parquet"))
        ...     file.add("teacher", [("a", "b"), ("c", "d")], np.array([[0.5], [-2.0]], np.float32))
        ...     file.lookup([("c", "d"), ("a", "b")], "teacher").tolist(), file.missing("teacher", [("e", "f")])
        ([[-2.0], [0.5]], [('e', 'f')])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.shards = self.path.with_name(self.path.name + ".shards")
        files = [*([self.path] if self.path.exists() else []), *sorted(self.shards.glob("*.parquet"))]
        self.table = pa.concat_tables([SCHEMA.empty_table(), *(_read(file) for file in files)])
        self._rows = _rows_by_key(self.table)

    def __len__(self) -> int:
        """Return how many scores are kept, each of one pair by one teacher."""
        return len(self._rows)

    def missing(self, teacher: str | Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Distinct pairs this teacher, or any of several, has not scored yet."""
        names = _names(teacher)
        return [pair for pair in dict.fromkeys(pairs) if self._row(names, pair) is None]

    def add(self, teacher: str, pairs: Sequence[tuple[str, str]], scores: np.ndarray) -> None:
        """Write one shard, whole or not at all.

        Raises:
            BadDataError: If a score is not finite.
        """
        check_finite(pairs, scores)
        shard = _table(teacher, pairs, scores)
        with self._alone():
            number = len(list(self.shards.glob("*.parquet")))
            write_table(self.shards / f"{number:06d}-{os.getpid()}.parquet", shard)
        self._rows |= {key: len(self.table) + row for key, row in _rows_by_key(shard).items()}
        self.table = pa.concat_tables([self.table, shard])
        self.__dict__.pop("teachers", None)

    def finish(self) -> None:
        """Join the shards into the file."""
        if self.shards.exists():
            with self._alone():
                self._join()

    def _alone(self) -> FileLock:
        """Of several processes that label into one file, one writes or joins shards at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def _join(self) -> None:
        shards = sorted(self.shards.glob("*.parquet"))
        if shards:
            table = pa.concat_tables([_read(file) for file in [*([self.path] if self.path.exists() else []), *shards]])
            rows = _rows_by_key(table)
            if len(rows) < len(table):  # a run was killed between this line and the next: its shards are in the file
                table = table.take(list(rows.values()))
            write_table(self.path, table)
        _remove_shards(self.shards, shards)

    def lookup(self, pairs: Sequence[tuple[str, str]], teacher: str | Sequence[str] | None = None) -> np.ndarray:
        """Scores of pairs in their order, float32 (n, C).

        Args:
            pairs: The pairs.
            teacher: Name of the teacher they must come from, or several, of which the first that scored a pair is
                taken; None for cross-fitted scores, where each pair's own teacher is recorded with it.

        Raises:
            MismatchError: If a pair has no score of that teacher, or teachers gave pairs different numbers of scores.
        """
        names = _names(teacher) if teacher else None
        rows = [self._row(names or [self.teachers.get(pair, "")], pair) for pair in pairs]
        if None in rows:
            raise self._no_score(rows.index(None), pairs)
        scores = self.table["scores"].take(pa.array(rows, pa.int64())).combine_chunks()
        classes = pc.unique(pc.list_value_length(scores)).to_pylist()
        if len(classes) > 1:
            raise MismatchError(
                f"{self.path}: the pairs have {' and '.join(map(str, classes))} scores; label them with one teacher."
            )
        return np.array(scores.flatten(), np.float32).reshape(len(pairs), *classes or [0])  # (n, C)

    def _row(self, teachers: Sequence[str], pair: tuple[str, str]) -> int | None:
        """The row with the score of a pair by the first of these teachers that has one."""
        rows = (self._rows.get(score_key(teacher, *pair)) for teacher in teachers)
        return next((row for row in rows if row is not None), None)

    @cached_property
    def teachers(self) -> dict[tuple[str, str], str]:
        """Name of the teacher that scored a pair last."""
        table = self.table.take(pa.array(sorted(self._rows.values()), pa.int64()))
        columns = (table[name].to_pylist() for name in ("sentence1", "sentence2", "teacher"))
        return {(first, second): teacher for first, second, teacher in zip(*columns, strict=True)}

    def _no_score(self, row: int, pairs: Sequence[tuple[str, str]]) -> MismatchError:
        pair = pairs[row]
        why = f"a score of teacher {self.teachers[pair]} only" if pair in self.teachers else "no score"
        return MismatchError(
            f"{self.path}: pair {row + 1} ({pair[0]!r}, {pair[1]!r}) has {why}; "
            "label this data with this teacher (`dse label`)."
        )


def check_finite(pairs: Sequence[tuple[str, str]], scores: np.ndarray) -> np.ndarray:
    """Return scores (n, C) of n pairs; refuse NaN and infinite ones, which nothing can be learned from.

    Raises:
        BadDataError: Naming the pair.
    """
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise BadDataError(
            f"The teacher's score of {pairs[bad[0]]!r} is not finite; check the teacher, or compute in float32 "
            "(--dtype float32)."
        )
    return scores


def check_score_file(path: str | Path) -> None:
    """Refuse what is no file of teacher scores, if there is anything of that name.

    Raises:
        BadDataError: If it has other columns, or cannot be read.
    """
    if Path(path).exists():
        _open(Path(path), lambda file: file.schema_arrow.empty_table())


def _read(file: Path) -> pa.Table:
    return _open(file, lambda opened: opened.read(columns=SCHEMA.names))


def _open(file: Path, read: Callable[[pq.ParquetFile], pa.Table]) -> pa.Table:
    try:
        with pq.ParquetFile(file) as opened:  # of a folder, `read_table` would read all files
            return read(opened).select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadDataError(
            f"{file} is no file of teacher scores ({reason}); delete it and label again, or give another name."
        ) from error


def _names(teacher: str | Sequence[str]) -> Sequence[str]:
    return [teacher] if isinstance(teacher, str) else teacher


def _rows_by_key(table: pa.Table) -> dict[bytes, int]:
    """The last row of each key, of rows that have scores, all of them finite."""
    rows = {key: row for row, key in enumerate(table["key"].to_pylist())}
    lists = table["scores"].combine_chunks()
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    bad = set(pc.list_parent_indices(lists).to_numpy()[~np.isfinite(values)])
    bad |= set(np.flatnonzero(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False) == 0))
    return {key: row for key, row in rows.items() if row not in bad} if bad else rows


def _remove_shards(folder: Path, shards: Sequence[Path]) -> None:
    """Delete shards, and their folder unless it holds anything else, such as those of another process."""
    for file in [*shards, *folder.glob(".*.parquet.*.tmp")]:
        file.unlink(missing_ok=True)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def _table(teacher: str, pairs: Sequence[tuple[str, str]], scores: np.ndarray) -> pa.Table:
    n, classes = scores.shape
    offsets = np.arange(n + 1, dtype=np.int32) * classes
    columns = [
        pa.array([score_key(teacher, *pair) for pair in pairs], SCHEMA.field("key").type),
        pa.array([first for first, _ in pairs], pa.string()),
        pa.array([second for _, second in pairs], pa.string()),
        pa.repeat(pa.scalar(teacher, pa.string()), n),
        pa.ListArray.from_arrays(offsets, np.ascontiguousarray(scores, np.float32).reshape(-1)),
    ]
    return pa.table(columns, schema=SCHEMA)
