"""`--embeddings` of `dse distill`: the pair head alone, learned on vectors that exist already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from dse.cli import options as o

# Options of `dse distill` that also mean something here.
KNOWN = {"output", "embeddings", "queries", "qrels", "scores", "backbone", "seed", "as_json", "config"}


def distill_vectors(context: typer.Context, output: Path, embeddings: Path, as_json: bool) -> None:
    """Read vectors and lists, fit, save, say what was gained."""
    given = [str(param.name) for param in context.command.params if _is_given(context, str(param.name))]
    if other := [name for name in given if name not in KNOWN]:
        raise typer.BadParameter(f"--{other[0].replace('_', '-')} means nothing with --embeddings; leave it out.")
    qrels, scores = context.params["qrels"], context.params["scores"]
    if context.params["queries"] is None:
        raise typer.BadParameter("give the queries' id, embedding with --queries.")
    if (qrels is None) == (scores is None):
        raise typer.BadParameter("give judgements with --qrels, or scores of pairs with --scores.")
    from dse import fit_head
    from dse.data.collection import Collection, Texts
    from dse.data.collection_files import load_judgements
    from dse.data.lists import load_lists
    from dse.data.vectors import load_vectors
    from dse.training.head_only import HeadTraining
    from dse.training.run_folder import array_hash, claim_folder, texts_hash

    ids, documents = load_vectors(embeddings)
    names, queries = load_vectors(query_file := context.params["queries"])
    collection = Collection(Texts(ids, ids, source=str(embeddings)), Texts(names, names, source=query_file))
    if scores is not None:
        lists = load_lists(scores, collection)
        found: dict[str, dict[str, float]] = {
            query: dict(zip(own, values.tolist(), strict=True))
            for query, own, values in zip(lists.queries, lists.candidates, lists.scores, strict=True)
        }
    else:
        judged = load_judgements(qrels, collection, split="train")  # or of no split: those of test are only reported on
        found = {query: {d: float(g) for d, g in own.items()} for query, own in judged.items()}
    run = {"kind": "head", "encoder": context.params["backbone"], "seed": context.params["seed"]}
    data = {
        "documents": array_hash(documents),
        "queries": array_hash(queries),
        "lists": texts_hash([json.dumps(found)]),
    }
    claim_folder(output, run | {"data": data})
    place, at = ({name: row for row, name in enumerate(keys)} for keys in (ids, names))
    student = fit_head(
        queries[[at[query] for query in found]],
        documents,
        [{place[document]: value for document, value in own.items()} for own in found.values()],
        encoder=context.params["backbone"],
        settings=HeadTraining(seed=context.params["seed"]),
    )
    student.save_pretrained(str(output))
    fitted: dict[str, Any] = student.info["head_fit"]
    text = (
        f"{fitted['held_out']:,} held-out lists: nDCG@10 {100 * fitted['before']:.1f} by the cosine, "
        f"{100 * fitted['after']:.1f} with the head ({fitted['lists']:,} lists learned).\nThe student is in {output}."
    )
    o.show(fitted, text, as_json)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")
