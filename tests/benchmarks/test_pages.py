"""The tables in README.md and the pages of docs/results are generated; `tests/docs` runs the blocks."""

from __future__ import annotations

import sys

import pytest

from benchmarks import pages, records


def test_results_are_those_of_the_pages():
    """A number typed by hand, or a stale one, fails here."""
    assert list(pages.stale()) == []


def test_a_stale_page_is_named(monkeypatch):
    monkeypatch.setattr(pages, "stale", lambda: {records.RESULTS / "glue.md": "", records.ROOT / "README.md": ""})
    monkeypatch.setattr(sys, "argv", ["pages", "--check"])
    with pytest.raises(SystemExit, match=r"glue\.md, README\.md: not what the results say; run python -m"):
        pages.main()
