"""The first module of an exported student: its encoder, pooling included, as a graph that another library runs.

The import path of the class is written into every exported student (`modules.json`): never move or rename it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sentence_transformers.base.modules import InputModule
from transformers import AutoTokenizer

from dse.encoding.graphs import GraphBackend, open_graph
from dse.encoding.runtime import Dtype
from dse.errors import BadDataError

STEM = "encoder"  # of the graph's file, and of those beside it


class GraphEncoder(InputModule):
    """Tokenizer and graph of an encoder. There are no weights to train: the gradient ends here.

    Args:
        backend: What runs the graph.
        embedding_dimension: d, width of an embedding.
        max_seq_length: Tokens read of a text.
        inputs: What the graph takes, such as ``input_ids``.
        padding: How `dse-lite` pads: ``id``, ``token``, ``type_id`` and ``side``.
        int8: Whether matrices are held in eight bits.
        source: The fingerprints of the student that was exported, and the one its export has by itself.
        tokenizer: Of the student.
        folder: Where the graph lies.
    """

    config_file_name: str = "graph.json"
    config_keys: list[str] = [
        *("backend", "embedding_dimension", "max_seq_length", "inputs", "padding", "int8", "source"),
    ]
    save_in_root = False
    tokenizer: Any

    def __init__(
        self,
        backend: GraphBackend,
        embedding_dimension: int,
        max_seq_length: int | None,
        inputs: list[str],
        padding: dict[str, Any],
        int8: bool,
        source: dict[str, Any],
        *,
        tokenizer: Any,
        folder: str | Path,
    ) -> None:
        super().__init__()
        self.backend, self.embedding_dimension, self.inputs = backend, embedding_dimension, inputs
        self.padding, self.int8, self.source = padding, int8, source
        self.tokenizer, self.folder = tokenizer, Path(folder)
        self.max_seq_length = max_seq_length
        self.dtype: Dtype = "auto"
        self._open()

    def compute_in(self, dtype: Dtype) -> None:
        """Change what OpenVINO computes in."""
        if dtype != self.dtype:
            self.dtype = dtype
            self._open()

    def _open(self) -> None:
        self._graph = open_graph(self.folder / f"{STEM}.onnx", self.backend, torch.get_num_threads(), self.dtype)

    @property
    def max_seq_length(self) -> int | None:
        """Tokens read of a text; None where the tokenizer knows no limit."""
        length = self.tokenizer.model_max_length
        return int(length) if length < 1e9 else None

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        if length is not None:
            self.tokenizer.model_max_length = length

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        processing_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Turn texts into tokens, as the transformer's module does."""
        if not inputs:
            return {}
        given = processing_kwargs or {}
        options = {"padding": True, "truncation": "longest_first", "return_tensors": "pt"}
        texts = self._prepend_prompt(list(inputs), prompt or "")
        tokens = self.tokenizer(texts, **(options | given.get("text", {}) | given.get("common", {})))
        return dict(tokens) | {"modality": "text"}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding``, (B, d) float32."""
        arrays = {name: features[name].cpu().numpy().astype(np.int64, copy=False) for name in self.inputs}
        embeddings = torch.from_numpy(self._graph(arrays))
        features["sentence_embedding"] = embeddings.to(features["input_ids"].device)
        return features

    def get_embedding_dimension(self) -> int:
        """Width of an embedding."""
        return self.embedding_dimension

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration and the tokenizer, and copy the graph."""
        self.save_config(output_path)
        self.save_tokenizer(output_path)
        for file in self.folder.glob(f"{STEM}.*"):
            if file.parent.resolve() != Path(output_path).resolve():
                shutil.copyfile(file, Path(output_path) / file.name)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:  # type: ignore[override]
        """Read what `save` wrote, from a folder or a hub repository."""
        hub = {k: v for k, v in kwargs.items() if k in ("token", "cache_folder", "revision", "local_files_only")}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **hub)
        folder = cls.load_dir_path(model_name_or_path, subfolder=subfolder, **hub)
        if folder is None:
            raise BadDataError(f"{model_name_or_path} has no folder {subfolder}; export the student again.")
        return cls(**config, tokenizer=AutoTokenizer.from_pretrained(folder), folder=folder)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to the processes of a pool: not the open graph."""
        return {name: value for name, value in self.__dict__.items() if name != "_graph"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the graph again in a process of a pool."""
        super().__setstate__(state)
        self._open()
