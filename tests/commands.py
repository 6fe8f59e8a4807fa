"""The `dse` command: in this process, which is fast, or in one of its own."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from unittest import mock

from dse.cli import main, options

ENV = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def dse(*args: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in this process; what it sets of environment and logging is undone."""
    words, out, err = ["dse", *map(str, args)], io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO((stdin or "").encode()), "utf-8")
    logger = logging.getLogger("dse")
    level, handlers, code = logger.level, logging.root.handlers[:], 0
    logging.root.handlers = []  # `logging.basicConfig` makes one that writes to this stderr
    try:
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, ENV))
            stack.enter_context(mock.patch.object(sys, "argv", words))
            stack.enter_context(mock.patch.object(sys, "stdin", given))
            stack.enter_context(mock.patch.object(options, "_stdin_is_read", False))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        logging.root.handlers = handlers
        logger.setLevel(level)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def dse_process(*args: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dse", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        env=ENV,
        timeout=300,
    )
