"""The encoder's graph with its matrices in eight bits, in the ways that ONNX Runtime and OpenVINO multiply them.

Rounding the inputs of a product costs more than rounding its weights: with one scale for all tokens of a batch, the
scores of MiniLM's cosine moved by up to 0.06, with one for 32 values of a token by 0.012. So the ways are tried from
the fastest to the most exact, and the gate chooses. OpenVINO takes the weights back to what it computes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dse.encoding.graphs import GraphBackend
from dse.loggers import quiet

BLOCK = 32  # weights that share a scale
IN_EIGHT_BITS, IN_FLOAT32 = 4, 1  # ONNX Runtime's `accuracy_level`: what the products are computed in


def quantise(graph: Path, backend: GraphBackend) -> Iterator[Path]:
    """Write quantised graphs beside a graph, one at a time: from the fastest to the one that moves scores least."""
    if backend == "openvino":
        yield _columnwise(graph)
        return
    yield _dynamic(graph)
    yield _blockwise(graph, "int8_blocks", IN_EIGHT_BITS)
    yield _blockwise(graph, "int8_weights", IN_FLOAT32)


def _dynamic(graph: Path) -> Path:
    """A scale for each column of a weight matrix, and one for the inputs of each product, taken as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    file = graph.with_name("int8_columns.onnx")
    with quiet(""):  # it writes to the root logger, a line for each matrix
        quantize_dynamic(graph, file, per_channel=True, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
    return file


def _blockwise(graph: Path, name: str, accuracy: int) -> Path:
    """A scale for each block of weights; the inputs are rounded by blocks too, or not at all."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    file = graph.with_name(f"{name}.onnx")
    model = onnx.load(str(graph))
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=accuracy)
    with quiet("onnxruntime.quantization.matmul_nbits_quantizer"):
        quantizer.process()
    onnx.save(quantizer.model.model, str(file))
    return file


def _columnwise(graph: Path) -> Path:
    """A scale for each column of a weight matrix; products are those of the runtime."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(graph))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, made = [], set()
    for node in model.graph.node:
        name = node.input[1] if node.op_type == "MatMul" else ""
        if name in weights:
            node.input[1] = whole = f"{name}_float"
            if whole not in made:  # layers may share weights
                made.add(whole)
                weight = numpy_helper.to_array(weights[name])  # (in, out)
                scale = np.maximum(np.abs(weight).max(axis=0) / 127, np.float32(1e-12))
                eight = {f"{name}_int8": np.rint(weight / scale).astype(np.int8), f"{name}_scale": scale}
                model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in eight.items())
                nodes.append(helper.make_node("DequantizeLinear", list(eight), [whole], axis=1))
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    file = graph.with_name("int8_columns.onnx")
    onnx.save(model, str(file))
    return file
