"""From a corpus and an encoder to a reported student: nothing held back is learned, every step resumes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dse import DSE
from dse.data import Collection, Texts
from dse.encoding.runtime import one_thread
from dse.errors import BadDataError, DSEError, MismatchError
from dse.evaluation.ranking import plots
from dse.evaluation.ranking.report import COSINE
from dse.ranking import RankingRecipe, make_ranker, ranker, rounds, ways
from dse.ranking.inputs import with_short_queries
from dse.teacher import load_ranking_teacher, vectors
from dse.teacher.pair_teacher import PairTeacher
from dse.training.linear_start import projection_of
from dse.training.ranking import RankingTraining
from dse.training.ranking_loop import RankingTrainer
from tests import processes
from tests.commands import ENV, dse
from tests.samples import difference, tensors
from tests.training.ranking_samples import CORPUS, QUERIES, SubjectTeacher
from tests.worker import SMALL_ROUNDS, make_rankers

QUICK = RankingTraining(steps=6, batch_size=16, learning_rate=1e-3, checkpoint_steps=2, dtype="float32", seed=3)


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    monkeypatch.setattr(plots, "write_plots", lambda *args: [])
    monkeypatch.setattr("dse.evaluation.ranking.pages.write_plots", lambda *args: [])


def documents() -> Texts:
    return Texts([f"d{i}" for i in range(len(CORPUS))], list(CORPUS))


def queries(*splits: str) -> Texts:
    """The queries of the samples, of these splits in turn."""
    names = [splits[i % len(splits)] for i in range(len(QUERIES))] if splits else []
    return Texts([f"q{i}" for i in range(len(QUERIES))], list(QUERIES), splits=names)


def short(but: list[str]) -> list[str]:
    """The pieces of documents that are queries, none of them a text of these."""
    return with_short_queries(documents(), Texts([], []), QUICK.seed, set(but)).texts


def judge(chosen: Texts) -> dict:
    return {name: {"d0": 1, "d7": 2} for name in chosen.ids}


@pytest.fixture
def recipe(backbone, encoder) -> RankingRecipe:
    return RankingRecipe(backbone, (encoder,), {"device": "cpu"}, QUICK)


@pytest.fixture
def learned(monkeypatch):
    """What `distill_ranking` is given."""
    given = []

    def spy(student, corpus, queries, output, **kwargs):
        given.append((list(corpus), list(queries), kwargs["teacher_vectors"]))
        return distill(student, corpus, queries, output, **kwargs)

    distill = ways.distill_ranking
    monkeypatch.setattr(ways, "distill_ranking", spy)
    return given


def fail(*args, **kwargs):
    raise AssertionError("this was done already")


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def test_the_whole_way(recipe, encoder, tmp_path, learned):
    report = make_ranker(documents(), queries("train", "test"), recipe, tmp_path / "s", name="shop", command="dse ...")
    for name in ("README.md", "dse.json", "training.json", "run.json", "report/report.json", "report/report.md"):
        assert (tmp_path / "s" / name).stat().st_size > 50, name
    assert not (tmp_path / "s" / "checkpoints").exists()
    student = DSE(str(tmp_path / "s"), device="cpu")
    assert student.head.kind == "cosine" and len(student.info["teacher"]) == 32
    assert student.info["backbone"] == recipe.backbone
    assert report.fingerprints == {"student": student.fingerprint, "teacher": student.info["teacher"]}
    corpus, log, teacher = learned[0]
    assert corpus == CORPUS and log[:13] == QUERIES[::2]
    assert log[13:] == short(QUERIES) and len(log) == 13 + 19
    encoder_ = load_ranking_teacher(encoder)
    expected = np.concatenate([encoder_.encode_document(corpus), encoder_.encode_query(log)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(teacher - expected).max() < 0.02  # whatever this machine's own precision is
    assert (report.split, report.query_count, report.backbone) == ("test", len(QUERIES[1::2]), recipe.backbone)
    card = (tmp_path / "s" / "README.md").read_text()
    assert "Agreement with the teacher" in card and "report/report.md" in card
    assert "Trained without labels on 75 documents and 13 queries, and 19 short queries cut from the documents," in card
    assert "Teacher: `model`." in card
    assert "- cross-encoder" not in card and "- text-ranking" in card
    assert json.loads((tmp_path / "s" / "report" / "report.json").read_text()) == json.loads(
        json.dumps(report.to_dict())
    )


@pytest.mark.parametrize(
    ("own", "several"), [({}, True), ({"num_layers": 1}, False), ({"num_layers": 2}, True), ({"projection": 8}, False)]
)
def test_a_student_of_an_encoder_begins_as_a_map_of_several_layers(recipe, tmp_path, own, several):
    asked = replace(recipe, student={**recipe.student, **own})
    report = make_ranker(documents(), None, asked, tmp_path / "s")
    free = make_ranker(documents(), None, recipe, tmp_path / "default")
    of_cosine, expected = ([row for row in r.agreement if row.name == COSINE] for r in (report, free))
    assert of_cosine == expected != []  # whatever the student is made of
    student = DSE(str(tmp_path / "s"), device="cpu")
    width = DSE.from_backbone(recipe.backbone, num_layers=1).head.embedding_dimension
    assert (projection_of(student) is not None) == several
    assert student.head.embedding_dimension == own.get("projection", width)


def test_a_teacher_that_is_the_backbone_is_pointed_out(recipe, encoder, tmp_path, caplog):
    message = "The teacher is the backbone itself"
    make_ranker(documents(), None, replace(recipe, backbone=encoder), tmp_path / "same")
    assert message in caplog.text
    caplog.clear()
    make_ranker(documents(), None, recipe, tmp_path / "other")
    assert message not in caplog.text


@pytest.mark.parametrize("split", [(), ("train",), ("unlabelled", "dev")])
def test_judged_queries_are_never_trained_on(recipe, tmp_path, learned, split):
    """By id, and as the same text under another id."""
    log = queries(*split)
    again = Texts([*log.ids, "again"], [*log.texts, log.texts[2]], splits=[*log.splits, "train"] if split else [])
    report = make_ranker(documents(), again, recipe, tmp_path / "s", judgements=judge(log.select([0, 2])))
    allowed = [text for row, text in enumerate(QUERIES) if row not in (0, 2)]
    assert learned[0][1][: len(allowed)] == allowed and not {QUERIES[0], QUERIES[2]} & set(learned[0][1])
    assert report.query_count == 2 and [row.name for row in report.rows][:2] == ["BM25", "backbone's cosine"]
    assert report.row("teacher") is not None


def test_documents_alone_play_the_query(recipe, tmp_path, learned, caplog):
    with caplog.at_level(logging.INFO, "dse"):
        report = make_ranker(documents(), queries("test"), recipe, tmp_path / "s")
    assert learned[0][1] == short(QUERIES)
    assert "documents alone play the query" in caplog.text
    assert report.query_count == len(QUERIES) and report.split == "test"


@pytest.mark.parametrize("log", [None, queries(), queries("train")])
def test_without_held_back_queries_held_out_texts_are_asked(recipe, tmp_path, learned, log):
    report = make_ranker(documents(), log, recipe, tmp_path / "s")
    assert report.split == "held out" and 0 < report.query_count <= 5
    assert report.rows == [] and report.agreement
    asked = [] if log is None else QUERIES
    assert learned[0][1] == [*asked, *short(asked)]


def test_each_step_resumes(recipe, tmp_path, monkeypatch):
    whole = make_ranker(documents(), queries("train", "test"), recipe, tmp_path / "whole")
    step = RankingTrainer._step
    arguments = (documents(), queries("train", "test"), recipe, tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr(vectors.EncoderTeacher, "encode_query", stop)  # the documents are embedded
        with pytest.raises(KeyboardInterrupt):
            make_ranker(*arguments)
    with monkeypatch.context() as patch:
        patch.setattr(RankingTrainer, "_step", lambda self, n: stop() if n == 3 else step(self, n))
        with pytest.raises(KeyboardInterrupt):
            make_ranker(*arguments)
    with monkeypatch.context() as patch:
        patch.setattr("dse.evaluation.ranking.evaluate_ranking", stop)
        with pytest.raises(KeyboardInterrupt):
            make_ranker(*arguments)
    monkeypatch.setattr(ways, "distill_ranking", fail)
    report = make_ranker(*arguments)
    assert report.agreement == whole.agreement and report.fingerprints == whole.fingerprints
    one, other = (DSE(str(tmp_path / name), device="cpu") for name in ("whole", "s"))
    assert difference(tensors(one), tensors(other)) == 0.0
    monkeypatch.setattr(vectors, "_embed", lambda *args: None)  # every vector is kept, those of the report too
    assert make_ranker(*arguments).agreement == whole.agreement


def test_students_share_what_their_teachers_gave(recipe, tmp_path, monkeypatch):
    arguments, cache = (documents(), queries("train", "test")), tmp_path / "cache"
    make_ranker(*arguments, recipe, tmp_path / "alone")
    make_ranker(*arguments, recipe, tmp_path / "one", teacher_cache=cache)
    monkeypatch.setattr(vectors, "_embed", lambda *args: None)  # every vector is kept
    other = replace(recipe, training=replace(QUICK, steps=4))
    make_ranker(*arguments, other, tmp_path / "other", teacher_cache=cache)
    alone, one = (DSE(str(tmp_path / name), device="cpu") for name in ("alone", "one"))
    assert difference(tensors(alone), tensors(one)) == 0.0
    assert [path.name for path in cache.iterdir()] == ["teacher_vectors"]
    assert not (tmp_path / "one" / "teacher_vectors").exists()


def test_a_cache_holds_scores_of_pairs_too(backbone, tmp_path, monkeypatch):
    recipe = RankingRecipe(backbone, (), {"device": "cpu"}, QUICK, teacher_pairs=480)
    asked = []

    class Teacher(SubjectTeacher):
        fingerprint = "of these tests"

        def predict(self, pairs):
            asked.append(len(pairs))
            return super().predict(pairs)

    for name in ("one", "other"):
        chosen = replace(recipe, training=replace(QUICK, kept=0.25 if name == "one" else 0.5))
        make_ranker(documents(), queries("train"), chosen, tmp_path / name, teacher=Teacher(), teacher_cache=tmp_path)
        asked.append(0)
    first = asked.index(0)
    assert sum(asked[first:]) < sum(asked[:first]) / 4  # the first round of both asks about the same pairs


def test_a_folder_has_one_purpose(recipe, other_data, tmp_path):
    make_ranker(documents(), None, recipe, tmp_path / "s")
    changed = replace(recipe, training=replace(QUICK, seed=9))
    with pytest.raises(MismatchError, match=r"recipe.training.seed was 3, now 9"):
        make_ranker(documents(), None, changed, tmp_path / "s")
    with pytest.raises(MismatchError, match=r"data.corpus was '75 texts"):
        make_ranker(other_data, None, recipe, tmp_path / "s")


@pytest.fixture
def other_data() -> Texts:
    return documents().select(range(50))


def test_what_does_not_fit_is_refused_before_any_work(recipe, tmp_path):
    with pytest.raises(MismatchError, match="cosine head"):
        make_ranker(documents(), None, replace(recipe, student={"head": "dot"}), tmp_path / "s")
    unread = replace(recipe, student={"freeze_backbone": True}, teachers=(str(tmp_path / "gone"),))
    with pytest.raises(MismatchError, match="without freeze_backbone"):
        make_ranker(documents(), None, unread, tmp_path / "s")
    with pytest.raises(MismatchError, match="There is no teacher"):
        make_ranker(documents(), None, replace(recipe, teachers=()), tmp_path / "s")
    with pytest.raises(MismatchError, match="give one of the two"):
        make_ranker(documents(), None, recipe, tmp_path / "s", teacher=SubjectTeacher())
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("corpus", "log", "message"),
    [
        (Texts([], []), None, "holds 0 distinct document"),
        (Texts(["a", "b"], ["one", "one"]), None, "holds 1 distinct document"),
        (Texts(["a", "a"], ["one", "two"], source="c.csv"), None, "c.csv: document 2 repeats the id 'a' of document 1"),
        (Texts(["a", "b"], ["one", " "], source="c.csv"), None, "c.csv: document 2, 'b', has no text; leave it out"),
        (None, Texts(["q", "q"], ["one", "two"], source="log"), "log: query 2 repeats the id 'q' of query 1"),
        (None, Texts(["q"], [""], source="log"), "log: query 1, 'q', has no text"),
    ],
)
def test_bad_texts_are_refused_before_any_work(recipe, tmp_path, monkeypatch, corpus, log, message):
    monkeypatch.setattr("dse.teacher.vectors._embed", fail)
    with pytest.raises(BadDataError, match=message):
        make_ranker(documents() if corpus is None else corpus, log, recipe, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_several_teachers(recipe, models, encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(models("distilbert"), device="cpu").save_pretrained(str(tmp_path / "second"))
    both = replace(recipe, teachers=(encoder, str(tmp_path / "second")))
    report = make_ranker(documents(), None, both, tmp_path / "s")
    assert report.fingerprints["teacher"].count("+") == 1


# -------------------------------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    for name, texts in (("corpus", documents()), ("queries", queries("train", "test"))):
        rows = zip(texts.ids, texts.texts, texts.splits, strict=True)
        lines = [json.dumps({"id": i, "text": text, "split": split}) for i, text, split in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "run.yaml").write_text("steps: 60\ncheckpoint_steps: 2\nbatch_size: 16\n", encoding="utf-8")
    return folder


def test_a_killed_command_goes_on(files, backbone, encoder, tmp_path):
    corpus = ["--corpus", files / "corpus.jsonl", "--queries", files / "queries.jsonl"]
    words = ["distill", "--teacher", encoder, *corpus, "--backbone", backbone, "--config", files / "run.yaml", "-o"]
    command = [sys.executable, "-m", "dse", *map(str, [*words, tmp_path / "killed"])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    killed = subprocess.Popen(command, text=True, env=ENV, **pipes)
    processes.kill_when(killed, (tmp_path / "killed" / "checkpoints" / "state.safetensors").exists)
    again, whole = dse(*words, tmp_path / "killed"), dse(*words, tmp_path / "whole")
    assert again.returncode == whole.returncode == 0, again.stderr + whole.stderr
    assert "going on from step" in again.stderr and "going on" not in whole.stderr
    learned = "learning from 75 documents and 13 queries, a few of which only check the training"
    assert f"{learned}; 12 other queries are held back" in whole.stderr
    assert "learning 19 short queries too" in whole.stderr
    one, other = (DSE(str(tmp_path / name), device="cpu") for name in ("killed", "whole"))
    assert difference(tensors(one), tensors(other)) == 0.0
    assert f"{files.name}, split test: 12 queries, 75 documents" in whole.stdout
    assert whole.stdout.splitlines()[-2].endswith(f"{tmp_path / 'whole'}/report/report.md.")
    finished = dse(*words, tmp_path / "whole", "--json")
    assert json.loads(finished.stdout)["agreement"] and "learning" not in finished.stderr


def test_the_command_takes_a_number_of_layers(files, backbone, encoder, tmp_path):
    words = ["distill", "--teacher", encoder, "--corpus", files / "corpus.jsonl", "--backbone", backbone, "-o"]
    (tmp_path / "two.yaml").write_text("steps: 2\n", encoding="utf-8")
    done = dse(*words, tmp_path / "s", "--config", tmp_path / "two.yaml", "--layers", "1")
    assert done.returncode == 0, done.stderr
    assert "linear map" not in done.stderr and projection_of(DSE(str(tmp_path / "s"))) is None
    (tmp_path / "s.yaml").write_text("steps: 2\nlayers: 1\n", encoding="utf-8")
    again = dse(*words, tmp_path / "s", "--config", tmp_path / "s.yaml")  # the same run, so it only reports
    assert again.returncode == 0 and "training:" not in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corpus", "CORPUS"], "--teacher"),
        (["--corpus", "CORPUS", "--teacher", "T", "--alpha", "0.5"], "--alpha"),
        (["--corpus", "CORPUS", "--teacher", "T", "--preset", "fast"], "--preset"),
        (["--corpus", "CORPUS", "--teacher", "T", "--task", "mrpc"], "--task"),
        (["--corpus", "CORPUS", "--teacher", "T", "--qrels", "x.tsv"], "--queries"),
        (["--task", "mrpc", "--queries", "x.txt"], "--corpus"),
        (["--task", "mrpc", "--teacher", "a", "--teacher", "b"], "--corpus"),
    ],
)
def test_options_that_do_not_belong_together(files, tmp_path, words, message):
    words = [str(files / "corpus.jsonl") if word == "CORPUS" else word for word in words]
    done = dse("distill", *words, "-o", tmp_path / "s")
    assert done.returncode == 2 and message in done.stderr and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("budget", "queries", "expected"), [(480, 150, 20), (8_000, 150, 40), (10**6, 150, 100), (480, 7, 7)]
)
def test_the_report_asks_a_teacher_of_pairs_about_as_much_as_training(budget, queries, expected, caplog):
    texts = Texts([f"q{i}" for i in range(queries)], [f"query {i}" for i in range(queries)])
    collection = Collection(documents(), texts, judge(texts), "shop")
    way = SimpleNamespace(teacher=PairTeacher([SubjectTeacher()]))
    with caplog.at_level(logging.INFO, "dse"):
        asked, split = ranker._asked(collection, way, "test", budget)
    assert (len(asked.queries), len(asked.judgements), split) == (expected, expected, "test")
    assert (
        f"on {expected} of {queries} queries; the teacher is asked about up to {200 * expected:,} pairs" in caplog.text
    )


def test_two_processes_make_the_student_of_one(backbone, encoder, tmp_path, monkeypatch):
    """Teacher's vectors, candidates, scores and steps are shared; what they add up to differs in the last bits."""
    monkeypatch.setenv("ENCODER", str(encoder))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    two = processes.start("rankers", backbone, tmp_path / "two", 0, launcher=torchrun)
    for name, value in SMALL_ROUNDS.items():
        monkeypatch.setattr(rounds, name, value)
    with one_thread():
        make_rankers(backbone, tmp_path / "one")
    processes.finish(two)
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=False) for name in ("one", "two0", "two1"))
    start = DSE.from_backbone(backbone, head="cosine", num_layers=1, device="cpu", dtype="float32")
    for name in ("vectors", "pairs"):
        assert first[name][0] == second[name][0]  # the report
        assert difference(first[name][1], second[name][1]) == 0
        moved = np.abs(one[name][2] - start.score_matrix(QUERIES, CORPUS)).mean()
        assert np.abs(one[name][2] - first[name][2]).mean() < moved / 100
    asked = one["asked"] - first["asked"]
    assert 0 < second["asked"] <= asked <= second["asked"] + 240 and first["asked"] < one["asked"]
    assert sorted(os.listdir(tmp_path / "one" / "pairs")) == sorted(os.listdir(tmp_path / "two" / "pairs"))


def test_what_is_no_collection_is_named(recipe, tmp_path):
    with pytest.raises(MismatchError, match=r"corpus is a str; give Texts, as dse\.data\.load_corpus"):
        make_ranker("corpus.csv", queries(), recipe, tmp_path / "student")
    with pytest.raises(MismatchError, match="queries is a list; give Texts"):
        make_ranker(documents(), list(QUERIES), recipe, tmp_path / "student")
    with pytest.raises(ValueError, match=r"teachers is one text; give a tuple, \('teacher',\)"):
        RankingRecipe("backbone", "teacher")
    assert not (tmp_path / "student").exists()


def test_a_training_that_diverges_says_so(recipe, tmp_path):
    steep = replace(recipe, training=replace(QUICK, steps=20, learning_rate=1e30))
    with pytest.raises(DSEError, match=r"diverged by step \d+: .*; lower the learning rate, now 1e\+30"):
        make_ranker(documents(), queries(), steep, tmp_path / "student")
