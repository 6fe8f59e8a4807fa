"""How long a training will take, in a log that has no bar, and that it went wrong."""

from __future__ import annotations

import logging

from dse.errors import DSEError

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


def diverged(step: int, learning_rate: float) -> DSEError:
    """The error about a training whose weights or loss are not finite.

    Example:
        >>> print(diverged(12, 1.0))
        The training diverged by step 12: it gives no finite numbers any more; lower the learning rate, now 1.
    """
    return DSEError(
        f"The training diverged by step {step}: it gives no finite numbers any more; lower the learning rate, now "
        f"{learning_rate:g}."
    )
