"""Load a teacher: a cross-encoder, whose outputs are matched to a task by name, or for rankings an encoder too."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import load_file_path
from transformers import AutoConfig

from dse.data.tasks import Task, align_labels, same_label
from dse.encoding.encoder import FastEncoder
from dse.encoding.runtime import Dtype
from dse.errors import MismatchError, MissingModelError
from dse.model import DSE
from dse.modules import PairHead, SegmentPooling
from dse.saved import naming

logger = logging.getLogger(__name__)

GENERIC = re.compile(r"label_?\d*|scores?|", re.IGNORECASE)  # names of a single output that say nothing
CONFIG = "config_sentence_transformers.json"  # names the kind of a model of sentence-transformers
HEAD = f"{PairHead.__module__}.{PairHead.__qualname__}"


class Teacher(CrossEncoder):
    """A `CrossEncoder` that also loads, without ``trust_remote_code``, teachers with `dse.modules.SegmentPooling`."""

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> type:
        if class_ref == "dse.modules.SegmentPooling":
            return SegmentPooling
        return super()._load_module_class_from_ref(class_ref, *args, **kwargs)


def config_of(teacher: CrossEncoder) -> Any:
    """The configuration of a teacher's backbone, transformers' `PretrainedConfig`."""
    return teacher.config


def load_teacher(
    path: str, task: Task | None = None, labels: Sequence[str] | None = None, **kwargs: Any
) -> CrossEncoder:
    """Load a cross-encoder and check that its outputs can be those of the task.

    Args:
        path: Folder or hub id.
        task: The task whose pairs it will score.
        labels: Names of its outputs in their order, where its configuration has none or wrong ones.
        **kwargs: As `CrossEncoder` takes them.

    Raises:
        MissingModelError: If there is no such teacher.
        MismatchError: If the folder holds no trained cross-encoder, or number or names of the outputs do not fit the
            task.
    """
    hub = {k: v for k, v in kwargs.items() if k in ("token", "cache_folder", "revision", "local_files_only")}
    modules = _read_json(path, "modules.json", **hub) or []
    if HEAD in [module["type"] for module in modules]:
        raise MismatchError(f"{path} is a student, which embeds sentences one by one; give a cross-encoder as teacher.")
    if modules and (_read_json(path, CONFIG, **hub) or {}).get("model_type") != "CrossEncoder":
        raise MismatchError(
            f"{path} is a sentence encoder, which embeds texts one by one; pairs are labelled by a cross-encoder, "
            "which can be fine-tuned from it with `dse teacher`."
        )
    with naming("teacher", path):
        teacher: CrossEncoder = Teacher(path, **kwargs)
    if new := _new_weights(teacher):
        raise MismatchError(
            f"{path} has no trained classifier ({', '.join(new[:2])} would start at random), so its scores mean "
            "nothing; give a cross-encoder, or fine-tune one from it with `dse teacher`."
        )
    if labels is not None:
        if len(labels) != teacher.num_labels:
            raise MismatchError(
                f"{path} has {teacher.num_labels} outputs, {len(labels)} names were given ({', '.join(labels)}); "
                "name every output once, in order."
            )
        config_of(teacher).id2label = dict(enumerate(labels))
    if task is not None:
        check_outputs(teacher, task)
    return teacher


def _new_weights(teacher: CrossEncoder) -> list[str]:
    """Names of the weights of a classifier that its files do not hold, so that they start at random."""
    model: Any = teacher.transformers_model
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return []
    loaded = {name: getattr(weight, "_is_hf_initialized", False) for name, weight in model.named_parameters()}
    return [name for name, known in loaded.items() if not known] if any(loaded.values()) else []


def default_prompt(teacher: CrossEncoder) -> str | None:
    """What the teacher puts before a pair unless it is told otherwise, as `CrossEncoder.predict` does."""
    return None if teacher.default_prompt_name is None else teacher.prompts.get(teacher.default_prompt_name)


def check_outputs(teacher: CrossEncoder, task: Task) -> list[int]:
    """Find which outputs of a teacher are the task's classes.

    A single output of a binary task must not bear the name of the class that a low score stands for.

    Returns:
        Positions of the outputs in the order of the task's labels; [0] for a single output.

    Raises:
        MismatchError: If number or names of the outputs do not fit the task.
    """
    outputs = teacher.num_labels
    wanted = {"binary": (1, 2), "regression": (1,), "multiclass": (len(task.labels),)}[task.kind]
    if outputs not in wanted:
        raise MismatchError(
            f"The teacher gives {outputs} scores per pair, task {task.name!r} ({task.kind}) needs "
            f"{' or '.join(map(str, wanted))}; fine-tune a teacher for this task with `dse teacher`."
        )
    id2label = config_of(teacher).id2label
    if outputs == 1:
        if task.kind == "binary":
            _check_single(str(id2label.get(0, "")), task)
        return [0]
    return align_labels([str(id2label[i]) for i in range(outputs)], task)


def _check_single(name: str, task: Task) -> None:
    """Refuse an output that is named after the other class: its scores would be taken upside down."""
    if GENERIC.fullmatch(name) or same_label(name, str(task.positive)):
        return
    if any(same_label(name, label) for label in task.labels):
        raise MismatchError(
            f"The teacher's output is called {name!r}, but a high score of task {task.name!r} means {task.positive!r}; "
            f"give another teacher or task, or, if the name is wrong, --teacher-labels {task.positive}."
        )
    logger.warning("The teacher's output is called %r; it is taken for the score of %r.", name, task.positive)


def load_ranking_teacher(path: str, *, dtype: Dtype = "auto") -> CrossEncoder | SentenceTransformer:
    """Load a cross-encoder, a sentence encoder or a student, by what its folder says of itself.

    Args:
        path: Folder or hub id.
        dtype: Precision in which an encoder or a student computes.

    Returns:
        A `DSE` where the folder holds a pair head, a `FastEncoder` where it holds another encoder saved by
        sentence-transformers, a `CrossEncoder` where it holds one or a sequence classifier of transformers.

    Raises:
        BadDataError: If there is no such model.
        MismatchError: If it is something else, such as a bare transformer without a trained output.

    Example:
        >>> folder = str(getfixture("tmp_path"))
        >>> getfixture("student").save(folder)
        >>> type(load_ranking_teacher(folder)).__name__
        'DSE'
    """
    config, modules = (_read_json(path, name) for name in (CONFIG, "modules.json"))
    if config is not None and config.get("model_type") == "CrossEncoder":
        return load_teacher(path)
    if modules is not None:
        kind = DSE if HEAD in [module["type"] for module in modules] else FastEncoder
        return kind(path, dtype=dtype)
    try:
        architectures = AutoConfig.from_pretrained(path).architectures or []
    except (OSError, ValueError) as error:
        raise MissingModelError(
            f"There is no model at {path}; give a teacher's folder or, where the hub can be reached, its name there."
        ) from error
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return load_teacher(path)
    raise MismatchError(
        f"{path} is neither a cross-encoder nor a sentence encoder ({', '.join(architectures) or 'unknown'}); "
        "give a folder that sentence-transformers has saved, or a sequence classifier."
    )


def _read_json(path: str, name: str, **hub: Any) -> Any:
    """A JSON file of a model's folder; None if it has none."""
    file = load_file_path(path, name, **hub)
    return None if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
