"""The command line, one function per command: results on stdout, progress and messages on stderr.

Exit codes: 0 ok, 1 failed, 2 wrong usage, 4 bad data, 5 missing extra, 6 teacher, scores, model or run do not match.
"""

from __future__ import annotations

from dse.cli.entry import app, main

__all__ = ["app", "main"]
