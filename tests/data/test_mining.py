"""New pairs for the teacher: near, new, repeatable, and without a label of their own."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.data import mining
from dse.data.mining import recombine, with_unlabelled
from dse.data.pairs import Pairs

TEXTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyza")), min_size=1, max_size=12)


def letters(texts: list[str]) -> torch.Tensor:
    """Near letters of the alphabet lie at near angles."""
    angle = torch.tensor([ord(text[0]) / 20 for text in texts])
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def pairs_of(rows: list[tuple[str, str]]) -> Pairs:
    return Pairs([a for a, _ in rows], [b for _, b in rows])


@settings(deadline=None)
@given(rows=TEXTS, count=st.integers(0, 40), seed=st.integers(0, 3))
def test_new_pairs_of_old_sentences(rows, count, seed):
    given_pairs = pairs_of(rows)
    found = recombine(given_pairs, letters, count, seed).tuples()
    assert len(found) <= count and len(set(found)) == len(found)
    old = set(rows) | {(b, a) for a, b in rows}
    for a, b in found:
        assert a in given_pairs.sentence1 and b in given_pairs.sentence2 and a != b and (a, b) not in old
    assert recombine(given_pairs, letters, count, seed).tuples() == found


@settings(deadline=None)
@given(rows=TEXTS)
def test_all_there_are_where_they_are_few(rows):
    left, right = dict(rows).keys(), {b for _, b in rows}
    old = set(rows) | {(b, a) for a, b in rows}
    possible = {(a, b) for a in left for b in right if a != b} - old
    assert set(recombine(pairs_of(rows), letters, 1000, 0).tuples()) == possible


def test_each_sentence_gets_its_ten_most_similar_partners():
    rows = [("a", "c"), *[("z", letter) for letter in "defghijklmnopq"]]
    found = recombine(pairs_of(rows), letters, 1000, 0).tuples()
    assert set(found) == {("z", "c"), *[("a", letter) for letter in "defghijklm"]}


def test_near_ones_only(monkeypatch):
    monkeypatch.setattr(mining, "NEAR", 2)
    rows = [("a", "z"), ("y", "b"), ("k", "c"), ("l", "j"), ("m", "x")]
    found = set(recombine(pairs_of(rows), letters, 1000, 0).tuples())
    assert {("a", "b"), ("a", "c")} <= found and ("a", "x") not in found and ("a", "j") not in found


def test_what_has_no_label():
    more = pairs_of([("c", "d")])
    for label in (np.array([1.0], np.float32), np.array([2])):
        both = with_unlabelled(Pairs(["a"], ["b"], label), more)
        assert both.tuples() == [("a", "b"), ("c", "d")]
        assert both.label is not None and both.label.dtype == label.dtype
        assert both.label.tolist() == [label[0], 0] and both.labelled.tolist() == [True, False]
        again = with_unlabelled(both, Pairs(["e"], ["f"], label))  # a label of the second is not used
        assert again.label.tolist() == [label[0], 0, 0] and again.labelled.tolist() == [True, False, False]
    for none in (pairs_of([("a", "b")]), Pairs([], []), Pairs([], [], np.array([], np.float32))):
        neither = with_unlabelled(none, more)
        assert neither.label is None and not neither.labelled.any() and len(neither) == len(none) + 1
