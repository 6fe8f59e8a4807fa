from __future__ import annotations

import logging
import pickle
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from dse.errors import BadDataError, DSEError, MismatchError
from dse.index import CandidateIndex, scout
from tests.conftest import make_student
from tests.index.tables import make_embeddings, prepared

ROWS = [
    {"id": "a", "text": "a red bicycle", "price": 90, "lang": "en"},
    {"id": "b'--", "text": "das rote Fahrrad", "price": 5, "lang": "de"},
    {"id": 'quo"te', "text": "", "price": None, "lang": "en"},
    {"id": "日本 \U0001f6b2", "text": "köln 東京 'quoted' \"twice\"", "price": 7, "lang": None},
]


def brute(student, query, texts):
    """What the search must say: scores of the stored (fp16) embeddings, best first."""
    stored = student.encode(list(texts.values())).astype(np.float16)
    scores = student.score_matrix([query], stored.astype(np.float32))[0]
    return sorted(zip(texts, scores.tolist(), strict=True), key=lambda pair: -pair[1])


def test_an_empty_index_answers(index):
    assert len(index) == 0
    assert index.search("anything") == []
    assert index.search(["one", "two"]) == [[], []]
    assert index.search([]) == []
    assert index.get(["x"]) == {} == index.get([]) and index.delete(["x"]) == 0 == index.delete([])
    assert index.delete(["x"], dry_run=True) == 0 == index.delete([], dry_run=True)
    assert index.optimize()["rows"] == 0
    assert index.info()["promise"].startswith("exact")


def test_search_equals_brute_force(index, student):
    assert index.add(ROWS) == {"added": 4, "unchanged": 0}
    expected = brute(student, "a bike", {row["id"]: row["text"] for row in ROWS})
    hits = index.search("a bike", k=100)  # more than there are
    assert [hit["id"] for hit in hits] == [name for name, _ in expected]
    assert [hit["score"] for hit in hits] == pytest.approx([score for _, score in expected], abs=1e-5)
    assert hits[0]["metadata"].keys() == {"price", "lang"}
    raw = index.search("a bike", k=1, activation_fn=torch.nn.Identity())[0]["score"]
    assert 1 / (1 + np.exp(-raw)) == pytest.approx(hits[0]["score"], abs=1e-6)
    both = index.search(["a bike", "a tent"], k=2)
    for together, alone in zip(both, (hits[:2], index.search("a tent", k=2)), strict=True):
        assert [hit["id"] for hit in together] == [hit["id"] for hit in alone]
        # Queries encoded together may differ from one encoded alone in the last bit: products of other shapes.
        assert [hit["score"] for hit in together] == pytest.approx([hit["score"] for hit in alone], abs=1e-6)
    assert index.search(student.encode(["a bike"]), k=2)[0] == hits[:2]


def test_equal_scores_keep_the_order_of_the_rows(index):
    index.add([{"id": name, "text": "the same"} for name in "cab"])
    index.add([{"id": name, "text": "the same"} for name in "zy"])
    assert [hit["id"] for hit in index.search("a bike")] == ["c", "a", "b", "z", "y"]


def test_ids_and_values_are_never_sql(index):
    index.add(ROWS)
    assert index.delete(["' OR 1=1 --", "a' OR 'a'='a"]) == 0
    assert set(index.get([row["id"] for row in ROWS])) == {row["id"] for row in ROWS}
    assert index.upsert([{"id": "b'--", "text": "x'; DROP TABLE rows", "lang": "' OR ''='"}])["updated"] == 1
    assert index.get("b'--") == {
        "b'--": {"text": "x'; DROP TABLE rows", "metadata": {"price": None, "lang": "' OR ''='"}}
    }
    assert [hit["id"] for hit in index.search("x", where="lang = ''' OR ''''='''")] == ["b'--"]
    assert index.delete(["b'--", 'quo"te', "日本 \U0001f6b2"]) == 3
    assert [hit["id"] for hit in index.search("x")] == ["a"]


def test_embeddings_and_version_of_stored_rows(index, student):
    before = index.version
    index.add(ROWS)
    ids = [row["id"] for row in ROWS]
    stored = index.embeddings([*ids, "unknown", "'"])
    assert set(stored) == set(ids) and index.version > before
    for row in ROWS:
        vector = stored[row["id"]]
        assert vector.dtype == np.float16
        assert np.allclose(vector, student.encode(row["text"]), atol=1e-2)
    assert index.embeddings([]) == {} == index.embeddings("unknown")


