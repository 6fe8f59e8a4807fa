"""Texts to embeddings: the tokenizer of an exported student, and its graphs in ONNX Runtime or OpenVINO."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

Graph = Callable[[dict[str, np.ndarray]], np.ndarray]  # from inputs by name to the one output

TOKENS_PER_ROW = 32  # of a row of `batch_size`: a CPU is fastest with some thousand tokens at a time


class ExportError(ValueError):
    """The folder holds no exported student that can be used here."""


class Encoder:
    """Reads each distinct text once, in batches of like length.

    Args:
        folder: Of the encoder.
        threads: How many a product is computed with.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        try:
            config = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare exceptions
            raise ExportError(f"{folder} cannot be read ({error}); export the student again.") from error
        self.backend, self.fingerprint = str(config["backend"]), str(config["source"]["fingerprints"][0])
        self.inputs, self.padding = config["inputs"], config["padding"]
        self.max_length, self.dimension = config["max_seq_length"], int(config["embedding_dimension"])
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if self.max_length is not None:
            self.tokenizer.enable_truncation(int(self.max_length))
        self._counter = Tokenizer.from_str(self.tokenizer.to_str())
        self._counter.no_truncation()
        self._graph = open_graph(folder / "encoder.onnx", self.backend, threads)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, none left out."""
        return [len(encoded) for encoded in self._counter.encode_batch(list(texts))]

    def __call__(self, texts: Sequence[str], prompt: str, batch_size: int) -> np.ndarray:
        """Embeddings, (n, d) float32."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size}.")
        rows: dict[str, int] = {}
        index = [rows.setdefault(text, len(rows)) for text in texts]
        encoded = self.tokenizer.encode_batch([prompt + text for text in rows])
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
        embeddings = np.empty((len(rows), self.dimension), np.float32)
        start = 0
        while start < len(order):
            longest = max(len(encoded[order[start]]), 1)
            size = max(1, min(4 * batch_size, batch_size * TOKENS_PER_ROW // longest))
            batch = order[start : start + size]
            embeddings[batch] = self._graph(self._padded([encoded[i] for i in batch], longest))
            start += size
        return embeddings[np.array(index, np.int64)]

    def _padded(self, encoded: list[Any], length: int) -> dict[str, np.ndarray]:
        """The graph's inputs, (B, T) int64 each."""
        fill = {"input_ids": self.padding["id"], "attention_mask": 0, "token_type_ids": self.padding["type_id"]}
        values = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        features = {name: np.full((len(encoded), length), fill[name], np.int64) for name in self.inputs}
        for name, array in features.items():
            for row, one in zip(array, encoded, strict=True):
                tokens = getattr(one, values[name])
                place = slice(length - len(tokens), length) if self.padding["side"] == "left" else slice(len(tokens))
                row[place] = tokens
        return features


def open_graph(file: Path, backend: str, threads: int | None, *, exact: bool = False) -> Graph:
    """Read a graph; what is returned may be called by several threads at a time.

    Args:
        file: The graph.
        backend: What runs it: ``onnx`` or ``openvino``.
        threads: How many a product is computed with; by default as many as there are cores.
        exact: Let OpenVINO compute in float32, where by default it takes bfloat16 if the processor multiplies it.

    Raises:
        ExportError: If it cannot be read.
    """
    try:
        return _open_openvino(file, threads, exact) if backend == "openvino" else _open_onnx(file, threads)
    except ImportError as error:
        raise ExportError(f"{file} needs {error.name}, which is not installed.") from error
    except Exception as error:  # of several kinds, in a module of its own
        reason = " ".join(str(error).split())
        raise ExportError(f"{file} cannot be read ({reason}); export the student again with `dse export`.") from error


def _open_onnx(file: Path, threads: int | None) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, inputs)[0])


def _open_openvino(file: Path, threads: int | None, exact: bool) -> Graph:
    import openvino

    options: dict[str, Any] = {"NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    options |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    options |= {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    own = threading.local()  # a request computes one batch at a time

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return np.array(own.request.infer(inputs)[0])

    return run
