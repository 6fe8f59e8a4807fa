"""`dse index ...`: one function per command; nothing heavy is imported before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.cli import options as o

if TYPE_CHECKING:
    from dse.index import CandidateIndex

index_app = typer.Typer(
    help="An index on disk, searched with a student's pair head.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

IndexArgument = Annotated[str, typer.Argument(help="Folder of the index, or an object-store URI.")]
StudentOption = Annotated[
    str | None, typer.Option("--student", help="Student: folder or hub id. Default: the one the index was made with.")
]
RowsArgument = Annotated[str, typer.Argument(help="Rows: parquet csv tsv jsonl, or - for jsonl on stdin.")]
IdOption = Annotated[str, typer.Option("--id-column", help="Column of the ids.")]
TextOption = Annotated[str, typer.Option("--text-column", help="Column of the texts.")]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, help="Rows encoded and committed at a time.")]
LabelOption = Annotated[str | None, typer.Option("--label", help="Class to search for, if the student has several.")]
WhereOption = Annotated[str | None, typer.Option("--where", help="A condition: \"price < 10 and lang = 'en'\".")]


def open_index(path: str, student: str | None) -> CandidateIndex:
    """The index, with its student loaded; a wrong path is refused before that."""
    from dse.errors import need_extra

    need_extra("lance", "index")
    from dse.index import CandidateIndex
    from dse.index.store import Store

    Store(path)
    return CandidateIndex(path, student)


@index_app.command()
def create(
    path: IndexArgument,
    student: Annotated[str, typer.Option("--student", help="Student: folder or hub id.")],
    label: LabelOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Make an empty index for a student."""
    from dse.errors import need_extra

    need_extra("lance", "index")
    from dse.index import CandidateIndex

    CandidateIndex.create(path, student, label=label)
    o.show({"index": path}, f"{path} is ready; fill it with: dse index add {path} ROWS", as_json)


@index_app.command()
def add(
    path: IndexArgument,
    rows: RowsArgument,
    student: StudentOption = None,
    id_column: IdOption = "id",
    text_column: TextOption = "text",
    batch_size: BatchOption = 8192,
    as_json: o.JsonOption = False,
) -> None:
    """Add rows and skip those already stored; run a killed command again to continue."""
    index = open_index(path, student)
    done = index.add(
        rows, id_column=id_column, text_column=text_column, batch_size=batch_size, show_progress_bar=o.on_terminal()
    )
    _show_done(index, done, as_json)


@index_app.command()
def upsert(
    path: IndexArgument,
    rows: RowsArgument,
    student: StudentOption = None,
    id_column: IdOption = "id",
    text_column: TextOption = "text",
    batch_size: BatchOption = 8192,
    as_json: o.JsonOption = False,
) -> None:
    """Add rows, and replace those whose ids are stored."""
    index = open_index(path, student)
    done = index.upsert(
        rows, id_column=id_column, text_column=text_column, batch_size=batch_size, show_progress_bar=o.on_terminal()
    )
    _show_done(index, done, as_json)


def _show_done(index: CandidateIndex, done: dict[str, int], as_json: bool) -> None:
    info = index.info()
    said = ", ".join(f"{count:,} {what}" for what, count in done.items())
    advice = f"\n{info['advice'].capitalize()}" if info["advice"] else ""
    o.show(done | {"rows": info["rows"]}, f"{said}; the index has {info['rows']:,} rows.{advice}", as_json)