def test_explain_says_how_each_of_several_queries_was_answered(index):
    index.add(ROWS)
    several = index.explain(["a dog", "a tent"], 2)
    assert [answer["hits"] for answer in several] == index.search(["a dog", "a tent"], 2)
    assert index.explain("a dog", 2)["hits"] == several[0]["hits"]


def test_filters(index):
    index.add(ROWS)
    assert {hit["id"] for hit in index.search("x", where="price < 10 and lang = 'de'")} == {"b'--"}
    assert {hit["id"] for hit in index.search("x", where="price is null")} == {'quo"te'}
    assert index.search("x", where="price > 1000") == []
    for call in (index.search, lambda _, where: index.delete(where=where)):
        with pytest.raises(BadDataError, match="nothere"):
            call("x", where="nothere = 3")
        with pytest.raises(BadDataError):
            call("x", where="price << < 3")
    assert index.delete(where="price < 10") == 2 and len(index) == 2
    with pytest.raises(ValueError, match="ids, or a condition"):
        index.delete()


def test_adding_twice_changes_nothing_and_other_content_is_refused(index):
    index.add(ROWS)
    version = index.info()["version"]
    assert index.add(ROWS) == {"added": 0, "unchanged": 4}
    assert index.info()["version"] == version
    with pytest.raises(BadDataError, match="'a' is stored with other content; use upsert"):
        index.add([{"id": "new", "text": "x"}, ROWS[0] | {"price": 91}])
    assert len(index) == 4
    assert index.upsert([{"id": "new", "text": "x"}, ROWS[0] | {"price": 91}, ROWS[1]]) == {
        "added": 1,
        "updated": 1,
        "unchanged": 1,
    }
    assert index.get("a")["a"]["metadata"]["price"] == 91


def test_texts_alone_get_the_same_id_every_time(index):
    assert index.add(["one", "two", "one"]) == {"added": 2, "unchanged": 0}
    assert index.add(["two", "three"]) == {"added": 1, "unchanged": 1}


def test_an_unchanged_text_is_not_encoded_again(index, student, monkeypatch):
    index.add(ROWS)
    encoded = []
    encode = type(student).encode
    monkeypatch.setattr(
        type(student), "encode", lambda self, texts, **kw: encoded.extend(texts) or encode(self, texts, **kw)
    )
    index.upsert([ROWS[0] | {"price": 1}, ROWS[1] | {"text": "new"}])
    assert encoded == ["new"]


def test_new_columns_are_added_and_types_are_kept(index):
    index.add([{"id": "1", "text": "x", "price": 9.5}])
    index.add([{"id": "2", "text": "y", "price": 3, "tags": ["a", "b"]}])
    assert index.get(["1", "2"])["1"]["metadata"] == {"price": 9.5, "tags": None}
    assert index.get(["1", "2"])["2"]["metadata"] == {"price": 3.0, "tags": ["a", "b"]}
    with pytest.raises(BadDataError, match="'price'"):
        index.add([{"id": "3", "text": "z", "price": "cheap"}])
    for name in ("_rowid", "scout", "score"):
        with pytest.raises(BadDataError, match="is taken"):
            index.add([{"id": "3", "text": "z", name: 1}])


def test_another_student_is_refused(index, student, backbone, tmp_path):
    index.add(ROWS)
    other = make_student(backbone, seed=5)
    with pytest.raises(MismatchError, match=r"another student.*rebuild"):
        CandidateIndex(tmp_path / "index", other)
    with torch.no_grad():
        student.head.out.bias += 1  # its weights change while the index is open
    with pytest.raises(MismatchError):
        CandidateIndex(tmp_path / "index", student)


def test_a_student_is_found_again_by_its_path(backbone, tmp_path, student):
    student.save_pretrained(str(tmp_path / "s"))
    CandidateIndex.create(tmp_path / "i", str(tmp_path / "s")).add(ROWS)
    assert len(CandidateIndex(tmp_path / "i").search("x")) == 4
    CandidateIndex.create(tmp_path / "j", student)
    with pytest.raises(MismatchError, match="--student"):
        CandidateIndex(tmp_path / "j")


def test_the_folder_of_a_student_may_be_a_path(student, tmp_path):
    student.save_pretrained(str(tmp_path / "student"))
    made = CandidateIndex.create(tmp_path / "made", tmp_path / "student")
    made.add(["a bike"])
    assert len(CandidateIndex(tmp_path / "made").search("a tent")) == 1
    made.rebuild(tmp_path / "student")
    assert len(CandidateIndex(tmp_path / "made", tmp_path / "student")) == 1


