"""Retrieval collections: the layouts that are read, and what is wrong with a row."""

from __future__ import annotations

import json
import string

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.data import Collection, Texts, load_collection, load_corpus, load_judgements, load_queries
from dse.data.collection_files import collection_name
from dse.errors import BadDataError

CORPUS = Texts(["d1", "d2", "d3"], ["a red bicycle", "a tent", "a river"], source="corpus")
QUERIES = Texts(["q1", "q2"], ["a bike", "where to sleep"], splits=["train", "test"], source="queries")
SHOP = Collection(CORPUS, QUERIES, name="shop")


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def refused(call, *args, **kwargs) -> str:
    with pytest.raises(BadDataError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- layouts ----------------------------------------------------------------------------------------------------


def write_three_files(folder):
    write_parquet(folder / "corpus.parquet", id=CORPUS.ids, title=["Bikes", "", ""], text=CORPUS.texts)
    write_parquet(folder / "queries.parquet", id=QUERIES.ids, text=QUERIES.texts, split=QUERIES.splits)
    columns = {"query_id": ["q1", "q2", "q2"], "doc_id": ["d1", "d2", "d3"], "relevance": [1, 2, 0]}
    write_parquet(folder / "qrels.parquet", **columns, split=["train", "test", "test"])


def write_beir(folder):
    rows = zip(CORPUS.ids, ["Bikes", "", ""], CORPUS.texts, strict=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": i, "title": t, "text": x, "metadata": {}} for i, t, x in rows])
    write_jsonl(
        folder / "queries.jsonl", [{"_id": i, "text": x} for i, x in zip(QUERIES.ids, QUERIES.texts, strict=True)]
    )
    (folder / "qrels").mkdir()
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n", encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t2\nq2\td3\t0\n", encoding="utf-8")


@pytest.mark.parametrize("write", [write_three_files, write_beir])
def test_a_folder_is_a_collection(tmp_path, write):
    write(tmp_path)
    test, train = load_collection(tmp_path), load_collection(tmp_path, split="train")
    assert test.corpus.texts == ["Bikes\na red bicycle", "a tent", "a river"]
    assert test.corpus.ids == CORPUS.ids and test.corpus.titles == ["Bikes", "", ""]
    assert (test.queries.ids, test.queries.texts) == (QUERIES.ids, QUERIES.texts)
    assert test.judgements == {"q2": {"d2": 2, "d3": 0}}
    assert train.judgements == {"q1": {"d1": 1}}
    assert (test.judged().ids, train.judged().ids, test.name) == (["q2"], ["q1"], tmp_path.name)
    assert "dev" in refused(load_collection, tmp_path, split="dev")


def test_each_part_from_its_own_file(tmp_path):
    corpus = write_parquet(tmp_path / "c.parquet", docid=[1, 2], contents=["a tent", "a bike"])
    queries = tmp_path / "q.txt"
    queries.write_text("a red bicycle\r\nkäse\n", encoding="utf-8")
    qrels = tmp_path / "judged.qrels"
    qrels.write_text("1 0 2 1\n\n2\t0\t1\t-1\n", encoding="utf-8")
    collection = load_collection(corpus, queries, qrels)
    assert collection.corpus.ids == ["1", "2"]
    assert collection.queries.ids == ["1", "2"] and collection.queries.texts == ["a red bicycle", "käse"]
    assert collection.judgements == {"1": {"2": 1}, "2": {"1": -1}}
    assert collection.judged().ids == ["1"]
    assert load_collection(corpus, queries).judgements == {}
    assert "name the queries" in refused(load_collection, corpus)


def test_columns_of_other_names(tmp_path):
    (tmp_path / "corpus.csv").write_text("nr,text,answer\n7,of no use,a tent\n8,neither,a bike\n")
    (tmp_path / "queries.csv").write_text("id,text,answer\nq,where is it,read as well\n")  # has the known names too
    (tmp_path / "qrels.csv").write_text("query_id,which,relevance\nq,8,1\n")
    columns = {"id": "nr", "text": "answer", "doc_id": "which"}
    collection = load_collection(tmp_path, columns=columns)
    assert (collection.corpus.ids, collection.corpus.texts) == (["7", "8"], ["a tent", "a bike"])
    assert (collection.queries.ids, collection.queries.texts) == (["q"], ["read as well"])
    assert collection.judgements == {"q": {"8": 1}}
    assert load_corpus(tmp_path, {"id": "nr"}).texts == ["of no use", "neither"]
    assert load_judgements(tmp_path, collection, columns={"doc_id": "which"}) == {"q": {"8": 1}}
    for wrong, message in (
        ({"id": "nr", "text": "anser"}, r"no column is called 'anser' \("),
        ({"body": "a"}, "role 'body'"),
    ):
        with pytest.raises(BadDataError, match=message):
            load_corpus(tmp_path, wrong)


def test_files_whose_own_names_differ(tmp_path):
    (tmp_path / "corpus.csv").write_text("sku,name,number\n7,a tent,1\n8,a bike,2\n")
    (tmp_path / "queries.csv").write_text("number,words\nq,something to ride\n")
    (tmp_path / "qrels.csv").write_text("number,sku,stars\nq,8,1\n")
    texts = {"id": ["sku", "number"], "text": ["name", "words"]}
    collection = load_collection(
        tmp_path, columns=texts | {"query_id": ["number"], "doc_id": "sku", "relevance": ["grade", "stars"][1:]}
    )
    assert (collection.corpus.ids, collection.corpus.texts) == (["7", "8"], ["a tent", "a bike"])  # the first it has
    assert (collection.queries.ids, collection.queries.texts) == (["q"], ["something to ride"])
    assert collection.judgements == {"q": {"8": 1}}
    for wrong, message in (
        ({"id": ["sku", "nr"], "text": ["name"]}, "no column is called 'nr'"),
        ({"id": ["nr", "no"], "text": "name"}, "no column of ids called 'nr'"),
        ({"id": []}, "no column of ids, only sku, name, number"),
    ):
        with pytest.raises(BadDataError, match=message):
            load_corpus(tmp_path, wrong)
    for key in ("query_id", "doc_id", "relevance"):
        left = {k: v for k, v in {"query_id": "number", "doc_id": "sku", "relevance": "stars"}.items() if k != key}
        with pytest.raises(BadDataError, match=f'map it with --columns "{key}=NAME"'):
            load_judgements(tmp_path, collection, columns=left)


def test_splits(tmp_path):
    write_three_files(tmp_path)
    queries = load_queries(tmp_path)
    assert queries.of_splits(["test"]).ids == ["q2"]
    assert queries.for_training().ids == ["q1"]
    assert len(load_corpus(tmp_path).for_training()) == 3  # texts without a split belong to all


def test_a_hub_data_set_has_beirs_configurations(monkeypatch):
    parts = {
        ("BeIR/shop", "corpus"): ("corpus", {"_id": CORPUS.ids, "title": [""] * 3, "text": CORPUS.texts}),
        ("BeIR/shop", "queries"): ("queries", {"_id": QUERIES.ids, "title": [""] * 2, "text": QUERIES.texts}),
        ("BeIR/shop-qrels", None): ("test", {"query-id": ["q2"], "corpus-id": ["d2"], "score": [1]}),
    }

    def load(path, config=None):
        if (path, config) not in parts:
            raise FileNotFoundError(f"no data set {path}")
        split, columns = parts[path, config]
        return {split: datasets.Dataset.from_dict(columns)}

    monkeypatch.setattr(datasets, "load_dataset", load)
    collection = load_collection("BeIR/shop")
    assert (collection.corpus.texts, collection.queries.ids) == (CORPUS.texts, QUERIES.ids)
    assert (collection.judgements, collection.name) == ({"q2": {"d2": 1}}, "shop")
    assert "no split 'dev'" in refused(load_collection, "BeIR/shop", split="dev")
    assert "BeIR/none" in refused(load_corpus, "BeIR/none")


# --- what is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        ([{"_id": "1", "text": "a"}, {"_id": "1", "text": "b"}], ":2: repeats the id '1' of row 1"),
        ([{"_id": "1", "text": "a"}, {"_id": 1, "text": "b"}], ":2: repeats the id '1' of row 1"),
        ([{"_id": "1", "text": "a"}, {"_id": "2"}], ":2: has no text"),
        ([{"_id": "1", "text": 3}], ":1: has 3 for a text"),
        ([{"_id": "1", "text": " "}], ":1: has an empty text"),
        ([{"_id": "", "text": "a"}], ":1: has no id"),
        ([{"_id": "1", "text": "a"}, {"text": "b"}], ":2: has no id"),
        ([{"_id": "1", "title": 5, "text": "a"}], ":1: has 5 for a title; give a text, or leave it out"),
        ([{"_id": "1", "text": 12}], ":1: has 12 for a text; give every row one"),
        ([{"_id": "1", "text": ["a"]}], ":1: has ['a'] for a text; give every row one"),
        (
            [{"_id": "1", "text": "half \ud83d"}],
            ":1: is not valid text; save the file as UTF-8, without lone surrogates",
        ),
        ([{"number": "1", "text": "a"}], "no column of ids, only number, text; name it 'id', map it"),
        ([{"_id": "1", "words": "a"}], "no column of texts"),
    ],
)
def test_a_bad_corpus_is_refused(tmp_path, rows, message):
    file = tmp_path / "corpus.jsonl"
    assert message in refused(load_corpus, write_jsonl(file, rows))
    assert str(file) in refused(load_corpus, file)


