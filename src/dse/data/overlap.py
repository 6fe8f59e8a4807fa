"""Pairs that two sets share, in either order: what is reported on must not be learned from."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from dse.data.pairs import Pairs

logger = logging.getLogger(__name__)


def among(pairs: Pairs, *others: Pairs) -> NDArray[np.bool_]:
    """Which pairs are in one of the other sets, in either order, (n,).

    Example:
        >>> among(Pairs(["a", "b"], ["b", "c"]), Pairs(["b"], ["a"])).tolist()
        [True, False]
    """
    known = {frozenset(pair) for other in others for pair in other.tuples()}
    return np.array([frozenset(pair) in known for pair in pairs.tuples()], dtype=bool)


def without(pairs: Pairs, test: Pairs) -> Pairs:
    """The pairs that are not reported on; a warning says how many are left out."""
    shared = among(pairs, test)
    if shared.any():
        logger.warning(
            "%s: %d of %d pairs are left out, because the report is on them.",
            pairs.source,
            shared.sum(),
            len(pairs),
        )
    return pairs.select(~shared)


def warn_of_known(test: Pairs, *learned: Pairs) -> None:
    """Say how many of the pairs reported on are training pairs too."""
    shared = among(test, *learned)
    if shared.any():
        logger.warning(
            "%s: %d of %d pairs reported on are training pairs too (in either order), which flatters the results.",
            test.source,
            shared.sum(),
            len(test),
        )