def test_what_is_no_query_and_no_id_is_refused(index):
    """Going through a data frame or a mapping would give its names."""
    pandas = pytest.importorskip("pandas")
    index.add(ROWS)
    frame = pandas.DataFrame({"id": ["a"], "text": ["x"]})
    for queries in (frame, {"text": "a"}, Path("a"), None, ["a", None], b"a"):
        with pytest.raises(ValueError, match=r"^queries"):
            index.search(queries)
    for ids in (frame, {"a": 1}, 5, [1], b"a"):
        for call in (index.get, index.embeddings, index.delete):
            with pytest.raises(ValueError, match=r"^ids"):
                call(ids)
    assert len(index) == 4 and len(index.search(frame["text"])) == 1
    assert index.get(frame["id"]).keys() == {"a"} and index.delete(iter(["a"])) == 1


def test_paths(tmp_path, student, index):
    with pytest.raises(BadDataError, match="no index"):
        CandidateIndex(tmp_path / "nowhere", student)
    with pytest.raises(DSEError, match="not empty"):
        CandidateIndex.create(tmp_path / "index", student)


def test_a_path_is_resolved_once(backbone, tmp_path, monkeypatch, small_scout):
    """Whatever folder the process goes to later; `~` is the user's home."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    student = make_student(backbone, head="cosine")
    student.save_pretrained(str(tmp_path / "home" / "student"))
    index = CandidateIndex.create("index", "~/student")
    other = CandidateIndex.create("~/other", "home/student")
    (tmp_path / "home" / "rows.csv").write_text("id,text\n1,a tent\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert other.add("~/rows.csv") == {"added": 1, "unchanged": 0}
    index.add(prepared(400))
    index.optimize()
    index.upsert([{"id": "row 1", "text": "a bike", "number": 0.5}])
    assert len(index.search("a dog")) == 10
    assert not list((tmp_path / "elsewhere").iterdir()) and not (tmp_path / "~").exists()
    assert len(CandidateIndex(tmp_path / "index")) == 400 and len(CandidateIndex("~/other")) == 1


def test_columns_of_an_empty_index_are_checked(student, tmp_path):
    for columns in ({"score": pa.int64()}, {"": pa.int64()}, {"m": pa.map_(pa.string(), pa.int64())}):
        with pytest.raises(BadDataError, match="columns: "):
            CandidateIndex.create(tmp_path / "typed", student, columns=columns)
    assert not (tmp_path / "typed").exists()
    index = CandidateIndex.create(tmp_path / "typed", student, columns={"price": pa.int64()})
    assert index.info()["columns"] == {"price": "int64"}


def test_a_student_with_classes_needs_a_label(backbone, tmp_path):
    student = make_student(backbone, num_labels=3)
    student.info["task"] = {"labels": ["entailment", "neutral", "contradiction"]}
    with pytest.raises(ValueError, match="entailment, neutral, contradiction"):
        CandidateIndex.create(tmp_path / "i", student)
    index = CandidateIndex.create(tmp_path / "i", student, label="neutral")
    texts = ["a red bicycle", "the cat", "a dog runs", ""]
    index.add([{"id": text or "empty", "text": text} for text in texts])
    probabilities = student.predict([("a bike", text) for text in texts], apply_softmax=True)[:, 1]
    hits = index.search("a bike")
    assert [hit["text"] for hit in hits] == [texts[i] for i in np.argsort(-probabilities)]
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(probabilities.tolist(), reverse=True), abs=1e-3)


@pytest.mark.usefixtures("small_scout")
class TestTwoPasses:
    @pytest.fixture
    def index(self, backbone, tmp_path):
        """A head whose scores follow the cosine, as those of trained ones do; a random mlp's do not."""
        return CandidateIndex.create(tmp_path / "index", make_student(backbone, head="cosine"))

    def test_the_shortlist_is_scored_exactly(self, index):
        index.add(prepared(2000), batch_size=700)
        index.optimize()
        queries = make_embeddings(20, seed=1).astype(np.float32)
        answers = index._answer(queries, 10, None, False, None)
        exact = index.search(queries, exact=True)
        score_of = [{hit["id"]: hit["score"] for hit in hits} for hits in index.search(queries, k=2000, exact=True)]
        found = 0
        for answer, best, scores in zip(answers, exact, score_of, strict=True):
            assert answer["mode"] == "two passes" and answer["scored"] == 128
            assert [hit["score"] for hit in answer["hits"]] == sorted(
                (h["score"] for h in answer["hits"]), reverse=True
            )
            for hit in answer["hits"]:
                assert hit["score"] == pytest.approx(scores[hit["id"]], abs=1e-5)
                assert 1 <= hit["scout_rank"] <= 128
                assert (
                    hit["text"] == f"text of {hit['metadata']['number']}"
                    and hit["id"] == f"row {hit['metadata']['number']}"
                )
            found += len({h["id"] for h in answer["hits"]} & {h["id"] for h in best})
        assert found > 180  # of 200; 128 rows drawn at random would have 13
        assert index._answer(queries[:1], 50, None, False, None)[0]["scored"] == 200  # four times k

    def test_calibrated_recall_is_kept_on_other_queries(self, index):
        index.add(prepared(2000))
        index.optimize()
        found = index.calibrate(make_embeddings(80, seed=2).astype(np.float32), k=5, recall=0.9, confidence=0.9)
        assert found["shortlist"] is not None and found["rows"] == 2000 and found["measured"] > 0.9
        others = make_embeddings(60, seed=3).astype(np.float32)
        pairs = zip(index.search(others, 5), index.search(others, 5, exact=True), strict=True)
        recall = np.mean([len({h["id"] for h in a} & {h["id"] for h in b}) / 5 for a, b in pairs])
        assert recall > 0.87

        def elsewhere(function, blocks):  # a worker gets the function without the open index
            return map(pickle.loads(pickle.dumps(function)), pickle.loads(pickle.dumps(blocks)))

        again = index.calibrate(
            make_embeddings(80, seed=2).astype(np.float32), k=5, recall=0.9, confidence=0.9, run=elsewhere
        )
        assert {**found, "date": again["date"]} == again
        found = again
        info = index.info()
        assert info["calibration"] == found and "recall@5 of at least 0.9" in info["promise"]

    def test_a_worker_without_the_folder_is_one_sentence(self, index, tmp_path):
        index.add(prepared(400))
        index.optimize()

        def elsewhere(function, blocks):
            worker = pickle.loads(pickle.dumps(function))
            (tmp_path / "index").rename(tmp_path / "away")
            try:
                return [worker(block) for block in blocks]
            finally:
                (tmp_path / "away").rename(tmp_path / "index")

        with pytest.raises(BadDataError, match=r"index is no index"):
            index.calibrate(make_embeddings(80, seed=2).astype(np.float32), recall=0.9, confidence=0.9, run=elsewhere)

    def test_growth_voids_the_promise(self, index, caplog):
        index.add(prepared(1000))
        index.optimize()
        queries = make_embeddings(60, seed=2).astype(np.float32)
        index.search(queries[:1])
        assert "not calibrated" in caplog.text
        index.calibrate(queries, k=5, recall=0.9, confidence=0.9)
        caplog.clear()
        index.search(queries[:1], k=5)
        assert caplog.text == ""
        index.search(queries[:1], k=6)
        assert "calibrated for k = 5" in caplog.text
        index.add(prepared(200, first=1000, seed=4))
        index.search(queries[:1], k=5)
        assert "grown from 1,000 to 1,200 rows" in caplog.text
        assert "grown from 1,000 to 1,200" in index.info()["warning"]
        assert caplog.records[-1].levelno == logging.WARNING

    def test_where_no_shortlist_will_do_every_row_is_scored(self, student, tmp_path, monkeypatch):
        monkeypatch.setattr(scout, "LADDER", (40,))
        index = CandidateIndex.create(tmp_path / "random head", student)
        index.add(prepared(1000))
        index.optimize()
        queries = make_embeddings(40, seed=2).astype(np.float32)
        assert index.calibrate(queries, k=5, recall=0.9, confidence=0.9)["shortlist"] is None
        assert index.info()["mode"] == "exact" and index.explain("a dog")["scored"] == 1000

    def test_too_few_queries_are_refused(self, index):
        with pytest.raises(ValueError, match="at least 344"):
            index.calibrate(["one", "two", "one"])

    def test_rows_added_since_optimize_are_found(self, index):
        index.add(prepared(1000))
        index.optimize()
        new = prepared(50, first=5000, seed=9)
        index.add(new)
        assert index.info()["unindexed_rows"] == 50
        embedding = np.stack(new["embedding"].to_pylist()[:5]).astype(np.float32)
        store = index._handle.latest().store
        for row, vector in zip(range(5000, 5005), index._handle.latest().scout.rows(embedding), strict=True):
            rows = store.nearest(vector, 30, 4)
            assert f"row {row}" in store.take(rows, ["id"])["id"].to_pylist()
        index.optimize()
        assert index.info()["unindexed_rows"] == 0

    def test_deleted_and_replaced_rows_stay_away(self, index):
        index.add(prepared(1000))
        index.optimize()
        queries = make_embeddings(5, seed=1).astype(np.float32)
        gone = {hit["id"] for hits in index.search(queries) for hit in hits}
        index.delete(gone)
        assert not gone & {hit["id"] for hits in index.search(queries) for hit in hits}
        index.optimize(keep=timedelta(0))
        assert not gone & {hit["id"] for hits in index.search(queries) for hit in hits}
        index.upsert(pa.table({"id": ["row 0"], "text": ["new"], "embedding": make_embeddings(1, seed=1).tolist()}))
        hits = index.search(queries[:1], k=1000, exact=True)[0]
        assert [hit["text"] for hit in hits if hit["id"] == "row 0"] == ["new"]
        ids = [hit["id"] for hit in index._answer(queries[:1], 100, None, False, None)[0]["hits"]]
        assert len(set(ids)) == len(ids)

    def test_rows_of_a_narrow_condition_are_all_scored(self, index):
        index.add(prepared(1000))
        index.optimize()
        answer = index._answer(make_embeddings(1).astype(np.float32), 10, "number < 50", False, None)[0]
        assert answer["mode"] == "exact" and answer["scored"] == 50
        answer = index._answer(make_embeddings(1).astype(np.float32), 10, "number >= 500", False, None)[0]
        assert answer["mode"] == "two passes"
        assert all(hit["metadata"]["number"] >= 500 for hit in answer["hits"])

    def test_rebuild_with_a_student_of_another_width(self, index, backbone, tmp_path):
        index.add([{"id": str(i), "text": f"a {w} dog {i}", "n": i} for i, w in enumerate(["red", "blue"] * 200)])
        index.optimize()
        new = make_student(backbone, seed=3, num_layers=2)
        index.rebuild(new)
        assert index.info()["dimension"] == 16 and index.info()["calibration"] is None
        again = CandidateIndex(tmp_path / "index", new)
        assert len(again) == 400 and again.get("7")["7"] == {"text": "a blue dog 7", "metadata": {"n": 7}}
        fresh = CandidateIndex.create(tmp_path / "fresh", new)
        fresh.add([{"id": str(i), "text": f"a {w} dog {i}", "n": i} for i, w in enumerate(["red", "blue"] * 200)])
        assert again.search("a cat", exact=True) == fresh.search("a cat", exact=True)
        assert not (tmp_path / "index" / "rebuild.lance").exists()

    def test_the_scout_of_a_process_that_died_is_made_again(self, index):
        index.add(prepared(1000))
        index.optimize()
        with index._handle.latest().store.writing():
            index._handle.latest().store.update_manifest(scout=None)  # as if it had died between column and card
        index.add(prepared(10, first=2000))
        assert index.optimize()["scout"] is not None
        assert len(index.search(make_embeddings(1).astype(np.float32))[0]) == 10


