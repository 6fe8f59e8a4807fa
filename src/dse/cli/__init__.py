"""The command line, one function per command: results on stdout, progress and messages on stderr.

Exit codes: 0 ok, 1 failed (or no threshold found), 2 wrong usage, 4 bad data, 5 missing extra, 6 teacher, scores, model
or run do not match, 130 interrupted.
"""

from __future__ import annotations

import sys

try:
    from dse.cli.entry import app, main
except KeyboardInterrupt:  # Ctrl-C while the command itself is still being loaded
    print("Interrupted.", file=sys.stderr)
    sys.exit(130)

__all__ = ["app", "main"]
