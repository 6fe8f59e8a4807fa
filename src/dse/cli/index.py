"""`dse index ...`: one function per command; nothing heavy is imported before it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.cli import options as o
from dse.cli.parsing import proper_share

if TYPE_CHECKING:
    from dse.index import CandidateIndex
    from dse.index.shards.sharded_index import AnyIndex
    from dse.index.store import Store

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


def open_store(path: str) -> Store:
    """The rows of an index, without its student."""
    from dse.index.store import Store

    return Store(path)


def open_index(path: str, student: str | None, rows: str = "-") -> CandidateIndex:
    """The index, with its student; errors of the paths come before the student is loaded."""
    from dse.data.text_files import need_file

    need_file(os.path.expanduser(rows))
    from dse.index import CandidateIndex

    open_store(path)
    return CandidateIndex(path, student)


def open_stores(path: str) -> list[Store]:
    """The rows of an index, of each of its shards if it has any, without its student."""
    from dse.index.shards.names import is_sharded, open_shards

    return open_shards(path) if is_sharded(path) else [open_store(path)]


def open_whole(path: str, student: str | None) -> AnyIndex:
    """As `open_index`, for commands that also take an index in shards."""
    from dse.index.shards import sharded_index

    open_stores(path)
    return sharded_index.open_index(path, student)


@index_app.command()
def create(
    path: IndexArgument,
    student: Annotated[str, typer.Option("--student", help="Student: folder or hub id.")],
    label: LabelOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Make an empty index for a student."""
    from dse.index import CandidateIndex

    CandidateIndex.create(path, student, label=label)
    o.show(
        {"index": path},
        f"{path} is ready; fill it with: dse index add {path} ROWS [--id-column, --text-column]",
        as_json,
    )


