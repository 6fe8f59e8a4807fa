"""The whole way with teachers of pairs and with given lists."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from dse import DSE
from dse.data import Texts
from dse.data.lists import Lists
from dse.errors import BadDataError, MismatchError
from dse.ranking import RankingRecipe, make_ranker, rounds, ways
from dse.teacher import pair_teacher
from dse.training.ranking import RankingTraining
from dse.training.ranking_lists import RankingLists
from dse.training.ranking_loop import RankingTrainer
from dse.training.scored_lists import ScoredLists
from tests.ranking.test_ranker import documents, fail, judge, queries, stop
from tests.samples import difference, tensors
from tests.training.ranking_samples import CORPUS, LISTS, QUERIES, SubjectTeacher

QUICK = RankingTraining(steps=2, batch_size=8, learning_rate=1e-4, dtype="float32", seed=3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """No plots; lists of six documents, 120 pairs to a round."""
    monkeypatch.setattr("dse.evaluation.ranking.pages.write_plots", lambda *args: [])
    for module in (rounds, ways):
        monkeypatch.setattr(module, "LIST", 6)
    monkeypatch.setattr(rounds, "ROUND", 120)


@pytest.fixture
def recipe(backbone) -> RankingRecipe:
    return RankingRecipe(backbone, (), {"device": "cpu"}, QUICK, teacher_pairs=240)


def lists_of(rows=LISTS, log=QUERIES) -> Lists:
    return Lists(list(log), [[CORPUS[d] for d in found] for found, _ in rows], [s for _, s in rows], "scores.jsonl")


def test_an_object_teaches(recipe, tmp_path, monkeypatch):
    teacher = SubjectTeacher()
    report = make_ranker(documents(), queries(), recipe, tmp_path / "s", teacher=teacher)
    assert len(teacher.asked) == len(set(teacher.asked))
    asked = [query for query, _ in teacher.asked[:240]]
    assert len(set(asked)) == 40 and set(QUERIES) < set(asked)  # documents play the query too
    assert [entry["pairs"] for entry in report.bought] == [120, 240]
    page = (tmp_path / "s" / "report" / "report.md").read_text()
    assert "What the teacher's pairs bought" in page and "| 240 " in page.replace("|240", "| 240")
    log = json.loads((tmp_path / "s" / "training.json").read_text())
    assert report.split == "held out" and report.query_count == len(log["held_out"]["queries"])
    student = DSE(str(tmp_path / "s"), device="cpu")
    assert student.info["teacher"] == report.fingerprints["teacher"] == "SubjectTeacher"
    assert student.info["backbone"] == recipe.backbone
    card = (tmp_path / "s" / "README.md").read_text()
    assert "on 240 pairs of 75 documents and 40 queries that its teacher scored" in card
    with monkeypatch.context() as patch:  # a finished folder only reports, with the scores that are kept
        patch.setattr(ways, "train_in_rounds", fail)
        (tmp_path / "s" / "rounds").mkdir()  # left by a run that was killed while it deleted them
        again = make_ranker(documents(), queries(), recipe, tmp_path / "s", teacher=SubjectTeacher(0.0))
    assert again.agreement == report.agreement and again.bought == report.bought
    assert not (tmp_path / "s" / "rounds").exists()
    with pytest.raises(MismatchError, match=r"recipe\.teacher_pairs was 240, now 360"):
        make_ranker(documents(), queries(), replace(recipe, teacher_pairs=360), tmp_path / "s", teacher=teacher)


def test_several_teachers_and_what_is_held_back(recipe, tmp_path, encoder, monkeypatch):
    """Scores of an encoder and of an object; no query of the test split, none that is judged, as a text either."""
    learned, train = [], ways.train_in_rounds
    monkeypatch.setattr(
        ways, "train_in_rounds", lambda *args, **kwargs: learned.extend(args[2].texts) or train(*args, **kwargs)
    )
    monkeypatch.setattr("dse.evaluation.ranking.measure.nested_rankings", lambda *args: {})
    log = queries("train", "test", "train")
    titled = Texts([f"d{i}" for i in range(75)], list(CORPUS), [QUERIES[i] if i < 25 else "" for i in range(75)])
    judged = judge(log.select([0]))
    from dse.teacher import load_ranking_teacher

    both = [load_ranking_teacher(encoder), SubjectTeacher(1000.0)]
    embedded = {"encode_query": [], "encode_document": []}
    for name, texts in embedded.items():
        encode = getattr(both[0], name)
        monkeypatch.setattr(
            both[0], name, lambda own, texts=texts, encode=encode, **how: texts.extend(own) or encode(own, **how)
        )
    kinds, step = set(), RankingTrainer._step
    monkeypatch.setattr(RankingTrainer, "_step", lambda self, n: kinds.update(map(type, self.parts)) or step(self, n))
    report = make_ranker(titled, log, recipe, tmp_path / "s", teacher=both, judgements=judged)
    assert kinds == {ScoredLists, RankingLists}  # the encoder's lists of the whole corpus too
    assert all(texts and len(texts) == len(set(texts)) for texts in embedded.values())  # its pairs cost it nothing
    assert not set(learned) & {QUERIES[0], *QUERIES[1::3]} and len(learned) == 40 == len(set(learned))
    assert report.fingerprints["teacher"].endswith("+SubjectTeacher 2") and report.query_count == 1


def test_a_stopped_run_asks_nothing_twice(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(pair_teacher, "SHARD", 50)
    monkeypatch.setattr("dse.evaluation.ranking.evaluate_ranking", stop)
    teacher, arguments = SubjectTeacher(), (documents(), queries(), recipe)
    with pytest.raises(KeyboardInterrupt):
        make_ranker(*arguments, tmp_path / "whole", teacher=SubjectTeacher())
    distill = rounds.distill_ranking
    for stopped in ("0", "s"):
        with monkeypatch.context() as patch:
            patch.setattr(
                rounds,
                "distill_ranking",
                lambda *a, stopped=stopped, **kw: stop() if a[3].name == stopped else distill(*a, **kw),
            )
            with pytest.raises(KeyboardInterrupt):
                make_ranker(*arguments, tmp_path / "s", teacher=teacher)
    with pytest.raises(KeyboardInterrupt):
        make_ranker(*arguments, tmp_path / "s", teacher=teacher)
    assert len(teacher.asked) == len(set(teacher.asked)) == 240
    one, other = (DSE(str(tmp_path / name), device="cpu") for name in ("whole", "s"))
    assert difference(tensors(one), tensors(other)) == 0.0


def test_lists_from_elsewhere(recipe, tmp_path, monkeypatch):
    """With labels, without a teacher: judgements are needed for a report."""
    monkeypatch.setattr("dse.evaluation.ranking.measure.nested_rankings", lambda *args: {})
    rows = [(found, (scores > 2).astype(int)) for found, scores in LISTS]
    log = queries()
    judged = judge(log.select([0, 1]))
    report = make_ranker(documents(), log, recipe, tmp_path / "s", lists=lists_of(rows), judgements=judged)
    assert report.query_count == 2 and report.row("student") and report.row("teacher") is None
    run = json.loads((tmp_path / "s" / "run.json").read_text())
    assert set(run["data"]) == {"corpus", "queries", "lists"} and "teacher_pairs" not in run["recipe"]
    assert "Trained on 23 lists of scored documents" in (tmp_path / "s" / "README.md").read_text()
    held_out = json.loads((tmp_path / "s" / "training.json").read_text())["held_out"]["queries"]
    assert not set(held_out) & set(QUERIES[:2])
    with pytest.raises(MismatchError, match=r"data\.lists was"):
        make_ranker(documents(), log, recipe, tmp_path / "s", lists=lists_of(), judgements=judged)


@pytest.mark.parametrize("way", ["encoder", "object", "lists"])
def test_labels_are_learned_beside_the_teacher(recipe, tmp_path, monkeypatch, encoder, way):
    """Those of queries in the log and of others; none of what the report is on."""
    monkeypatch.setattr("dse.evaluation.ranking.measure.nested_rankings", lambda *args: {})
    learned, step = [], RankingTrainer._step
    monkeypatch.setattr(RankingTrainer, "_step", lambda self, n: learned.append(self.parts[-1].texts) or step(self, n))
    log = queries().select(list(range(10)))  # of 25 queries that people judged
    labels = lists_of([(rows, (scores > 2).astype(float)) for rows, scores in LISTS])
    judged = judge(log.select([0]))
    given = {"object": {"teacher": SubjectTeacher()}, "lists": {"lists": lists_of()}}.get(way, {})
    recipe = replace(recipe, teachers=(encoder,) if way == "encoder" else ())
    report = make_ranker(documents(), log, recipe, tmp_path / "s", labels=labels, judgements=judged, **given)
    assert report.query_count == 1
    assert learned and all(set(QUERIES[1:]) <= set(texts) and QUERIES[0] not in texts for texts in learned)
    for page in ("README.md", "report/report.md"):
        text = (tmp_path / "s" / page).read_text()
        assert "what people judged, lists of 24 queries." in text and "without labels" not in text
    run = json.loads((tmp_path / "s" / "run.json").read_text())
    assert "labels" in run["data"]
    with pytest.raises(MismatchError, match=r"data\.labels was"):
        fewer = lists_of([(rows, (scores > 2.9).astype(float)) for rows, scores in LISTS[::-1]], QUERIES)
        make_ranker(documents(), log, recipe, tmp_path / "s", labels=fewer, judgements=judged, **given)


def test_labels_that_teach_nothing_are_refused_before_the_teacher_is_asked(recipe, tmp_path):
    teacher = SubjectTeacher()
    with pytest.raises(
        BadDataError, match=r"^scores\.jsonl: of 3 lists 3 prefer one document to another; give at least 20"
    ):
        make_ranker(
            documents(), queries(), recipe, tmp_path / "s", teacher=teacher, labels=lists_of(LISTS[:3], QUERIES[:3])
        )
    assert not teacher.asked and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"teacher": "a folder"}, MismatchError, r"A str has no predict\(pairs\)"),
        ({"teacher": SubjectTeacher(), "pairs": 50}, BadDataError, "50 teacher pairs make"),
        (
            {"lists": lists_of(LISTS[:9], QUERIES[:9])},
            BadDataError,
            "scores.jsonl: of 9 lists 9 prefer one",
        ),
        ({"lists": Lists(["a"], [["no document"]], [np.ones(1)], "s.run")}, BadDataError, "s.run: 'no document'"),
        ({"teacher": SubjectTeacher(), "corpus": 3}, BadDataError, "too few for a teacher of pairs"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(recipe, tmp_path, given, error, message):
    recipe = replace(recipe, teacher_pairs=given.pop("pairs", 240))
    corpus = documents().select(range(given.pop("corpus", 75)))
    log = queries() if len(corpus) == 75 else None
    with pytest.raises(error, match=message):
        make_ranker(corpus, log, recipe, tmp_path / "s", **given)
    assert not (tmp_path / "s").exists()
