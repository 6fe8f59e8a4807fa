"""A student as two ONNX graphs: from tokens to an embedding, and from two embeddings to the scores of a pair.

torch's exporter by tracing takes every backbone of the tests, with batches and lengths left open, in half a second.
The newer one (``dynamo=True``) needs onnxscript and refused the first of them.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from dse.errors import BadDataError
from dse.graph_encoder import GraphEncoder
from dse.model import DSE
from dse.modules import VectorInput

OPSET = 18
LARGEST = 2**31 - 2**20  # bytes: what a protocol buffer can hold
EXAMPLES = ["a red bicycle", "the blue tent is near the river"]  # of different lengths, so that one is padded


class Encoder(nn.Module):
    """All modules of a student before the pair head, from tensors to the embedding."""

    def __init__(self, student: DSE, inputs: list[str]) -> None:
        super().__init__()
        self.steps, self.inputs = nn.ModuleList(list(student.children())[:-1]), inputs

    def forward(self, *tensors: Tensor) -> Tensor:
        """(B, T) each, to (B, d)."""
        features: dict[str, Any] = dict(zip(self.inputs, tensors, strict=True))
        for step in self.steps:
            features = step(features)
        embedding: Tensor = features["sentence_embedding"]
        return embedding.float()


class Head(nn.Module):
    """The pair head's formula: embeddings (n, d) and (n, d) to raw scores (n, C)."""

    def __init__(self, student: DSE) -> None:
        super().__init__()
        self.head = student.head

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Raw scores of aligned rows."""
        return self.head.score(left, right)


def write_encoder(student: DSE, file: Path) -> list[str]:
    """Write the encoder's graph.

    Returns:
        The names of its inputs.

    Raises:
        BadDataError: If the student does what no graph can.
    """
    _check(student)
    features = student.preprocess(EXAMPLES)
    inputs = [name for name, value in features.items() if isinstance(value, Tensor)]
    axes = {name: {0: "batch", 1: "length"} for name in inputs} | {"sentence_embedding": {0: "batch"}}
    _write(Encoder(student, inputs), tuple(features[name] for name in inputs), file, axes)
    import onnx

    used = {node.name for node in onnx.load(str(file)).graph.input}  # what is not read is not in the graph
    return [name for name in inputs if name in used]


def write_head(student: DSE, file: Path) -> None:
    """Write the graph of the pair head's formula."""
    embeddings = torch.randn(2, 3, student.head.embedding_dimension, generator=torch.Generator().manual_seed(0))
    axes = {name: {0: "pairs"} for name in ("left", "right", "scores")}
    _write(Head(student), tuple(embeddings), file, axes)


def _check(student: DSE) -> None:
    first: Any = student[0]
    if isinstance(first, VectorInput):
        raise BadDataError("This student scores vectors and has no encoder; there is nothing to export.")
    if isinstance(first, GraphEncoder):
        raise BadDataError("This is an export already; to make another, export the student that was trained.")
    if not hasattr(first, "auto_model"):
        raise BadDataError(
            f"The first module of this student is a {type(first).__name__}, not a transformer; export the student that "
            "was trained."
        )
    if any(isinstance(module, Pooling) and not module.include_prompt for module in student.children()):
        raise BadDataError(
            "This student leaves the prompt out of its pooling, which a graph cannot; it is not exported."
        )
    if sum(p.numel() * 4 for p in student.parameters()) > LARGEST:
        raise BadDataError("The weights of this student take over 2 GiB, more than one ONNX file holds; not exported.")


@torch.inference_mode(False)
def _write(module: nn.Module, examples: tuple[Tensor, ...], file: Path, axes: dict[str, dict[int, str]]) -> None:
    names = list(axes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about Python values that are constants here
        torch.onnx.export(
            module.eval(),
            examples,
            str(file),
            input_names=names[: len(examples)],
            output_names=names[len(examples) :],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
