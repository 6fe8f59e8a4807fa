"""Values of options that hold more than one thing, or text that must be readable."""

from __future__ import annotations

import shlex
import unicodedata
from typing import Any

import typer

ALIASES = {"layers": "num_layers", "range": "span", "json": "as_json"}  # options not named after their parameter


def comma(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated option; what stands in double quotes is not split.

    Example:
        >>> comma('sentence1="title, short",label=x')
        ('sentence1=title, short', 'label=x')
    """
    if not text:
        return ()
    words = shlex.shlex(text, posix=True)
    words.whitespace, words.whitespace_split, words.commenters = ",", True, ""
    words.quotes, words.escape = '"', ""
    try:
        return tuple(word.strip() for word in words)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} opens a double quote and does not close it.") from error


def column_names(text: str | None) -> dict[str, str] | None:
    """The mapping given by --columns, of one file."""
    if text is None:
        return None
    names = column_choices(text)
    if twice := [ours for ours, theirs in names.items() if len(theirs) > 1]:
        raise typer.BadParameter(f"--columns gives {twice[0]} two names; leave one out.")
    return {ours: name for ours, (name,) in names.items()}


def column_choices(text: str | None) -> dict[str, list[str]]:
    """The mapping given by --columns, of several files whose own names may differ.

    Example:
        >>> column_choices("id=sku,id=number,text=title")
        {'id': ['sku', 'number'], 'text': ['title']}
    """
    names: dict[str, list[str]] = {}
    for part in comma(text):
        ours, equals, theirs = part.partition("=")
        if not equals:
            raise typer.BadParameter(
                f"--columns is {text!r}; write it as sentence1=NAME,sentence2=NAME,label=NAME, a name with a comma in "
                "double quotes."
            )
        names.setdefault(ours.strip(), []).append(theirs.strip())
    return names


def share(value: float) -> float:
    """A share above 0 that may be all.

    Raises:
        BadParameter: If it is none.
    """
    if not 0 < value <= 1:
        raise typer.BadParameter(f"{value:g} is no share; give one above 0 and at most 1, as 0.9.")
    return value


def proper_share(value: float) -> float:
    """A share, or a confidence, that is neither nothing nor all.

    Raises:
        BadParameter: If it is none.
    """
    if not 0 < value < 1:
        raise typer.BadParameter(f"{value:g} does not lie between 0 and 1; give a share as 0.99.")
    return value


def on_one_line(text: str) -> str:
    r"""A text as a terminal may show it: white space as blanks, and no control characters.

    Example:
        >>> on_one_line("a\ttent\x1b[31m\nred")
        'a tent\\x1b[31m red'
    """
    return "".join(
        " " if sign.isspace() else ascii(sign)[1:-1] if unicodedata.category(sign) == "Cc" else sign for sign in text
    )


def readable(text: Any) -> Any:
    """A text option whose bytes are UTF-8, or several; Python keeps other bytes as signs that no model reads.

    Raises:
        BadParameter: If they are not, or there is no text in it.
    """
    for part in [text] if isinstance(text, str) else text or []:
        if not part.strip():
            raise typer.BadParameter("the text is empty; give one.")
        try:
            part.encode("utf-8")
        except UnicodeEncodeError as error:
            raise typer.BadParameter(f"{part!a} is not UTF-8; convert it.") from error
    return text
