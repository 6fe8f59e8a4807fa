"""Pairs of two tables and duplicates in one, compared with scores of every pair."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import DSE, match_tables
from dse.data.arrow_vectors import halves
from dse.errors import BadDataError, MismatchError
from dse.index import scout_training
from dse.index.row_scorer import RowScorer
from dse.modules import HEAD_KINDS, PairHead
from dse.scale import block_search, cheap_pass, short_vectors
from dse.scale.block_search import BlockSearch
from dse.scale.cheap_pass import CheapPass
from tests.commands import dse
from tests.conftest import SENTENCES, make_student


def pairs(folder):
    return [tuple(row.values()) for row in pq.read_table(folder / "pairs.parquet").to_pylist()]


def write(path, texts):
    rows = [json.dumps({"id": f"{path.stem}{i}", "text": text}) + "\n" for i, text in enumerate(texts)]
    path.write_text("".join(rows))
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("match") / "student"
    make_student(str(backbone)).save_pretrained(str(folder))
    return folder


def test_two_tables_are_joined_as_every_pair_is_scored(saved, tmp_path):
    left, right = write(tmp_path / "l.jsonl", SENTENCES[:5]), write(tmp_path / "r.jsonl", SENTENCES[3:-1])
    args = ("match", saved, left, right, "-o", tmp_path / "out", "-k", 3, "--min-score", 0.552, "--dtype", "float32")
    done = dse(*args, "--json")
    assert done.returncode == 0, done.stderr
    student = DSE(str(saved), dtype="float32")
    u, v = (halves(student.embed_texts(t).numpy(), t).astype(np.float32) for t in (SENTENCES[:5], SENTENCES[3:-1]))
    scores = student.score_matrix(u, v)
    expected = []
    for i, row in enumerate(scores):
        best = np.argsort(-row, kind="stable")[:3]
        expected += [(f"l{i}", f"r{j}", float(row[j])) for j in best if row[j] >= 0.552]
    assert pairs(tmp_path / "out") == expected and 0 < len(expected) < 15
    assert json.loads(done.stdout) == {
        "output": str(tmp_path / "out"),
        "pairs": len(expected),
        "left": 5,
        "right": 8,
    } | {"shortlist": None}
    assert not (tmp_path / "out" / "clusters.parquet").exists()
    refused = dse(*args[:-4], "--min-score", 0.4, "--dtype", "float32")
    assert refused.returncode == 6 and "min_score was 0.552, now 0.4" in refused.stderr


def test_duplicates_of_one_table_are_clusters(student, tmp_path):
    texts = ["a tent", "a bike", "a tent", "who sleeps", "a bike", "a tent"]
    cosine = DSE(modules=[*list(student.children())[:-1], PairHead(32, 1, "cosine")], dtype="float32", device="cpu")
    cosine.head.out.weight.data[:] = 20
    cosine.head.out.bias.data[:] = -19.9
    result = match_tables(cosine, write(tmp_path / "t.jsonl", texts), output=tmp_path / "out", min_score=0.52)
    assert [row[:2] for row in pairs(tmp_path / "out")] == [("t0", "t2"), ("t0", "t5"), ("t1", "t4"), ("t2", "t5")]
    clusters = pq.read_table(tmp_path / "out" / "clusters.parquet").to_pylist()
    assert [row["cluster"] for row in clusters] == [1, 2, 1, 3, 2, 1] and result["clusters"] == 2


def test_of_a_pair_that_is_met_both_ways_the_higher_score_is_kept(student, tmp_path):
    match_tables(student, write(tmp_path / "t.jsonl", SENTENCES[:4]), output=tmp_path / "out", top_k=9, min_score=0)
    u = halves(student.embed_texts(SENTENCES[:4]).numpy(), SENTENCES).astype(np.float32)
    scores = student.score_matrix(u, u)
    rows = {(int(a[1:]), int(b[1:])): score for a, b, score in pairs(tmp_path / "out")}
    assert len(rows) == 6
    for (i, j), score in rows.items():
        assert score == scores[i, j] == max(scores[i, j], scores[j, i]) and (j, i) not in rows


@pytest.fixture
def small(monkeypatch):
    """A shortlist from 100 rows on, vectors that are projected, a small scout."""
    monkeypatch.setattr(block_search, "EXACT_ROWS", 100)
    monkeypatch.setattr(block_search, "LENGTHS", (256, 181, 64))
    monkeypatch.setattr(short_vectors, "WIDE", 20)
    monkeypatch.setattr(short_vectors, "NARROW", 16)
    monkeypatch.setattr(scout_training, "QUERIES", (64, 64))


@pytest.mark.parametrize(
    "kind", [kind for kind in HEAD_KINDS if not kind.startswith("mlp")]
)  # untrained these are noise
@pytest.mark.parametrize("tables", [1, 2])
def test_a_shortlist_keeps_the_recall(tmp_path, small, kind, tables):
    torch.manual_seed(0)
    scorer, generator = RowScorer(PairHead(32, 1, kind, 24), None), np.random.default_rng(0)
    spread = 0.8 ** np.arange(32)  # as real embeddings: long in a small number of directions
    x, y = ((generator.standard_normal((n, 32)) * spread).astype(np.float16) for n in (600, 400))
    args = (scorer, x, x if tables == 1 else y, 3, tables == 1)
    file = tmp_path / "plan.safetensors"
    search, exact = (BlockSearch.planned(*args, recall, file) for recall in (0.95, None))
    assert 3 < search.length < 400 and exact.cheap_pass is None
    rows = np.arange(600)
    found, best = search(rows), exact(rows)
    assert (found.scores >= best.scores[:, -1:]).mean() > 0.945 and found.rows.shape == (600, 3)
    assert tables == 2 or not (found.rows == rows[:, None]).any()
    assert np.array_equal(BlockSearch.planned(*args, 0.95, file)(rows).rows, found.rows)


@pytest.mark.parametrize(("left", "right", "every"), [(90, 90, True), (400, 400, False), (100, 2000, True)])
def test_every_pair_of_small_tables_is_scored(tmp_path, small, left, right, every):
    x = (np.random.default_rng(0).standard_normal((2000, 32)) * 0.7 ** np.arange(32)).astype(np.float16)
    scorer = RowScorer(PairHead(32, 1, "cosine"), None)
    search = BlockSearch.planned(scorer, x[:left], x[:right], 3, False, 0.9, tmp_path / "plan")
    assert (search.cheap_pass is None) == every


def test_every_pair_is_scored_where_no_shortlist_keeps_the_recall(tmp_path, small, caplog):
    x = np.random.default_rng(0).standard_normal((450, 32)).astype(np.float16)  # as long in every direction
    args = (RowScorer(PairHead(32, 1, "cosine"), None), x, x, 3, True, 0.999, tmp_path / "plan.safetensors")
    assert BlockSearch.planned(*args).cheap_pass is None and "all 202,500 pairs are scored" in caplog.text
    assert BlockSearch.planned(*args).cheap_pass is None


tables = st.sampled_from(["spread", "alike", "zero", "two"])


def integers(kind, n, generator):
    """Vectors of few whole numbers, whose products are not rounded."""
    x = generator.integers(-4, 5, (n, 6))
    return {"spread": x, "alike": x[:1].repeat(n, axis=0), "zero": 0 * x, "two": x[np.arange(n) % 2 % n]}[kind]


@settings(max_examples=60, deadline=None)
@given(kind=tables, n=st.integers(1, 200), count=st.integers(1, 60), everywhere=st.booleans(), seed=st.integers(0, 9))
def test_the_cheap_pass_gives_the_highest_products_of_the_cells_it_looks_into(kind, n, count, everywhere, seed):
    generator = np.random.default_rng(seed)
    left, right = (integers(kind, m, generator).astype(np.float16) for m in (5, n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cheap_pass, "EVERYWHERE", 1 if everywhere else 192)
        patch.setattr(cheap_pass, "TILE", 23)
        rows = CheapPass.of(left, right, torch.device("cpu"))(np.arange(5), count)
    products = left.astype(int) @ right.astype(int).T
    for row, found in zip(products, rows, strict=True):
        assert len(set(found.tolist())) == len(found) == min(count, n)
        if everywhere:
            assert sorted(row[found], reverse=True) == sorted(row, reverse=True)[:count]


def test_a_left_row_looks_into_the_nearest_cells_until_they_hold_its_share():
    generator = np.random.default_rng(0)
    right = generator.standard_normal((3000, 8)).astype(np.float16)
    found = CheapPass.of(right, right, torch.device("cpu"))
    looks = found._looks(torch.from_numpy(right[:50].astype(np.float32)), 48).numpy()  # (t, b)
    sizes, products = np.diff(found.ends, prepend=0), found.centres @ right[:50].astype(np.float32).T  # (t,), (t, b)
    for looked, product in zip(looks.T, products.T, strict=True):
        assert product[looked].min() >= product[~looked].max() - 1e-5
        assert 48 / 192 * 3000 <= sizes[looked].sum() < 48 / 192 * 3000 + sizes.max()


def test_a_stopped_match_goes_on_and_equals_an_undisturbed_one(student, tmp_path, monkeypatch):
    monkeypatch.setattr("dse.scale.matching.SHARD_ROWS", 5)
    table = write(tmp_path / "t.jsonl", SENTENCES[:-1])
    done = []

    def stopping(function, tasks):
        for task in tasks:
            if isinstance(function, BlockSearch) and len(done) == 1:
                raise KeyboardInterrupt
            yield function(task)
            done.extend([task] * isinstance(function, BlockSearch))

    match_tables(student, table, output=tmp_path / "whole", min_score=0.2)
    with pytest.raises(KeyboardInterrupt):
        match_tables(student, table, output=tmp_path / "stopped", min_score=0.2, run=stopping)
    for folder in (tmp_path / "stopped").glob("**/"):  # an earlier version's plan is not read
        (folder / "plan.safetensors").write_bytes(b"other names and shapes")
    match_tables(student, table, output=tmp_path / "stopped", min_score=0.2)
    harmed = sorted((tmp_path / "stopped" / "shards").iterdir())[0]
    harmed.write_bytes(harmed.read_bytes()[:-5])  # as by a copy that broke off: made again
    match_tables(student, table, output=tmp_path / "stopped", min_score=0.2)
    for name in ("pairs", "clusters"):
        one, other = (pq.read_table(tmp_path / folder / f"{name}.parquet") for folder in ("whole", "stopped"))
        assert one.equals(other) and len(one)


@pytest.mark.parametrize(
    ("left", "right", "expected"), [([], None, 0), ([], ["a tent"], 0), (["a tent"], [], 0), (["a tent"], None, 0)]
)
def test_empty_tables_have_no_pairs(student, tmp_path, left, right, expected):
    for name, texts in (("l", left), ("r", right or [])):
        (tmp_path / f"{name}.csv").write_text("id,text\n" + "".join(f"{name}{i},{t}\n" for i, t in enumerate(texts)))
    other = None if right is None else tmp_path / "r.csv"
    result = match_tables(student, tmp_path / "l.csv", other, output=tmp_path / "out", min_score=0)
    assert result["pairs"] == len(pairs(tmp_path / "out")) == expected


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"min_score": float("nan")}, ValueError, "min_score is nan"),
        ({"min_score": float("-inf")}, ValueError, "min_score is -inf"),
        ({"top_k": 0}, ValueError, "top_k is 0"),
        ({"recall": 1.0}, ValueError, "between 0 and 1"),
        ({"label": "yes"}, ValueError, "one score per pair"),
        ({"text_column": "words"}, BadDataError, "no column 'words'"),
    ],
)
def test_wrong_use_is_one_sentence_and_leaves_nothing(student, tmp_path, options, error, problem):
    with pytest.raises(error, match=problem):
        match_tables(student, write(tmp_path / "t.jsonl", ["a tent"]), output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    write(tmp_path / "t.jsonl", ["a tent", "a bike"])
    match_tables(student, tmp_path / "t.jsonl", output=tmp_path / "out")
    write(tmp_path / "t.jsonl", ["a tent"])
    with pytest.raises(MismatchError, match="data was"):
        match_tables(student, tmp_path / "t.jsonl", output=tmp_path / "out")


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_row_without_a_text_is_named(student, tmp_path, blank):
    """Such rows would all be duplicates of each other."""
    table = write(tmp_path / "t.jsonl", ["a tent", "a bike", blank])
    with pytest.raises(BadDataError, match=r"t.jsonl:3: has an empty text; leave the row out$"):
        match_tables(student, table, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arrays_that_may_not_be_written_are_searched_without_a_warning(tmp_path, small, recwarn):
    """A Ray worker's are such."""
    x = (np.random.default_rng(0).standard_normal((450, 32)) * 0.7 ** np.arange(32)).astype(np.float16)
    x.flags.writeable = False
    search = BlockSearch.planned(RowScorer(PairHead(32, 1, "cosine"), None), x, x, 3, True, 0.9, tmp_path / "plan")
    for array in vars(search.cheap_pass).values():
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    search(np.arange(64))
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]


def test_a_table_that_is_given_twice_is_pointed_out(student, tmp_path, caplog):
    file = write(tmp_path / "texts.txt", ["a red bicycle", "a tent", "the old house"])
    match_tables(student, file, output=tmp_path / "one", min_score=0)
    assert "each row meets itself" not in caplog.text
    match_tables(student, file, file, output=tmp_path / "two", min_score=0)
    assert "Both tables are the same, so each row meets itself; name the table once" in caplog.text
