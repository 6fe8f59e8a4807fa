"""The site builds without a warning and loads nothing from elsewhere, where the extra `docs` is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("material")
pytest.importorskip("mkdocstrings")


def test_the_site_is_whole_and_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    loads = r'<(?:script|img|iframe|source|link rel="(?:stylesheet|preconnect|icon)")[^>]*(?:src|href)="(?:https?:)?//'
    for page in pages:
        assert not re.search(loads, page.read_text(encoding="utf-8")), page
    reference = (tmp_path / "site/reference/python/index.html").read_text(encoding="utf-8")
    assert "&gt;&gt;&gt;" in reference and "from_backbone" in reference