@index_app.command()
def add(
    path: IndexArgument,
    rows: RowsArgument,
    student: StudentOption = None,
    id_column: IdOption = "id",
    text_column: TextOption = "text",
    batch_size: BatchOption = 8192,
    ray: o.RayOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Add rows and skip those already stored; run a killed command again to continue."""
    index = open_index(path, student, rows)
    with o.workers(ray) as run:
        done = index.add(
            rows,
            id_column=id_column,
            text_column=text_column,
            batch_size=batch_size,
            show_progress_bar=o.on_terminal(),
            run=None if ray is None else run,
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
    index = open_index(path, student, rows)
    done = index.upsert(
        rows, id_column=id_column, text_column=text_column, batch_size=batch_size, show_progress_bar=o.on_terminal()
    )
    _show_done(index, done, as_json)


def _show_done(index: CandidateIndex, done: dict[str, int], as_json: bool) -> None:
    info = index.info()
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in done.items())
    advice = f"\n{info['advice'].capitalize()}" if info["advice"] else ""
    o.show(done | {"rows": info["rows"]}, f"{counts}; the index has {info['rows']:,} rows.{advice}", as_json)


@index_app.command()
def delete(
    path: IndexArgument,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, or - for one a line on stdin.")] = None,
    where: WhereOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many rows would be removed.")] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Remove rows by id, or all that meet a condition; says first how many these are."""
    if bool(ids) == (where is not None):
        raise typer.BadParameter("give ids or --where CONDITION, one of the two.")
    if ids == ["-"]:
        from dse.data.pairs import read_sentences

        ids = read_sentences("-")
    store = open_store(path)
    if dry_run:
        count = store.count_ids(ids) if ids else store.count(where)
        rows = store.count()
        _say_unknown(ids, count)
        return o.show({"deleted": 0, "matching": count, "rows": rows}, _of(count, rows, "would be removed."), as_json)
    with store.writing():
        count = store.count_ids(ids) if ids else store.count(where)
        _say_unknown(ids, count)
        if not as_json:
            typer.echo(_of(count, store.count(), "are going to be removed."), err=True)
        count = store.delete(ids) if ids else store.delete_where(str(where))
    o.show({"deleted": count}, f"{count:,} rows removed.", as_json)


def _say_unknown(ids: list[str] | None, count: int) -> None:
    """How many of the ids are of no row, if any."""
    distinct = len(set(ids or ()))
    if ids and count < distinct:
        typer.echo(f"{distinct - count:,} of {distinct:,} ids are of no row.", err=True)


def _of(count: int, rows: int, end: str) -> str:
    return f"{count:,} of {rows:,} rows {end}"


@index_app.command()
def calibrate(
    path: IndexArgument,
    queries: Annotated[
        str, typer.Option("--queries", help="Sample queries: txt (one a line), parquet csv tsv jsonl, or -.")
    ],
    student: StudentOption = None,
    column: Annotated[str | None, typer.Option("--column", help="Column of the queries.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Best rows of a query.")] = 10,
    recall: Annotated[
        float, typer.Option("--recall", callback=proper_share, help="Share of the exact best rows to find.")
    ] = 0.99,
    confidence: Annotated[
        float, typer.Option("--confidence", callback=proper_share, help="Confidence of that recall.")
    ] = 0.95,
    ray: o.RayOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Find the shortest shortlist that keeps a promised recall; every row is scored for every sample query."""
    from dse.data.pairs import read_sentences
    from dse.index.shards.names import is_sharded

    if ray is not None and is_sharded(path):
        raise typer.BadParameter("each shard of an index has a process of its own already; leave --ray out.")
    sentences = read_sentences(queries, column)
    index = open_whole(path, student)
    settings: dict[str, Any] = {"recall": recall, "confidence": confidence, "show_progress_bar": o.on_terminal()}
    with o.workers(ray) as run:
        if ray is not None:
            settings["run"] = run
        result = index.calibrate(sentences, top_k, **settings)
    length = result["shortlist"]
    how = f"a shortlist of {length:,} rows" if length else "only scoring every row"
    o.show(
        result,
        f"{how[0].upper()}{how[1:]} finds at least {recall:g} of the best {top_k} with confidence {confidence:g} "
        f"({result['measured']:.4f} on these {result['queries']:,} queries, {result['rows']:,} rows).",
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

    from dse.index import maintenance
    from dse.index.info import index_info

    store = open_store(path)

    def train_scout(embeddings: Any) -> Any:  # the student is loaded only if a scout has to be trained
        from dse.index.student import make_scout

        return make_scout(embeddings, student, store, o.on_terminal())

    maintenance.optimize(store, timedelta(minutes=keep_minutes), train_scout)
    _show_info(index_info(store), as_json)


@index_app.command()
def combine(
    path: Annotated[str, typer.Argument(help="New folder, or one that this command made.")],
    shards: Annotated[list[str], typer.Argument(help="Indexes of one student: folders or object-store URIs.")],
    as_json: o.JsonOption = False,
) -> None:
    """Make one index of several, its shards: `dse search` and `dse serve` search each in a process of its own."""
    from dse.index.shards.names import write_names

    rows = [store.count() for store in write_names(path, shards)]
    shown = f"{path} has {sum(rows):,} rows in {len(rows)} shards."
    o.show({"index": path, "rows": sum(rows), "shards": len(rows)}, shown, as_json)


@index_app.command()
def info(path: IndexArgument, as_json: o.JsonOption = False) -> None:
    """Print rows, columns, student, scout and the promised recall."""
    from dse.index.info import Known, index_info
    from dse.index.shards.merge import merged_info
    from dse.index.shards.names import is_sharded

    infos = [(index_info(store), Known.of(store)) for store in open_stores(path)]
    _show_info(merged_info(path, infos) if is_sharded(path) else infos[0][0], as_json)


def _show_info(info: dict[str, Any], as_json: bool) -> None:
    size = f"{info['bytes'] / 2**20:,.1f} MiB" if info["bytes"] is not None else "unknown"
    columns = ", ".join(f"{name} ({kind})" for name, kind in info["columns"].items()) or "none"
    shortlist = (info["calibration"] or {}).get("shortlist")
    lines = [
        (
            "rows",
            f"{info['rows']:,}"
            + (f", {info['unindexed_rows']:,} since the last optimize" if info["unindexed_rows"] else ""),
        ),
        ("columns", columns),
        ("student", f"{info['student'][:12]}  {info['student_source'] or ''}".rstrip()),
        *([("label", info["label"])] if info["label"] else []),
        ("search", info["mode"] + (f", shortlist of {shortlist:,}" if shortlist and info["mode"] != "exact" else "")),
        ("recall", info["promise"]),
        *([("note", info["warning"])] if info["warning"] else []),
        *([("note", info["advice"])] if info["advice"] else []),
        ("size", f"{size} in {info['fragments']} fragments, version {info['version']}"),
        *[("shard", f"{shard['path']}: {shard['rows']:,} rows, {shard['mode']}") for shard in info.get("shards", ())],
        ("created", info["created"]),
    ]
    o.show(info, "\n".join(f"{name:<9} {value}" for name, value in lines), as_json)


@index_app.command()
def rebuild(
    path: IndexArgument,
    student: Annotated[str, typer.Option("--student", help="The new student: folder or hub id.")],
    label: LabelOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Change to another student: embed the stored texts again. Run it again to continue a stopped run."""
    from dse.index import rebuild as rebuilding
    from dse.index.info import index_info
    from dse.index.student import new_manifest

    store = open_store(path)
    rebuilding.rebuild(store, *new_manifest(student, label), show_progress_bar=o.on_terminal())
    _show_info(index_info(store), as_json)
