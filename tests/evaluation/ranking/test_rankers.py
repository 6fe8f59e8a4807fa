"""Rankers against plain numpy: the scores of chosen candidates, and the best of the corpus."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from dse.errors import MismatchError
from dse.evaluation.ranking.rankers import BM25Ranker, CosineRanker, PairRanker, StudentRanker, make_ranker
from dse.evaluation.ranking.rankings import Ranking, ranked
from dse.teacher import load_ranking_teacher, teacher_scores
from tests.conftest import make_student
from tests.evaluation.ranking.factory import make_collection

SHOP = make_collection(documents=80, queries=5)
QUERIES, DOCUMENTS = SHOP.queries.texts, SHOP.corpus.texts
EVERY = [np.arange(len(DOCUMENTS))] * len(QUERIES)


def cosines(encoder):
    u, v = encoder.encode(QUERIES, normalize_embeddings=True), encoder.encode(DOCUMENTS, normalize_embeddings=True)
    return u @ v.T


def bm25(k1=0.9, b=0.4):
    """Lucene's BM25 as it is written; these texts have no stop words and no word that stemming changes apart."""
    counts = [{w: d.split().count(w) for w in d.split()} for d in DOCUMENTS]
    mean = np.mean([len(d.split()) for d in DOCUMENTS])
    scores = np.zeros((len(QUERIES), len(DOCUMENTS)))
    for q, query in enumerate(QUERIES):
        for word in query.split():
            containing = sum(word in c for c in counts)
            idf = np.log(1 + (len(DOCUMENTS) - containing + 0.5) / (containing + 0.5))
            for d, count in enumerate(counts):
                tf = count.get(word, 0)
                scores[q, d] += idf * tf / (tf + k1 * (1 - b + b * len(DOCUMENTS[d].split()) / mean))
    return scores


def check(ranker, matrix, atol=1e-5):
    """Scores are those of the matrix, and so are the best, of the corpus and of a part of it."""
    np.testing.assert_allclose(np.stack(ranker.scores(EVERY)), matrix, atol=atol)
    some = [np.array([3, 1, 70]), np.array([], dtype=int), *EVERY[2:]]
    np.testing.assert_allclose(ranker.scores(some)[0], matrix[0, [3, 1, 70]], atol=atol)
    assert ranker.scores(some)[1].shape == (0,)
    for within in (None, np.arange(5, 60, 3)):
        rows = np.arange(len(DOCUMENTS)) if within is None else within
        ranking = ranker.best(7, within)
        for q in range(len(QUERIES)):
            assert set(ranking.rows[q]) <= set(rows) and len(ranking.rows[q]) == len(set(ranking.rows[q]))
            best = np.sort(matrix[q, rows])[::-1][: len(ranking.rows[q])]
            np.testing.assert_allclose(ranking.scores[q], best, atol=atol)
            np.testing.assert_allclose(matrix[q, ranking.rows[q]], best, atol=atol)


def test_bm25_is_lucenes():
    ranker = BM25Ranker(QUERIES, DOCUMENTS)
    check(ranker, bm25())
    everything = ranker.best(1000)
    assert all((scores > 0).all() for scores in everything.scores)  # documents that share no word are left out
    assert [len(rows) for rows in everything.rows] == (bm25() > 0).sum(axis=1).tolist()


def test_bm25_stems_and_leaves_stop_words_out(caplog, capfd):
    ranker = BM25Ranker(["the riding of bikes", "the", "zzz"], ["she rides a bike", "the house", "a tent"])
    assert [rows.tolist() for rows in ranker.best(3).rows] == [[0], [], []]
    nothing = BM25Ranker(["a bike"], ["the", "of"])
    assert nothing.scores([np.array([0, 1])])[0].tolist() == [0.0, 0.0] and len(nothing.best(2).rows[0]) == 0
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_a_students_rankings_are_those_of_its_scores(student):
    check(StudentRanker(student, QUERIES, DOCUMENTS), raw_scores(student), atol=0.02)


def raw_scores(student):
    return student.score_matrix(QUERIES, DOCUMENTS, activation_fn=torch.nn.Identity())


