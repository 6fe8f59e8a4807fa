"""`dse threshold`: from which score on so many pairs are right."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dse.cli import options as o

if TYPE_CHECKING:
    from dse.evaluation.threshold import Threshold


@o.grouped
def threshold(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    source: o.PairOptions,
    precision: Annotated[
        float, typer.Option("--precision", "-p", help="Share of right ones among the pairs called positive.")
    ] = 0.9,
    split: o.SplitOption = "dev",
    as_json: o.JsonOption = False,
) -> None:
    """Choose a threshold by precision, on labelled pairs that the student did not learn from."""
    task = source.read_task()
    if task.kind != "binary":
        raise typer.BadParameter(f"a task of kind {task.kind} has no threshold; give --kind binary.")
    pairs = source.read_pairs(split, task)
    from dse import DSE
    from dse.errors import MismatchError
    from dse.evaluation.threshold import choose_threshold

    model = DSE(student)
    if model.num_labels != 1:
        raise MismatchError(f"{student} gives {model.num_labels} scores a pair; a threshold needs one.")
    scores = model.predict(pairs.tuples(), show_progress_bar=o.on_terminal())
    found = choose_threshold(scores, pairs.label, precision)  # type: ignore[arg-type]
    o.show(asdict(found), _text(found), as_json)


def _text(found: Threshold) -> str:
    from dse.evaluation.render import percent

    if found.value is None:
        return f"From no score on are {percent(found.wanted)} of the pairs right; ask for a lower --precision."
    checked = "The check on pairs that did not choose it called none positive."
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
    chosen = f"threshold {found.value:.4f}: call a pair positive if its score is at least that."
    return "\n".join(textwrap.fill(sentence, 80) for sentence in (chosen, checked, rarer))
