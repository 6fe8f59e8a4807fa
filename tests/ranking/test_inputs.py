"""What a student is made from: queries that are not held back, lists that fit the corpus."""

from __future__ import annotations

import logging
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.data import Texts
from dse.data.lists import Lists
from dse.errors import BadDataError
from dse.ranking.inputs import EDGES, LONGEST_PIECE, rows_of_lists, training_queries, with_short_queries, words_in_a_row

CORPUS = Texts(
    ["d1", "d2", "d3", "d4"],
    ["Tents\nwhere to sleep", "a red bicycle " * 9, "the old house", "the test"],
    ["Tents ", "", "", ""],
    ["", "", "", "test"],
    source="corpus.csv",
)
LEARNED = CORPUS.for_training()


def test_documents_play_the_query_where_the_log_is_small():
    """By title or by the first sixteen words; none twice, none held back."""
    log = Texts(["q1", "q2", "q3"], ["a bike", "the old house", "a bike"])
    found = training_queries(LEARNED, log, 20)
    assert found.texts == ["a bike", "the old house", "Tents", " ".join(("a red bicycle " * 9).split()[:16])]
    assert found.ids == ["q1", "q2", "d1", "d2"]
    assert training_queries(LEARNED, log, 20, {"Tents"}).ids == ["q1", "q2", "d2"]
    assert training_queries(LEARNED, log, 2).texts == ["a bike", "the old house"]
    assert len(training_queries(LEARNED, Texts([], []), 2)) == 2


def test_they_are_spread_over_the_corpus():
    documents = Texts([f"d{i}" for i in range(100)], [f"document {i}" for i in range(100)])
    assert training_queries(documents, Texts([], []), 10).ids == [f"d{i}" for i in range(0, 100, 10)]


NO_LOG = Texts([], [])


@given(
    texts=st.lists(st.text("ab .,(\n", min_size=1).filter(str.strip), min_size=1, max_size=40),
    log=st.lists(st.text("ab ", min_size=1, max_size=3), max_size=3, unique=True),
    held_back=st.sets(st.text("ab ", max_size=3)),
    seed=st.integers(0, 9),
)
def test_short_queries_are_words_of_a_document_in_a_row(texts, log, held_back, seed):
    documents, asked = (Texts([str(row) for row in range(len(each))], each) for each in (texts, log))
    found = with_short_queries(documents, asked, seed, held_back)
    assert found.texts == with_short_queries(documents, asked, seed, held_back).texts
    short = found.texts[len(log) :]
    assert found.texts[: len(log)] == log and len(set(found.ids)) == len(found)
    assert len(set(short)) == len(short) <= -(-len(texts) // 4)
    assert not set(short) & {*texts, *log, *held_back}
    words = [" ".join(text.split()) for text in texts]
    for piece in short:
        assert piece == piece.strip(EDGES) and 1 <= len(piece.split()) <= LONGEST_PIECE
        assert any(piece in text for text in words)


@given(text=st.text("ab .,(\n\t", max_size=20), first=st.integers(0, 9), number=st.integers(1, 9))
def test_words_lie_between_spaces(text, first, number):
    assert words_in_a_row(text, first, number) == " ".join(text.split()[first : first + number])


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("返品の送料は無料ですか。靴の交換もできますか？", 8),
        ("退货需要支付运费吗？我可以更换一双鞋子吗？", 8),
        ("ค่าจัดส่งสินค้าคืนฟรีหรือไม่ และเปลี่ยนรองเท้าได้ไหม", 16),
        ("တစ်ခုကို ဘယ်လိုပြန်ပေးရမလဲ", 16),
        ("ສິນຄ້າທີ່ສົ່ງຄືນຕ້ອງເສຍຄ່າບໍ", 16),
        ("តើខ្ញុំអាចប្តូរស្បែកជើងបានទេ", 16),
        ("ལྷམ་བརྗེ་ཆོག་གམ་ཕྱིར་སློག་རིན་དགོས་སམ", 16),
        ("ﾍﾝﾋﾝﾉｿｳﾘｮｳﾊﾑﾘｮｳﾃﾞｽｶ", 8),
        ("𠮷野家𠀋𠮟る返品送料無料可能", 8),
        ("iPhone 15の充電ケーブルはどこで買えますか", 16),
    ],
)
def test_texts_without_spaces_have_short_queries_too(text, longest):
    documents = Texts([str(row) for row in range(40)], [f"{text}{row}" for row in range(40)])
    short = with_short_queries(documents, NO_LOG, 0).texts
    marks = {sign for sign in text if unicodedata.category(sign).startswith("M")}
    assert len(short) == 10 and not {piece[0] for piece in short} & marks
    for piece in short:
        assert 0 < sum(sign != " " and sign not in marks for sign in piece) <= longest
        assert any(piece in document for document in documents.texts)
    beginnings = training_queries(documents, NO_LOG, 40).texts
    assert all(len(query) < 70 for query in beginnings)


def test_there_are_a_quarter_as_many_short_queries_as_documents(monkeypatch):
    texts = [f"the answer to question {row} is {row}" for row in range(200)]
    documents = Texts([str(row) for row in range(200)], texts)
    found = with_short_queries(documents, NO_LOG, 0).texts
    assert len(found) == 50 and {len(piece.split()) for piece in found} == {1, 2, 3, 4}
    assert with_short_queries(documents, NO_LOG, 0, set(found[:1])).texts[:49] == found[1:]
    assert with_short_queries(documents, NO_LOG, 1).texts != found
    monkeypatch.setattr("dse.ranking.inputs.MOST_PIECES", 7)
    assert len(with_short_queries(documents, NO_LOG, 0)) == 7


def lists_of(*queries, candidates=("the old house", "Tents\nwhere to sleep")) -> Lists:
    return Lists(
        list(queries), [list(candidates)] * len(queries), [np.arange(float(len(candidates)))] * len(queries), "s.run"
    )


def test_lists_as_rows(caplog):
    texts, rows = rows_of_lists(lists_of("a", "b", "c"), CORPUS, {"b"})
    assert texts == ["a", "c"] and [r.tolist() for r, _ in rows] == [[2, 0]] * 2
    assert "s.run: 1 of 3 lists are of queries that are held back for the report, and are left out." in caplog.text
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        rows_of_lists(lists_of("a"), CORPUS, {"b"})
    assert not caplog.text


def test_documents_that_are_held_back_are_left_out_of_lists():
    _, rows = rows_of_lists(lists_of("a", candidates=("the test", "the old house")), CORPUS, set())
    assert [(r.tolist(), s.tolist()) for r, s in rows] == [([2], [1.0])]


def test_what_does_not_fit_is_named():
    with pytest.raises(BadDataError, match=r"s\.run: 'a tent', scored for 'a', is no document of corpus\.csv; add it"):
        rows_of_lists(lists_of("a", candidates=("the old house", "a tent")), CORPUS, set())
    with pytest.raises(BadDataError, match=r"s\.run: every query is held back for the report; give scores of other"):
        rows_of_lists(lists_of("a", "b"), CORPUS, {"a", "b"})
