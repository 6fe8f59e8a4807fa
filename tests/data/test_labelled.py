"""Which pairs have a label: the mask of `Pairs`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.data.pairs import Pairs, split_pairs
from dse.errors import BadDataError

TEXTS = list("abcdef")


def masked(mask: list[bool]) -> Pairs:
    n = len(mask)
    labelled = np.array(mask)
    return Pairs(TEXTS[:n], TEXTS[:n], np.arange(1.0, n + 1) * labelled, labelled=labelled)


def test_all_pairs_or_none_unless_told_otherwise():
    with_labels, without = Pairs(["a"], ["b"], np.array([0.0])), Pairs(["a"], ["b"])
    assert with_labels.labelled.tolist() == [True] and without.labelled.tolist() == [False]
    assert replace(with_labels, label=None).labelled.tolist() == [False]
    assert Pairs([], [], np.array([])).labelled.dtype == bool


@given(st.lists(st.booleans(), min_size=1, max_size=6).filter(any), st.data())
def test_the_mask_follows_its_rows(mask, data):
    pairs = masked(mask)
    rows = data.draw(st.lists(st.integers(0, len(mask) - 1), max_size=8))
    chosen = pairs.select(rows)
    assert chosen.labelled.tolist() == [mask[row] for row in rows]
    if chosen.labelled.any():
        assert chosen.label.tolist() == pairs.label[rows].tolist()
    else:
        assert chosen.label is None or not rows


def test_a_split_keeps_the_mask():
    pairs = masked([True, False, True, True, False, False])
    rest, held_out = split_pairs(pairs, 0.5, seed=0)
    known = dict(zip(pairs.sentence1, pairs.labelled, strict=True))
    for part in (rest, held_out):
        assert [known[text] for text in part.sentence1] == part.labelled.tolist()


@pytest.mark.parametrize("mask", [[False, False], [True], [True, False, True]])
def test_a_mask_that_does_not_fit(mask):
    with pytest.raises(BadDataError, match="from memory have"):
        Pairs(["a", "b"], ["c", "d"], np.array([0.0, 1.0]), labelled=np.array(mask))
