"""`dse distill --embeddings`: a head alone, on vectors that exist already."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dse import DSE
from tests.commands import dse


@pytest.fixture
def files(tmp_path):
    """Sixty documents; what answers a query is its vector turned by one place, and not what is like it."""
    documents = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    for name, vectors in (("d", documents), ("q", np.roll(documents, 1, axis=1))):
        ids = [f"{name}{row}" for row in range(60)]
        pd.DataFrame({"id": ids, "embedding": list(vectors)}).to_parquet(tmp_path / f"{name}.parquet")
    split = ["train"] * 50 + ["test"] * 10
    rows = {"query_id": [f"q{i}" for i in range(60)], "doc_id": [f"d{i}" for i in range(60)], "relevance": 1}
    pd.DataFrame(rows | {"split": split}).to_csv(tmp_path / "qrels.csv", index=False)
    answers = pd.DataFrame({"query": rows["query_id"], "document": rows["doc_id"], "score": 1.0})
    others = answers.assign(document=[f"d{(i + 7) % 60}" for i in range(60)], score=-0.5)
    pd.concat([answers, others]).to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path


def words(files, output="head"):
    return ["--embeddings", files / "d.parquet", "--queries", files / "q.parquet", "-o", files / output]


@pytest.mark.parametrize(("lists", "number"), [("qrels", 50), ("scores", 60)])
def test_a_head_is_learned_and_scores_vectors(files, lists, number):
    call = ["distill", *words(files), f"--{lists}", files / f"{lists}.csv", "--json"]
    done = dse(*call)
    assert done.returncode == 0, done.stderr
    fitted = json.loads(done.stdout)
    assert fitted["lists"] + fitted["held_out"] == number  # nothing is learned from judgements of split test
    student = DSE(str(files / "head"))
    vectors = [np.stack(pd.read_parquet(files / f"{name}.parquet")["embedding"]) for name in ("q", "d")]
    assert len(student.topk(vectors[0][:2], vectors[1], k=3)[1]) == 3
    again = dse(*call)  # the same run again
    assert again.returncode == 0 and json.loads(again.stdout) == fitted
    other = dse(*call, "--seed", 7)
    assert other.returncode == 6 and "other settings" in other.stderr


def test_a_folder_of_something_else_is_left_alone(files):
    (files / "mine").mkdir()
    (files / "mine" / "README.md").write_text("mine")
    done = dse("distill", *words(files, "mine"), "--qrels", files / "qrels.csv")
    assert done.returncode == 6 and "README.md" in done.stderr
    assert [path.name for path in (files / "mine").iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ([], "--qrels"),
        (["--qrels", "qrels.csv", "--scores", "scores.csv"], "--qrels"),
        (["--qrels", "qrels.csv", "--alpha", "0.5"], "--alpha"),
        (["--qrels", "qrels.csv", "--teacher", "t"], "--teacher"),
    ],
)
def test_options_that_do_not_belong_together(files, further, message):
    done = dse("distill", *words(files), *(files / word if word.endswith(".csv") else word for word in further))
    assert done.returncode == 2 and message in done.stderr and not (files / "head").exists()
