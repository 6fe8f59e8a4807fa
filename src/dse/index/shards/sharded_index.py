"""`ShardedIndex`: several indexes of one student, each in a process of its own, searched as one."""

from __future__ import annotations

import os
import pickle
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dse.errors import DSEError
from dse.index import calibration
from dse.index.candidate_index import CandidateIndex
from dse.index.info import promise
from dse.index.row_checks import as_ids
from dse.index.search import Queries, activated
from dse.index.searchable import Searchable
from dse.index.shards.merge import merged_answer, merged_info, merged_known, merged_recalls
from dse.index.shards.names import is_sharded, open_shards, write_names
from dse.index.shards.process import ShardProcess
from dse.index.store import Store, resolved
from dse.index.student import Folder, HeadOfStudent, check_student, load_student
from dse.model import DSE

AnyIndex: TypeAlias = "CandidateIndex | ShardedIndex"


def open_index(path: str | os.PathLike[str], student: DSE | Folder | None = None) -> AnyIndex:
    """The index at a path, in shards or not; arguments and errors are those of the two classes."""
    return ShardedIndex(path, student) if is_sharded(path) else CandidateIndex(path, student)


class ShardedIndex(Searchable):
    """Several indexes of one student that are searched as one.

    Each shard is a `CandidateIndex` that holds a part of the rows, in a folder or an object store, and is searched in a
    process of its own. Rows are added to the shards: each has its own writer. The recall is promised of the whole. Any
    number of threads may share an object; their calls take turns.

    Args:
        path: Folder that `create` made.
        student: The student that made the shards, or its folder or hub id; by default where it was then.
        storage_options: Credentials and the like for the shards, as Lance takes them.

    Raises:
        BadDataError: If the path is no such folder, or a shard is no index.
        MismatchError: If a shard was made with another student.

    Example:
        >>> student, folder = getfixture("student"), getfixture("tmp_path")
        >>> for number, text in enumerate(["a red bicycle", "a tent"]):
        ...     _ = CandidateIndex.create(folder / str(number), student).add([text])
        >>> with ShardedIndex.create(folder / "all", [folder / "0", folder / "1"], student) as index:
        ...     len(index), sorted(hit["text"] for hit in index.search("a bike", k=5))
        (2, ['a red bicycle', 'a tent'])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        student: DSE | Folder | None = None,
        *,
        storage_options: dict[str, str] | None = None,
    ) -> None:
        self._open(path, open_shards(path, storage_options), student)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        shards: Sequence[str | os.PathLike[str]],
        student: DSE | Folder | None = None,
        *,
        storage_options: dict[str, str] | None = None,
    ) -> Self:
        """Name the shards of an index, in one commit; a folder that names others already is changed to these.

        Args:
            path: A folder that does not exist or is empty, or one made by this function.
            shards: Their folders or object-store URIs.
            student: As in the constructor.
            storage_options: As in the constructor.

        Returns:
            The index.

        Raises:
            DSEError: If the folder holds anything else, or a shard is no index.
            MismatchError: If the shards were made with different students or labels.
            BadDataError: If an id is in two of them.
        """
        for shard in shards[:1]:  # a student that does not fit is refused before anything is written
            store = Store(shard, storage_options)
            student = load_student(student, store)
            check_student(student.fingerprints, store)
        stores = write_names(path, shards, storage_options)
        index = cls.__new__(cls)
        index._open(path, stores, student)
        return index

    def _open(self, path: str | os.PathLike[str], stores: Sequence[Store], student: DSE | Folder | None) -> None:
        super().__init__()
        self.path = resolved(path)
        self._student = load_student(student, stores[0])
        check_student(self._student.fingerprints, stores[0])
        self._label = stores[0].manifest.label
        threads, given = max(1, torch.get_num_threads() // len(stores)), pickle.dumps(HeadOfStudent.of(self._student))
        self._shards = [ShardProcess(store.path, store.options, given, threads) for store in stores]
        for shard in self._shards:
            shard.open()
        self._turn = threading.Lock()

    def close(self) -> None:
        """End the processes; they also end with the object."""
        for shard in self._shards:
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of rows stored."""
        return sum(known.rows for _, known in self._each("info"))

    # ------------------------------------------------------------------------------------------------ rows

    def get(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """As `CandidateIndex.get`."""
        found: dict[str, dict[str, Any]] = {}
        for part in self._each("get", as_ids(ids)):
            found = part | found
        return found

    def embeddings(self, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """As `CandidateIndex.embeddings`."""
        found: dict[str, np.ndarray] = {}
        for part in self._each("embeddings", as_ids(ids)):
            found = part | found
        return found

    @property
    def version(self) -> int:
        """Sum of the numbers of the latest commits: it grows with every change."""
        return sum(self._each("version"))

    # ------------------------------------------------------------------------------------------------ search

    def _answers(
        self, queries: Any, k: int, where: str | None, exact: bool, activation_fn: Any
    ) -> list[dict[str, Any]]:
        if where is not None:
            self._each("condition", where)  # refused before anything is encoded
        encoded = Queries.encode(self._student, queries)
        parts = self._each("search", encoded.embeddings.cpu().numpy(), k, where, exact)
        known = merged_known([known for _, known in parts])
        answers = []
        for number in range(len(encoded.embeddings)):
            answer = merged_answer([answers[number] for answers, _ in parts], k)
            raw = torch.tensor([hit["score"] for hit in answer["hits"]], dtype=torch.float32)
            shown = activated(raw, self._student, self._label, activation_fn).tolist()
            for hit, score in zip(answer["hits"], shown, strict=True):
                hit["score"] = score
            answer["seconds"] = {"encode": encoded.seconds / len(encoded.embeddings)} | answer["seconds"]
            answer["promise"] = promise(known, exact=answer["mode"] == "exact", k=k, where=where)
            answers.append(answer)
        return answers

    # ------------------------------------------------------------------------------------------------ maintenance

    def calibrate(
        self,
        sample_queries: Sequence[str] | np.ndarray | Tensor,
        k: int = 10,
        *,
        recall: float = 0.99,
        confidence: float = 0.95,
        show_progress_bar: bool = False,
    ) -> dict[str, Any]:
        """As `CandidateIndex.calibrate`, of the whole: one length of shortlist for all shards.

        It is stored in every shard. Until all have it, the recall counts as not calibrated.
        """
        embeddings = calibration.embed_sample(self._student, sample_queries, recall, confidence)
        facts, counted = [info for info, _ in self._each("info")], self._each("counted")
        rows = sum(info["rows"] for info in facts)
        largest = max((info["rows"] for info in facts if info["scout"] is not None), default=0)
        lengths = calibration.tested_lengths(k, largest)

        def recalls_of(block: Tensor) -> np.ndarray:
            return merged_recalls(self._each("find", block.cpu().numpy(), k, lengths), k)

        recalls = calibration.in_blocks(recalls_of, embeddings, lengths, show_progress_bar)
        result = calibration.result(recalls, lengths, rows, k, recall, confidence)
        result["shards"] = {"id": uuid.uuid4().hex, "count": len(self._shards)}
        self._each("keep", result, each=counted)
        self._warned.clear()
        return result

    def info(self) -> dict[str, Any]:
        """As `CandidateIndex.info`, of the whole; ``shards`` has that of each."""
        return merged_info(self.path, self._each("info"))

    # ------------------------------------------------------------------------------------------------ processes

    def _each(self, name: str, *arguments: Any, each: Sequence[Any] | None = None) -> list[Any]:
        """The result of a request to every shard; the first error, once all have answered.

        Args:
            name: Method of `dse.index.shards.work.Shard`.
            arguments: Of all.
            each: A last argument for each.
        """
        with self._turn:
            for number, shard in enumerate(self._shards):
                shard.begin(name, *arguments, *([] if each is None else [each[number]]))
            answers = [shard.end() for shard in self._shards]
        paths = [shard.path for shard in self._shards]
        failed = {path: result for path, (worked, result) in zip(paths, answers, strict=True) if not worked}
        for path, error in failed.items():
            ours = isinstance(error, DSEError | ValueError)
            if ours and (len(failed) == len(answers) or path in str(error)):  # of the request, or names the shard
                raise error
            raise (type(error) if ours else DSEError)(f"{path}: {error}")
        return [result for _, result in answers]