def test_a_column_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    table = tmp_path / "corpus.csv"
    table.write_text("article no,headline\n1,a\n", encoding="utf-8")
    found = refused(load_corpus, table, {"id": "article", "text": "headline"})
    assert f"{table} has no column of ids called 'article', only article no, headline;" in found
    found = refused(load_corpus, table, {"id": "article no", "text": "words"})
    assert "has no column of texts called 'words', only article no, headline;" in found
    assert load_corpus(table, {"id": "article no", "text": "headline"}).ids == ["1"]


def test_lines_that_are_no_text_are_named(tmp_path):
    file = tmp_path / "queries.txt"
    file.write_bytes(b"a bike\n\xff\n")
    assert f"{file}:2: is not valid text" in refused(load_queries, file)
    file.write_bytes(b"a bike\n\na tent\n")
    assert f"{file}:2: has an empty text" in refused(load_queries, file)
    file.write_bytes(b"")
    assert "holds no queries" in refused(load_queries, file)
    table = tmp_path / "corpus.csv"
    table.write_bytes(b"id,text\n1,a\n2\n")
    assert f"{table}:3: has 1 columns" in refused(load_corpus, table)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q9,d1,1", ":3: judges query 'q9', which is not in queries"),
        ("q1,d9,1", ":3: judges document 'd9', which is not in corpus"),
        ("q1,d1,much", ":3: has the grade 'much'"),
        ("q1,d1,0.5", ":3: has the grade '0.5'"),
        ("q1,d1,nan", ":3: has the grade 'nan'"),
        ("q1,d1,0", ":3: judges document 'd1' for query 'q1' again"),
    ],
)
def test_bad_judgements_are_refused(tmp_path, line, message):
    file = tmp_path / "qrels.csv"
    file.write_text(f"query_id,doc_id,relevance\nq1,d1,1\n{line}\n", encoding="utf-8")
    assert f"{file}{message}" in refused(load_judgements, file, SHOP)


