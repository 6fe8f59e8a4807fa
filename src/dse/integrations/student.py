"""The student that an adapter scores with."""

from __future__ import annotations

import os

from dse.errors import MismatchError
from dse.model import DSE


def ranking_student(student: DSE | str | os.PathLike[str], device: str | None = None) -> DSE:
    """The student given, or the one in a folder or on the hub; it must give one score per pair.

    Raises:
        MismatchError: If it gives several.
    """
    model = student if isinstance(student, DSE) else DSE(os.fspath(student), device=device)
    if model.num_labels != 1:
        raise MismatchError(
            f"A reranker needs one score per pair, this student gives {model.num_labels}; distil one with a binary "
            "task, a regression or --corpus."
        )
    return model
