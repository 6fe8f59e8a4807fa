"""What lies beside the modules in the folder of a saved student, whoever saved it, and how such a folder is read.

sentence-transformers, LangChain, LlamaIndex, Haystack, mteb and text-classification pipelines take any folder with a
transformer's `config.json` for a cross-encoder: they add a classifier with random weights and score with it. So the
transformer of a student stands in a folder of its own, and the `config.json` beside `modules.json` has a
``model_type`` that no library knows, which they print when they refuse it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import load_file_path

from dse.errors import MissingModelError
from dse.files import share_weights, write_json

INFO_FILE = "dse.json"
STUDENT = "DSE student: load it with dse.DSE(path), as dse.integrations does for other frameworks"
MISSING = "There is no {} at {}; give its folder or, where the hub can be reached, its name there."
MODEL_FILES = ("modules.json", "config.json")  # every model's folder has one of them
SEGMENTS = "DSE teacher: load it with CrossEncoder(path, trust_remote_code=True) where dse is installed"


def finish_folder(module_folder: str, model_type: str, info: dict[str, Any] | None = None) -> None:
    """Write what stands beside the modules, after the last module of ours has been saved.

    A module does this itself, so that it happens in every save: of `DSE`, of a trainer's checkpoint, and of a plain
    `SentenceTransformer` that has loaded a student.

    Args:
        module_folder: Where the module was told to save itself; nothing is written unless it is part of a model.
        model_type: What other libraries print when they refuse the folder.
        info: What the student remembers of its training.
    """
    folder = Path(module_folder)
    if not re.fullmatch(r"\d+_[A-Za-z]+", folder.name):
        return
    for file in folder.parent.glob("0_*/config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(config.get("output_hidden_states"), list):  # transformers before 5.23 reads true and false only
            write_json(file, config | {"output_hidden_states": True})
    write_json(folder.parent / "config.json", {"model_type": model_type})
    if info is not None:
        write_json(folder.parent / INFO_FILE, info)
    share_weights(folder.parent)


@contextmanager
def naming(what: str, name: str | None) -> Iterator[None]:
    """Name the model that is not there, where the libraries say only that the hub cannot be reached, or what they miss.

    Raises:
        MissingModelError: If loading fails, and no model lies at the path; of a hub id if the reason does not name it.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if name is None:
            raise
        if Path(name).exists():
            missing = not any((Path(name) / file).exists() for file in MODEL_FILES)
        else:  # a hub id has one slash
            missing = isinstance(error, OSError) and not (name.count("/") < 2 and name in str(error))
        if missing:
            raise MissingModelError(MISSING.format(what, name)) from error
        raise


def check_there(what: str, name: str) -> None:
    """Refuse the name of a model that is not there, before it is needed.

    Raises:
        MissingModelError: If neither this machine nor the hub, as far as it can be reached, has files of it.
    """
    if all(load_file_path(name, file) is None for file in MODEL_FILES):
        raise MissingModelError(MISSING.format(what, name))


def noted_task(name: str) -> dict[str, Any] | None:
    """The task that a student was made for, read without its weights; None if it has none.

    Raises:
        MissingModelError: If there is no such student.
    """
    check_there("student", name)
    file = load_file_path(name, INFO_FILE)
    info = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    task: dict[str, Any] | None = info.get("task")
    return task


def damaged_json(folder: str) -> Path | None:
    """The first JSON file of a model's folder that cannot be read; None if there is none."""
    for file in [*sorted(Path(folder).glob("*.json")), *sorted(Path(folder).glob("[0-9]*_*/*.json"))]:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return file
        if not isinstance(content, list if file.name == "modules.json" else dict):
            return file
    return None


def read_transformer(name: str, max_seq_length: int | None = None) -> Any:  # Transformer
    """The transformer of any encoder: of a folder or hub id of transformers, or of a model that stands in its own.

    Args:
        name: Folder or hub id.
        max_seq_length: Tokens read of a text; the transformer's own limit by default.
    """
    with naming("encoder", name):
        subfolder = _transformer_folder(name)
        if not subfolder:
            return Transformer(name, max_seq_length=max_seq_length)
        hub = {"subfolder": subfolder}
        return Transformer(
            name,
            max_seq_length=max_seq_length,
            model_kwargs=dict(hub),
            processor_kwargs=dict(hub),
            config_kwargs=dict(hub),
        )


def noted_length(name: str, transformer: Any) -> int | None:
    """``max_seq_length`` of an encoder's sentence_bert_config.json, or what the transformer can read if it is less."""
    path = load_file_path(name, Transformer.config_file_name, _transformer_folder(name))
    noted = None if path is None else json.loads(Path(path).read_text(encoding="utf-8")).get("max_seq_length")
    lengths = [length for length in (noted, transformer.max_seq_length) if isinstance(length, int)]
    return min(lengths, default=None)


def noted_pooling(name: str) -> str:
    """How an encoder of sentence-transformers pools its tokens; the mean for any other, and for several ways."""
    modules = load_file_path(name, "modules.json")
    for module in json.loads(Path(modules).read_text(encoding="utf-8")) if modules else []:
        if module["type"].endswith(".Pooling"):
            mode = Pooling.load(name, subfolder=module["path"]).pooling_mode
            return mode if isinstance(mode, str) else "mean"
    return "mean"


def noted_prompts(name: str) -> dict[str, str]:
    """The prompts of an encoder of sentence-transformers, by name; none of any other."""
    path = load_file_path(name, "config_sentence_transformers.json")
    prompts = json.loads(Path(path).read_text(encoding="utf-8")).get("prompts") if path else None
    return {name: text for name, text in (prompts or {}).items() if text}


def _transformer_folder(name: str) -> str:
    """Where in a model's folder its transformer stands; "" for the folder itself."""
    modules = load_file_path(name, "modules.json")
    first = json.loads(Path(modules).read_text(encoding="utf-8"))[0] if modules else {"path": "", "type": ""}
    return str(first["path"]) if first["type"].endswith(".Transformer") else ""