def test_judgements_of_no_known_layout_are_refused(tmp_path):
    file = tmp_path / "x.qrels"
    file.write_text("q1 d1 1\n", encoding="utf-8")
    assert f"{file}:1: is no row of TREC's layout" in refused(load_judgements, file, SHOP)
    file.write_text("", encoding="utf-8")
    assert "holds no judgements" in refused(load_judgements, file, SHOP)
    assert "there is no file" in refused(load_judgements, tmp_path / "missing.parquet", SHOP)
    (tmp_path / "qrels.csv").write_text("query_id,doc_id,relevance\n", encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("query_id\tdoc_id\trelevance\n", encoding="utf-8")
    assert "qrels.csv and qrels.tsv" in refused(load_judgements, tmp_path, SHOP)


def test_standard_input_is_no_hub_data_set():
    with pytest.raises(BadDataError, match="standard input is not read for corpus; write it to a file"):
        load_corpus("-")


def test_columns_of_unequal_length_are_refused():
    assert "2 ids and 1 texts" in refused(Texts, ["1", "2"], ["a"])


# --- properties -------------------------------------------------------------------------------------------------

words = st.text(string.ascii_letters + "äß東 \u2028,\"'", min_size=1, max_size=12).filter(str.strip)
rows = st.lists(
    st.tuples(words, words, st.one_of(st.just(""), words)), min_size=1, max_size=8, unique_by=lambda r: r[0]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=rows)
def test_any_corpus_comes_back_as_it_was_written(tmp_path, rows):
    ids, texts, titles = (list(column) for column in zip(*rows, strict=True))
    write_parquet(tmp_path / "c.parquet", id=ids, title=titles, text=texts)
    write_jsonl(tmp_path / "c.jsonl", [{"_id": i, "title": t, "text": x} for i, x, t in rows])
    for name in ("c.parquet", "c.jsonl"):
        corpus = load_corpus(tmp_path / name)
        assert corpus.ids == ids and corpus.titles == titles
        assert corpus.texts == [f"{title}\n{text}" if title else text for _, text, title in rows]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(QUERIES.ids),
        st.dictionaries(st.sampled_from(CORPUS.ids), st.integers(-1, 3), min_size=1),
        min_size=1,
    )
)
def test_any_judgements_come_back_as_they_were_written(tmp_path, judgements):
    cells = [(q, d, grade) for q, grades in judgements.items() for d, grade in grades.items()]
    (tmp_path / "x.trec").write_text("".join(f"{q} 0 {d} {grade}\n" for q, d, grade in cells), encoding="utf-8")
    queries, documents, grades = zip(*cells, strict=True)
    write_parquet(tmp_path / "x.parquet", query_id=queries, doc_id=documents, relevance=grades)
    assert load_judgements(tmp_path / "x.trec", SHOP) == judgements
    assert load_judgements(tmp_path / "x.parquet", SHOP) == judgements


