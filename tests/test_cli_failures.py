"""Whatever goes wrong on the command line is one sentence, and nothing that was found is lost."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder

from dse.cli import main, options
from dse.cli.parsing import column_choices, column_names, comma
from tests.conftest import make_student


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command line in this process."""
    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(options, "_stdin_is_read", False)

    def call(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["dse", *map(str, args)])
        try:
            main()
        except SystemExit as done:
            return Done(int(done.code or 0), *capsys.readouterr())
        return Done(0, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def saved(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("failures") / "student"
    make_student(backbone).save(str(folder))
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    file = tmp_path / "documents.txt"
    file.write_text("köln\n東京 😀\na bike\n", encoding="utf-8")
    return file


def fail(error: BaseException) -> Callable[..., object]:
    def raising(*args: object, **kwargs: object) -> object:
        raise error

    return raising


# ------------------------------------------------------------------------------------------------------ interrupted


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["label", "T", "--task", "mrpc"], "Interrupted; run the same command again to continue.\n"),
        (["teacher", "--task", "mrpc", "-o", "x"], "Interrupted; run the same command again to continue.\n"),
        (["distill", "--task", "mrpc", "-o", "x"], "Interrupted; run the same command again to continue.\n"),
        (["evaluate", "S", "--task", "mrpc"], "Interrupted.\n"),
        (["score", "S", "pairs.csv"], "Interrupted.\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_interrupted(args: list[str], message: str, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dse.data.pairs.load_pairs", fail(KeyboardInterrupt()))
    assert run(*args) == Done(130, "", message)


def test_interrupted_in_a_command_of_the_index(run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lance")
    monkeypatch.setattr("dse.cli.index.open_store", fail(KeyboardInterrupt()))
    assert run("index", "optimize", "nowhere") == Done(130, "", "Interrupted.\n")
    monkeypatch.setattr("dse.cli.search.open_whole", fail(KeyboardInterrupt()))
    assert run("search", "nowhere", "-q", "a") == Done(130, "", "Interrupted.\n")


@pytest.mark.parametrize(("command", "goes_on"), [("label", True), ("score", False)])
def test_terminated(command: str, goes_on: bool) -> None:
    """As a scheduler ends a job. A command that goes on says so; one that has nothing to keep just ends."""
    code = (
        "import os, signal, sys, dse.data.pairs as pairs\n"
        "pairs.load_pairs = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"sys.argv = ['dse', {command!r}, 'T', *{['--task', 'mrpc'] if goes_on else ['pairs.csv']}]\n"
        "from dse.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = "Terminated; run the same command again to continue.\n"
    assert (done.returncode, done.stdout, done.stderr) == ((143, "", told) if goes_on else (-signal.SIGTERM, "", ""))


def test_interrupted_before_the_command_began(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dse.cli.entry.app", fail(KeyboardInterrupt()))
    assert run("score", "S", "pairs.csv") == Done(130, "", "Interrupted.\n")
    code = (
        "import typer\ndef stop(*args, **kwargs): raise KeyboardInterrupt\ntyper.Typer = stop\nfrom dse.cli import main"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


# --------------------------------------------------------------------------------------------------------- failures


def test_an_unexpected_error_is_one_sentence(run, monkeypatch: pytest.MonkeyPatch, documents: Path) -> None:
    monkeypatch.setattr("dse.DSE", fail(RuntimeError("two\nlines")), raising=False)
    done = run("rank", "S", "-q", "a", "-c", documents)
    assert done == Done(1, "", "Error: two lines (unexpected; `dse --verbose ...` prints where it happened)\n")
    error = json.loads(run("rank", "S", "-q", "a", "-c", documents, "--json").err)["error"]
    assert error["code"] == 1 and error["message"].startswith("two lines")
    with pytest.raises(RuntimeError):
        run("--verbose", "rank", "S", "-q", "a", "-c", documents)


@pytest.mark.parametrize("file", ["0_Transformer/model.safetensors", "3_PairHead/model.safetensors"])
def test_truncated_weights(file: str, run, backbone: str, documents: Path, tmp_path: Path) -> None:
    make_student(backbone).save(str(tmp_path / "student"))
    weights = tmp_path / "student" / file
    weights.write_bytes(weights.read_bytes()[:-100])
    done = run("rank", tmp_path / "student", "-q", "a", "-c", documents)
    assert done.code == 4 and done.out == ""
    assert f"The weights of {tmp_path / 'student'} cannot be read" in done.err and done.err.count("\n") == 1


def test_a_query_that_is_no_text(run, documents: Path) -> None:
    """Bytes that are not UTF-8 reach Python as surrogates."""
    for args in (["rank", "S", "-q", "caf\udce9", "-c", documents], ["search", "IX", "-q", "a", "-q", "caf\udce9"]):
        done = run(*args)
        assert done.code == 2 and "is not UTF-8" in done.err and "Traceback" not in done.err


def test_a_header_that_occurs_twice(run, saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,sentence1\na,b,c\n", encoding="utf-8")
    done = run("score", saved, file)
    assert done == Done(4, "", f"Error: {file}:1: the header has 2 columns 'sentence1'; rename them\n")


def test_long_cells(run, saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(f"sentence1,sentence2\n{'bike ' * 40_000},a tent\n", encoding="utf-8")
    assert run("score", saved, file).code == 0


def test_verbose_logs_more(run, saved: Path, documents: Path) -> None:
    log = logging.getLogger("dse")
    before = log.level
    try:
        assert run("rank", saved, "-q", "a", "-c", documents).code == 0 and log.level == logging.INFO
        assert run("--verbose", "rank", saved, "-q", "a", "-c", documents).code == 0 and log.level == logging.DEBUG
    finally:
        log.setLevel(before)


# ------------------------------------------------------------------------------------------------- a real process


def process(*args: object, **kwargs: object) -> subprocess.CompletedProcess[bytes]:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | kwargs.pop("env", {})
    return subprocess.run([sys.executable, "-m", "dse", *map(str, args)], env=env, timeout=300, **kwargs)


def test_a_terminal_that_does_not_know_every_sign(saved: Path, documents: Path) -> None:
    args = ["rank", saved, "-q", "東京", "-c", documents]
    done = process(*args, env={"PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert done.returncode == 0 and b"k\\xf6ln" in done.stdout and b"a bike" in done.stdout
    done = process(*args, "--json", env={"PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert {row["text"] for row in json.loads(done.stdout)} == {"köln", "東京 😀", "a bike"}


def test_a_full_disk_is_one_sentence(saved: Path, documents: Path) -> None:
    with open("/dev/full", "w") as full:
        done = process("rank", saved, "-q", "a", "-c", documents, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.decode() == "Error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        OSError("LanceError(IO): No space left on device (os error 28), src/writer/structural.rs:190:9"),
    ],
)
def test_a_table_that_finds_no_space(run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Arrow and Lance say where in their own code they found it."""
    monkeypatch.setattr(options.PairOptions, "read_task", fail(error))
    done = run("teacher", "--task", "mrpc", "-o", "x")
    assert (done.code, done.err) == (1, "Error: There is no space left on the disk; free some and run again.\n")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 60928 vs 60816"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_model_that_cannot_be_written(run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """torch and safetensors do not say that the disk is full."""
    monkeypatch.setattr(options.PairOptions, "read_task", fail(error))
    done = run("teacher", "--task", "mrpc", "-o", "x")
    assert done.code == 1 and done.err.count("\n") == 1
    assert done.err.startswith("Error: A model or checkpoint cannot be written") and "free some space" in done.err


def test_a_reader_that_has_read_enough(saved: Path, documents: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = process("rank", saved, "-q", "a", "-c", documents, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")  # click's own way with a broken pipe


# ---------------------------------------------------------------------------------------------------------- options


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "_stdin_is_read", False)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"sentence1": "a", "sentence2": "b"}\n')))
    assert len(options.read_pairs("-", None, "train", None, False, labelled=False)) == 1
    with pytest.raises(typer.BadParameter, match="standard input can be read once; give files for the other rows"):
        options.read_pairs("-", None, "dev", None, False, labelled=False)


def test_pairs_without_labels_need_no_column_of_labels(tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    file.write_text("q1,q2\na,b\n", encoding="utf-8")
    pairs = options.read_pairs(str(file), None, "train", "sentence1=q1,sentence2=q2,label=same", False, labelled=False)
    assert pairs.tuples() == [("a", "b")] and pairs.label is None


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"')).map(str.strip).filter(bool)


@given(st.lists(NAMES, min_size=1))
def test_names_in_quotes_may_hold_commas(names: list[str]) -> None:
    assert comma(",".join(f'"{name}"' for name in names)) == tuple(names)


@given(st.lists(NAMES.filter(lambda name: "," not in name), min_size=1))
def test_names_without_quotes(names: list[str]) -> None:
    assert comma(",".join(names)) == tuple(names)


def test_column_names() -> None:
    assert column_names('sentence1="title, short",sentence2=l\'autre = x') == {
        "sentence1": "title, short",
        "sentence2": "l'autre = x",
    }
    assert column_names(None) is None
    with pytest.raises(typer.BadParameter, match="a name with a comma in double quotes"):
        column_names("sentence1=title, short")
    with pytest.raises(typer.BadParameter, match="gives label two names; leave one out"):
        column_names("label=same,sentence1=a,label=dup")
    assert column_choices("id=sku,text=a,id=number") == {"id": ["sku", "number"], "text": ["a"]}
    with pytest.raises(typer.BadParameter, match="opens a double quote and does not close it"):
        column_names('sentence1="title')


def test_truncated_weights_of_a_teacher(run, backbone: str, tmp_path: Path) -> None:
    CrossEncoder(backbone, num_labels=1, device="cpu").save_pretrained(str(tmp_path / "teacher"))
    weights = tmp_path / "teacher" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2\na,b\n", encoding="utf-8")
    done = run(
        "label", tmp_path / "teacher", "--kind", "binary", "--data", tmp_path / "pairs.csv", "-o", tmp_path / "s"
    )
    assert done.code == 4 and "cannot be read" in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("match", "student", "left.csv", "--output", "pairs", "--recall"),
        ("index", "calibrate", "index", "--queries", "queries.txt", "--recall"),
        ("index", "calibrate", "index", "--queries", "queries.txt", "--confidence"),
    ],
)
@pytest.mark.parametrize("value", ["0", "1", "2", "-0.5", "nan"])
def test_a_share_is_refused_before_anything_is_read(
    run: Callable[..., Done], words: tuple[str, ...], value: str
) -> None:
    done = run(*words, value)  # no such folder: it is not looked for
    assert done.code == 2 and "does not lie between 0 and 1" in " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize(("option", "value"), [("--rows", "0"), ("--pairs", "-1"), ("--queries-per-second", "-1")])
def test_a_plan_is_refused_before_anything_is_measured(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    monkeypatch.setattr("dse.scale.unit_costs.UnitCosts.here", lambda *_: pytest.fail("measured"))
    job = {"--rows": "1e6", option: value}
    done = run("plan", *(word for pair in job.items() for word in pair))
    assert done.code == 2 and option in done.err


@pytest.mark.parametrize("words", [("--kind", "binary", "--labels", "no,yes"), ("--task", "sick")])
def test_pairs_that_lie_on_no_hub_are_asked_for(run: Callable[..., Done], saved: Path, words: tuple[str, ...]) -> None:
    done = run("evaluate", saved, *words)
    assert done.code == 2 and "give the pairs with --data." in " ".join(done.err.replace("│", " ").split())


MISSING = [
    ("distill", "--corpus", "none.csv", "--queries", "none.txt", "--teacher", "teacher", "--output", "student"),
    ("distill", "--data", "none.csv", "--kind", "binary", "--labels", "no,yes", "--output", "student"),
    ("teacher", "--data", "none.csv", "--kind", "binary", "--labels", "no,yes", "--output", "teacher"),
    ("evaluate", "student", "--corpus", "none.csv", "--queries", "none.txt"),
    ("evaluate", "STUDENT", "--data", "none.csv", "--kind", "binary", "--labels", "no,yes"),
    ("rank", "STUDENT", "--query", "a bike", "--candidates", "none.txt"),
    ("match", "STUDENT", "none.csv", "--output", "pairs"),
    ("encode", "STUDENT", "none.csv", "--output", "embeddings"),
    ("index", "add", "index", "none.csv"),
    ("index", "upsert", "index", "none.csv"),
]


@pytest.mark.parametrize("words", MISSING, ids=" ".join)
def test_a_missing_file_is_seen_before_torch_is_imported(saved: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    given = [str(saved) if word == "STUDENT" else word for word in words]
    code = (
        "import sys; from dse.cli import main; sys.argv = ['dse', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *given], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4 and "there is no file" in done.stderr and done.stdout.split() == ["False"]
    assert not list(tmp_path.iterdir())
