"""`dse report --html`: the report of a student as one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

from dse.evaluation.html.page import html_page

__all__ = ["html_page"]
