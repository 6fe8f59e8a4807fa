"""Lists of scored candidates: the layouts that are read, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dse.data import Collection, Texts, load_lists
from dse.errors import BadDataError

CORPUS = Texts(["d1", "d2", "7"], ["a red bicycle", "a tent", "a river"], source="corpus")
QUERIES = Texts(["q1", "q2"], ["a bike", "where to sleep"], source="queries")
SHOP = Collection(CORPUS, QUERIES)
TEXT = dict(zip([*CORPUS.ids, *QUERIES.ids], [*CORPUS.texts, *QUERIES.texts], strict=True))
SCORED = {"q1": {"d1": 4.5, "d2": -2.0}, "q2": {"d2": 3.0, "7": 0.25}}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_dict(lists):
    return {
        query: dict(zip(documents, scores.tolist(), strict=True))
        for query, documents, scores in zip(lists.queries, lists.candidates, lists.scores, strict=True)
    }


def in_texts(scored):
    return {TEXT[query]: {TEXT[d]: score for d, score in scores.items()} for query, scores in scored.items()}


def pairs_of(scored):
    return [(query, d, score) for query, scores in scored.items() for d, score in scores.items()]


@pytest.mark.parametrize("named", ["ids", "texts"])
def test_pairs_in_a_table(tmp_path, named):
    name = TEXT.get if named == "texts" else str
    queries, documents, scores = zip(*pairs_of(SCORED), strict=True)
    keys = ("query_id", "doc_id") if named == "ids" else ("query", "document")
    columns = {keys[0]: list(map(name, queries)), keys[1]: list(map(name, documents)), "score": scores}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    write_jsonl(
        tmp_path / "x.jsonl", [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )
    for file in ("x.parquet", "x.jsonl"):
        lists = load_lists(tmp_path / file, SHOP)
        assert as_dict(lists) == in_texts(SCORED)
        assert (len(lists), lists.pairs, lists.source) == (2, 4, str(tmp_path / file))


def test_the_list_columns_of_sentence_transformers(tmp_path):
    rows = [{"query": TEXT[q], "docs": [TEXT[d] for d in s], "labels": list(s.values())} for q, s in SCORED.items()]
    file = write_jsonl(tmp_path / "x.jsonl", rows)
    assert as_dict(load_lists(file)) == as_dict(load_lists(file, SHOP)) == in_texts(SCORED)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert as_dict(load_lists(tmp_path / "x.parquet")) == in_texts(SCORED)


def test_a_trec_run(tmp_path):
    file = tmp_path / "bm25.run"
    lines = [f"{q} Q0 {d} {rank} {score} mine" for rank, (q, d, score) in enumerate(pairs_of(SCORED))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert as_dict(load_lists(file, SHOP)) == in_texts(SCORED)
    with pytest.raises(BadDataError, match="give the corpus and the queries"):
        load_lists(file)


def test_ids_may_be_numbers(tmp_path):
    rows = [{"qid": "q1", "docid": 7, "score": 1}, {"qid": "q1", "docid": "d1", "score": 2}]
    assert as_dict(load_lists(write_jsonl(tmp_path / "x.jsonl", rows), SHOP)) == in_texts({"q1": {"7": 1, "d1": 2}})


def test_a_pair_scored_twice_has_the_mean(tmp_path, caplog):
    rows = [{"query": "a", "document": d, "score": s} for d, s in (("b", 1.0), ("c", 5), ("b", 2.0))]
    file = write_jsonl(tmp_path / "x.jsonl", rows)
    assert as_dict(load_lists(file)) == {"a": {"b": 1.5, "c": 5.0}}
    assert f"{file} scores 1 pairs more than once, not alike" in caplog.text
    caplog.clear()
    load_lists(write_jsonl(tmp_path / "x.jsonl", [*rows[:2], rows[0]]))  # twice, but alike
    assert not caplog.text


GOOD = {"query_id": "q1", "doc_id": "d1", "score": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_id": "q9"}, ":2: scores 'q9', which is not in queries"),
        ({"doc_id": "d9"}, ":2: scores 'd9', which is not in corpus"),
        ({"doc_id": None}, ":2: has None for a query or document"),
        ({"query_id": " "}, ":2: has ' ' for a query or document"),
        ({"score": float("nan")}, ":2: has the score nan"),
        ({"score": float("inf")}, ":2: has the score inf"),
        ({"score": "high"}, ":2: has the score 'high'"),
        ({"score": None}, ":2: has the score None"),
        ({"score": [1.0, 2.0]}, ":2: does not have one score for each document"),
        ({"doc_id": ["d1", "d2"], "score": [1.0]}, ":2: does not have one score for each document"),
        ({"doc_id": "d2", "score": 1.0}, "gives all candidates of a query the same score"),
    ],
)
def test_unusable_scores_are_refused(tmp_path, change, message):
    file = write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | change])
    with pytest.raises(BadDataError) as caught:
        load_lists(file, SHOP)
    assert f"{file}" in str(caught.value) and message in str(caught.value)


def test_files_that_hold_no_scores_are_refused(tmp_path):
    for file, text in (("x.csv", "query_id,doc_id,score\n"), ("x.run", "")):
        (tmp_path / file).write_text(text, encoding="utf-8")
        with pytest.raises(BadDataError, match="holds no scores"):
            load_lists(tmp_path / file, SHOP)
    (tmp_path / "y.csv").write_text("query_id,doc_id,score\nq1,d1,1\n", encoding="utf-8")
    with pytest.raises(BadDataError, match="no column of queries"):  # ids, and nothing to look them up in
        load_lists(tmp_path / "y.csv")
    with pytest.raises(BadDataError, match="there is no file"):
        load_lists(tmp_path / "missing.jsonl")


numbers = st.floats(-50, 50, allow_nan=False, width=32)
scored = st.dictionaries(
    st.sampled_from(QUERIES.ids), st.dictionaries(st.sampled_from(CORPUS.ids), numbers, min_size=1), min_size=1
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(scored=scored, seed=st.integers(0, 99))
def test_any_lists_come_back_in_any_order_of_rows(tmp_path, scored, seed):
    assume(any(np.ptp(list(scores.values())) > 0 for scores in scored.values()))
    pairs = pairs_of(scored)
    shuffled = [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))]
    rows = [dict(zip(("qid", "docid", "score"), pair, strict=True)) for pair in shuffled]
    assert as_dict(load_lists(write_jsonl(tmp_path / "x.jsonl", rows), SHOP)) == in_texts(scored)