def test_a_cosine_student_ranks_like_the_cosine(backbone):
    student = make_student(backbone, num_layers=1, head="cosine")
    cosine = CosineRanker(student, QUERIES, DOCUMENTS)
    check(cosine, cosines(student))
    theirs, ours = cosine.best(5), StudentRanker(student, QUERIES, DOCUMENTS).best(5)
    matrix = cosines(student)
    for q in range(len(QUERIES)):
        np.testing.assert_allclose(matrix[q, ours.rows[q]], matrix[q, theirs.rows[q]], atol=0.01)


def test_an_encoder_reads_each_side_with_its_prompt(backbone):
    encoder = SentenceTransformer(backbone, device="cpu", prompts={"query": "who ", "document": "the old "})
    u = encoder.encode(["who " + q for q in QUERIES], normalize_embeddings=True)
    v = encoder.encode(["the old " + d for d in DOCUMENTS], normalize_embeddings=True)
    check(CosineRanker(encoder, QUERIES, DOCUMENTS), u @ v.T)


class Counting:
    """A scorer that is no cross-encoder: how many letters two texts share."""

    def __init__(self):
        self.asked = []

    def predict(self, pairs):
        self.asked += pairs
        return [float(len(set(a) & set(b))) for a, b in pairs]


def test_a_scorer_of_pairs_is_asked_once_for_each():
    scorer = Counting()
    ranker = make_ranker(scorer, QUERIES, DOCUMENTS)
    assert isinstance(ranker, PairRanker)
    candidates = [np.array([q, q + 1, 7]) for q in range(len(QUERIES))]
    first, again = ranker.scores(candidates), ranker.scores([rows[::-1] for rows in candidates])
    assert len(scorer.asked) == len(set(scorer.asked)) == 15
    for q, rows in enumerate(candidates):
        assert first[q].tolist() == again[q][::-1].tolist() == [len(set(QUERIES[q]) & set(DOCUMENTS[r])) for r in rows]


def test_a_cross_encoder_gives_raw_scores(teacher):
    scores = make_ranker(teacher, QUERIES, DOCUMENTS).scores([np.array([2, 0])] + [np.array([1])] * 4)
    expected = teacher_scores(teacher, [(QUERIES[0], DOCUMENTS[2]), (QUERIES[0], DOCUMENTS[0])])[:, 0]
    np.testing.assert_allclose(scores[0], expected, atol=0.02)


@pytest.mark.parametrize("scores", [[1.0, np.nan], [1.0, np.inf], [[1.0, 2.0], [3.0, 4.0]], [1.0], ["high", "low"]])
def test_scores_that_do_not_fit_are_refused(scores):
    scorer = Counting()
    scorer.predict = lambda pairs: scores
    with pytest.raises(MismatchError, match="The teacher"):
        PairRanker(scorer, QUERIES[:1], DOCUMENTS).scores([np.array([0, 1])])


def test_models_of_several_scores_and_things_that_score_nothing_are_refused(backbone):
    with pytest.raises(MismatchError, match="student gives 3 scores"):
        make_ranker(make_student(backbone, num_labels=3), QUERIES, DOCUMENTS)
    with pytest.raises(MismatchError, match="cross-encoder gives 2 scores"):
        make_ranker(CrossEncoder(backbone, num_labels=2, device="cpu"), QUERIES, DOCUMENTS)
    with pytest.raises(MismatchError, match=re.escape("str has no predict(pairs)")):
        make_ranker("a teacher", QUERIES, DOCUMENTS)


def test_equal_scores_are_ordered_by_place():
    ranking = ranked([np.array([5, 2, 9])], [np.array([1.0, 1.0, 2.0])])
    assert ranking.rows[0].tolist() == [9, 2, 5]
    left = ranking.without([2])
    assert left.rows[0].tolist() == [9, 5] and left.scores[0].tolist() == [2.0, 1.0]
    assert left.first(1).rows[0].tolist() == [9]
    assert Ranking([np.array([1])], [np.array([0.5])]).without([-1]).rows[0].tolist() == [1]


def test_a_teacher_is_loaded_as_what_its_folder_holds(tmp_path, backbone, teacher, student):
    encoder = SentenceTransformer(backbone, device="cpu")
    for name, model in (("cross", teacher), ("encoder", encoder), ("student", student)):
        model.save_pretrained(str(tmp_path / name))
        assert isinstance(load_ranking_teacher(str(tmp_path / name)), type(model))
    with pytest.raises(MismatchError, match="neither a cross-encoder nor a sentence encoder"):
        load_ranking_teacher(backbone)
