"""The folder of a run: it holds one run, whose settings and data are noted in it, and which may be continued.

Whatever resumes (`fit_teacher`, `distill`, `cross_fit`, `bootstrap`, `make_student`) claims its folder first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.data.pairs import Pairs
from dse.errors import MismatchError, refuse_file, refuse_unwritable
from dse.files import write_json

NOTE = "run.json"
SHOWN = 4  # differences that an error names


def claim_folder(output: Path, run: Mapping[str, Any]) -> None:
    """Write to run.json what this folder is for, before anything else is written or trained.

    A setting that an earlier version did not know is None: its folders are those of the same run.

    Args:
        output: The folder; made if it does not exist.
        run: Everything that decides what the folder will hold.

    Raises:
        MismatchError: If the folder holds a run with other settings or data, or anything that is no run.

    Example:
        >>> folder = getfixture("tmp_path") / "run"
        >>> claim_folder(folder, {"seed": 1, "data": "2 rows"})
        >>> claim_folder(folder, {"seed": 1, "data": "2 rows"})  # the same run again, which goes on
        >>> claim_folder(folder, {"seed": 2, "data": "2 rows"})
        Traceback (most recent call last):
        dse.errors.MismatchError: ... holds a run with other settings (seed was 1, now 2); ...
    """
    run = json.loads(json.dumps(run))  # tuples become lists, as they will be read back
    names = _visible(output)  # read before the note, which another process of the same run may be writing
    before = _note(output) if names else None
    if before is None:
        _need_empty(output, names)
        refuse_unwritable(output)
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / NOTE, run)
        return
    before, now = _flat(before), _flat(run)
    different = [
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if different:
        raise MismatchError(
            f"{output} holds a run with other settings ({'; '.join(different[:SHOWN])}); choose another folder or "
            "delete this one."
        )


@contextmanager
def claiming(output: Path, run: Mapping[str, Any]) -> Iterator[None]:
    """Claim a folder, and give it back if the block fails before anything was made there: a wrong teacher, say."""
    was_there, was_claimed = output.exists(), (output / NOTE).exists()
    claim_folder(output, run)
    try:
        yield
    except BaseException:
        if not was_claimed and _visible(output) == [NOTE]:
            (output / NOTE).unlink()
            if not was_there:
                with suppress(OSError):
                    output.rmdir()
        raise


def finished(folder: Path) -> bool:
    """Whether the folder holds a trained model; if so, temporary folders that a killed run left are deleted."""
    done = (folder / "training.json").exists()  # written last
    if done:
        for name in ("checkpoints", "bootstrap"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return done


def _note(output: Path) -> dict[str, Any] | None:
    """What run.json says; None if there is none that a run has written."""
    try:
        note = json.loads((output / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _visible(output: Path) -> list[str]:
    """What a folder holds; hidden files, as of version control, are no concern of a run."""
    refuse_file(output)
    return sorted(path.name for path in output.iterdir() if path.name[0] != ".") if output.exists() else []


def _need_empty(output: Path, names: list[str]) -> None:
    """Refuse a folder that holds anything."""
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise MismatchError(
            f"{output} holds {names[0]}{more}, but no {NOTE} that says of which run; nothing was changed: choose an "
            "empty folder, or the folder of the run to continue."
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat


def data_hashes(scores: NDArray[Any] | None = None, **data: Pairs | None) -> dict[str, str]:
    """Hashes of the data of a run by name; what is None is left out."""
    hashes = {name: pairs_hash(pairs) for name, pairs in data.items() if pairs is not None}
    if scores is not None:
        hashes["scores"] = array_hash(scores)
    return hashes


def array_hash(array: NDArray[Any]) -> str:
    """Hash of an array as float32."""
    return f"{array.shape} {_digest(np.ascontiguousarray(array, np.float32).tobytes())}"


def pairs_hash(pairs: Pairs) -> str:
    """Hash of pairs and labels, in their order."""
    parts = [json.dumps([pairs.sentence1, pairs.sentence2]).encode()]
    if pairs.label is not None:
        parts.append(np.ascontiguousarray(pairs.label).tobytes())
        if not pairs.labelled.all():
            parts.append(pairs.labelled.tobytes())
    return f"{len(pairs)} rows {_digest(*parts)}"


def texts_hash(texts: Sequence[str]) -> str:
    """Hash of texts, in their order."""
    return f"{len(texts)} texts {_digest(json.dumps(list(texts)).encode())}"


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
