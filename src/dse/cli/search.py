"""`dse search`: the best rows of an index for a query."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dse.cli import options as o
from dse.cli.index import IndexArgument, StudentOption, WhereOption, open_whole
from dse.cli.parsing import on_one_line, readable

LONGEST_ID = 40  # to which the other ids are padded


def search(
    path: IndexArgument,
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", callback=readable, help="Query; default: one a line on stdin."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Rows to find.")] = 10,
    where: WhereOption = None,
    exact: Annotated[bool, typer.Option("--exact", help="Score every row.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print scout ranks, counts and times.")] = False,
    student: StudentOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Find the best rows of an index for a query; with --json one object a query and line."""
    queries = query
    if not queries:
        from dse.data.pairs import read_sentences

        queries = read_sentences("-")
    index = open_whole(path, student)
    for number, text in enumerate(queries):
        answer = index.explain(text, top_k, where=where, exact=exact)
        if as_json:
            shown = {"query": text, **(answer if explain else {"hits": answer["hits"]})}
            print(o.to_json(shown))
            continue
        if len(queries) > 1:
            print(f"{'' if number == 0 else chr(10)}{on_one_line(text)}")
        print(_hits(answer["hits"], explain))
        if explain:
            print(_explained(answer))


def _hits(hits: list[dict[str, Any]], explain: bool) -> str:
    if not hits:
        return "No row meets this."
    ids = [on_one_line(hit["id"]) for hit in hits]
    width = min(LONGEST_ID, max(map(len, ids)))
    lines = []
    for place, (hit, name) in enumerate(zip(hits, ids, strict=True), start=1):
        known = {name: value for name, value in hit["metadata"].items() if value is not None}
        more = f"  {', '.join(f'{column}={value}' for column, value in known.items())}" if known else ""
        rank = f"  scout {hit['scout_rank']:>5}" if explain and "scout_rank" in hit else ""
        text = on_one_line(f"{hit['text']}{more}")
        lines.append(f"{place:>3}  {hit['score']:.4f}{rank}  {name:<{width}}  {text}")
    return "\n".join(lines)


def _explained(answer: dict[str, Any]) -> str:
    times = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in answer["seconds"].items())
    total = sum(answer["seconds"].values()) * 1000
    return (
        f"     {answer['mode']}, {answer['scored']:,} rows scored; {answer['promise']['text']}\n"
        f"     milliseconds: {times}; {total:.1f} in all"
    )
