"""Texts of files to embeddings on disk: shards of rows, each embedded as one piece and written under its content.

What is embedded together decides the last bits of an embedding, as kernels add in an order that depends on the shape.
A shard is always embedded whole, so a run that was killed, or spread over workers, gives the same rows as one that was
not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from dse.data.arrow_vectors import halves, matrix, vectors
from dse.data.text_rows import IdCheck, TextRows, read_texts, refuse_repeated_ids
from dse.encoding.runtime import Dtype, resolve_dtype
from dse.errors import BadDataError, need_extra
from dse.files import write_json, write_table
from dse.model import DSE
from dse.runner import Run
from dse.scale.shards import claimed, content_key, is_whole

SHARD_ROWS = 2048
DONE = "embeddings.json"  # written last

Format = Literal["parquet", "lance"]


@dataclass(frozen=True)
class Embed:
    """Embeds a shard: what a worker runs.

    Attributes:
        student: The student.
        dtype: Precision of its transformer, the same on every worker.
        prompt: What it puts before each text.
        batch_size: Texts the transformer reads at a time.
    """

    student: DSE
    dtype: Dtype
    prompt: str
    batch_size: int

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings as they are stored, (n, d) fp16."""
        self.student.inference_dtype = self.dtype
        options: dict[str, Any] = {"batch_size": self.batch_size, "show_progress_bar": False}
        return halves(self.student.embed_texts(list(texts), self.prompt, **options).cpu().numpy(), texts)


class Shard(NamedTuple):
    """Rows that are embedded and written together."""

    number: int
    key: str
    ids: list[str]
    texts: list[str]

    @property
    def name(self) -> str:
        """Of its file: files sorted by name have the rows in their order."""
        return f"{self.number:07d}-{self.key}"


def encode_files(
    student: DSE,
    files: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    id_column: str | None = None,
    text_column: str | None = None,
    queries: bool = False,
    format: Format = "parquet",
    shard_rows: int = SHARD_ROWS,
    batch_size: int = 32,
    run: Run = map,
    show_progress_bar: bool = False,
) -> dict[str, Any]:
    r"""Embed the texts of files into a folder of shards; a killed run is simply made again.

    Every row is checked before the first one is embedded.

    Args:
        student: The student.
        files: As `dse.data.text_rows.read_texts` takes them.
        output: Folder, for one student and these texts.
        id_column: Column of the ids; without a column `id` rows are numbered from 1.
        text_column: Column of the texts; by default the only one, or one called `text`, `sentence`, ...
        queries: Whether the texts are the first of a pair, where the student has a prompt for each side.
        format: ``"parquet"``: shards with columns id, text and embedding (fp16), which `dse index add` takes;
            ``"lance"``: the same as one dataset, ``embeddings.lance``.
        shard_rows: Rows embedded, and committed, at a time.
        batch_size: Texts the transformer reads at a time.
        run: What applies the student to shards: `map`, or `dse.scale.ray_pool.ray_map`.
        show_progress_bar: Whether to show one.

    Returns:
        ``rows``, ``shards``, how many of them were ``kept`` from an earlier run, and ``dimension``.

    Raises:
        BadDataError: If a file cannot be read, a row cannot be used, or an id occurs twice.
        MismatchError: If the folder holds what another student, or other texts gave.

    Example:
        >>> student, folder = getfixture("student"), getfixture("tmp_path")
        >>> _ = (folder / "bikes.txt").write_text("a red bicycle\na tent\n")
        >>> encode_files(student, [folder / "bikes.txt"], folder / "embeddings")
        {'rows': 2, 'shards': 1, 'kept': 0, 'dimension': 32}
        >>> load_embeddings(folder / "embeddings")[0]
        ['1', '2']
    """
    if format == "lance":
        need_extra("lance", "index")
    dtype: Any = str(resolve_dtype(student.inference_dtype, student.device)).removeprefix("torch.")
    prompt = student.pair_prompts[0 if queries else 1]
    about = {"student": student.fingerprint, "prompt": prompt, "dtype": dtype}
    read = partial(_shards, partial(read_texts, files, id_column, text_column), shard_rows, content_key(str(about)))
    rows, names = _survey(read, partial(read_texts, files, id_column, text_column))
    data = f"{rows} rows {content_key(names)}"
    folder = Path(output)
    with claimed(folder, {"kind": "encode", **about, "data": data, "format": format, "shard_rows": shard_rows}):
        result = {"rows": rows, "shards": len(names), "kept": 0, "dimension": student.head.embedding_dimension}
        suffix = ".parquet" if format == "parquet" else ".json"
        missing = {name for name in names if not is_whole(folder / "shards" / (name + suffix))}
        result["kept"] = len(names) - len(missing)
        if not missing and is_whole(folder / DONE):
            return result
        with tqdm(total=rows, desc="Texts", unit="text", disable=not show_progress_bar) as bar:
            for shard, embeddings in _embedded(read(), missing, Embed(student, dtype, prompt, batch_size), run, bar):
                write = _write_parquet if format == "parquet" else _write_fragment
                write(folder, shard.name, _table(shard.ids, shard.texts, embeddings))
        if format == "lance":
            _commit_fragments(folder, names, result["dimension"])
        write_json(folder / DONE, {**result, **about, "format": format})
    return result


