"""Real sentences and pairs for the benchmarks: of a data folder, or else the help-desk questions shipped with dse."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dse.data.helpdesk import read_questions
from dse.data.pairs import Pairs, load_pairs
from dse.data.tasks import Task, get_task
from dse.errors import BadDataError

COLUMNS = ("sentence1", "sentence2", "sentence")
HELPDESK = "the 2,430 help-desk questions shipped with dse (no --data was given)"


def distinct_sentences(data: Path | None, n: int, seed: int = 0) -> tuple[list[str], str]:
    """Draw n distinct sentences, as many from each data set, in random order.

    Args:
        data: Folder of folders of Parquet files, one a data set; None takes the help-desk questions.
        n: How many; fewer come back where there are no more.
        seed: The same seed gives the same sentences.

    Returns:
        The sentences, and where they come from.

    Raises:
        BadDataError: If the folder holds no sentences.
    """
    if data is None:
        groups: dict[str, dict[str, None]] = {
            "helpdesk": dict.fromkeys(question.text for question in read_questions()[0])
        }
    else:
        groups = {}
        for file in sorted(data.glob("*/*.parquet")):
            if not file.stem.endswith("_phrases"):  # SST-2's pieces of sentences
                groups.setdefault(file.parent.name, {}).update(_texts(file))
        groups = {name: texts for name, texts in groups.items() if texts}
    if not groups:
        raise BadDataError(f"{data} has no DATASET/*.parquet with sentences; give the folder that holds the data sets.")
    generator = np.random.default_rng(seed)
    drawn: dict[str, None] = {}
    for number, name in enumerate(sorted(groups, key=lambda name: len(groups[name]))):  # the small ones give all
        left = [text for text in groups[name] if text not in drawn]
        share = -(-(n - len(drawn)) // (len(groups) - number))
        drawn.update(dict.fromkeys(left[i] for i in generator.permutation(len(left))[:share]))
    sentences = list(drawn)
    origin = HELPDESK if data is None else f"{len(groups)} data sets of {data}, as many of each"
    return [sentences[i] for i in generator.permutation(len(sentences))], origin


def _texts(file: Path) -> dict[str, None]:
    names = [name for name in COLUMNS if name in pq.read_schema(file).names]
    table = pq.read_table(file, columns=names)
    return dict.fromkeys(text for name in names for text in table[name].to_pylist() if text)


def bench_pairs(
    data: Path | None, task_name: str, n: int | None = None, split: str = "train"
) -> tuple[Pairs, Task, str]:
    """Labelled pairs of a task in random order (seed 0), every pair once.

    Args:
        data: As in `distinct_sentences`.
        task_name: A task known to dse.
        n: How many at most.
        split: Which split.

    Returns:
        The pairs, what their labels mean, and where they come from.
    """
    if data is None:
        pairs, task = _helpdesk_pairs(), Task("helpdesk", "binary", ("different", "same"), symmetric=True)
        origin = f"pairs of {HELPDESK}"
    else:
        task = get_task(task_name)
        pairs, origin = load_pairs(data, task, split), f"{task_name} {split} of {data}"
    rows = _first_of_each(pairs.tuples())
    order = np.random.default_rng(0).permutation(len(rows))[:n]
    return pairs.select([rows[i] for i in order]), task, origin


def _first_of_each(pairs: Iterable[tuple[str, str]]) -> list[int]:
    first: dict[tuple[str, str], int] = {}
    for row, pair in enumerate(pairs):
        first.setdefault(pair, row)
    return list(first.values())


def _helpdesk_pairs() -> Pairs:
    """Each question with the next of its intent, and with one drawn at random from all the others."""
    rows = sorted(((question.intent, question.text) for question in read_questions()[0]), key=lambda row: row[0])
    generator = np.random.default_rng(0)
    pairs: list[tuple[str, str, float]] = []
    for number, (intent, text) in enumerate(rows):
        other_intent, other = rows[(number + 1) % len(rows)]
        if other_intent == intent:
            pairs.append((text, other, 1.0))
        other_intent, other = rows[int(generator.integers(len(rows)))]
        if other_intent != intent:
            pairs.append((text, other, 0.0))
    first, second, label = (list(column) for column in zip(*pairs, strict=True))
    return Pairs(first, second, np.array(label, dtype=np.float32), "help-desk questions")
