"""Texts to embeddings: the tokenizer and the graph of an exported student."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

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
        if config["backend"] != "onnx":
            raise ExportError(f"{folder} holds graphs for {config['backend']}; export with `--to onnx`.")
        self.inputs, self.padding = config["inputs"], config["padding"]
        self.max_length, self.dimension = config["max_seq_length"], int(config["embedding_dimension"])
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if self.max_length is not None:
            self.tokenizer.enable_truncation(int(self.max_length))
        self.session = open_session(folder / "encoder.onnx", threads)

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
            embeddings[batch] = self.session.run(None, self._padded([encoded[i] for i in batch], longest))[0]
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


def open_session(file: Path, threads: int | None) -> onnxruntime.InferenceSession:
    """Read a graph.

    Raises:
        ExportError: If it cannot be read.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of several kinds, in a module of its own
        reason = " ".join(str(error).split())
        raise ExportError(f"{file} cannot be read ({reason}); export the student again with `dse export`.") from error
