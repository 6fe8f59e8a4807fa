"""dse-lite: a student that `dse export --to onnx` wrote, without torch."""

from __future__ import annotations

from dse_lite.student import ExportError, Student

__version__ = "0.1.0"
__all__ = ["ExportError", "Student", "__version__"]
