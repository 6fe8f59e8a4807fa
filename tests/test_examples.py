"""Every example runs: the scripts in this process, with a tiny student and the fewest steps; the notebook by cells."""

from __future__ import annotations

import json
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dse.data import helpdesk
from tests.conftest import make_student

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "helpdesk")
# What a person could type too, so that the run is short.
OPTIONS = {
    "find_duplicate_questions": ["--texts", "texts.txt", "--pairs", "2"],
    "judge_entailment": ["--backbone", "BACKBONE", "--epochs", "1", "--head-steps", "1"],
    "learn_from_an_api": ["--backbone", "BACKBONE", "--steps", "1", "--pairs", "480"],
    "match_two_tables": [],
    "rank_a_faq_without_labels": ["--backbone", "BACKBONE", "--steps", "1"],
    "rerank_search_results": ["--queries", "3"],
    "search_with_filters": ["--rows", "40", "--where", "words > 3"],
    "serve_and_call": [],
}
EXTRAS = {"serve_and_call": "fastapi", "search_with_filters": "lance", "student_and_teacher": "matplotlib"}


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("student") / "student"
    make_student(backbone, head="cosine", num_layers=1).save_pretrained(str(folder), create_model_card=False)
    return folder


def test_each_is_listed_and_short():
    assert set(OPTIONS) == set(SCRIPTS) and len(SCRIPTS) == 8
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for script in SCRIPTS:
        text = (EXAMPLES / f"{script}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60 and f"[{script}.py]({script}.py)" in listed
        assert f"python examples/{script}.py\n" in text or script == "serve_and_call"


@pytest.fixture
def few_texts(monkeypatch):
    """A help desk of fewer questions, so that little has to be read."""
    split = helpdesk.split_questions(helpdesk.read_questions()[0])
    few = helpdesk.Split(split.catalogue[:40], split.log[:40], split.queries[:10], split.relevant[:10, :40])
    monkeypatch.setattr(helpdesk, "split_questions", lambda questions: few)


@pytest.mark.usefixtures("few_texts")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script(script, student_folder, encoder, tmp_path, monkeypatch, capsys):
    if script in EXTRAS:
        pytest.importorskip(EXTRAS[script])
    (tmp_path / "texts.txt").write_text("a red bike\nthe red bicycle\na blue tent\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    options = [encoder if word == "BACKBONE" else word for word in OPTIONS[script]]
    if "BACKBONE" not in OPTIONS[script]:
        options += ["--student", str(student_folder)]
    monkeypatch.setattr(sys, "argv", [script, *options])
    runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert not list(EXAMPLES.glob("example-*")), "an example writes where it is started, not beside itself"


@pytest.mark.usefixtures("few_texts")
@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra report")
def test_the_notebook(student_folder, backbone, tmp_path, monkeypatch, capsys):
    import matplotlib

    from dse.encoding import offline

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(offline, "offline_backbone", lambda: backbone)
    (tmp_path / "example-student").symlink_to(student_folder)
    names: dict[str, object] = {}
    for cell in json.loads((EXAMPLES / "student_and_teacher.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "student_and_teacher.ipynb", "exec"), names)
    assert "of the teacher's ten best" in capsys.readouterr().out
    assert (tmp_path / "student_and_teacher.png").stat().st_size > 10_000
