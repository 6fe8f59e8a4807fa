"""Rounds of pairs: the budget, the candidates, what is held out, and runs that are killed at every stage."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import DSE
from dse.data import Texts
from dse.errors import BadDataError
from dse.ranking import rounds
from dse.ranking.rounds import LIST, plan_rounds, train_in_rounds
from dse.teacher.pair_teacher import PairTeacher
from dse.training import ranking_loop
from dse.training.ranking import RankingTraining
from dse.training.scored_lists import FEWEST, HELD_OUT, draw_of
from tests import processes
from tests.conftest import make_student
from tests.samples import difference, tensors
from tests.training.ranking_samples import CORPUS, QUERIES, SubjectTeacher

SETTINGS = RankingTraining(steps=4, batch_size=8, learning_rate=1e-4, checkpoint_steps=2, dtype="float32", seed=3)
DOCUMENTS = Texts([f"d{i}" for i in range(len(CORPUS))], list(CORPUS))
LOG = Texts([f"q{i}" for i in range(len(QUERIES))], list(QUERIES))


# -------------------------------------------------------------------------------------------------------- the budget


@given(queries=st.integers(FEWEST, 900), budget=st.integers(FEWEST * LIST, 60_000), seed=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_a_budget_is_spent_and_never_exceeded(queries, budget, seed):
    plan = plan_rounds(queries, budget, seed)
    sizes, rows = [len(round_) for round_ in plan], np.concatenate(plan)
    assert sum(sizes) * LIST <= budget and min(sizes) >= FEWEST and max(sizes) <= queries
    assert all(len(set(round_)) == len(round_) for round_ in plan)  # no query twice in a round
    counts = np.bincount(rows, minlength=queries)
    assert counts.max() <= 4 and counts.max() - counts.min() <= 1  # all in turn
    lists = min(budget // LIST, 4 * queries)
    assert lists - sum(sizes) < FEWEST
    assert max(sizes) * LIST <= 1.5 * rounds.ROUND


@pytest.mark.parametrize(
    ("queries", "budget", "message"),
    [
        (500, 479, "479 teacher pairs make 19 lists; give at least 480"),
        (500, 0, "at least 480"),
        (19, 9999, "19 queries"),
    ],
)
def test_too_little_to_learn_from(queries, budget, message):
    with pytest.raises(BadDataError, match=message):
        plan_rounds(queries, budget, 0)


# -------------------------------------------------------------------------------------------------------- the rounds


@pytest.fixture
def small(monkeypatch):
    """Lists of six documents, twenty to a round."""
    monkeypatch.setattr(rounds, "LIST", 6)
    monkeypatch.setattr(rounds, "ROUND", 6 * 20)


def train(backbone, output, teacher, *, documents=DOCUMENTS, queries=LOG, budget=6 * 40, settings_=SETTINGS):
    plan = plan_rounds(len(queries), budget, settings_.seed)
    student = make_student(backbone, head="cosine", num_layers=1)
    scorer = PairTeacher([teacher], output / "teacher_scores.parquet")
    return train_in_rounds(student, documents, queries, scorer, output, rounds=plan, settings=settings_)


@pytest.fixture
def learned(monkeypatch):
    """What each round learns: the lists by query."""
    given_, distill = [], rounds.distill_ranking

    def spy(student, corpus, queries, folder, **kwargs):
        given_.append(dict(zip(queries, kwargs["lists"], strict=True)))
        return distill(student, corpus, queries, folder, **kwargs)

    monkeypatch.setattr(rounds, "distill_ranking", spy)
    return given_


def test_two_rounds(backbone, tmp_path, small, learned, monkeypatch):
    teacher, encoded, held_out = SubjectTeacher(), [], []
    encode = ranking_loop.RankingTrainer._encode_batch
    monkeypatch.setattr(
        ranking_loop.RankingTrainer, "_encode_batch", lambda self, texts: encoded.append(texts) or encode(self, texts)
    )
    bought = rounds._bought

    def spy(folder, scored):
        log = json.loads((folder / "training.json").read_text())
        held_out.append((set(log["held_out"]["queries"]), {text for texts in encoded for text in texts}))
        encoded.clear()
        return bought(folder, scored)

    monkeypatch.setattr(rounds, "_bought", spy)
    student = train(backbone, tmp_path / "s", teacher)
    assert len(teacher.asked) == len(set(teacher.asked)) == 240 and not (tmp_path / "s" / "rounds").exists()
    first, second = learned
    assert len(first) == 20 and len(second) == 25 and sum(len(rows) for rows, _ in second.values()) == 240
    for query, (rows, scores) in second.items():
        assert len(set(rows.tolist())) == len(rows)
        assert query not in {CORPUS[row] for row in rows}
        if query in first:  # its list grew
            assert rows[: len(first[query][0])].tolist() == first[query][0].tolist()
        assert scores == pytest.approx([teacher.predict([(query, CORPUS[row])])[0] for row in rows])
    for (out, texts), lists in zip(held_out, learned, strict=True):
        assert out and not out & texts and out < set(lists)
    assert not held_out[1][0] & held_out[0][1]  # what was learned is not held out later
    kept = {text for text in held_out[0][0] if draw_of(text, SETTINGS.seed) < HELD_OUT}
    assert kept <= held_out[1][0] and not kept & held_out[1][1]
    report = json.loads((tmp_path / "s" / "rounds.json").read_text())
    assert [entry["pairs"] for entry in report] == [120, 240]
    saved = DSE(str(tmp_path / "s"), dtype="float32", device="cpu")
    assert difference(tensors(saved), tensors(student)) == 0.0


def test_a_query_is_never_compared_with_itself(backbone, tmp_path, small, learned):
    """Not with a document of its text, whatever the blanks; not with the document that it is the title of."""
    texts = [*CORPUS, *(f"{query}\n{CORPUS[0]}" for query in QUERIES), *(f" {query}  " for query in QUERIES)]
    ids = [*DOCUMENTS.ids, *(f"q{i}" for i in range(len(QUERIES))), *(f"copy{i}" for i in range(len(QUERIES)))]
    again = [f"{query}\n{CORPUS[0]}" for query in QUERIES]  # the same document under another id
    documents = Texts([*ids, *(f"again{i}" for i in range(len(again)))], [*texts, *again])
    train(backbone, tmp_path / "s", SubjectTeacher(), documents=documents)
    for query, (rows, _) in learned[-1].items():
        found = [" ".join(documents.texts[row].split()) for row in rows]
        assert query not in found and f"{query} {CORPUS[0]}" not in found


def test_all_documents_of_a_small_corpus_are_asked_about_once(backbone, tmp_path, small):
    documents, teacher = DOCUMENTS.select(range(8)), SubjectTeacher()
    train(backbone, tmp_path / "s", teacher, documents=documents, budget=6 * 80)
    assert len(teacher.asked) == len(set(teacher.asked)) <= 8 * len(QUERIES)


def test_a_teacher_without_an_order_is_refused(backbone, tmp_path, small):
    class Same(SubjectTeacher):
        def predict(self, pairs):
            return [1.0] * len(pairs)

    with pytest.raises(BadDataError, match="Of 20 lists 0 prefer one document to another"):
        train(backbone, tmp_path / "s", Same())


def test_steps_are_those_of_all_rounds(backbone, tmp_path, small, monkeypatch):
    steps, distill = [], rounds.distill_ranking
    monkeypatch.setattr(
        rounds,
        "distill_ranking",
        lambda *args, **kwargs: steps.append(kwargs["settings"].steps) or distill(*args, **kwargs),
    )
    train(backbone, tmp_path / "s", SubjectTeacher(), settings_=replace(SETTINGS, steps=3))
    assert steps == [1, 1]


# ------------------------------------------------------------------------------------------------------- killed runs


def test_a_run_killed_at_every_stage_ends_in_the_same_student(tmp_path, backbone):
    """With -9, in processes of their own, between and within drawing, scoring and training of each round."""
    processes.finish(processes.start("rounds", backbone, tmp_path, 0))
    one, other = (DSE(str(tmp_path / name), device="cpu") for name in ("whole", "killed"))
    assert difference(tensors(one), tensors(other)) == 0.0 and one.info == other.info
    for name in ("rounds.json", "training.json"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "killed" / name).read_text()
    asked = [(tmp_path / f"{name}.txt").read_text().splitlines() for name in ("whole", "killed")]
    assert len(asked[1]) == len(set(asked[1])) == 240 and sorted(asked[0]) == sorted(asked[1])
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
