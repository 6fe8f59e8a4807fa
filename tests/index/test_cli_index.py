"""`dse index` and `dse search` through real processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dse import DSE
from tests.commands import dse
from tests.conftest import make_student


@pytest.fixture(scope="module")
def saved(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("cli index") / "student"
    make_student(str(backbone)).save_pretrained(str(folder))
    return folder


def ok(*args, **kwargs):
    done = dse(*args, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_story(saved, tmp_path, backbone):
    index = tmp_path / "bikes"
    ok("index", "create", index, "--student", saved)
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text,price,lang\n1,a red bicycle,90,en\n2,the blue tent,40,en\n3,köln 東京 'x',5,de\n", "utf-8")
    assert "3 added, 0 unchanged; the index has 3 rows" in ok("index", "add", index, rows)
    hits = json.loads(ok("search", index, "-q", "a bike", "--where", "price < 50 and lang = 'en'", "--json"))["hits"]
    expected = float(DSE(str(saved)).predict(("a bike", "the blue tent")))
    assert [hit["id"] for hit in hits] == ["2"] and hits[0]["score"] == pytest.approx(expected, abs=1e-3)
    lines = ok("search", index, "--json", "--explain", stdin="a bike\na tent\n").splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["query"] for answer in answers] == ["a bike", "a tent"]
    assert answers[0]["mode"] == "exact" and answers[0]["seconds"]["encode"] > 0
    shown = ok("search", index, "-q", "a bike", "--explain")
    assert "price=90" in shown and "exact, 3 rows scored" in shown
    cut_short = dse("index", "delete", index, "--where", "lang = 'en' AMD price < 50")
    assert cut_short.returncode == 4 and "'AMD' after" in cut_short.stderr
    dry = ok("index", "delete", index, "--where", "lang = 'en'", "--dry-run")
    assert dry == "2 of 3 rows would be removed.\n"
    removed = dse("index", "delete", index, "1", "no such id")
    assert removed.stdout == "1 rows removed.\n" and "1 of 2 ids are of no row." in removed.stderr
    info = json.loads(ok("index", "info", index, "--json"))
    assert info["rows"] == 2 and info["columns"] == {"price": "int64", "lang": "string"}
    assert "2 rows" not in ok("index", "optimize", index) and "every row is scored" in ok("index", "info", index)
    other = tmp_path / "other"
    make_student(str(backbone), seed=9).save_pretrained(str(other))
    refused = dse("search", index, "-q", "x", "--student", other, "--json")
    assert refused.returncode == 6 and json.loads(refused.stderr)["error"]["code"] == 6


def test_shards_are_combined_searched_and_calibrated(saved, tmp_path):
    shards = [tmp_path / "north", tmp_path / "south"]
    for number, shard in enumerate(shards):
        ok("index", "create", shard, "--student", saved)
        rows = tmp_path / f"{number}.jsonl"
        rows.write_text("".join(json.dumps({"id": f"{i}", "text": f"bicycle {i}"}) + "\n" for i in range(number, 9, 2)))
        ok("index", "add", shard, rows)
    whole = tmp_path / "whole"
    assert ok("index", "combine", whole, *shards) == f"{whole} has 9 rows in 2 shards.\n"
    info = ok("index", "info", whole)
    assert "rows      9" in info and f"shard     {shards[1]}: 4 rows, exact" in info
    assert json.loads(ok("index", "info", whole, "--json"))["shards"][0]["rows"] == 5
    hits = json.loads(ok("search", whole, "-q", "bicycle 3", "-k", "9", "--json"))["hits"]
    assert sorted(hit["text"] for hit in hits) == [f"bicycle {i}" for i in range(9)]
    queries = "".join(f"query {i}\n" for i in range(350))
    assert "Only scoring every row" in ok("index", "calibrate", whole, "--queries", "-", stdin=queries)
    refused = dse("index", "optimize", whole)
    assert refused.returncode == 4 and refused.stderr.endswith(
        "names the shards of an index; run this on each of them.\n"
    )


def test_texts_and_ids_stay_on_their_line(saved, tmp_path):
    """What a stored text holds does not reach the terminal as a command."""
    rows = tmp_path / "rows.jsonl"
    texts = {"a\nb": "red \x1b[31m bike\x07", "x" * 500: "a tent"}
    rows.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    ok("index", "create", tmp_path / "odd", "--student", saved)
    ok("index", "add", tmp_path / "odd", rows)
    shown = ok("search", tmp_path / "odd", "-q", "a \x07 bike")
    assert shown.count("\n") == 2 and "a b " in shown and r"red \x1b[31m bike\x07" in shown
    assert not {"\x1b", "\x07"} & set(shown) and all(len(line) < 600 for line in shown.splitlines())
    (tmp_path / "one.txt").write_text("a \x1b[31m tent\n")
    assert r"a \x1b[31m tent" in ok("rank", saved, "-q", "a tent", "-c", tmp_path / "one.txt")


@pytest.mark.parametrize("inside", ["", "a/b"])
def test_an_index_is_not_made_of_a_file(saved, tmp_path, inside):
    file = tmp_path / "notes"
    file.write_text("")
    done = dse("index", "create", file / inside, "--student", saved)
    assert done.returncode == 6 and f"{file} is a file; give the name of a folder." in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["index", "info", "nowhere"], 4, "nowhere is no index"),
        (["search", "nowhere", "-q", "x"], 4, "nowhere is no index"),
        (["index", "delete", "nowhere"], 2, "--where"),
    ],
)
def test_wrong_use(args, code, message):
    done = dse(*args)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("args", [["index", "info", "x"], ["index", "create", "x", "--student", "y"], ["search", "x"]])
def test_without_lance_the_extra_is_named(args):
    code = f"import sys; sys.modules['lance'] = None; sys.argv[1:] = {args}; from dse.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, input="a bike\n")
    assert done.returncode == 5 and 'pip install "dse[index]"' in done.stderr