def test_a_killed_rebuild_goes_on(index, backbone, monkeypatch):
    from dse.index import rebuild

    index.add([f"a dog {i}" for i in range(100)])
    monkeypatch.setattr(rebuild, "BATCH_ROWS", 30)
    new, embedded, embed_rows = make_student(backbone, seed=3), [], rebuild.embed_rows

    def dying(student, texts):
        if len(embedded) >= 60 and dying.alive:
            raise KeyboardInterrupt
        embedded.extend(texts)
        return embed_rows(student, texts)

    dying.alive = True
    monkeypatch.setattr(rebuild, "embed_rows", dying)
    with pytest.raises(KeyboardInterrupt):
        index.rebuild(new)
    assert len(index.search("x")) == 10  # still the old one
    dying.alive = False
    index.rebuild(new)
    assert sorted(embedded) == sorted(f"a dog {i}" for i in range(100))  # each once
    assert index.info()["student"] == new.fingerprint


def test_an_index_reads_texts_behind_the_students_prompts_and_in_full_width(backbone, tmp_path):
    student = make_student(backbone, prompts={"query": "who ", "document": "the old "}, truncate_dim=8)
    index = CandidateIndex.create(tmp_path / "index", student)
    texts = ["man", "red bicycle", "tent"]
    index.add([{"id": str(n), "text": text} for n, text in enumerate(texts)])
    expected = student.rank("sells", texts)
    found = index.search("sells", k=3, exact=True)
    assert [int(hit["id"]) for hit in found] == [hit["corpus_id"] for hit in expected]
    assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in expected], abs=1e-3)
