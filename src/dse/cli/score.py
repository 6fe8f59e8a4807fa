"""`dse score` and `dse rank`: score pairs, and order candidates for a query."""

from __future__ import annotations

from typing import Annotated

import typer

from dse.cli import options as o
from dse.cli.parsing import on_one_line, readable


def score(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    pairs: Annotated[str, typer.Argument(help="Pairs: parquet csv tsv jsonl, or - for jsonl on stdin.")] = "-",
    columns: o.ColumnsOption = None,
    skip_bad_rows: o.SkipOption = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print scores before the activation.")] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Print the scores of each pair, one line a pair; with --json one object with the sentences."""
    loaded = o.read_pairs(pairs, None, "train", columns, skip_bad_rows, labelled=False)
    import torch

    from dse import DSE

    scores = DSE(student).predict(
        loaded.tuples(), activation_fn=torch.nn.Identity() if raw else None, show_progress_bar=o.on_terminal()
    )
    for (first, second), row in zip(loaded.tuples(), scores.tolist(), strict=True):
        if as_json:
            print(o.to_json({"sentence1": first, "sentence2": second, "score": row}))
        else:
            print("\t".join(f"{value:.6f}" for value in (row if isinstance(row, list) else [row])))


def rank(
    student: Annotated[str, typer.Argument(help="Student: folder or hub id.")],
    query: Annotated[str, typer.Option("--query", "-q", callback=readable, help="Sentence to compare with.")],
    candidates: Annotated[
        str, typer.Option("--candidates", "-c", help="Sentences: txt (one a line), parquet csv tsv jsonl, or -.")
    ],
    column: Annotated[str | None, typer.Option("--column", help="Column of the candidates.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Candidates to print.")] = 10,
    as_json: o.JsonOption = False,
) -> None:
    """Order candidate sentences by their score with a query."""
    from dse.data.pairs import read_sentences

    sentences = read_sentences(candidates, column)
    from dse import DSE

    results = DSE(student).rank(query, sentences, top_k=top_k, return_documents=True, show_progress_bar=False)
    lines = [f"{place:>3}  {r['score']:.4f}  {on_one_line(str(r['text']))}" for place, r in enumerate(results, start=1)]
    o.show(results, "\n".join(lines), as_json)
