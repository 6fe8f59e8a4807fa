"""The quickstart: nothing it is judged by was read, its figures are right, a second run only measures."""

from __future__ import annotations

import functools
import json
import logging
import sys

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import dse.quickstart
from dse import DSE
from dse.cli import app
from dse.data.helpdesk import TEST_AREAS, load_vectors, read_questions, split_questions, teacher_vectors
from dse.errors import MismatchError
from dse.quickstart import ROWS, cosines, judge, run
from dse.training.ranking import RankingTraining

QUESTIONS = read_questions()[0]
TEXTS = [question.text for question in QUESTIONS]
FEW = RankingTraining(steps=4, batch_size=8, refreshes=0, learning_rate=1e-6)


def test_no_query_is_read_and_no_intent_of_the_catalogue_is_in_the_log():
    split = split_questions(QUESTIONS)
    every = [*split.catalogue, *split.log, *split.queries]
    assert sorted(every) == list(range(len(QUESTIONS)))
    read = {TEXTS[i] for i in [*split.catalogue, *split.log]}
    assert not read & {TEXTS[i] for i in split.queries}
    assert {QUESTIONS[i].area for i in [*split.catalogue, *split.queries]} == set(TEST_AREAS)
    assert not {QUESTIONS[i].area for i in split.log} & set(TEST_AREAS)
    intents = {QUESTIONS[i].intent for i in split.catalogue}
    assert len(intents) == 45 and intents == {QUESTIONS[i].intent for i in split.queries}
    for row, i in zip(split.relevant[::40], split.queries[::40], strict=True):
        assert row.tolist() == [QUESTIONS[j].intent == QUESTIONS[i].intent for j in split.catalogue]


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    scores = draw.permutation(400).reshape(20, 20).astype(np.float64)  # no ties, whose order is a convention
    relevant = draw.random((20, 20)) < 0.2
    relevant[:, 3] = True
    top1, average = judge(scores, relevant)
    expected = [average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    assert average == pytest.approx(np.mean(expected))
    assert top1 == np.mean([r[np.argmax(s)] for r, s in zip(relevant, scores, strict=True)])


def test_the_recorded_teacher_is_the_strong_one():
    vectors, about = teacher_vectors(TEXTS)
    assert vectors.shape[0] == len(TEXTS) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=0.2)  # most of their length was kept
    split = split_questions(QUESTIONS)
    top1, average = judge(cosines(vectors[split.queries], vectors[split.catalogue]), split.relevant)
    assert top1 == pytest.approx(0.822, abs=0.01) and average == pytest.approx(0.555, abs=0.005)  # exact ones
    assert {"teacher", "weights_sha256", "texts", "command", "versions"} <= about.keys()
    assert len(about["weights_sha256"]) == 64 and "/" not in about["command"]


@pytest.mark.parametrize("texts", [TEXTS[1:], [TEXTS[1], TEXTS[0], *TEXTS[2:]], [*TEXTS[:-1], TEXTS[-1] + "?"]])
def test_vectors_of_other_texts_are_refused(texts):
    with pytest.raises(MismatchError, match=r"belong to other texts.*record them again"):
        teacher_vectors(texts)


def test_writing_vectors_keeps_their_products(tmp_path, monkeypatch):
    from benchmarks import helpdesk_teacher
    from dse.data.helpdesk import hash_texts

    monkeypatch.setattr(helpdesk_teacher, "FILE", tmp_path / "teacher.safetensors")
    vectors = np.random.default_rng(0).normal(size=(60, 24)).astype(np.float32) * np.linspace(3, 0.1, 24)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [str(i) for i in range(60)]
    helpdesk_teacher.write_vectors(vectors, np.arange(60), 24, {"texts": hash_texts(texts)})
    again, _ = load_vectors(tmp_path / "teacher.safetensors", texts)
    assert again @ again.T == pytest.approx(vectors @ vectors.T, abs=0.02)
    assert [file.name for file in tmp_path.iterdir()] == ["teacher.safetensors"]


@pytest.fixture(scope="module")
def first(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("quickstart") / "student"
    return folder, run(folder, backbone=backbone, settings=FEW)


def test_what_it_shows(first):
    folder, result = first
    ranking = json.loads(json.dumps(result.to_dict()))["ranking"]
    assert ranking["queries"] == 270 and ranking["candidates"] == 540
    assert set(ranking["top1"]) == set(ranking["map"]) == {"cosine", "teacher", "student"}
    assert json.loads((folder / "quickstart.json").read_text(encoding="utf-8")) == result.to_dict()
    text = result.text()
    assert max(len(line) for line in text.splitlines() if str(folder) not in line) <= 110
    for row in ROWS:
        assert f"{ranking['top1'][row]:.1%}" in text
    for example in result.examples:
        assert example["query"][:60] in text
        assert all(example["answer"][row][:60] in text for row in ROWS)
    assert set(result.milliseconds) == {"cosine", "student"}  # the teacher's vectors were recorded


def test_examples_are_marked_by_intent(first):
    intents = {question.text: question.intent for question in QUESTIONS}
    for example in first[1].examples:
        assert example["right"]["student"] != example["right"]["cosine"]
        for row in ROWS:
            assert example["right"][row] == (intents[example["answer"][row]] == intents[example["query"]])


def test_a_second_run_only_measures(first, backbone, monkeypatch):
    folder, result = first
    monkeypatch.setattr(dse.quickstart, "distill_ranking", None)  # not called
    again = run(folder, backbone=backbone, settings=FEW)
    assert again.ranking == result.ranking
    assert result.training["seconds"] and again.training["seconds"] is None


def test_the_student_ranks_like_its_table_says(first):
    folder, result = first
    split = split_questions(QUESTIONS)
    student = DSE(str(folder))
    candidates = (folder / "candidates.txt").read_text(encoding="utf-8").splitlines()
    assert candidates == [TEXTS[i] for i in split.catalogue]
    found = student.topk([TEXTS[i] for i in split.queries], candidates, k=1)
    right = [split.relevant[i, row[0]["corpus_id"]] for i, row in enumerate(found)]
    assert np.mean(right) == pytest.approx(result.ranking["top1"]["student"], abs=0.02)


def test_the_command_prints_nothing_else(tmp_path, backbone, monkeypatch, capsys):
    monkeypatch.setattr(dse.quickstart, "run", functools.partial(run, backbone=backbone, settings=FEW))
    monkeypatch.setattr(sys, "argv", ["dse", "quickstart"])
    level = logging.getLogger("dse").level
    app(["quickstart", "--output", str(tmp_path / "q"), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["ranking"]["queries"] == 270
    app(["quickstart", "--output", str(tmp_path / "q")], standalone_mode=False)
    logging.getLogger("dse").setLevel(level)
    assert "right on top" in capsys.readouterr().out
