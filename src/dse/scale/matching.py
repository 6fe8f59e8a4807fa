"""Pairs of rows that belong together: two tables joined, or the duplicates in one."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm.auto import tqdm

from dse.errors import need_extra
from dse.files import write_json, write_table
from dse.model import DSE
from dse.runner import Run
from dse.scale.embedding_files import check_texts, encode_files, load_embeddings
from dse.scale.shards import claimed, content_key, is_whole
from dse.scale.thread_pool import run_here

logger = logging.getLogger(__name__)

SHARD_ROWS, FEWEST_ROWS, SHARD_PAIRS = 2048, 256, 2**18  # left rows, and pairs to score, between two writes
DONE = "match.json"  # written last
Source = str | os.PathLike[str]


def match_tables(
    student: DSE,
    left: Source | Sequence[Source],
    right: Source | Sequence[Source] | None = None,
    *,
    output: Source,
    top_k: int = 5,
    min_score: float = 0.9,
    label: str | None = None,
    recall: float | None = 0.99,
    id_column: str | None = None,
    text_column: str | None = None,
    run: Run = map,
    show_progress_bar: bool = False,
) -> dict[str, Any]:
    r"""Find the pairs of two tables, or of one, that the student scores high; a killed call is simply made again.

    Rows of the left table are the first of a pair, rows of the right one the second. In one table every row is the
    first of a pair with every other; a pair that is among the best both ways is written once, with the higher score.

    Args:
        student: The student.
        left: One file or several, as `encode_files` takes them.
        right: The same; None matches the left table with itself.
        output: Folder: ``pairs.parquet`` (left, right, score; the left rows in their order, best first) and, of one
            table, ``clusters.parquet`` (id, cluster), which puts rows that pairs connect into one cluster.
        top_k: Right rows that a left row is paired with at most.
        min_score: Lowest score of a pair, on the scale of `DSE.predict`.
        label: Of a student with several scores per pair: the class whose probability is the score.
        recall: Share of the exact ``top_k`` best that is to be found; None scores every pair.
        id_column: As in `encode_files`.
        text_column: As in `encode_files`.
        run: As in `encode_files`.
        show_progress_bar: Whether to show one.

    Returns:
        How many ``pairs``, ``left`` and ``right`` rows, of one table ``clusters`` of more than one row, and the
        ``shortlist``: how many pairs of a left row were scored exactly, None where all were.

    Raises:
        ValueError: If top_k is not positive, min_score is no finite number, recall is not between 0 and 1, or the label
            is wrong.
        BadDataError, MismatchError: As `encode_files`.

    Example:
        >>> student, folder = getfixture("student"), getfixture("tmp_path")
        >>> _ = (folder / "bikes.txt").write_text("a red bicycle\na tent\na red bicycle\n")
        >>> match_tables(student, folder / "bikes.txt", output=folder / "out", top_k=1, min_score=0)["left"]
        3
    """
    need_extra("lance", "index")  # the scout is that of an index
    from dse.index.student import row_scorer
    from dse.scale.block_search import BlockSearch

    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; ask for at least one row.")
    if not math.isfinite(min_score):
        raise ValueError(f"min_score is {min_score}; give a number, as 0.9.")
    if recall is not None and not 0 < recall < 1:
        raise ValueError(f"recall is {recall}; give a number between 0 and 1, or score every pair.")
    scorer = row_scorer(student, label)
    for source in (left, right):
        if source is not None:
            check_texts(_files(source), id_column, text_column)
    if right is not None and _files(left) == _files(right):
        logger.warning("Both tables are the same, so each row meets itself; name the table once to find duplicates.")
    folder = Path(output)
    about = {"top_k": top_k, "min_score": min_score, "label": label, "recall": recall}
    embed = partial(_embedded, student, folder, id_column, text_column, run, show_progress_bar)
    with claimed(folder, {"kind": "match", "student": student.fingerprint, "tables": 2 if right else 1, **about}):
        left_ids, u = embed("left", left, right is None)
        right_ids, v = (left_ids, u) if right is None else embed("right", right, False)
        if right is None and len(set(student.pair_prompts)) > 1:
            v = embed("left_as_right", left, False)[1]
        search = BlockSearch.planned(scorer, u, v, top_k, right is None, recall, folder / "cells.safetensors")
        activate = _activation(student, label)
        run = run_here(scorer.head.device) if run is map else run
        tables = _pairs(folder, search, activate, min_score, str(about), run, show_progress_bar)
        pairs = _of_one_table(pa.concat_tables(tables)) if right is None else pa.concat_tables(tables)
        ids = (pa.array(left_ids, pa.string()), pa.array(right_ids, pa.string()))
        named = {"left": ids[0].take(pairs["left"]), "right": ids[1].take(pairs["right"]), "score": pairs["score"]}
        write_table(folder / "pairs.parquet", pa.table(named))
        shortlist = search.length or None
        result = {"pairs": len(pairs), "left": len(u), "right": len(v), "shortlist": shortlist}
        if right is None:
            result["clusters"] = _write_clusters(folder, left_ids, pairs)
        write_json(folder / DONE, result | about)
    return result


def _files(source: Source | Sequence[Source]) -> list[Source]:
    return [source] if isinstance(source, str | os.PathLike) else list(source)


def _embedded(
    student: DSE,
    folder: Path,
    id_column: str | None,
    text_column: str | None,
    run: Run,
    show_progress_bar: bool,
    name: str,
    source: Source | Sequence[Source],
    queries: bool,
) -> tuple[list[str], np.ndarray]:
    """Ids and embeddings of a table; the rows of the left one are the first of a pair."""
    encode_files(
        student,
        _files(source),
        folder / name,
        id_column=id_column,
        text_column=text_column,
        queries=queries or name == "left",
        run=run,
        show_progress_bar=show_progress_bar,
    )
    return load_embeddings(folder / name)


def _activation(student: DSE, label: str | None) -> Callable[[np.ndarray], np.ndarray]:
    """From raw scores to those of `predict`; of several classes the probability of the one searched for."""
    function = torch.sigmoid if label is not None else student.activation_fn

    def activate(scores: np.ndarray) -> np.ndarray:
        result: np.ndarray = function(torch.from_numpy(scores).unsqueeze(-1)).squeeze(-1).numpy()
        return result

    return activate


def _pairs(
    folder: Path,
    search: Any,
    activate: Callable[[np.ndarray], np.ndarray],
    min_score: float,
    about: str,
    run: Run,
    show_progress_bar: bool,
) -> list[pa.Table]:
    """Pairs of row numbers, shard by shard of left rows, each kept once it is made."""
    size = min(SHARD_ROWS, max(FEWEST_ROWS, SHARD_PAIRS // (search.length or len(search.v) or 1)))
    shards = [np.arange(start, min(start + size, len(search.u))) for start in range(0, len(search.u), size)]
    key = content_key(about, str(search.length), str(size))
    files = [folder / "shards" / f"{number:07d}-{key}.parquet" for number in range(len(shards))]
    missing = [number for number, file in enumerate(files) if not is_whole(file)]
    with tqdm(total=len(search.u), desc="Pairs", unit="row", disable=not show_progress_bar) as bar:
        bar.update(len(search.u) - sum(len(shards[number]) for number in missing))
        results: Iterator[Any] = run(search, (shards[number] for number in missing))
        for number, best in zip(missing, results, strict=True):
            write_table(files[number], _table(shards[number], best.rows, activate(best.scores), min_score))
            bar.update(len(shards[number]))
            if not show_progress_bar and (number + 1) % max(1, len(files) // 10) == 0:  # a log has lines in its place
                logger.info("matched %d of %d rows", shards[number][-1] + 1, len(search.u))
    empty = _table(np.empty(0, np.int64), np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), min_score)
    return [empty, *(pq.read_table(file) for file in files)]


def _table(left: np.ndarray, right: np.ndarray, scores: np.ndarray, min_score: float) -> pa.Table:
    row, place = np.nonzero(scores >= min_score)
    columns = {"left": left[row], "right": right[row, place], "score": scores[row, place].astype(np.float32)}
    return pa.table({name: pa.array(column) for name, column in columns.items()})


def _of_one_table(pairs: pa.Table) -> pa.Table:
    """Each pair of rows once, with the higher of its two scores."""
    left, right, score = (pairs[name].to_numpy() for name in ("left", "right", "score"))
    one, other = np.minimum(left, right), np.maximum(left, right)
    order = np.lexsort((left, -score, other, one))
    kept = order[np.append(True, (np.diff(one[order]) != 0) | (np.diff(other[order]) != 0))] if len(order) else order
    return pairs.take(kept[np.lexsort((right[kept], -score[kept], left[kept]))])


def _write_clusters(folder: Path, ids: Sequence[str], pairs: pa.Table) -> int:
    """The cluster of each row, numbered in the order of their first rows; how many have more than one row."""
    edges = (pairs["left"].to_numpy(), pairs["right"].to_numpy())
    graph = coo_array((np.ones(len(pairs), np.int8), edges), shape=(len(ids), len(ids)))
    _, component = connected_components(graph, directed=False)
    _, first, cluster = np.unique(component, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(1, len(first) + 1)
    table = {"id": pa.array(ids, pa.string()), "cluster": pa.array(number[cluster.reshape(-1)])}
    write_table(folder / "clusters.parquet", pa.table(table))
    return int((np.bincount(component, minlength=len(first)) > 1).sum())
