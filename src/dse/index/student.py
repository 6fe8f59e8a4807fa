"""What an index needs of a student: to load it, to compare it with the manifest, to embed, to train a scout."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from dse import scoring
from dse.data.arrow_vectors import halves
from dse.encoding.runtime import one_thread
from dse.errors import MismatchError
from dse.index.layout import Manifest, now
from dse.index.row_scorer import RowScorer
from dse.index.scout import Scout
from dse.index.scout_training import train_scout
from dse.index.snapshot import Snapshot
from dse.pair_inputs import as_embeddings, as_texts
from dse.scoring.head import PairFunction

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from dse.model import DSE

Folder = str | os.PathLike[str]  # or a hub id


@dataclass(frozen=True, eq=False)
class HeadOfStudent:
    """Of a student what a search by embeddings needs. A shard's process has no more: the encoder is most of a student.

    Attributes:
        head: The pair head.
        fingerprints: As `DSE.fingerprints` gives them.
        label_names: Of its classes.
    """

    head: PairFunction
    fingerprints: tuple[str, ...]
    label_names: list[str] | None

    @classmethod
    def of(cls, student: DSE) -> Self:
        """That of a student, a copy.

        Example:
            >>> student = getfixture("student")
            >>> head = HeadOfStudent.of(student)
            >>> head.num_labels, head.head.embedding_dimension
            (1, 32)
        """
        own = student.head
        widths = own.embedding_dimension, own.num_labels, own.hidden_dimension, own.cosine_dimension
        head = PairFunction(own.formula, *widths).to(own.device).eval()
        head.load_state_dict(own.state_dict())
        return cls(head, student.fingerprints, student.label_names)

    @property
    def num_labels(self) -> int:
        """Scores of a pair."""
        return self.head.num_labels

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        return self.head.device


def _is_open(student: DSE | Folder | None) -> TypeIs[DSE]:
    """Whether it is no folder; asked without importing what students are made of."""
    return hasattr(student, "head")


def load_student(student: DSE | Folder | None, snapshot: Snapshot) -> DSE:
    """The student given, or the one an index was made with.

    Raises:
        MismatchError: If neither the argument nor the manifest names one.
    """
    if _is_open(student):
        return student
    source = student or snapshot.manifest.source
    if source is None:
        raise MismatchError(f"{snapshot.path} does not know where its student is; name it (student=, --student).")
    from dse.model import DSE

    return DSE(os.fspath(source))


def new_manifest(student: DSE | Folder, label: str | None) -> tuple[DSE, Manifest]:
    """The student, and the manifest of an index made with it.

    Raises:
        ValueError: If the student needs a label, or has no such one.
    """
    source = None
    if not _is_open(student):
        from dse.model import DSE

        folder = os.path.expanduser(os.fspath(student))
        source = os.path.abspath(folder) if os.path.isdir(folder) else os.fspath(student)
        student = DSE(source)
    row_scorer(student, label)
    return student, Manifest(student.embeddings_name, student.head.embedding_dimension, source, label, now())


def row_scorer(student: DSE | HeadOfStudent, label: str | None) -> RowScorer:
    """The student's pair head, with the class that a label names; None for a student with one score.

    Raises:
        ValueError: If the student needs a label, or has no such one.
    """
    if student.num_labels == 1:
        if label is not None:
            raise ValueError(f"This student gives one score per pair; leave the label {label!r} out.")
        return RowScorer(student.head, None)
    names = student.label_names or [str(c) for c in range(student.num_labels)]
    if label not in names:
        raise ValueError(
            f"This student gives {student.num_labels} scores per pair; name the class to search for: label (--label) "
            f"{', '.join(names)}."
        )
    return RowScorer(student.head, names.index(label))


def check_student(fingerprints: Sequence[str], snapshot: Snapshot) -> None:
    """Refuse a student that did not make the index.

    Args:
        fingerprints: As `DSE.fingerprints` gives them.
        snapshot: Of the index.

    Raises:
        MismatchError: If it did not.
    """
    made_with = snapshot.manifest.student
    if made_with not in fingerprints:
        raise MismatchError(
            f"{snapshot.path} was made with another student (fingerprint {made_with[:12]}, this one has "
            f"{fingerprints[0][:12]}); use that one, or `dse index rebuild` with this one."
        )


def make_scout(
    embeddings: np.ndarray, student: DSE | Folder | None, snapshot: Snapshot, show_progress_bar: bool = False
) -> Scout:
    """The scout of an index, trained by the student's pair head on a sample of the embeddings (n, d).

    Raises:
        MismatchError: If the student did not make the index, or neither the argument nor the manifest names one.
    """
    loaded = load_student(student, snapshot)
    check_student(loaded.fingerprints, snapshot)
    scorer = row_scorer(loaded, snapshot.manifest.label)
    return train_scout(scorer, embeddings, show_progress_bar=show_progress_bar)


_locks: WeakKeyDictionary[DSE, threading.Lock] = WeakKeyDictionary()
_lock = threading.Lock()


def _encoding(student: DSE) -> threading.Lock:
    """Held while a student encodes: tokenizers and copies of weights are not made for several threads."""
    with _lock:
        return _locks.setdefault(student, threading.Lock())


def embed_rows(student: DSE, texts: Sequence[str]) -> np.ndarray:
    """Embeddings as they are stored, (n, d) fp16.

    Raises:
        BadDataError: If a value does not fit.
    """
    if len(texts) == 0:
        return np.empty((0, student.head.embedding_dimension), np.float16)
    with _encoding(student):
        embeddings = student.embed_texts(list(texts), student.pair_prompts[1], show_progress_bar=False).cpu().numpy()
    return halves(embeddings, texts)


def embed_queries(student: DSE, queries: str | Sequence[str] | np.ndarray | Tensor) -> Tensor:
    """Embeddings of queries, which may be embeddings already, (q, d)."""
    if (given := as_embeddings(queries, "queries")) is not None:
        queries = given
    elif not (queries := as_texts([queries] if isinstance(queries, str) else queries, "queries")):
        return torch.empty(0, student.head.embedding_dimension, device=student.device)
    else:
        with _encoding(student), one_thread() if len(queries) == 1 else contextlib.nullcontext():
            queries = student.embed_texts(queries, student.pair_prompts[0], show_progress_bar=False)
    return scoring.check_embeddings(queries, student.head, "queries")
