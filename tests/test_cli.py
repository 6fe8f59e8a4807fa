"""The command line through real processes: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from dse import DSE
from dse.cli import app
from dse.data.tasks import Task
from tests.commands import ENV, dse, dse_process


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


@pytest.mark.parametrize("command", ["distill", "teacher", "label", "evaluate"])
def test_help_fits_on_one_screen(command):
    """50 lines of 120 columns; every option says in one phrase what it is."""
    env = ENV | {"COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-m", "dse", command, "--help"], capture_output=True, text=True, env=env)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 120
    for param in typer.main.get_command(app).commands[command].params:
        assert param.help, param.name
        assert len(param.help) <= 80, param.name
        assert (
            any(param.opts[0] in line and param.help[:20] in line for line in lines)
            or param.param_type_name != "option"
        )


def test_settings_that_do_not_help_have_no_option(tmp_path):
    """They stand in a file, see test_configs.py."""
    params = {param.name for param in typer.main.get_command(app).commands["distill"].params}
    gone = {"folds", "extra_pairs", "temperature", "init", "head", "freeze_backbone", "head_steps", "cosine_steps"}
    assert not params & gone
    done = dse("distill", "--task", "mrpc", "-o", tmp_path / "x", "--folds", "2")
    assert done.returncode == 2 and "--folds" in done.stderr


def test_import_loads_no_extras():
    code = "import sys, dse; dse.DSE; print([m for m in ('lance', 'fastapi', 'ray', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV, check=True)
    assert done.stdout.strip() == "[]"


def test_score_from_stdin_equals_predict(saved):
    done = dse_process(
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
    results = json.loads(done.stdout)
    assert [set(row) for row in results] == [{"corpus_id", "score", "text"}] * 2
    assert results[0]["score"] >= results[1]["score"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["distill", "-o", "x"], 2, "--task"),
        (["evaluate", "nowhere", "--task", "mrpc", "--data", "missing.csv"], 4, "missing.csv"),
        (["teacher", "--task", "no-such-task", "-o", "x"], 1, "mrpc"),
        (["bench", "nothing"], 2, "encoding"),
        (["bench", "search", "--rows", "many"], 2, "'many' is no list of sizes"),
        (["bench", "search", "--rows", "0,12000"], 2, "no list of sizes"),
        (["bench", "scale", "--rows", "1000,2000"], 2, "one size"),
        (["bench", "encoding", "--rows", "1000"], 2, "an option of search and scale and shards, not of encoding"),
        (["bench", "search", "--soak", "1"], 2, "an option of serving, not of search"),
        (["label", "--task", "mrpc"], 2, "teacher"),
        (["distill", "--preset", "quick", "--task", "mrpc", "-o", "x"], 2, "fast"),
        (["teacher", "--config", "missing.yaml", "--task", "mrpc", "-o", "x"], 4, "missing.yaml"),
    ],
)
def test_wrong_use_is_one_sentence_and_a_code(args, code, message, tmp_path):
    done = dse(*args)
    assert done.returncode == code
    assert message in done.stderr
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
    data, further = tmp_path / "pairs.csv", tmp_path / "more.csv"
    data.write_text("sentence1,sentence2,label\na,b,1\nc,d,0\n", encoding="utf-8")
    further.write_text("sentence1,sentence2\na,b\nc\n", encoding="utf-8")
    words = ["distill", "--kind", "binary", "--data", data, "--test-data", data, "--unlabelled", further]
    done = dse(*words, "-o", tmp_path / "student")
    assert done.returncode == 4 and f"{further}:3" in done.stderr
    assert not (tmp_path / "student").exists()


def test_a_file_alone_is_not_reported_on_with_its_training_rows(tmp_path, backbone, monkeypatch):
    """A tenth is held out, also of standard input; a split of a file is no split."""
    from dse import pipeline
    from dse.data.pairs import Pairs

    asked = []
    monkeypatch.setattr(pipeline, "make_student", lambda *args, **kwargs: asked.append((args, kwargs)) or sys.exit(0))
    rows = "".join(f"a{i}\tb{i}\t{i % 2}\n" for i in range(40))
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\tlabel\n" + rows, encoding="utf-8")
    words = ["distill", "--kind", "binary", "--data", str(tmp_path / "pairs.tsv"), "--backbone", backbone]
    run = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "s")])
    assert run.exit_code == 0, run.output
    (train, test, *_), kwargs = asked.pop()
    assert isinstance(train, Pairs) and len(train) == 36 and len(test) == 4 and kwargs["split"] == "held out"
    assert not {*train.tuples()} & {*test.tuples()}
    refused = CliRunner().invoke(app, [*words, "--split", "test", "-o", str(tmp_path / "s")])
    assert refused.exit_code == 2 and "--split test needs --test-data" in " ".join(refused.output.split())
    named = [*words, "--test-data", str(tmp_path / "pairs.tsv"), "--split", "test", "-o", str(tmp_path / "s")]
    assert CliRunner().invoke(app, named).exit_code == 0
    assert asked.pop()[1]["split"] == "test"


def test_a_threshold_by_precision(saved, tmp_path):
    rows = [
        f"text {i},text {i + i % 2},{'yes' if i % 2 == 0 else 'no'}" for i in range(60)
    ]  # the same text, or another
    (tmp_path / "test.csv").write_text("sentence1,sentence2,label\n" + "\n".join(rows) + "\n")
    source = ["--kind", "binary", "--labels", "no,yes", "--data", tmp_path / "test.csv"]
    done = dse("threshold", saved, *source, "--precision", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["wanted"], found["rows"], found["positives"]) == (0.5, 60, 30)
    done = dse("threshold", saved, *source, "--precision", "0.5")
    assert (
        f"threshold {found['value']:.6f}: call a pair positive" in done.stdout
        and "60 pairs 50.0 % are positive" in done.stdout
    )
    done = dse("threshold", saved, *source, "--precision", "90")
    assert done.returncode == 2 and "90 is no share; give one above 0 and at most 1, as 0.9" in done.stderr
    (tmp_path / "few.csv").write_text("sentence1,sentence2,label\n" + "\n".join(rows[:4]) + "\n")
    done = dse("threshold", saved, *source[:-1], tmp_path / "few.csv")
    assert done.returncode == 4 and "4 pairs, 2 of them positive" in done.stderr
    done = dse("threshold", saved, "--task", "stsb", "--data", tmp_path / "test.csv")
    assert done.returncode == 2 and "kind regression has no threshold" in done.stderr


def test_pairs_are_of_the_students_own_task_unless_another_is_named(backbone, tmp_path):
    student = DSE.from_backbone(str(backbone))
    student.info["task"] = Task("own", "binary", labels=("no", "yes")).to_dict()
    student.save_pretrained(str(tmp_path / "s"))
    rows = [f"text {i},text {i + i % 2},{'yes' if i % 2 == 0 else 'no'}" for i in range(60)]
    (tmp_path / "test.csv").write_text("sentence1,sentence2,label\n" + "\n".join(rows) + "\n")
    for command, *further in (["threshold", "--precision", "0.5"], ["evaluate", "--no-speed"]):
        words = [command, tmp_path / "s", *further, "--data", tmp_path / "test.csv", "--json"]
        named, own = dse(*words, "--kind", "binary", "--labels", "no,yes"), dse(*words)
        assert named.returncode == own.returncode == 0, own.stderr
        found, again = (json.loads(done.stdout) for done in (named, own))
        assert all(found.get(key) == again.get(key) for key in ("value", "recall", "metrics"))
        done = dse(*words, "--kind", "binary", "--labels", "yes,no")
        assert done.returncode == 6 and "means 'yes', of these labels 'no'; give --labels no,yes" in done.stderr
    student.info["task"] = Task("qqp", "binary", labels=("no", "yes")).to_dict()  # not the known task of that name
    student.save_pretrained(str(tmp_path / "named"))
    done = dse("threshold", tmp_path / "named", "--precision", "0.5", "--data", tmp_path / "test.csv")
    assert done.returncode == 0, done.stderr
    rows = [f"a,b,{'yes' if i == 5 else 'no'}" for i in range(40)]  # equal scores: one in forty is right
    (tmp_path / "none.csv").write_text("sentence1,sentence2,label\n" + "\n".join(rows) + "\n")
    done = dse("threshold", tmp_path / "s", "--data", tmp_path / "none.csv")
    assert done.returncode == 1 and "No threshold" in done.stdout and not done.stderr
