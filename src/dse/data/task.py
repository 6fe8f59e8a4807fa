"""What the labels of a pair data set mean: their names, their numeric targets, and the metrics."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from dse.data.cells import as_number
from dse.errors import MismatchError

# The metrics that fit a kind; also the default of a task that names none. The first is the main one.
_METRICS_OF_KIND = {
    "binary": ("accuracy", "f1", "average_precision"),
    "multiclass": ("accuracy",),
    "regression": ("spearman", "pearson"),
}
# Spellings that can mean no other class; looser matching could swap classes unnoticed.
_LABEL_ALIASES = {"entail": "entailment", "contradict": "contradiction", "nonentailment": "notentailment"}


def _key(label: object) -> str:
    """Normal form of a label, the same for all its spellings: `1`, `1.0` and `"1"` are one label, `-1` another."""
    text = str(label).strip().lower()
    if re.fullmatch(r"[-+]?\d{1,9}(\.0+)?", text):
        return str(int(float(text)))
    name = re.sub(r"[-_\s]", "", text)
    return _LABEL_ALIASES.get(name, name)


def same_label(one: object, other: object) -> bool:
    """Whether two spellings mean one label: case, `_`, `-` and spaces do not matter.

    Example:
        >>> same_label("not_entailment", "Non Entailment"), same_label(1, "1.0"), same_label("yes", "no")
        (True, True, False)
    """
    return _key(one) == _key(other)


def is_missing(label: object) -> bool:
    """Whether a cell holds no label at all: None, NaN or blank text.

    Example:
        >>> is_missing(float("nan")), is_missing(" "), is_missing("-")
        (True, True, False)
    """
    return label is None or (isinstance(label, float) and math.isnan(label)) or str(label).strip() == ""


@dataclass(frozen=True)
class HubSplit:
    """One split of a data set on the hub: the arguments of `datasets.load_dataset(path, config, split=split)`."""

    path: str
    config: str | None
    split: str


@dataclass(frozen=True)
class Task:
    """What the labels of a pair data set mean.

    A data set of your own needs a name, a kind and its labels; see the example.

    Attributes:
        name: Name of the task; also the folder of its files where `splits` names none.
        kind: `"binary"` (one logit), `"multiclass"` (one logit a class) or `"regression"` (one score).
        labels: Class names in the order of the data's integer ids (GLUE's order).
        positive: Binary only: the class of pairs with a high score; by default the second of `labels`.
        label_range: Regression only: lowest and highest label.
        symmetric: Whether f(a, b) should equal f(b, a).
        metrics: Names for `compute_metrics`; the first is the main metric. By default all that fit the kind.
        splits: Split name to file stems below a data folder; the files of one split are concatenated.
        hub: Split name to the task's own data on the hub.
        label_column: The column that holds the label, if there is one of that name.

    Raises:
        ValueError: If the fields contradict each other.

    Example:
        >>> task = Task("clicks", "binary", labels=("no", "yes"))
        >>> task.positive, task.num_labels, task.metrics
        ('yes', 1, ('accuracy', 'f1', 'average_precision'))
    """

    name: str
    kind: Literal["binary", "multiclass", "regression"]
    labels: tuple[str, ...] = ()
    positive: str | None = None
    label_range: tuple[float, float] | None = None
    symmetric: bool = False
    metrics: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    hub: Mapping[str, tuple[HubSplit, ...]] = field(default_factory=dict, hash=False)
    label_column: str = "label"

    def __post_init__(self) -> None:
        """Fill the defaults that depend on the kind; refuse fields that contradict each other."""
        if self.kind not in _METRICS_OF_KIND:
            raise ValueError(f"task kind {self.kind!r} is unknown; use one of {', '.join(_METRICS_OF_KIND)}")
        if self.kind == "binary":
            object.__setattr__(self, "labels", self.labels or ("0", "1"))
            object.__setattr__(self, "positive", self.positive or self.labels[-1])
        object.__setattr__(self, "metrics", self.metrics or _METRICS_OF_KIND[self.kind])
        for name in ("labels", "metrics", "label_range"):  # JSON has lists only
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        problem = self._problem()
        if problem:
            raise ValueError(f"task {self.name!r} {problem}")

    def _problem(self) -> str | None:
        wrong = [name for name in self.metrics if name not in _METRICS_OF_KIND[self.kind]]
        if wrong:
            fitting = ", ".join(_METRICS_OF_KIND[self.kind])
            return f"is {self.kind} and cannot have the metric {wrong[0]!r}; use {fitting}"
        if self.kind == "regression":
            if self.label_range is None or not self.label_range[0] < self.label_range[1]:
                return "is a regression and needs label_range=(lowest, highest), the lower first (--range 0,5)"
            return "is a regression and cannot have labels; leave them out" if self.labels else None
        if len({_key(label) for label in self.labels}) < len(self.labels):
            return f"has labels that differ in case or punctuation only: {', '.join(self.labels)}; rename them"
        if self.kind == "binary" and (len(self.labels) != 2 or self.positive not in self.labels):
            return (
                f"is binary and needs two labels, one of them positive={self.positive!r}; got {self.labels} "
                "(--labels no,yes --positive yes)"
            )
        if self.kind == "multiclass" and len(self.labels) < 2:
            return "is multiclass and needs its class names in labels=(...)"
        return None

    @property
    def num_labels(self) -> int:
        """Scores per pair: the number of classes, or 1 for binary and regression."""
        return len(self.labels) if self.kind == "multiclass" else 1

    @property
    def main_metric(self) -> str:
        """The metric that decides which of two models is better."""
        return self.metrics[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that a saved model keeps of its task, ready for JSON; `Task(**d)` restores it."""
        names = ("name", "kind", "labels", "positive", "label_range", "symmetric", "metrics")
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @cached_property
    def _ids(self) -> dict[str, int]:
        ids = {str(index): index for index in range(len(self.labels))}
        if self.kind == "binary":  # a column called is_duplicate holds true and false
            positive = self.labels.index(str(self.positive))
            ids.update({"true": positive, "false": 1 - positive})
        return ids | {_key(label): index for index, label in enumerate(self.labels)}  # names win over ids

    def target(self, label: object) -> float | int:
        """Turn a label as data sets write it into the number that training and metrics use.

        Args:
            label: A class name (case, `_`, `-` and spaces do not matter), an integer id in the order of
                `labels`, true or false for a binary task, or a score.

        Returns:
            1.0 for the positive class of a binary task, else 0.0; the index into `labels`; or the score.

        Raises:
            ValueError: If the label is missing, unknown, not a number or out of range.

        Example:
            >>> nli = Task("nli", "multiclass", labels=("entailment", "neutral", "contradiction"))
            >>> nli.target("Contradiction"), Task("sts", "regression", label_range=(0.0, 5.0)).target("3.5")
            (2, 3.5)
        """
        if is_missing(label):
            raise ValueError("the label is missing")
        if self.kind == "regression":
            return self._score(label)
        index = self._ids.get(_key(label))
        if index is None:
            known = ", ".join(self.labels)
            raise ValueError(f"unknown label {reprlib.repr(label)} (known: {known}, or ids from 0)")
        return index if self.kind == "multiclass" else float(self.labels[index] == self.positive)

    def _score(self, label: Any) -> float:
        low, high = self.label_range or (-math.inf, math.inf)
        score = math.nan if isinstance(label, bool) else as_number(label)
        if math.isnan(score):
            raise ValueError(f"label {reprlib.repr(label)} is not a number (names of classes need a kind with labels)")
        if not low <= score <= high:
            raise ValueError(f"label {score:g} is outside {low:g} to {high:g}")
        return score

    def has_no_gold(self, label: object) -> bool:
        """Whether a class label says that annotators did not agree: `-`, or -1 in a multiclass task (SNLI).

        Example:
            >>> nli = Task("nli", "multiclass", labels=("entailment", "neutral", "contradiction"))
            >>> nli.has_no_gold(-1), Task("clicks", "binary").has_no_gold(-1)
            (True, False)
        """
        marks = {"binary": ("-",), "multiclass": ("-", "-1"), "regression": ()}[self.kind]
        return str(label).strip() in marks and _key(label) not in self._ids


