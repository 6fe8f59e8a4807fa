"""How long a training will take, in a log that has no bar."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

FIRST_STEPS = 5  # that are timed
WORTH_TELLING = 2  # minutes


def tell_rest(what: str, seconds: float, left: int) -> None:
    """Log how long the steps that are left will take, as the first ones took.

    Args:
        what: Name of the training.
        seconds: Of the first steps.
        left: Steps to come.
    """
    minutes = seconds / FIRST_STEPS * left / 60
    if minutes >= WORTH_TELLING:
        logger.info("%s: about %.0f minutes to go", what, minutes)