# --- what is neither text nor a whole number --------------------------------------------------------------------


@pytest.mark.parametrize("name", [1.0, 0.5, True, False, b"d1", ["d1"], {"a": 1}, float("nan"), "", None])
def test_an_id_that_is_no_text_and_no_whole_number_is_refused(tmp_path, name):
    """As text it would be `1.0` or `b'd1'`, which no judgement names."""
    file = write_parquet(tmp_path / "corpus.parquet", id=[name], text=["a tent"])
    assert f"{file}:1: has" in refused(load_corpus, file)
    rows = write_parquet(tmp_path / "qrels.parquet", query_id=["q1"], doc_id=[name], relevance=[1])
    known = Collection(Texts([str(name)], ["x"]), Texts(["q1"], ["y"]))
    assert f"{rows}:1: has" in refused(load_judgements, rows, known)


@pytest.mark.parametrize(("title", "is_refused"), [(None, False), (float("nan"), False), ("", False), (0, True)])
def test_a_title_is_text_or_missing(tmp_path, title, is_refused):
    file = write_parquet(tmp_path / "corpus.parquet", id=["a"], title=[title], text=["a tent"])
    if is_refused:
        assert f"{file}:1: has 0 for a title; give a text, or leave it out" in refused(load_corpus, file)
    else:
        assert load_corpus(file).texts == ["a tent"]


@pytest.mark.parametrize("title", [False, [], {}, 0])
def test_a_title_that_is_empty_but_no_text_is_refused(tmp_path, title):
    file = write_jsonl(tmp_path / "corpus.jsonl", [{"id": "a", "title": title, "text": "a tent"}])
    assert f"{file}:1: has {title!r} for a title; give a text, or leave it out" in refused(load_corpus, file)


