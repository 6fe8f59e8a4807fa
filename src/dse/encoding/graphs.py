"""Running a graph that `dse export` wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from dse.encoding.runtime import Dtype, resolve_dtype
from dse.errors import BadDataError, need_extra

GraphBackend = Literal["onnx", "openvino"]
PACKAGES: dict[GraphBackend, str] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
}  # an extra has the name of its backend
GRAPH_BACKENDS: tuple[GraphBackend, ...] = get_args(GraphBackend)

Graph = Callable[[dict[str, np.ndarray]], np.ndarray]  # from inputs by name to the one output


def open_graph(file: Path, backend: GraphBackend, threads: int, dtype: Dtype = "auto") -> Graph:
    """Read a graph; what is returned may be called by several threads at a time.

    Args:
        file: The graph.
        backend: What runs it.
        threads: How many it computes with.
        dtype: What OpenVINO computes in; ONNX Runtime computes in what the graph says.

    Raises:
        BadDataError: If there is no such file, or none that the backend can read.
        MissingExtraError: If the backend is not installed.
    """
    if backend not in GRAPH_BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose {' or '.join(GRAPH_BACKENDS)}.")
    if not file.exists():
        raise BadDataError(f"{file} does not exist; export the student again.")
    need_extra(PACKAGES[backend], backend)
    try:
        return _open_onnx(file, threads) if backend == "onnx" else _open_openvino(file, threads, dtype)
    except Exception as error:  # of several kinds, in a module of its own
        raise BadDataError(
            f"{file} cannot be read ({' '.join(str(error).split())}); export the student again."
        ) from error


def _open_onnx(file: Path, threads: int) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, inputs)[0])


def _open_openvino(file: Path, threads: int, dtype: Dtype) -> Graph:
    import openvino

    precision = "bf16" if resolve_dtype(dtype, torch.device("cpu")) == torch.bfloat16 else "f32"
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # several processes would be pinned to the same cores
    }
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    own = threading.local()  # a request computes one batch at a time

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return np.array(own.request.infer(inputs)[0])

    return run
