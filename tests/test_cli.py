"""The command line through real processes: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dse import DSE

ENV = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def dse(*args: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dse", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        env=ENV,
        timeout=300,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("cli") / "student"
    DSE.from_backbone(str(backbone)).save_pretrained(str(folder))
    return folder


def test_help_loads_nothing_heavy():
    code = "import sys; sys.argv = ['dse', '--help']\nfrom dse.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += (
        "print([m for m in ('torch', 'transformers', 'pandas', 'matplotlib', 'datasets', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "quickstart" in done.stdout


def test_import_loads_no_extras():
    code = "import sys, dse; dse.DSE; print([m for m in ('lance', 'fastapi', 'ray', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV, check=True)
    assert done.stdout.strip() == "[]"


def test_score_from_stdin_equals_predict(saved):
    done = dse(
        "score", saved, "-", "--json", stdin='{"text1": "a red bike", "text2": "a bike"}\n{"text1": "", "text2": "x"}\n'
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = DSE(str(saved)).predict([("a red bike", "a bike"), ("", "x")])
    assert [row["score"] for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)
    assert done.stderr == ""
    assert done.returncode == 0


def test_rank_prints_json(saved, tmp_path):
    file = tmp_path / "c.txt"
    file.write_text("a bike\nthe blue tent\nköln 東京 'quoted'\n", encoding="utf-8")
    done = dse("rank", saved, "-q", "a red bicycle", "-c", file, "-k", 2, "--json")
    found = json.loads(done.stdout)
    assert [set(row) for row in found] == [{"corpus_id", "score", "text"}] * 2
    assert found[0]["score"] >= found[1]["score"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["distill", "-o", "x"], 2, "--task"),
        (["evaluate", "nowhere", "--task", "mrpc", "--data", "missing.csv"], 4, "missing.csv"),
        (["teacher", "--task", "no-such-task", "-o", "x"], 1, "mrpc"),
        (["bench", "nothing"], 2, "encoding"),
    ],
)
def test_wrong_use_is_one_sentence_and_a_code(args, code, said, tmp_path):
    done = dse(*args)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bad_rows_are_named_before_any_work(saved, tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,label\na,b,1\nc,d\ne,f,7\n", encoding="utf-8")
    done = dse("evaluate", saved, "--kind", "binary", "--data", file, "--json")
    assert done.returncode == 4
    error = json.loads(done.stderr)["error"]
    assert error["code"] == 4
    assert f"{file}:3" in error["message"]
    assert f"{file}:4" in error["message"]
    skipped = dse("evaluate", saved, "--kind", "binary", "--data", file, "--skip-bad-rows", "--json")
    assert skipped.returncode == 0, skipped.stderr
    assert json.loads(skipped.stdout)["skipped_rows"] == 2


def test_another_task_than_the_teachers_is_refused(tmp_path, backbone):
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(backbone), num_labels=3).save_pretrained(str(tmp_path / "teacher"))
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,label\na,b,1\n", encoding="utf-8")
    done = dse("label", tmp_path / "teacher", "--task", "mrpc", "--data", file, "-o", tmp_path / "s.parquet")
    assert done.returncode == 6
    assert "3 scores per pair" in done.stderr
    assert not (tmp_path / "s.parquet").exists()


def test_unlabelled_pairs_are_read_before_any_work(tmp_path):
    data, more = tmp_path / "pairs.csv", tmp_path / "more.csv"
    data.write_text("sentence1,sentence2,label\na,b,1\nc,d,0\n", encoding="utf-8")
    more.write_text("sentence1,sentence2\na,b\nc\n", encoding="utf-8")
    words = ["distill", "--kind", "binary", "--data", data, "--test-data", data, "--unlabelled", more]
    done = dse(*words, "-o", tmp_path / "student")
    assert done.returncode == 4 and f"{more}:3" in done.stderr
    assert not (tmp_path / "student").exists()
