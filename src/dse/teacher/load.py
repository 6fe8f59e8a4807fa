"""Load a cross-encoder and match its outputs to the classes of a task by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sentence_transformers import CrossEncoder

from dse.data.tasks import Task, align_labels
from dse.errors import MismatchError
from dse.modules import SegmentPooling


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
        MismatchError: If number or names of the outputs do not fit the task.
    """
    teacher: CrossEncoder = Teacher(path, **kwargs)
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


def check_outputs(teacher: CrossEncoder, task: Task) -> list[int]:
    """Find which outputs of a teacher are the task's classes.

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
    if outputs == 1:
        return [0]
    id2label = config_of(teacher).id2label
    return align_labels([str(id2label[i]) for i in range(outputs)], task)