@index_app.command()
def delete(
    path: IndexArgument,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, or - for one a line on stdin.")] = None,
    where: WhereOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Remove rows by id, or all that meet a condition."""
    if bool(ids) == (where is not None):
        raise typer.BadParameter("give ids, or --where CONDITION.")
    from dse.errors import need_extra

    need_extra("lance", "index")
    from dse.index.store import Store

    if ids == ["-"]:
        from dse.data.pairs import read_sentences

        ids = read_sentences("-")
    store = Store(path)
    with store.writing():
        count = store.delete(ids) if ids else store.delete_where(str(where))
    o.show({"deleted": count}, f"{count:,} rows removed.", as_json)


@index_app.command()
def calibrate(
    path: IndexArgument,
    queries: Annotated[
        str, typer.Option("--queries", help="Sample queries: txt (one a line), parquet csv tsv jsonl, or -.")
    ],
    student: StudentOption = None,
    column: Annotated[str | None, typer.Option("--column", help="Column of the queries.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Best rows of a query.")] = 10,
    recall: Annotated[float, typer.Option("--recall", help="Share of the exact best rows to find.")] = 0.99,
    confidence: Annotated[float, typer.Option("--confidence", help="Confidence of that recall.")] = 0.95,
    as_json: o.JsonOption = False,
) -> None:
    """Find the shortest shortlist that keeps a promised recall; every row is scored for every sample query."""
    from dse.data.pairs import read_sentences

    sentences = read_sentences(queries, column)
    index = open_index(path, student)
    found = index.calibrate(sentences, top_k, recall=recall, confidence=confidence, show_progress_bar=o.on_terminal())
    length = found["shortlist"]
    how = f"a shortlist of {length:,} rows" if length else "only scoring every row"
    o.show(
        found,
        f"{how[0].upper()}{how[1:]} finds at least {recall:g} of the best {top_k} with confidence {confidence:g} "
        f"({found['measured']:.4f} on these {found['queries']:,} queries, {found['rows']:,} rows).",
        as_json,
    )


@index_app.command()
def optimize(
    path: IndexArgument,
    student: StudentOption = None,
    keep_minutes: Annotated[
        float, typer.Option("--keep-minutes", min=0, help="Keep files of older commits for so many minutes.")
    ] = 60.0,
    as_json: o.JsonOption = False,
) -> None:
    """Merge small files, index new rows and remove unused files."""
    from datetime import timedelta

    from dse.errors import need_extra

    need_extra("lance", "index")
    from dse.index import upkeep
    from dse.index.report import describe
    from dse.index.store import Store

    store = Store(path)

    def teach(embeddings: Any) -> Any:  # the student is loaded only if a scout has to be taught
        from dse.index import students

        return students.teach(embeddings, student, store, o.on_terminal())

    upkeep.optimize(store, timedelta(minutes=keep_minutes), teach)
    _show_info(describe(store), as_json)


@index_app.command()
def info(path: IndexArgument, as_json: o.JsonOption = False) -> None:
    """Print rows, columns, student, scout and the promised recall."""
    from dse.errors import need_extra

    need_extra("lance", "index")
    from dse.index.report import describe
    from dse.index.store import Store

    _show_info(describe(Store(path)), as_json)


def _show_info(found: dict[str, Any], as_json: bool) -> None:
    size = f"{found['bytes'] / 2**20:,.1f} MiB" if found["bytes"] is not None else "unknown"
    columns = ", ".join(f"{name} ({kind})" for name, kind in found["columns"].items()) or "none"
    shortlist = (found["calibration"] or {}).get("shortlist")
    lines = [
        (
            "rows",
            f"{found['rows']:,}"
            + (f", {found['unindexed_rows']:,} since the last optimize" if found["unindexed_rows"] else ""),
        ),
        ("columns", columns),
        ("student", f"{found['student'][:12]}  {found['student_source'] or ''}".rstrip()),
        *([("label", found["label"])] if found["label"] else []),
        ("search", found["mode"] + (f", shortlist of {shortlist:,}" if shortlist and found["mode"] != "exact" else "")),
        ("recall", found["promise"]),
        *([("note", found["warning"])] if found["warning"] else []),
        *([("note", found["advice"])] if found["advice"] else []),
        ("size", f"{size} in {found['fragments']} fragments, version {found['version']}"),
        ("created", found["created"]),
    ]
    o.show(found, "\n".join(f"{name:<9} {value}" for name, value in lines), as_json)


@index_app.command()
def rebuild(
    path: IndexArgument,
    student: Annotated[str, typer.Option("--student", help="The new student: folder or hub id.")],
    label: LabelOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Change to another student: embed the stored texts again. Run it again to continue a stopped run."""
    from dse.errors import need_extra

    need_extra("lance", "index")
    from dse.index import rebuild as rebuilding
    from dse.index.report import describe
    from dse.index.store import Store

    store = Store(path)
    rebuilding.rebuild(store, student, label, show_progress_bar=o.on_terminal())
    _show_info(describe(store), as_json)
