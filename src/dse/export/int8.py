"""The encoder's graph with its matrices in eight bits, in the ways that ONNX Runtime multiplies them.

Rounding the inputs of a product costs more than rounding its weights: with one scale for all tokens of a batch, the
scores of MiniLM's cosine moved by up to 0.06, with one for 32 values of a token by 0.012. So the ways are tried from
the fastest to the most exact, and the gate chooses.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

BLOCK = 32  # weights that share a scale
IN_EIGHT_BITS, IN_FLOAT32 = 4, 1  # ONNX Runtime's `accuracy_level`: what the products are computed in


def quantise(graph: Path) -> Iterator[Path]:
    """Write quantised graphs beside a graph, one at a time: from the fastest to the one that moves scores least."""
    yield _dynamic(graph)
    yield _blockwise(graph, "int8_blocks", IN_EIGHT_BITS)
    yield _blockwise(graph, "int8_weights", IN_FLOAT32)


def _dynamic(graph: Path) -> Path:
    """A scale for each column of a weight matrix, and one for the inputs of each product, taken as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it writes to the root logger, a line for each matrix
    try:
        file = graph.with_name("int8_columns.onnx")
        quantize_dynamic(graph, file, per_channel=True, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
    finally:
        root.setLevel(level)
    return file


def _blockwise(graph: Path, name: str, accuracy: int) -> Path:
    """A scale for each block of weights; the inputs are rounded by blocks too, or not at all."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    file = graph.with_name(f"{name}.onnx")
    model = onnx.load(str(graph))
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=accuracy)
    log = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        quantizer.process()
    finally:
        log.setLevel(level)
    onnx.save(quantizer.model.model, str(file))
    return file
