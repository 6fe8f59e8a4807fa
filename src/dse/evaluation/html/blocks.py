"""What a page is made of: sections of tables, charts, pictures, sentences, and the pairs to browse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from dse.evaluation.render import Group


@dataclass(frozen=True)
class Table:
    """A header row and rows."""

    kind: ClassVar[str] = "table"
    cells: Group
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG (`markupsafe.Markup`), and the names of its colours."""

    kind: ClassVar[str] = "chart"
    svg: Any
    legend: list[tuple[str, str]]  # CSS class, name


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI, with its text alternative."""

    kind: ClassVar[str] = "picture"
    uri: str
    alt: str


@dataclass(frozen=True)
class Sentences:
    """Sentences, one a line; a warning stands out."""

    kind: ClassVar[str] = "sentences"
    lines: list[str]
    warning: bool = False


@dataclass(frozen=True)
class Terms:
    """Names with their values or meanings."""

    kind: ClassVar[str] = "terms"
    entries: list[tuple[str, str]]


@dataclass(frozen=True)
class Command:
    """A command line."""

    kind: ClassVar[str] = "command"
    text: str


@dataclass(frozen=True)
class Pair:
    """One of the pairs to browse; without texts where they are not known."""

    number: int
    texts: tuple[str, str] | None
    student: str
    teacher: str
    label: str
    gap: float
    side: str  # higher, lower or "": the student's score beside the teacher's
    other_class: bool


@dataclass(frozen=True)
class Browser:
    """The pairs to browse."""

    kind: ClassVar[str] = "browser"
    pairs: list[Pair]


Block = Table | Chart | Picture | Sentences | Terms | Command | Browser


@dataclass(frozen=True)
class Section:
    """A title and what stands below it."""

    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Of the page.
        headline: The main result in one sentence.
        tiles: The figures that matter most: name, value, remark.
        sections: What follows.
    """

    title: str
    headline: str
    tiles: list[tuple[str, str, str]]
    sections: list[Section] = field(default_factory=list)
