"""The tables in README.md and the pages of docs/results are generated; `tests/docs` runs the blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_results_are_those_of_the_pages():
    """A number typed by hand, or a stale one, fails here."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "benchmarks.pages", "--check"], cwd=root, check=True)
