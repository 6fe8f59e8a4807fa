"""The tasks known by name.

Example:
    >>> task = get_task("qnli")
    >>> task.labels, task.positive
    (('entailment', 'not_entailment'), 'entailment')
    >>> task.target("not-entailment"), task.target(0)
    (0.0, 1.0)
"""

from __future__ import annotations

from dse.data.task import HubSplit, Task, align_labels, check_meaning, is_missing, same_label
from dse.errors import DSEError

__all__ = ["TASKS", "HubSplit", "Task", "align_labels", "check_meaning", "get_task", "is_missing", "same_label"]


def _on_hub(path: str, config: str | None, **splits: str) -> dict[str, tuple[HubSplit, ...]]:
    return {name: (HubSplit(path, config, split),) for name, split in splits.items()}


def _files(**stems: str) -> dict[str, tuple[str, ...]]:
    return {split: tuple(names.split()) for split, names in stems.items()}


_NLI = ("entailment", "neutral", "contradiction")
_F1_FIRST = ("f1", "accuracy", "average_precision")
_MNLI_HUB = _on_hub(
    "nyu-mll/glue", "mnli", train="train", dev="validation_matched", dev_mismatched="validation_mismatched"
)
_SNLI_HUB = _on_hub("stanfordnlp/snli", None, train="train", dev="validation", test="test")
_SICK_FILES = _files(train="sick/train", dev="sick/dev", test="sick/test")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "mrpc",
            "binary",
            labels=("not_equivalent", "equivalent"),
            symmetric=True,
            metrics=_F1_FIRST,
            splits=_files(train="mrpc/train", dev="mrpc/dev", test="mrpc/test"),
            hub=_on_hub("nyu-mll/glue", "mrpc", train="train", dev="validation", test="test"),
        ),
        Task(
            "qqp",
            "binary",
            labels=("not_duplicate", "duplicate"),
            symmetric=True,
            metrics=_F1_FIRST,
            splits=_files(train="qqp/train", dev="qqp/dev"),
            hub=_on_hub("nyu-mll/glue", "qqp", train="train", dev="validation"),
        ),
        Task(
            "qnli",
            "binary",
            labels=("entailment", "not_entailment"),
            positive="entailment",  # so that a high score says that the passage answers the question
            metrics=("accuracy", "average_precision"),
            splits=_files(train="qnli/train", dev="qnli/dev"),
            hub=_on_hub("nyu-mll/glue", "qnli", train="train", dev="validation"),
        ),
        Task(
            "stsb",
            "regression",
            label_range=(0.0, 5.0),
            symmetric=True,
            splits=_files(train="stsb/train", dev="stsb/dev", test="stsb/test"),
            hub=_on_hub("nyu-mll/glue", "stsb", train="train", dev="validation")
            | _on_hub("mteb/stsbenchmark-sts", None, test="test"),  # GLUE withholds the labels of its own
        ),
        Task(
            "mnli",
            "multiclass",
            labels=_NLI,
            splits=_files(train="mnli/train", dev="mnli/dev_matched", dev_mismatched="mnli/dev_mismatched"),
            hub=_MNLI_HUB,
        ),
        Task(
            "snli",
            "multiclass",
            labels=_NLI,
            splits=_files(train="snli/train", dev="snli/dev", test="snli/test"),
            hub=_SNLI_HUB,
        ),
        Task(
            "allnli",
            "multiclass",
            labels=_NLI,
            splits=_files(train="mnli/train snli/train", dev="snli/dev mnli/dev_matched", test="snli/test"),
            hub={
                "train": _MNLI_HUB["train"] + _SNLI_HUB["train"],
                "dev": _SNLI_HUB["dev"] + _MNLI_HUB["dev"],
                "test": _SNLI_HUB["test"],
            },
        ),
        # SICK has no `hub`: its data set there is a loading script, which `datasets` no longer runs.
        Task("sick", "regression", label_range=(1.0, 5.0), symmetric=True, splits=_SICK_FILES),
        Task("sick-e", "multiclass", labels=_NLI, splits=_SICK_FILES, label_column="entailment"),
    )
}


def get_task(name: str) -> Task:
    """Return the task of this name from `TASKS`.

    Raises:
        DSEError: If no task has this name; the message lists the known names.

    Example:
        >>> get_task("stsb").label_range
        (0.0, 5.0)
    """
    if name not in TASKS:
        raise DSEError(f"there is no task {name!r}; choose one of {', '.join(TASKS)}, or make a Task of your own")
    return TASKS[name]
