"""Teacher scores kept in a file: each under the pair and the teacher it belongs to, none computed twice."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import BadDataError, MismatchError
from dse.files import write_table

if TYPE_CHECKING:
    import pyarrow as pa


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
