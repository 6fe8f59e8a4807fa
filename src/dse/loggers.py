"""Loggers of other libraries that have nothing to tell a user."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Let a logger pass nothing but errors meanwhile.

    Args:
        name: The logger's; empty for the root.

    Example:
        >>> with quiet("chatty"):
        ...     logging.getLogger("chatty").isEnabledFor(logging.WARNING)
        False
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
