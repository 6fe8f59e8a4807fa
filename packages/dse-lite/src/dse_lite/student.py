"""An exported student: `encode`, `predict`, `rank` and `topk`, with the numbers of `dse.DSE`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dse_lite.encoder import Encoder, ExportError, open_graph

BLOCK = 2048  # pairs that the head scores at a time
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), for large negative x too."""
    small = np.exp(-np.abs(x))
    y: np.ndarray = np.where(x >= 0, 1, small) / (1 + small)
    return y


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": sigmoid,
    "identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
}


class Student:
    """A student that `dse export` wrote.

    Args:
        folder: The folder of the export, or the student's with an export inside it (that for ONNX Runtime, if any).
        threads: How many a product is computed with; by default as many as there are cores.

    Raises:
        ExportError: If the folder holds no export, or a part of it is missing or unreadable.

    Attributes:
        num_labels: C, scores that a pair gets.
        dimension: d, width of an embedding.
        threshold: Score above which a pair counts as positive, on the scale that `predict` returns.
        max_length: Tokens read of a text.
        fingerprint: That of the student that was exported.
        head: Kind of the pair head.
        dtype: What the encoder computes in; auto is that of the processor.
        label_names: Of the classes, where they have names.
        prompts, default_prompt_name: Of the student.
        pair_prompts: Those before first and second sentences.
        activation: What `predict` applies to raw scores.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        folder = Path(folder)
        inside = (folder / name for name in ("onnx", "openvino"))
        folder = next((export for export in inside if (export / "modules.json").is_file()), folder)
        first, head = _modules(folder)
        self._encoder = Encoder(first, threads)
        backend = self._encoder.backend
        self._head = open_graph(folder / "head.onnx", backend, threads, exact=True)
        self.fingerprint, self.dtype = self._encoder.fingerprint, "auto" if backend == "openvino" else "float32"
        config = _read(head / "config.json")
        self.num_labels, self.dimension = int(config["num_labels"]), int(config["embedding_dimension"])
        self.head = str(config["kind"])
        info = _read(folder / "dse.json") if (folder / "dse.json").is_file() else {}
        name = str(info.get("activation", "sigmoid" if self.num_labels == 1 else "identity"))
        if name not in ACTIVATIONS:
            raise ExportError(
                f"{folder / 'dse.json'}: the activation {name} is not known here; load the student with dse."
            )
        self.activation = ACTIVATIONS[name]
        self.label_names: list[str] | None = (info.get("task") or {}).get("labels")
        self.threshold = float(self.activation(np.float64(info.get("threshold", 0.0))))
        self.max_length = self._encoder.max_length
        usage = _read(folder / "config_sentence_transformers.json")
        prompts = {name: text for name, text in (usage.get("prompts") or {}).items() if text}
        self.prompts, self.default_prompt_name = prompts, usage.get("default_prompt_name")
        self._prompt = prompts.get(usage.get("default_prompt_name"), "")
        self._query_prompt = prompts.get("query", self._prompt)
        self._document_prompt = next((prompts[name] for name in DOCUMENT_PROMPTS if name in prompts), "")
        self.pair_prompts = (self._query_prompt, self._document_prompt)

    def encode(self, texts: str | Iterable[str], *, prompt: str | None = None, batch_size: int = 32) -> np.ndarray:
        """Embeddings, (n, d) float32, or (d,) for one text.

        Args:
            texts: Texts, or one.
            prompt: What stands before each of them; by default the student's own, where it has one for all texts.
            batch_size: Texts of the usual length that are read at a time.

        Raises:
            ValueError: If one of them is no text.
        """
        one = isinstance(texts, str)
        given = [texts] if isinstance(texts, str) else _texts(texts, "texts")
        embeddings = self._encoder(given, self._prompt if prompt is None else prompt, batch_size)
        return embeddings[0] if one else embeddings

    def encode_query(self, texts: str | Iterable[str]) -> np.ndarray:
        """Embeddings of first sentences of pairs, behind the student's prompt for queries."""
        return self.encode(texts, prompt=self._query_prompt)

    def encode_document(self, texts: str | Iterable[str]) -> np.ndarray:
        """Embeddings of second sentences of pairs, behind the student's prompt for documents."""
        return self.encode(texts, prompt=self._document_prompt)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, those beyond `max_length` too."""
        return self._encoder.count(texts)

    def score(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Raw scores (n, C) of aligned embeddings (n, d)."""
        scores = np.empty((len(left), self.num_labels), np.float32)
        for block in _blocks(len(left)):
            u, v = (np.ascontiguousarray(side[block], np.float32) for side in (left, right))
            scores[block] = self._head({"left": u, "right": v})
        return scores

    def predict(self, pairs: Sequence[Sequence[str]], *, raw: bool = False) -> np.ndarray:
        """Scores of pairs: (n,) for one label, (n, C) for more; for a single pair without the first axis.

        Args:
            pairs: Pairs of texts, or one pair. Each distinct text is read once.
            raw: Scores before the activation.

        Raises:
            ValueError: If one of them is no pair of texts.
        """
        single = len(pairs) == 2 and all(isinstance(text, str) for text in pairs)
        rows = [pairs] if single else list(pairs)
        for i, pair in enumerate(rows):
            if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise ValueError(f"Input {i} is {pair!r:.80}; give pairs of texts, (sentence1, sentence2).")
        sides: tuple[dict[str, int], dict[str, int]] = ({}, {})
        index = np.array(
            [[side.setdefault(text, len(side)) for side, text in zip(sides, pair, strict=True)] for pair in rows]
        ).reshape(-1, 2)
        if self._query_prompt == self._document_prompt:  # one text, one embedding, on whichever side
            known = {text: i for i, text in enumerate(dict.fromkeys([*sides[0], *sides[1]]))}
            u = v = self.encode(list(known), prompt=self._query_prompt)
            index = np.array([[known[a], known[b]] for a, b in rows]).reshape(-1, 2)
        else:
            u, v = self.encode_query(list(sides[0])), self.encode_document(list(sides[1]))
        scores = np.empty((len(rows), self.num_labels), np.float32)
        for block in _blocks(len(rows)):
            left, right = index[block].T
            scores[block] = self.score(u[left], v[right])
        result = self._finish(scores, raw)
        return result[0] if single else result

    def rank(
        self,
        query: str,
        documents: Iterable[str] | np.ndarray,
        top_k: int | None = None,
        return_documents: bool = False,
    ) -> list[dict[str, Any]]:
        """Documents by their score with a query, best first: ``corpus_id``, ``score`` and on request ``text``.

        Args:
            query: One text.
            documents: Texts, or their embeddings from `encode_document`.
            top_k: How many to return; all by default.
            return_documents: Also return the texts.

        Raises:
            ValueError: If the student gives several scores a pair, or an argument is not what it should be.
        """
        if not isinstance(query, str):
            raise ValueError(f"query is a {type(query).__name__}; give one text, and several to topk.")
        if top_k is not None and top_k < 0:
            raise ValueError(f"top_k is {top_k}; give how many documents to return, or None for all.")
        given: Any = documents if isinstance(documents, np.ndarray) else _texts(documents, "documents")
        hits = self.topk([query], given, max(1, len(given) if top_k is None else top_k))[0][:top_k]
        if return_documents:
            if isinstance(given, np.ndarray):
                raise ValueError("Embeddings hold no texts; look them up by corpus_id, or rank the texts.")
            return [hit | {"text": given[hit["corpus_id"]]} for hit in hits]
        return hits

    def topk(
        self, queries: str | Iterable[str] | np.ndarray, candidates: Iterable[str] | np.ndarray, k: int = 10
    ) -> list[list[dict[str, Any]]]:
        """The k best candidates of each query: ``corpus_id`` and ``score``, best first; equal scores in their order.

        Args:
            queries: Texts, or their embeddings from `encode_query`.
            candidates: Texts, or their embeddings from `encode_document`, a memory map too.
            k: How many per query.

        Raises:
            ValueError: If k is not positive, the student gives several scores a pair, or embeddings do not fit.
        """
        if self.num_labels != 1:
            raise ValueError(f"Ranking needs one score per pair, this student gives {self.num_labels}; use predict.")
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one candidate.")
        queries = [queries] if isinstance(queries, str) else queries
        left = self._embedded(queries, self.encode_query, "queries")
        right = self._embedded(candidates, self.encode_document, "candidates")
        return [self._best(u, right, k) for u in left]

    def _best(self, u: np.ndarray, candidates: np.ndarray, k: int) -> list[dict[str, Any]]:
        scores = np.empty(len(candidates), np.float32)
        for block in _blocks(len(candidates)):
            v = np.asarray(candidates[block], np.float32)
            scores[block] = self.score(np.broadcast_to(u, v.shape), v)[:, 0]
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(f"The score of candidate {row} is NaN or infinite; embed it again.")
        best = np.argsort(-scores, kind="stable")[:k]
        shown = self.activation(scores[best])
        return [{"corpus_id": int(i), "score": float(s)} for i, s in zip(best, shown, strict=True)]

    def _embedded(self, given: Any, encode: Callable[[list[str]], np.ndarray], what: str) -> np.ndarray:
        if not (isinstance(given, np.ndarray) and given.dtype.kind == "f"):
            return encode(_texts(given, what))
        if given.ndim != 2 or given.shape[1] != self.dimension:
            raise ValueError(f"{what}: expected embeddings of shape (n, {self.dimension}), got {given.shape}.")
        return given

    def _finish(self, scores: np.ndarray, raw: bool) -> np.ndarray:
        scores = scores if raw else self.activation(scores)
        return scores[:, 0] if self.num_labels == 1 else scores


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def _texts(texts: Any, what: str) -> list[str]:
    if isinstance(texts, str | bytes | dict) or not isinstance(texts, Iterable):
        raise ValueError(f"{what} is a {type(texts).__name__}; give a list of texts.")
    given = list(texts)
    for row, text in enumerate(given):
        if not isinstance(text, str):
            raise ValueError(f"{what}: row {row} is {text!r:.80}; give texts.")
    return given


def _modules(folder: Path) -> tuple[Path, Path]:
    """The folders of encoder and pair head."""
    modules = _read(folder / "modules.json")
    first, last = modules[0], modules[-1]
    if not first["type"].endswith(".GraphEncoder"):
        raise ExportError(f"{folder} holds no exported student; make one with `dse export STUDENT --to onnx`.")
    return folder / first["path"], folder / last["path"]


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{file} cannot be read ({error}); export the student again with `dse export`.") from error
