from __future__ import annotations

from pathlib import Path

import pytest

from dse.bench.labelling import mixed_pairs
from dse.bench.sentences import bench_pairs, distinct_sentences
from dse.data.helpdesk import read_questions
from dse.errors import BadDataError


def test_sentences_are_distinct_and_the_same_every_time(data_folder: Path):
    sentences, origin = distinct_sentences(data_folder, 40)
    assert len(sentences) == len(set(sentences)) == 40
    assert "where is my cat ?" in sentences  # a small data set gives all it has, the others fill up
    assert "red bicycle" not in sentences
    assert sentences == distinct_sentences(data_folder, 40)[0]
    assert str(data_folder) in origin


def test_without_data_the_help_desk_questions_are_used():
    sentences, origin = distinct_sentences(None, 100)
    assert len(sentences) == 100 and set(sentences) <= {question.text for question in read_questions()[0]}
    assert "help-desk" in origin


def test_help_desk_pairs_are_labelled_by_intent():
    pairs, task, _ = bench_pairs(None, "mrpc", 200)
    intent = {question.text: question.intent for question in read_questions()[0]}
    assert task.kind == "binary" and len(set(pairs.tuples())) == 200
    assert [float(intent[a] == intent[b]) for a, b in pairs.tuples()] == pairs.label.tolist()


def test_mixed_pairs_are_distinct_and_of_all_three_tasks(data_folder: Path):
    pairs, _ = mixed_pairs(data_folder, 60)
    assert len(pairs) == len(set(pairs)) == 60


def test_a_folder_without_sentences_is_refused(tmp_path: Path):
    with pytest.raises(BadDataError, match="DATASET"):
        distinct_sentences(tmp_path, 10)
