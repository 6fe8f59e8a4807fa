"""`dse threshold`: from which score on so many pairs are right."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dse.cli import options as o
from dse.cli.parsing import share

if TYPE_CHECKING:
    from dse.evaluation.threshold import Threshold


@o.grouped
def threshold(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    source: o.PairOptions,
    precision: Annotated[
        float,
        typer.Option("--precision", "-p", callback=share, help="Share of right ones among the pairs called positive."),
    ] = 0.9,
    split: o.SplitOption = "dev",
    as_json: o.JsonOption = False,
) -> None:
    """Choose a threshold by precision, on labelled pairs that the student did not learn from.

    The exit code is 1 if no score has the precision.
    """
    task = source.task_of(student)
    if task.kind != "binary":
        raise typer.BadParameter(
            f"a task of kind {task.kind} has no threshold; give --kind binary and, unless labels are 0 and 1, "
            "--labels NEGATIVE,POSITIVE."
        )
    pairs = source.read_pairs(split, task)
    from dse import DSE
    from dse.data.tasks import check_meaning
    from dse.errors import MismatchError
    from dse.evaluation.threshold import check_labels, choose_threshold

    check_labels(pairs.label)  # type: ignore[arg-type]
    model = DSE(student)
    if model.num_labels != 1:
        raise MismatchError(f"{student} gives {model.num_labels} scores a pair; a threshold needs one.")
    check_meaning(task, model.info.get("task"))
    scores = model.predict(pairs.tuples(), show_progress_bar=o.on_terminal())
    found = choose_threshold(scores, pairs.label, precision)  # type: ignore[arg-type]
    o.show(asdict(found), _text(found), as_json)
    if found.value is None:
        raise typer.Exit(1)


def _text(found: Threshold) -> str:
    from dse.evaluation.render import percent

    if found.value is None:
        return (
            "No threshold: from whatever score on pairs are called positive, fewer than "
            f"{percent(found.wanted)} of them are right. Ask for a lower --precision."
        )
    checked = "Checked on pairs that did not choose it: none was called positive."
    if found.precision is not None and found.low is not None and found.high is not None:
        span = f"95 %: {percent(found.low)} to {percent(found.high)}"
        checked = (
            f"Checked on pairs that did not choose it: of {found.called:,} called positive {percent(found.precision)} "
            f"are right ({span}), and {percent(found.recall)} of the positive ones are found."
        )
    share = percent(found.positives / found.rows)
    rarer = (
        f"Of all {found.rows:,} pairs {share} are positive. Where these are rarer, as among all pairs of a table, "
        "fewer of those called positive are right."
    )
    chosen = (
        f"threshold {found.value:.6f}: call a pair positive if its score is at least that. It is the lowest with "
        f"{percent(found.wanted)} right among the pairs that chose it, all {found.rows:,}."
    )
    return "\n".join(textwrap.fill(sentence, 80) for sentence in (chosen, checked, rarer))
