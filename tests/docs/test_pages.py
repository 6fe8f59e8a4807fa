"""Every link of the pages leads somewhere, pages are short, and their sentences too."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import dse
from dse.cli.config import read_config
from dse.cli.recipe import setting_types
from tests.docs.pages import FENCE, PAGES, ROOT, blocks, name, prose

LINK = re.compile(r"\[[^\]]*\]\(<?([^)>\s]+)>?\)|src(?:set)?=\"([^\"]+)\"")
LONGEST = 250  # lines of a page; results and reference aside
WORDS = 30  # of a sentence
# Words with a plainer one, or none: what to write instead.
BANNED = {
    r"said": "named, given",
    r"lessons?": "what it showed",
    r"somebody": "anyone, a person",
    r"(?:simply|obviously|of course|very|leverages?|utili[sz]es?|seamless\w*|powerful)": "leave it out, or say use",
    r"in order to": "to",
    r"e\.g\.|i\.e\.": "for example, that is",
    r"whitelist|blacklist": "allowed, refused",
}
# Pages with longer sentences than that, and how many: the number may fall, not rise.
LONG_SENTENCES = {"CHANGELOG.md": 4, "docs/export.md": 2, "docs/results/README.md": 13}
WRITTEN_BY_SCRIPTS = re.compile(r"docs/results/(?!README)")


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as both GitHub and the site make them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for groups in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = groups[0] or groups[1]
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target} does not exist"
        assert file.is_relative_to(ROOT)
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name(page)}: {target} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_short(page):
    lines = len(page.read_text(encoding="utf-8").splitlines())
    if name(page) == "README.md":
        assert lines <= 120
    elif not name(page).startswith(("docs/results", "docs/reference")):
        assert lines <= LONGEST


def sentences(page: Path) -> list[str]:
    paragraphs = re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.)\s|\n#+ |^#+ ", prose(page))
    texts = (re.sub(r"`[^`]*`", "Code", " ".join(paragraph.split())) for paragraph in paragraphs)
    return [sentence for text in texts for sentence in re.split(r"(?<=[.!?:;])\s+(?=[A-Z\d\[*(])", text)]


def words(sentence: str) -> int:
    return len(re.findall(r"[^\W\d_][\w'’-]*", sentence))


@pytest.mark.parametrize("page", [page for page in PAGES if not WRITTEN_BY_SCRIPTS.match(name(page))], ids=name)
def test_sentences_are_short_and_words_plain(page):
    long = [sentence for sentence in sentences(page) if words(sentence) > WORDS]
    allowed = LONG_SENTENCES.get(name(page), 0)
    assert len(long) <= allowed, f"{name(page)}: {len(long)} long sentences, {allowed} allowed: {long}"
    text = re.sub(r"`[^`]*`", "", prose(page))
    for word, better in BANNED.items():
        found = re.search(rf"\b(?:{word})\b", text, re.IGNORECASE)
        assert not found, f"{name(page)} has {found[0]!r}: {better}"


NOT_OURS = {  # checks of proselint that take code, tables and numbers for prose
    "typography": False,
    "lexical_illusions": False,
    "dates_times": False,
}


@pytest.fixture(scope="module")
def lint():
    """What proselint marks in a text: cliches, redundancy, hedging, weasel words, misspellings, ..."""
    pytest.importorskip("proselint")
    from proselint.checks import __register__
    from proselint.config import DEFAULT
    from proselint.registry import CheckRegistry
    from proselint.tools import LintFile

    CheckRegistry().register_many(__register__)
    config = {**DEFAULT, "checks": {**DEFAULT["checks"], **NOT_OURS}}

    def marked(text):
        results = [result.check_result for result in LintFile("page", text).lint(config)]
        return [f"{result.check_path}: {result.message}" for result in results]

    return marked


def test_the_linter_is_awake(lint):
    assert any("very" in mark for mark in lint("It is a very good page."))


@pytest.mark.parametrize("page", [page for page in PAGES if not WRITTEN_BY_SCRIPTS.match(name(page))], ids=name)
def test_a_linter_of_prose_marks_nothing(page, lint):
    marks = lint(re.sub(r"`[^`]*`", "code", prose(page)))
    assert not marks, f"{name(page)}: {marks}"


def test_every_page_is_on_the_site_once():
    """In the order of mkdocs.yml; what is no page of its own is linked from one."""
    listed = re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert all((ROOT / "docs" / page).exists() for page in listed)
    apart = {page for page in map(name, PAGES) if page.startswith("docs/")} - {f"docs/{page}" for page in listed}
    assert all(WRITTEN_BY_SCRIPTS.match(page) for page in apart), apart


def test_the_picture_is_the_same_in_the_dark():
    light, dark = ((ROOT / f"docs/img/method-{name}.svg").read_text(encoding="utf-8") for name in ("light", "dark"))
    colour = r"#[0-9a-f]{6}"
    assert light != dark and re.sub(colour, "", light) == re.sub(colour, "", dark)
    assert "<text" in light and "<title" in light and "http" not in light.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_have_a_known_language(page):
    assert {block.language for block in blocks(page)} <= {"bash", "python", "text", "json", "yaml", ""}


@pytest.fixture(scope="module")
def hooks():
    import importlib.util

    spec = importlib.util.spec_from_file_location("_hooks", ROOT / "docs/_hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks


def test_the_reference_of_the_command_line_has_every_option(hooks):
    reference = hooks.command_line()
    for part in ("## `dse distill`", "### `dse index create`", "`--teacher-pairs`", "| `--speed, --no-speed` |"):
        assert part in reference


def test_the_reference_of_python_has_every_public_name():
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: dse(?:\.\w+)*\.(\w+)$", page, re.MULTILINE))
    assert set(dse.__all__) - {"__version__"} <= shown


def test_the_page_of_settings_has_all_that_a_file_may_hold(hooks, tmp_path):
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    tables = hooks.SETTINGS.sub(lambda match: hooks.settings(match[1], match[2].replace(" -", " ").split()), page)
    shown = set(re.findall(r"^\| `(\w+)` \| .{8}", tables, re.MULTILINE))
    own = {name for name in setting_types("distill") if name.removeprefix("teacher_") not in setting_types("teacher")}
    assert own | setting_types("teacher").keys() <= shown
    assert hooks.PRESETS in page and "| `epochs` | 1 | 3 | 8 |" in hooks.presets()
    (tmp_path / "run.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    found = read_config(tmp_path / "run.yaml", "distill")
    assert found["teacher_epochs"] == 2 and found["init"] == "teacher" and found["learning_rate"] == 5e-5
    assert set(found) - {"task"} <= setting_types("distill").keys() | {"layers", "columns"}


# Figures that a page tells in a sentence: the page, its words, the page of results, what stands there.
QUOTED = [
    ("docs/index.md", "67.4 against 81.8", "glue", "| 81.8 ± 0.3 | 67.4 ± 0.2 |"),
    ("docs/index.md", "ahead on five of seven collections", "ranking", "beyond the interval on 5 of 7 collections"),
    ("docs/results/README.md", "on 5 of 7 collections", "ranking", "| 7 of 10 | 5 of 7 |"),
    (
        "docs/results/README.md",
        "worse on none",
        "ranking",
        "| cross-encoder: worse than it by more than a point | none | none |",
    ),
    ("docs/results/README.md", "kept 63 % of it", "ranking", "| 70 % | 63 % (5 of 7) |"),
    ("docs/results/README.md", "larger encoder's 86 %", "ranking", "| 70 % | 86 % (4 of 10) |"),
    ("docs/results/README.md", "on 4 of 10 collections", "ranking", "beyond the interval on 4 of 10 collections"),
    ("docs/results/README.md", "lost 1.7 points at most", "ranking", "| 2 points | -1.7 points "),
    ("docs/results/README.md", "its students on 4.", "ranking", "| 7 of 10 | 4 of 10 |"),
    ("docs/results/README.md", "student lost 1.1 points", "ranking", "| -1.1 (-3.3 to +1.2) | no lead |"),
    ("docs/results/README.md", "stays 7.5 % behind", "glue", "against its teacher: **7.5 %**"),
    ("docs/results/README.md", "adds 0.3 to 3.8 points", "glue", "| +3.8 ± 4.3 |"),
    ("docs/results/README.md", "three hours, the student 24 seconds", "speed_quality", "| 88.0 | 3.1 h |"),
    ("docs/results/README.md", "answers in 54 ms", "search", "| `p50_ms_1m` | 53.7 | ms |"),
]


@pytest.mark.parametrize(("page", "words", "source", "figure"), QUOTED)
def test_figures_in_sentences_are_those_of_the_results(page, words, source, figure):
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert words in text, "the sentence has changed: change the list too"
    assert figure in (ROOT / f"docs/results/{source}.md").read_text(encoding="utf-8"), f"{page}: {words!r} is stale"
