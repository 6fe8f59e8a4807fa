"""Vectors of teachers that embed texts, kept on disk: no text is embedded twice by one teacher in one role."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from sentence_transformers import SentenceTransformer
from torch import Tensor
from tqdm.auto import tqdm

from dse.encoding.identity import fingerprint
from dse.errors import BadDataError, MismatchError
from dse.files import write_tensors
from dse.model import DSE
from dse.ranks import ranks
from dse.teacher.kept_scores import score_key
from dse.training.list_loss import spread

logger = logging.getLogger(__name__)

SHARD = 500  # texts between two writes: what a killed run loses at most
COMPARED = 1_000  # texts that the weights of several encoders are read off
NO_SPREAD = 1e-4  # half precision has no finer differences
SHARD_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.safetensors")  # fingerprint of the teacher, hash of the keys

Role = Literal["document", "query"]


class EncoderTeacher:
    """One or several encoders as one teacher: its cosine is the weighted mean of theirs.

        cos(i, j) = sum_k w_k cos_k(i, j),   w_k = (1 / s_k) / sum_l (1 / s_l)

    s_k is the standard deviation of encoder k's cosines with a text, over the first texts that are embedded. The
    cosines of one encoder lie between 0 and 1, those of another between 0.7 and 0.9; so both have their say.

    A killed run loses at most one shard of 2,000 texts; a text whose vector the folder holds is not embedded again.

    Args:
        encoders: As `load_ranking_teacher` loads them.
        output: Folder in which the vectors are kept, in half precision; None keeps them in memory.
        batch_size: Texts the transformer reads at a time.

    Raises:
        MismatchError: If one does not embed texts, or its cosine is not its score.
        BadDataError: If ``output`` holds something else.
    """

    def __init__(self, encoders: Sequence[Any], output: str | Path | None = None, *, batch_size: int = 32) -> None:
        if not encoders:
            raise MismatchError("There is no teacher; give at least one encoder.")
        self.batch_size = batch_size
        checked = [check_encoder(encoder) for encoder in encoders]
        self._encoders = {fingerprint(encoder): encoder for encoder in checked}
        self._stores = [VectorStore(output, name) for name in self._encoders]
        self._weights: NDArray[np.float32] | None = None  # w_k

    @property
    def fingerprint(self) -> str:
        """That of the encoder; of several, joined by +."""
        return "+".join(self._encoders)

    def single(self, encoder: SentenceTransformer) -> EncoderTeacher:
        """One of the encoders as a teacher of its own, with the same kept vectors.

        Example:
            >>> from dse.teacher import load_ranking_teacher
            >>> encoder = load_ranking_teacher(getfixture("encoder"))
            >>> teacher = EncoderTeacher([encoder])
            >>> teacher.single(encoder).fingerprint == teacher.fingerprint
            True
        """
        name, alone = fingerprint(encoder), copy.copy(self)
        alone._encoders = {name: self._encoders[name]}
        alone._stores = [store for store in self._stores if store.teacher == name]
        return alone

    def vectors(
        self, corpus: Sequence[str], queries: Sequence[str], *, show_progress_bar: bool = False
    ) -> NDArray[np.float32]:
        """Vectors of documents, then of queries, as `teacher_vectors` returns them."""
        parts = [self.encode_document(corpus, show_progress_bar), self.encode_query(queries, show_progress_bar)]
        found: NDArray[np.float32] = torch.cat([part for part in parts if len(part)]).numpy()
        return found

    def encode_document(self, texts: Sequence[str], show_progress_bar: bool = False, **_: Any) -> Tensor:
        """Vectors of documents, (n, D); further keywords of `SentenceTransformer.encode_document` change nothing."""
        return self._encode("document", texts, show_progress_bar)

    def encode_query(self, texts: Sequence[str], show_progress_bar: bool = False, **_: Any) -> Tensor:
        """Vectors of queries, (q, D)."""
        return self._encode("query", texts, show_progress_bar)

    def _encode(self, role: Role, texts: Sequence[str], show_progress_bar: bool) -> Tensor:
        total, parts = len(self._stores) * len(texts), []
        with tqdm(total=total, desc=f"teacher, {role}", unit="text", disable=not show_progress_bar) as bar:
            for store in self._stores:
                encoder = self._encoders[store.teacher]
                keys = _keys(encoder, store.teacher, role, texts)
                _embed(encoder, role, dict(zip(keys, texts, strict=True)), store, self.batch_size, bar)
                parts.append(_normalized(store.lookup(keys)))
        if len(parts) == 1:
            return torch.from_numpy(parts[0])  # (n, D)
        if self._weights is None:
            self._weights = _weights(parts)
        # sum_k w_k cos(t_ik, t_jk) = cos(t_i, t_j) with t_i = (sqrt(w_1) t_i1, ..., sqrt(w_k) t_ik)
        parts = [np.sqrt(w) * t for w, t in zip(self._weights, parts, strict=True)]
        return torch.from_numpy(np.concatenate(parts, axis=1))  # (n, D)


def teacher_vectors(
    teachers: Sequence[SentenceTransformer],
    corpus: Sequence[str],
    queries: Sequence[str],
    output: str | Path | None = None,
    *,
    batch_size: int = 32,
    show_progress_bar: bool = False,
) -> NDArray[np.float32]:
    """Vectors whose cosine is the teachers' score of a query and a document, see `EncoderTeacher`.

    Args:
        teachers: Encoders; documents and queries get the prompts that an encoder has for them.
        corpus: The documents, n texts.
        queries: The queries, q texts.
        output: As `EncoderTeacher` takes it.
        batch_size: Texts the transformer reads at a time.
        show_progress_bar: Whether to show one.

    Returns:
        A row for each document, then for each query, of length 1, (n + q, D). Rounded to half precision, whether they
        are kept or not, so that both give the same student.

    Raises:
        MismatchError: As `EncoderTeacher`.
        BadDataError: If a teacher gives a vector that is not finite, or ``output`` holds something else.

    Example:
        >>> from dse.teacher import load_ranking_teacher
        >>> teacher = load_ranking_teacher(getfixture("encoder"))
        >>> teacher_vectors([teacher], ["a tent", "a red bicycle"], ["bike"]).shape
        (3, 8)
    """
    teacher = EncoderTeacher(teachers, output, batch_size=batch_size)
    return teacher.vectors(corpus, queries, show_progress_bar=show_progress_bar)


def check_encoder(teacher: Any) -> SentenceTransformer:
    """Return an encoder; refuse what has no vectors, before any work.

    Raises:
        MismatchError: If it is a cross-encoder, a student whose score is not its cosine, or no encoder at all.
    """
    if not isinstance(teacher, SentenceTransformer):
        raise MismatchError(
            f"A {type(teacher).__name__} has no vectors; give an encoder of sentence-transformers, or let "
            "PairTeacher score pairs with it."
        )
    if isinstance(teacher, DSE) and teacher.head.kind != "cosine":
        raise MismatchError(
            f"The teacher is a student with a {teacher.head.kind!r} head, whose score is not the cosine of its "
            "embeddings; give one with a cosine head, or another encoder."
        )
    if not isinstance(teacher, DSE) and teacher.similarity_fn_name not in (None, "cosine"):
        logger.warning(
            "The teacher was trained for %s similarity; its cosine, which is learned here, may rank differently.",
            teacher.similarity_fn_name,
        )
    return teacher


class VectorStore:
    """Vectors of one teacher in a folder of shards, which several teachers may share.

    Args:
        folder: It need not exist yet; None keeps the vectors in memory only.
        teacher: Fingerprint.

    Raises:
        BadDataError: If the folder holds something else, or a shard cannot be read.
    """

    def __init__(self, folder: str | Path | None, teacher: str) -> None:
        self.folder, self.teacher = None if folder is None else Path(folder), teacher
        self._shards: list[NDArray[np.float16]] = []
        self._places: dict[bytes, tuple[int, int]] = {}  # shard, row
        for file in self._files():
            self._take(*_read(file))
        if len(self):
            logger.info("teacher: %d vectors are in %s already", len(self), self.folder)

    def __len__(self) -> int:
        """Return how many vectors are kept."""
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        """Whether the vector of a text is kept."""
        return key in self._places

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float16]) -> None:
        """Write one shard, whole or not at all."""
        if self.folder is not None and ranks().first:
            name = f"{self.teacher}-{hashlib.blake2b(b''.join(keys), digest_size=16).hexdigest()}.safetensors"
            table = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)  # (n, 16)
            write_tensors(self.folder / name, {"keys": table, "vectors": vectors}, {"teacher": self.teacher})
        self._take(list(keys), vectors)

    def lookup(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """The vectors of texts in their order, (n, D)."""
        places = np.array([self._places[key] for key in keys], np.int64).reshape(-1, 2)
        vectors = np.empty((len(keys), self._shards[0].shape[1] if self._shards else 0), np.float32)
        for number in np.unique(places[:, 0]):
            rows = np.flatnonzero(places[:, 0] == number)
            vectors[rows] = self._shards[number][places[rows, 1]]
        return vectors

    def _take(self, keys: Sequence[bytes], vectors: NDArray[np.float16]) -> None:
        self._places |= {key: (len(self._shards), row) for row, key in enumerate(keys)}
        self._shards.append(vectors)

    def _files(self) -> Iterator[Path]:
        """The shards of this teacher; whatever else is no shard is refused."""
        if self.folder is None or not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise BadDataError(f"{self.folder} is a file; give a folder for the teacher's vectors.")
        for path in sorted(self.folder.iterdir()):
            if path.name.startswith("."):  # half of a shard, whose writing was killed
                continue
            if not SHARD_NAME.fullmatch(path.name):
                raise BadDataError(
                    f"{self.folder} holds {path.name}, which is no shard of a teacher's vectors; give another folder."
                )
            if path.name.startswith(self.teacher):
                yield path


def _embed(
    encoder: SentenceTransformer, role: Role, texts: dict[bytes, str], store: VectorStore, batch_size: int, bar: Any
) -> None:
    """Embed the texts that are not kept yet, shard by shard."""
    encode = encoder.encode_document if role == "document" else encoder.encode_query
    keys = ranks().from_first(lambda: [key for key in texts if key not in store])
    bar.update(len(texts) - len(keys))
    for start in range(0, len(keys), SHARD):
        shard = keys[start : start + SHARD]
        wanted = [texts[key] for key in shard]
        vectors = _normalized(
            ranks().spread(
                lambda part: list(encode(list(part), batch_size=batch_size, show_progress_bar=False)), wanted
            )
        )
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise BadDataError(
                f"The teacher's vector of {texts[shard[row]][:60]!r} is not finite; check the teacher, or compute in "
                "float32 (--dtype)."
            )
        store.add(shard, vectors.astype(np.float16))
        bar.update(len(shard))
        if bar.disable:  # a log has lines in the bar's place
            logger.info("teacher: %d of %d texts (%s) embedded", start + len(shard), len(keys), role)


def _weights(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """w_k of encoders with these vectors, each (n, D_k); alike where no two texts differ."""
    itself = torch.eye(min(COMPARED, len(parts[0])), dtype=torch.bool)
    spreads = [spread(torch.from_numpy(t[:COMPARED] @ t[:COMPARED].T), itself) for t in parts]
    if min(spreads) < NO_SPREAD:
        return np.full(len(parts), 1 / len(parts), np.float32)
    inverse = 1 / np.array(spreads, np.float32)
    weights: NDArray[np.float32] = inverse / inverse.sum()
    return weights


def _keys(teacher: SentenceTransformer, name: str, role: Role, texts: Sequence[str]) -> list[bytes]:
    """Under what the vectors are kept: the teacher, what it does to texts of this role, and the text."""
    prompts = json.dumps([role, teacher.prompts, teacher.default_prompt_name, teacher.truncate_dim], sort_keys=True)
    return [score_key(name, prompts, text) for text in texts]


def _normalized(embeddings: Any) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays."""
    vectors: NDArray[np.float32] = np.array(embeddings, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    vectors /= lengths
    return vectors


def _read(file: Path) -> tuple[list[bytes], NDArray[np.float16]]:
    try:
        with safe_open(file, framework="numpy") as shard:
            keys, vectors = shard.get_tensor("keys"), shard.get_tensor("vectors")
    except (SafetensorError, OSError) as error:
        raise BadDataError(f"{file} cannot be read ({error}); delete it, and its texts are embedded again.") from error
    return [row.tobytes() for row in keys], vectors