@pytest.mark.parametrize("split", [True, False, 1.5, ["test"], []])
def test_a_split_that_is_no_text_is_refused(tmp_path, split):
    file = write_jsonl(tmp_path / "queries.jsonl", [{"id": "a", "text": "a tent", "split": split}])
    assert f"{file}:1: " in refused(load_queries, file)
    rows = write_jsonl(tmp_path / "q.jsonl", [{"query_id": "q1", "doc_id": "d1", "relevance": 1, "split": split}])
    assert f"{rows}:1: " in refused(load_judgements, rows, SHOP)


@pytest.mark.parametrize("grade", ["1_0", "0_1", b"1", [1], "", None, float("nan"), float("inf")])
def test_a_grade_that_is_no_number_is_refused(tmp_path, grade):
    file = write_parquet(tmp_path / "qrels.parquet", query_id=["q1"], doc_id=["d1"], relevance=[grade])
    assert f"{file}:1: has the grade" in refused(load_judgements, file, SHOP)


def test_a_collection_is_named_by_its_folder_wherever_one_stands(tmp_path, monkeypatch):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "corpus.csv").write_text("id,text\nd1,a tent\n")
    monkeypatch.chdir(folder)
    paths = ("corpus.csv", ".", folder, folder / "corpus.csv", "../shop", "a/hub-name")
    names = [collection_name(path) for path in paths]
    assert names == ["shop"] * 5 + ["hub-name"]
    (folder / "articles.csv").write_text("id,text\nd1,a tent\n")
    assert collection_name("articles.csv") == "articles"  # a folder like "downloads" says nothing


@pytest.mark.parametrize("qrels", ["csv", "trec"])
def test_judgements_that_name_no_split_are_of_their_queries(tmp_path, qrels):
    (tmp_path / "corpus.csv").write_text("id,text\nd1,a tent\nd2,a bike\n")
    (tmp_path / "queries.csv").write_text("id,text,split\nq1,a bike,train\nq2,where to sleep,test\nq3,neither,\n")
    rows = [("q1", "d2"), ("q2", "d1"), ("q3", "d1")]
    file = tmp_path / f"qrels.{qrels}"
    file.write_text(
        "\n".join(["query_id,doc_id,relevance", *(f"{q},{d},1" for q, d in rows)])
        if qrels == "csv"
        else "\n".join(f"{q} 0 {d} 1" for q, d in rows)
    )
    for split, found in (("train", {"q1", "q3"}), ("test", {"q2", "q3"})):
        assert load_collection(tmp_path, split=split).judgements.keys() == found
    assert load_collection(tmp_path, split="nope").judgements.keys() == {"q3"}
    (tmp_path / "queries.csv").write_text("id,text,split\nq1,a bike,train\nq2,where to sleep,test\nq3,neither,test\n")
    message = refused(load_collection, tmp_path, split="nope")
    assert "holds no judgements of split 'nope', only of 'train', 'test'; choose another" in message
    (tmp_path / "queries.csv").write_text("id,text,split\nq1,a bike,train\nq2,where to sleep,dev\nq3,neither,dev\n")
    assert load_collection(tmp_path).judgements.keys() == {"q1", "q2", "q3"}  # the default, where no query is of test


def test_a_split_that_no_query_belongs_to_is_refused(tmp_path):
    (tmp_path / "corpus.csv").write_text("id,text\nd1,a tent\nd2,a bike\n")
    (tmp_path / "queries.csv").write_text("id,text,split\nq1,a bike,train\nq2,where to sleep,dev\n")
    assert len(load_collection(tmp_path).queries) == 2  # no query is of split test: texts are held out in their place
    assert len(load_collection(tmp_path, split="dev").queries) == 2
    message = refused(load_collection, tmp_path, split="trian")
    assert "queries.csv holds no queries of split 'trian', only of 'train', 'dev'; choose another split" in message
    (tmp_path / "queries.csv").write_text("id,text\nq1,a bike\n")
    assert "no column names splits" in refused(load_collection, tmp_path, split="dev")


def test_a_row_that_is_no_object_is_named_and_not_its_columns(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('[{"id": "1", "text": "a tent"}]\n')
    assert "corpus.jsonl:1: is no JSON object; correct it" in refused(load_corpus, tmp_path)
