"""The errors a user can meet. Each message is one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path


class DSEError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class BadDataError(DSEError, ValueError):
    """Data that cannot be read, or that holds rows which cannot be used."""

    exit_code = 4


class MissingModelError(BadDataError, OSError):
    """There is no model of that name, neither here nor, as far as it can be reached, on the hub."""


class MissingExtraError(DSEError, ImportError):
    """A package that only this feature needs is not installed."""

    exit_code = 5


class MismatchError(DSEError, ValueError):
    """Two things that were given together (teacher, scores, model, task) do not belong together."""

    exit_code = 6


def need_extra(package: str, extra: str) -> None:
    """Raise an error that names the extra to install, if a package that a feature needs is missing.

    Raises:
        MissingExtraError: If the package is not installed.

    Example:
        >>> need_extra("json", "train")
    """
    if find_spec(package) is None:
        raise MissingExtraError(f'{package} is not installed; run: pip install "dse[{extra}]"')


def refuse_file(folder: str | Path, purpose: str = "") -> Path:
    """Refuse a file where a folder is meant, or is to be made, before any work.

    Returns:
        The folder or, where there is none, that in which it would be made.

    Raises:
        MismatchError: If the folder, or what it would lie in, is a file.
    """
    folder = Path(folder)
    path = next((path for path in (folder, *folder.parents) if path.exists()), folder)  # a drive may not be there
    if path.exists() and not path.is_dir():
        raise MismatchError(f"{path} is a file; give the name of a folder{purpose}.")
    return path


def refuse_unwritable(folder: str | Path, purpose: str = "") -> None:
    """Refuse a folder that cannot be written to, or a file in its place, before any work.

    Raises:
        MismatchError: If the folder, or what it would lie in, is a file or cannot be written to.
    """
    path = refuse_file(folder, purpose)
    if not os.access(path, os.W_OK | os.X_OK):
        raise MismatchError(f"{path} cannot be written to; change its permissions or choose another folder.")
