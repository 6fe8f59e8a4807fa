"""Texts to embeddings: the same rows however often a run is stopped, and nothing taken from another run."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dse import DSE, encode_files
from dse.errors import BadDataError, DSEError, MismatchError
from dse.scale.embedding_files import load_embeddings
from dse.scale.shards import claimed
from tests.commands import dse
from tests.conftest import SENTENCES, make_student


@pytest.fixture(scope="module")
def saved(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("encode") / "student"
    make_student(str(backbone)).save_pretrained(str(folder))
    return folder


def table(folder):
    return [row for file in sorted((folder / "shards").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_rows_are_those_of_embed_texts_in_their_order(saved, tmp_path):
    texts = tmp_path / "texts.csv"
    texts.write_text("id,sentence\n" + "".join(f'r{i},"{text}"\n' for i, text in enumerate(SENTENCES)), "utf-8")
    lines = tmp_path / "more.txt"
    lines.write_text("a tent\na tent\n", "utf-8")
    done = dse("encode", saved, texts, "--output", tmp_path / "out", "--shard-rows", 5, "--dtype", "float32", "--json")
    assert json.loads(done.stdout)["shards"] == 3, done.stderr
    rows = table(tmp_path / "out")
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(12)]
    assert [row["text"] for row in rows] == SENTENCES
    student = DSE(str(saved), dtype="float32")
    for start in (0, 5, 10):
        expected = student.embed_texts(SENTENCES[start : start + 5], student.pair_prompts[1]).numpy()
        got = np.array([row["embedding"] for row in rows[start : start + 5]])
        assert np.array_equal(got, expected.astype(np.float16))
    assert dse("encode", saved, lines, "-o", tmp_path / "lines").returncode == 0
    assert load_embeddings(tmp_path / "lines")[0] == ["1", "2"]


@pytest.mark.parametrize("format", ["parquet", "lance"])
def test_a_stopped_run_goes_on_and_equals_an_undisturbed_one(student, tmp_path, format):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(SENTENCES[:11]) + "\n", "utf-8")

    def stopping(function, tasks):
        for number, task in enumerate(tasks):
            if number == 2:
                raise KeyboardInterrupt
            yield function(task)

    settings = {"format": format, "shard_rows": 3}
    whole = encode_files(student, [texts], tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        encode_files(student, [texts], tmp_path / "stopped", run=stopping, **settings)
    with pytest.raises(BadDataError, match="no finished embeddings"):
        load_embeddings(tmp_path / "stopped")
    resumed = encode_files(student, [texts], tmp_path / "stopped", **settings)
    assert resumed == whole | {"kept": 2}
    if format == "parquet":
        assert table(tmp_path / "stopped") == table(tmp_path / "whole")
    else:
        import lance

        one, other = (lance.dataset(tmp_path / name / "embeddings.lance").to_table() for name in ("whole", "stopped"))
        assert one.equals(other) and one["text"].to_pylist() == SENTENCES[:11]
    assert encode_files(student, [texts], tmp_path / "stopped", **settings)["kept"] == 4


@pytest.mark.parametrize("format", ["parquet", "lance"])
@pytest.mark.parametrize("harm", ["lost", "cut off", "lost note", "broken note"])
def test_a_shard_that_was_harmed_is_made_again(student, tmp_path, format, harm):
    texts, out = tmp_path / "texts.txt", tmp_path / "out"
    texts.write_text("\n".join(SENTENCES[:11]) + "\n", "utf-8")
    settings = {"format": format, "shard_rows": 3}
    encode_files(student, [texts], out, **settings)
    before = table(out)
    shard, note = sorted((out / "shards").iterdir())[1], out / "embeddings.json"
    if harm == "lost":
        shard.unlink()
    elif harm == "cut off":
        shard.write_bytes(shard.read_bytes()[:-9])
    elif harm == "lost note":
        note.unlink()
    else:
        note.write_text('{"rows"')
    if format == "parquet":
        with pytest.raises(BadDataError, match=r"8 of 11 rows|no finished embeddings"):
            load_embeddings(out)
    kept = encode_files(student, [texts], out, **settings)["kept"]
    assert kept == (4 if "note" in harm else 3)
    assert table(out) == before
    if format == "parquet":
        assert load_embeddings(out)[0] == [str(number) for number in range(1, 12)]
    else:
        import lance

        assert lance.dataset(out / "embeddings.lance").to_table()["text"].to_pylist() == SENTENCES[:11]


def test_another_student_other_texts_or_a_second_writer_are_refused(student, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("a tent\n", "utf-8")
    encode_files(student, [texts], tmp_path / "out")
    texts.write_text("a tent\na bike\n", "utf-8")
    with pytest.raises(MismatchError, match="data was"):
        encode_files(student, [texts], tmp_path / "out")
    texts.write_text("a tent\n", "utf-8")
    student.head.dense.weight.data[0, 0] += 1
    with pytest.raises(MismatchError, match="student was"):
        encode_files(student, [texts], tmp_path / "out")
    with claimed(tmp_path / "other", {"kind": "x"}), pytest.raises(DSEError, match="Another process is writing"):
        encode_files(student, [texts], tmp_path / "other")


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        ("id,text\na,x\nb,\n", {}, "3: text is missing"),
        ("id,text\na,x\na,y\n", {}, "3: repeats the id 'a' of .*csv:2"),
        ("id,text\na,x\n,y\n", {}, "3: id is missing"),
        ("id,price\na,1\n", {"text_column": "text"}, "no column 'text', only id, price"),
        ("id,price,size\na,1,2\n", {}, "no column of sentences, only price, size"),
        ("id,text\na,x\n", {"id_column": "sku"}, "no column 'sku'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_before_any_work(student, tmp_path, content, options, problem):
    texts = tmp_path / "texts.csv"
    texts.write_text(content, "utf-8")
    with pytest.raises(BadDataError, match=problem):
        encode_files(student, [texts], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_not_made_in_a_file(student, tmp_path):
    file = tmp_path / "bikes.txt"
    file.write_text("a red bicycle\n")
    with pytest.raises(MismatchError, match=r"bikes.txt is a file; give the name of a folder\.$"):
        encode_files(student, [file], file / "embeddings")
    assert file.read_text() == "a red bicycle\n"


def test_no_rows_give_an_empty_folder_and_no_file_an_error(student, tmp_path):
    (tmp_path / "empty.csv").write_text("id,text\n", "utf-8")
    assert encode_files(student, [tmp_path / "empty.csv"], tmp_path / "out")["rows"] == 0
    assert load_embeddings(tmp_path / "out")[1].shape == (0, 32)
    with pytest.raises(BadDataError, match="there is no file"):
        encode_files(student, [tmp_path / "nothing.csv"], tmp_path / "out2")
