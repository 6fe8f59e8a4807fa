"""Load a teacher of rankings by what its folder holds: a cross-encoder, a sentence encoder, or a student."""

from __future__ import annotations

import json
from pathlib import Path

from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import load_file_path
from transformers import AutoConfig

from dse.errors import MismatchError
from dse.model import DSE
from dse.modules import PairHead
from dse.teacher.load import load_teacher

HEAD = f"{PairHead.__module__}.{PairHead.__qualname__}"


def load_ranking_teacher(path: str) -> CrossEncoder | SentenceTransformer:
    """Load a cross-encoder, a sentence encoder or a student.

    Args:
        path: Folder or hub id.

    Returns:
        A `DSE` where the folder holds a pair head, a `SentenceTransformer` where it holds another encoder saved by
        sentence-transformers, a `CrossEncoder` where it holds one or a sequence classifier of transformers.

    Raises:
        MismatchError: If the folder holds something else, such as a bare transformer without a trained output.

    Example:
        >>> folder = str(getfixture("tmp_path"))
        >>> getfixture("student").save(folder)
        >>> type(load_ranking_teacher(folder)).__name__
        'DSE'
    """
    modules = load_file_path(path, "modules.json")
    config = load_file_path(path, "config_sentence_transformers.json")
    if config is not None and json.loads(Path(config).read_text(encoding="utf-8")).get("model_type") == "CrossEncoder":
        return load_teacher(path)
    if modules is not None:
        types = [module["type"] for module in json.loads(Path(modules).read_text(encoding="utf-8"))]
        return DSE(path) if HEAD in types else SentenceTransformer(path)
    architectures = AutoConfig.from_pretrained(path).architectures or []
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return load_teacher(path)
    raise MismatchError(
        f"{path} is neither a cross-encoder nor a sentence encoder ({', '.join(architectures) or 'unknown'}); "
        "name a folder that sentence-transformers has saved, or a sequence classifier"
    )
