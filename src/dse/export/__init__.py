"""Exported students: encoder and pair head as graphs, in eight bits if wanted, that other libraries run.

An export is compared with the student on real sentences before it is kept.
"""

from __future__ import annotations

from dse.export.gate import Comparison, WorseExportError
from dse.export.write import export_student, read_comparison

__all__ = ["Comparison", "WorseExportError", "export_student", "read_comparison"]
