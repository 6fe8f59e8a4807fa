"""The pages that people read: README, the site, what stands beside them; and their blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
APART = [ROOT / "examples/README.md", ROOT / "packages/dse-lite/README.md"]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *APART])

FENCE = re.compile(r"^([ ]*)```(\w*)[^\n]*\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: ([^>]+) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What follows the fence.
        text: Its lines.
        not_run: Why no test runs it, as the comment before it says; None if one does.
    """

    language: str
    text: str
    not_run: str | None


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in FENCE.finditer(text):
        reason = NOT_RUN.search(text[: fence.start()])
        indent = len(fence[1])
        lines = "".join(line[indent:] for line in fence[3].splitlines(keepends=True))
        found.append(Block(fence[2], lines, reason[1] if reason else None))
    return found


def prose(page: Path) -> str:
    """The text of a page without blocks, tables, comments, generated parts and addresses."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"<!-- (results|quickstart) -->.*?<!-- /\1 -->", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->|<picture>.*?</picture>|!\[.*?\]\(.*?\)", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return "\n".join(line for line in text.splitlines() if not re.match(r"\s*(\||:::|    )", line))