def check_texts(
    files: Sequence[str | os.PathLike[str]], id_column: str | None = None, text_column: str | None = None
) -> None:
    """Check every row as `encode_files` does, and that it has a text: rows without one are all alike.

    Raises:
        BadDataError: If a file cannot be read, a row cannot be used or has an empty text, or an id occurs twice.
    """

    def rows() -> Iterator[TextRows]:
        for part in read_texts(files, id_column, text_column):
            for position, text in enumerate(part.texts):
                if not text.strip():
                    raise BadDataError(f"{part.place(position)}: has an empty text; leave the row out")
            yield part

    _survey(partial(_shards, rows, SHARD_ROWS, ""), rows)


def _survey(read: Any, rows: Any) -> tuple[int, list[str]]:
    """Check every row; how many there are, and the names of the shards."""
    check, count, names = IdCheck(), 0, []
    for shard in read():
        check.add(shard.ids)
        count += len(shard.ids)
        names.append(shard.name)
    if check.repeated:
        refuse_repeated_ids(rows())
    return count, names


def _shards(rows: Any, size: int, about: str) -> Iterator[Shard]:
    ids: list[str] = []
    texts: list[str] = []
    number = 0
    part: TextRows
    for part in rows():
        ids += part.ids
        texts += part.texts
        while len(ids) >= size:
            yield _shard(number, about, ids[:size], texts[:size])
            ids, texts, number = ids[size:], texts[size:], number + 1
    if ids:
        yield _shard(number, about, ids, texts)


def _shard(number: int, about: str, ids: list[str], texts: list[str]) -> Shard:
    return Shard(number, content_key(about, ids, texts), ids, texts)


def _embedded(
    shards: Iterator[Shard], missing: set[str], embed: Embed, run: Run, bar: Any
) -> Iterator[tuple[Shard, np.ndarray]]:
    """The missing shards with their embeddings, in order; no more are held than the workers have in hand."""
    waiting: list[Shard] = []

    def tasks() -> Iterator[list[str]]:
        for shard in shards:
            if shard.name in missing:
                waiting.append(shard)
                yield shard.texts
            else:
                bar.update(len(shard.ids))

    for embeddings in run(embed, tasks()):
        shard = waiting.pop(0)
        yield shard, embeddings
        bar.update(len(shard.ids))


def _table(ids: Sequence[str], texts: Sequence[str], embeddings: np.ndarray) -> pa.Table:
    columns = {"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string()), "embedding": vectors(embeddings)}
    return pa.table(columns)


def _write_parquet(folder: Path, name: str, table: pa.Table) -> None:
    write_table(folder / "shards" / f"{name}.parquet", table)


def _write_fragment(folder: Path, name: str, table: pa.Table) -> None:
    """Write the rows as files of the Lance dataset that no commit names yet, and note them."""
    from lance.fragment import LanceFragment

    fragment = LanceFragment.create(str(folder / "embeddings.lance"), table)
    (folder / "shards").mkdir(exist_ok=True)
    write_json(folder / "shards" / f"{name}.json", fragment.to_json())


def _commit_fragments(folder: Path, names: Sequence[str], dimension: int) -> None:
    """One commit of all the shards, in the order of the rows."""
    import lance
    from lance.fragment import FragmentMetadata

    notes = [(folder / "shards" / f"{name}.json").read_text(encoding="utf-8") for name in names]
    schema = _table([], [], np.empty((0, dimension), np.float16)).schema
    operation = lance.LanceOperation.Overwrite(schema, [FragmentMetadata.from_json(note) for note in notes])
    lance.LanceDataset.commit(str(folder / "embeddings.lance"), operation)


def load_embeddings(folder: str | os.PathLike[str]) -> tuple[list[str], np.ndarray]:
    """Ids and embeddings, (n, d) fp16, of a folder that `encode_files` has finished in Parquet.

    Raises:
        BadDataError: If it has not, or a shard is missing or cannot be read.
    """
    folder = Path(folder)
    try:
        note = json.loads((folder / DONE).read_text(encoding="utf-8"))
        files = sorted((folder / "shards").glob("*.parquet"))
        rows = sum(pq.read_metadata(file).num_rows for file in files)
    except (OSError, ValueError) as error:
        raise BadDataError(f"{folder} holds no finished embeddings; make them with `dse encode`.") from error
    if rows != note["rows"]:
        raise BadDataError(
            f"{folder} holds {rows:,} of {note['rows']:,} rows; run the `dse encode` that made it again, which makes "
            "the shards that are missing."
        )
    ids: list[str] = []
    embeddings = np.empty((rows, note["dimension"]), np.float16)
    for file in files:
        table = pq.read_table(file, columns=["id", "embedding"])
        embeddings[len(ids) : len(ids) + len(table)] = matrix(table["embedding"])
        ids += table["id"].to_pylist()
    return ids, embeddings
