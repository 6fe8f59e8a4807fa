"""Every code block of README and guides runs, in a folder that has the files the pages speak of.

A block that no test runs has a comment before it: `<!-- not run: why -->`. Some pages have tests of their own.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dse.cli import app
from dse.export import gate
from dse.training.ranking import RankingTraining
from dse.training.scored_lists import ScoredLists
from tests.conftest import SENTENCES, make_student
from tests.docs.pages import PAGES, ROOT, blocks, name

# In this order, in one folder: a page may use what an earlier one has made.
RUN = [
    "README.md",
    "docs/guides/labelled_pairs.md",
    "docs/guides/threshold.md",
    "docs/guides/evaluate.md",
    "docs/tutorial.md",
    "docs/guides/replace_a_cross_encoder.md",
    "docs/ranking.md",
    "docs/guides/search.md",
    "CONTRIBUTING.md",
    "packages/dse-lite/README.md",
]
ELSEWHERE = {"docs/serve.md", "docs/export.md", "docs/scale.md"}  # test_guide.py of tests/serve, export and scale
distilling = importlib.import_module("dse.training.distill")  # the package has a function of that name
TEXTS = [s for s in SENTENCES if s]


def test_each_page_is_run_here_or_elsewhere_or_says_why_not():
    run = {"bash", "python"}
    for page in PAGES:
        if name(page) not in {*RUN, *ELSEWHERE}:
            left = [block for block in blocks(page) if block.language in run and block.not_run is None]
            assert not left, f"{name(page)}: no test runs {left[0].text!r}"


def rows(file, texts, **columns):
    lines = [
        json.dumps({"id": f"{file.stem}-{i}", "text": text} | {key: values[i] for key, values in columns.items()})
        for i, text in enumerate(texts)
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, backbone, encoder):
    """A folder with what the pages assume: models, pairs, texts."""
    from sentence_transformers import CrossEncoder

    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(backbone, folder / "my-backbone")
    for model in ("my-large-encoder", "my-small-encoder"):
        shutil.copytree(encoder, folder / model)
    for model in ("my-teacher", "my-reranker"):
        CrossEncoder(str(backbone), num_labels=1).save_pretrained(str(folder / model))
    student = make_student(backbone, head="cosine", num_layers=1)
    for model in ("my-student", "dse-quickstart"):
        student.save_pretrained(str(folder / model), create_model_card=False)
    (folder / "candidates.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    shutil.copy(folder / "candidates.txt", folder / "dse-quickstart")
    draw = np.random.default_rng(0)
    for file, count in (("train.csv", 60), ("test.csv", 20), ("judged.csv", 20), ("pairs.csv", 10)):
        lines = [f'"{a}","{b}",{draw.choice(["no", "yes"])}' for a, b in draw.choice(TEXTS, size=(count, 2))]
        (folder / file).write_text("sentence1,sentence2,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    (folder / "pairs.jsonl").write_text('{"sentence1": "a red bike", "sentence2": "a bike"}\n', encoding="utf-8")
    for file, texts in (("corpus", TEXTS), ("log", TEXTS[::2]), ("queries", TEXTS[:3])):
        rows(folder / f"{file}.jsonl", texts)
    judgements = ["query-id\tcorpus-id\tscore", *(f"queries-{i}\tcorpus-{i}\t1" for i in range(3))]
    (folder / "qrels.tsv").write_text("\n".join(judgements) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tables(workshop):
    """Parquet files of the guides: queries enough for a teacher of pairs, vectors, judgements, rows of an index."""
    draw = np.random.default_rng(1)
    texts = list(dict.fromkeys(" ".join(draw.choice(" ".join(TEXTS).split(), 4)) for _ in range(60)))[:50]
    ids, documents, queries = [str(i) for i in range(25)], texts[:25], texts[25:]
    vectors = draw.normal(size=(25, 8)).astype(np.float32).tolist()
    judged = {"query_id": ids, "doc_id": ids, "relevance": [1] * 25, "split": ["train"] * 25}
    for file, columns in {
        "corpus": {"id": ids, "text": documents},
        "queries": {"id": ids, "text": queries, "embedding": vectors},
        "documents": {"id": ids, "embedding": vectors},
        "qrels": judged,
        "questions": {"id": ids, "text": documents, "words": [4] * 25},
    }.items():
        pq.write_table(pa.table(columns), workshop / f"{file}.parquet")
    return texts


def test_blocks(workshop, tables, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    monkeypatch.setattr(gate, "QUERIES", 3)
    monkeypatch.setattr(gate, "CANDIDATES", 10)
    # The commands are tried here, not what is learned.
    monkeypatch.setattr(RankingTraining, "steps_for", lambda self, texts: 2)
    monkeypatch.setattr(ScoredLists, "steps", lambda self: 2)
    monkeypatch.setattr(distilling, "start_student_head", lambda *_: None)
    for file in RUN:
        names: dict[str, object] = {"sample_queries": [f"{text} {i}" for i in range(8) for text in tables]}
        for block in blocks(ROOT / file):
            if block.not_run is None and block.language == "python":
                exec(compile(block.text, file, "exec"), names)
            elif block.not_run is None and block.language == "bash":
                for line in block.text.strip().splitlines():
                    run(line, monkeypatch, capsys)
    assert os.path.exists("own-student/dse.json") and os.path.exists("own/report/report.html")


def run(line, monkeypatch, capsys):
    """One command: `dse` in this process, `make` as far as make plans."""
    command = shlex.split(line, comments=True)
    if command[0] == "make":
        subprocess.run(["make", "-n", *command[1:]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return
    assert command[0] == "dse", line
    monkeypatch.setattr(sys, "argv", command)
    capsys.readouterr()
    app(command[1:], standalone_mode=False)
    assert capsys.readouterr().out.strip(), line


def test_the_head_of_the_guide_is_one():
    """CONTRIBUTING shows a whole kind of head: its three forms give the same scores."""
    import torch

    from dse.scoring import PairFunction

    names: dict[str, type] = {}
    [block] = [block for block in blocks(ROOT / "CONTRIBUTING.md") if block.language == "python"]
    exec(block.text, names)
    kind = names["Manhattan"]()
    head, u, v = PairFunction(kind, 6), torch.randn(3, 6), torch.randn(5, 6)
    scores = head.score(u[:, None].expand(3, 5, 6), v[None].expand(3, 5, 6)).detach()[..., 0]
    with torch.inference_mode():
        torch.testing.assert_close(kind.fold(head, u, torch.float32)(v), scores)
        torch.testing.assert_close(kind.exact(head, u[0], v)[:, 0], scores[0])