def align_labels(model_labels: Sequence[str], task: Task) -> list[int]:
    """Find each of the task's classes among a model's outputs, by name.

    Args:
        model_labels: The model's class names in the order of its outputs (`config.id2label`).
        task: A binary or multiclass task.

    Returns:
        A permutation p with `task.labels[i]` the same class as `model_labels[p[i]]`, so that
        `logits[:, p]` are in the task's order.

    Raises:
        MismatchError: If the names are generic (`LABEL_0`) or are not the task's.

    Example:
        >>> nli = Task("nli", "multiclass", labels=("entailment", "neutral", "contradiction"))
        >>> align_labels(["CONTRADICTION", "ENTAILMENT", "NEUTRAL"], nli)
        [1, 2, 0]
    """
    wanted, given = [_key(label) for label in task.labels], [_key(label) for label in model_labels]
    if sorted(wanted) != sorted(given):
        raise MismatchError(
            f"the teacher's labels ({', '.join(model_labels)}) are not those of task {task.name!r} "
            f"({', '.join(task.labels)}); name the teacher's outputs in their order with --teacher-labels"
        )
    return [given.index(name) for name in wanted]


def check_meaning(task: Task, trained: Mapping[str, Any] | None) -> None:
    """Refuse labels that are those of a student's own task the other way round, or in another order.

    Args:
        task: Whose pairs are to be judged by the student.
        trained: The student's own task, as `Task.to_dict` gives it; None if it has none.

    Raises:
        MismatchError: If a high score, or one of several classes, would be taken for another one.

    Example:
        >>> own = Task("own", "binary", labels=("no", "yes"))
        >>> check_meaning(own, own.to_dict())
        >>> check_meaning(Task("own", "binary", labels=("yes", "no")), own.to_dict())
        Traceback (most recent call last):
        dse.errors.MismatchError: a high score of the student means 'yes', of these labels 'no'; give --labels no,yes
    """
    own = None if trained is None else Task(**trained)
    if own is None or own.kind != task.kind or set(map(_key, own.labels)) != set(map(_key, task.labels)):
        return
    spelled = f"give --labels {','.join(own.labels)}"
    if task.kind == "binary" and own.positive != own.labels[-1]:  # which a high score means by default
        spelled += f" --positive {own.positive}"
    if task.kind == "binary" and not same_label(own.positive, task.positive):
        raise MismatchError(
            f"a high score of the student means {own.positive!r}, of these labels {task.positive!r}; {spelled}"
        )
    if task.kind == "multiclass" and list(map(_key, own.labels)) != list(map(_key, task.labels)):
        raise MismatchError(
            f"the student's classes are {', '.join(own.labels)}, these {', '.join(task.labels)}; {spelled}"
        )
