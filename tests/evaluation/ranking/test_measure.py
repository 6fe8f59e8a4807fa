"""Tiny models ranked end to end: which rows there are, and which queries and documents count."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from dse.data import Collection, Texts
from dse.errors import BadDataError, MismatchError
from dse.evaluation import evaluate_ranking, ranking_metrics
from dse.evaluation.ranking import measure
from dse.evaluation.ranking.rankers import StudentRanker
from dse.evaluation.ranking.report import BM25, COSINE, STUDENT, TEACHER
from tests.conftest import make_student
from tests.evaluation.ranking.factory import make_collection

SHOP = make_collection(documents=220, queries=6)
RERANKED = ["student on BM25's 100", "student on cosine's 100"]


def names(report):
    return [row.name for row in report.rows]


@pytest.fixture(scope="module")
def encoder(models):
    return SentenceTransformer(models("distilbert"), device="cpu")


def test_an_encoder_as_teacher_ranks_the_corpus_too(student, backbone, encoder):
    report = evaluate_ranking(student, SHOP, backbone=backbone, teacher=encoder)
    by_teacher = ["teacher", "teacher on BM25's 100", "teacher on cosine's 100"]
    assert names(report) == [BM25, COSINE, STUDENT, *RERANKED, *by_teacher]
    assert list(report.curve) == [BM25, COSINE, STUDENT, TEACHER]
    assert {(e.student, e.teacher) for e in report.lead_kept} == {(STUDENT, TEACHER), (RERANKED[1], by_teacher[2])}
    assert [row.name for row in report.agreement] == [BM25, COSINE, STUDENT]
    assert (report.documents, report.query_count, report.judgement_count, report.agreement_queries) == (220, 6, 18, 6)
    for row in report.rows:
        for metric, mean in row.metrics.items():
            assert 0 <= mean.low <= mean.value <= mean.high <= 1
            assert mean.value == report.values[row.name][metric].mean()
        assert bool(row.over_cosine) == (row.name != COSINE)
    for name, points in report.curve.items():  # the last point is the whole corpus
        assert points[-1].candidates == 220
        assert points[-1].value == pytest.approx(report.row(name).metrics["nDCG@10"].value)
    assert json.loads(json.dumps(report.to_dict()))["rows"][2]["name"] == STUDENT
    assert report.fingerprints["student"] == student.fingerprint and report.backbone == backbone


def test_the_backbone_reads_as_far_as_the_student_made_from_it(backbone):
    """Another encoder, or that of a student that notes none, reads as far as its own folder says."""
    student = make_student(backbone, head="cosine", num_layers=1, max_seq_length=4)
    for noted, length in ((backbone, 4), ("another", 64), (None, 64)):
        student.info["backbone"] = noted
        assert measure._encoder(backbone, student).max_seq_length == length


def test_a_cross_encoder_reranks(student, backbone, teacher):
    report = evaluate_ranking(student, SHOP, backbone=backbone, teacher=teacher)
    assert names(report) == [BM25, COSINE, STUDENT, *RERANKED, "teacher on BM25's 100", "teacher on cosine's 100"]
    assert {(e.student, e.teacher) for e in report.lead_kept} == {(RERANKED[1], "teacher on cosine's 100")}
    assert list(report.curve) == [BM25, COSINE, STUDENT]
    first_stage = report.row(COSINE).metrics["recall@100"].value
    assert report.row("teacher on cosine's 100").metrics["recall@100"].value == pytest.approx(first_stage)


def test_the_students_row_is_that_of_its_ranking(student):
    report = evaluate_ranking(student, SHOP)
    assert names(report) == [BM25, STUDENT, RERANKED[0]] and not report.lead_kept and not report.agreement
    ranking = StudentRanker(student, SHOP.queries.texts, SHOP.corpus.texts).best(1000)
    ids = [[SHOP.corpus.ids[row] for row in rows] for rows in ranking.rows]
    expected = ranking_metrics(ids, list(SHOP.judgements.values()))
    for metric, values in expected.items():
        np.testing.assert_allclose(report.values[STUDENT][metric], values)
    again = evaluate_ranking(student, SHOP)
    assert again.rows == report.rows and again.curve == report.curve


def test_a_student_that_is_the_backbones_cosine_has_its_figures(backbone):
    student = make_student(backbone, num_layers=1, head="cosine")
    report = evaluate_ranking(student, SHOP, backbone=student, teacher=student)
    ndcg = {row.name: row.metrics["nDCG@10"].value for row in report.rows}
    assert ndcg[STUDENT] == pytest.approx(ndcg[COSINE], abs=0.02) and ndcg[TEACHER] == ndcg[STUDENT]
    agreement = {row.name: row.metrics["overlap@10"].value for row in report.agreement}
    assert agreement[STUDENT] == 1.0


def test_a_pool_ranks_the_judged_documents_only(student, backbone, teacher):
    report = evaluate_ranking(student, SHOP, backbone=backbone, teacher=teacher, pool=True)
    assert names(report) == [BM25, COSINE, STUDENT, TEACHER]
    assert list(report.rows[0].metrics) == ["nDCG@10", "MRR@10", "MAP"] and not report.curve
    assert {(e.student, e.teacher) for e in report.lead_kept} == {(STUDENT, TEACHER)}
    whole = StudentRanker(student, SHOP.queries.texts, SHOP.corpus.texts).best(len(SHOP.corpus))
    for query, grades in enumerate(SHOP.judgements.values()):
        order = [name for row in whole.rows[query] if (name := f"d{row}") in grades]
        expected = ranking_metrics([order], [grades], ["MAP"])["MAP"][0]
        assert report.values[STUDENT]["MAP"][query] == pytest.approx(expected)


def test_of_pools_only_the_judged_documents_are_read(student, backbone):
    read = []

    class Recorder(SentenceTransformer):
        def encode(self, inputs, *args, **kwargs):
            read.extend(inputs)
            return super().encode(inputs, *args, **kwargs)

    evaluate_ranking(student, SHOP, backbone=Recorder(backbone, device="cpu"), pool=True)
    judged = {SHOP.corpus.texts[int(name[1:])] for grades in SHOP.judgements.values() for name in grades}
    assert set(read) == judged | set(SHOP.queries.texts)


def test_without_judgements_there_is_agreement(student, backbone, encoder):
    queries = replace(SHOP.queries, splits=["test", "unlabelled"] * 3)
    unjudged = Collection(SHOP.corpus, queries, name="toys")
    report = evaluate_ranking(student, unjudged, backbone=backbone, teacher=encoder, split="unlabelled")
    assert (report.rows, report.curve, report.lead_kept) == ([], {}, [])
    assert report.query_count == report.agreement_queries == 3
    of_student = report.agreement[-1].metrics
    assert 0 <= of_student["overlap@10"].value <= 1 and -1 <= of_student["Kendall tau"].value <= 1
    with pytest.raises(BadDataError, match="no query of split 'dev', only of test, unlabelled"):
        evaluate_ranking(student, unjudged, teacher=encoder, split="dev")
    with pytest.raises(BadDataError, match="no judgements and there is no teacher"):
        evaluate_ranking(student, unjudged)
    with pytest.raises(BadDataError, match="no judged documents to rank"):
        evaluate_ranking(student, unjudged, teacher=encoder, pool=True)


def test_a_document_that_is_the_query_itself_is_left_out(student):
    corpus = Texts(["1", "2", "3"], ["a red bicycle", "a bicycle that is red", "a tent"])
    itself = Collection(corpus, Texts(["1", "9"], ["a red  bicycle", "a tent"]), {"1": {"2": 1}, "9": {"3": 1}})
    report = evaluate_ranking(student, itself)
    assert report.left_out == 1 and report.values[BM25]["MRR@10"].tolist() == [1.0, 1.0]
    other = Collection(corpus, Texts(["1"], ["a bicycle that is red"]), {"1": {"2": 1}})  # numbered alike, no more
    assert evaluate_ranking(student, other).left_out == 0
    judged = Collection(corpus, Texts(["1"], ["a red bicycle"]), {"1": {"1": 1}})
    assert evaluate_ranking(student, judged).left_out == 0


def test_queries_without_a_relevant_document_do_not_count(student):
    judgements = SHOP.judgements | {"q0": {"d1": 0}}
    report = evaluate_ranking(student, replace(SHOP, judgements=judgements))
    assert report.query_count == 5
    with pytest.raises(BadDataError, match="has a relevant document"):
        evaluate_ranking(student, replace(SHOP, judgements={"q0": {"d1": 0}}))


def test_models_are_checked_before_any_work(student, backbone, monkeypatch):
    several = make_student(backbone, num_labels=3)
    monkeypatch.setattr(type(student), "encode", None)  # nothing is embedded
    with pytest.raises(MismatchError, match="3 scores per pair"):
        evaluate_ranking(several, SHOP)
    with pytest.raises(MismatchError, match="has no predict"):
        evaluate_ranking(student, SHOP, teacher=object())
