"""The README.md of a student: valid front matter, a snippet that runs, the report in front."""

from __future__ import annotations

import re

import pytest
import yaml

from dse import DSE
from dse.evaluation import write_card
from dse.evaluation.card import END, START
from dse.model_card import DSEModelCardData
from tests.conftest import make_student
from tests.evaluation.factory import REGRESSION, make_report


@pytest.fixture
def folder(student, tmp_path):
    path = tmp_path / "student"
    student.model_card_data = DSEModelCardData()
    student.model_card_data.register_model(student)
    student.save_pretrained(str(path))
    return path


def front_matter(card):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL).group(1))


def snippet(card):
    return re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)


def test_card_shows_how_to_use_a_student(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert {"dse", "sentence-transformers"} <= set(front_matter(card)["tags"])
    code = snippet(card)
    assert all(call in code for call in ("from dse import DSE", "model.predict(", "model.rank(", "model.encode("))
    assert "trust_remote_code" not in card


@pytest.mark.parametrize(("num_labels", "shape"), [(1, "(2,)"), (3, "(2, 3)")])
def test_snippet_runs_and_prints_what_it_says(backbone, tmp_path, capsys, num_labels, shape):
    student = make_student(backbone, num_labels=num_labels, model_card_data=DSEModelCardData())
    student.save_pretrained(str(tmp_path / "s"))
    code = snippet((tmp_path / "s" / "README.md").read_text(encoding="utf-8"))
    assert ("rank" in code) == (num_labels == 1)
    exec(code.replace("sentence_transformers_model_id", str(tmp_path / "s")), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == shape and printed[-1] == "(2, 32)"
    assert f"# {shape}" in code and "# (2, 32)" in code


def test_name_on_the_hub_is_filled_in(student):
    student.model_card_data = DSEModelCardData(model_id="someone/student")
    student.model_card_data.register_model(student)
    assert 'model = DSE("someone/student")' in student.model_card_data.generate_usage_snippet()


def test_report_stands_in_front_and_the_rest_stays(folder):
    before = (folder / "README.md").read_text(encoding="utf-8")
    assert write_card(folder, make_report(REGRESSION, 30)) == folder / "README.md"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert front_matter(card) == front_matter(before)
    body = card.split("\n---\n", 1)[1]
    assert body.lstrip().startswith(f"{START}\n\n**The student keeps")
    assert body.endswith(before.split("\n---\n", 1)[1].lstrip())
    for link in re.findall(r"\]\((report/[^)]*)\)", card):
        assert (folder / link).exists()
    assert "report/plots/scores.png" in card
    assert len(DSE(str(folder)).encode(["a red bicycle"])[0]) == 32


def test_a_new_report_replaces_the_old_one(folder):
    write_card(folder, make_report(REGRESSION, 30))
    once = (folder / "README.md").read_text(encoding="utf-8")
    write_card(folder, make_report(REGRESSION, 31))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.count(START) == card.count(END) == 1
    assert "31 rows of likeness" in card and "30 rows of likeness" not in card
    write_card(folder, make_report(REGRESSION, 30))
    assert (folder / "README.md").read_text(encoding="utf-8") == once


@pytest.mark.parametrize("card", ["", "# A card without front matter\n"])
def test_folder_without_card_gets_one(tmp_path, card):
    if card:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    text = write_card(tmp_path, make_report(REGRESSION, 20)).read_text(encoding="utf-8")
    assert text.startswith(START) and text.endswith(card)


def test_a_saved_student_shows_how_to_use_it(student, tmp_path):
    student.save_pretrained(str(tmp_path))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "from dse import DSE" in card
    assert "SentenceTransformer(" not in card
