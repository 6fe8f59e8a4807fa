"""Running a graph that `dse export` wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from dse.errors import BadDataError, need_extra

GraphBackend = Literal["onnx"]
GRAPH_BACKENDS: tuple[GraphBackend, ...] = get_args(GraphBackend)

Graph = Callable[[dict[str, np.ndarray]], np.ndarray]  # from inputs by name to the one output


def open_graph(file: Path, backend: GraphBackend, threads: int) -> Graph:
    """Read a graph; what is returned may be called by several threads at a time.

    Args:
        file: The graph.
        backend: What runs it.
        threads: How many it computes with.

    Raises:
        BadDataError: If there is no such file, or none that the backend can read.
        MissingExtraError: If the backend is not installed.
    """
    if backend not in GRAPH_BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose {' or '.join(GRAPH_BACKENDS)}.")
    if not file.exists():
        raise BadDataError(f"{file} does not exist; export the student again.")
    need_extra("onnxruntime", "onnx")
    try:
        return _open_onnx(file, threads)
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
