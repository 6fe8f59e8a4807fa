"""From a corpus and an encoder to a student that ranks: teacher's vectors, training, evaluation, each step resumed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.data.collection import HELD_BACK, Collection, Judgements, Texts
from dse.errors import need_extra
from dse.model import DSE
from dse.recipe import claim_folder, finished, texts_hash
from dse.teacher.load import load_ranking_teacher
from dse.teacher.vectors import EncoderTeacher
from dse.training.ranking import RankingTraining, check_student, distill_ranking
from dse.training.ranking_lists import split_anchors

if TYPE_CHECKING:
    from dse.evaluation.ranking import RankingReport

__all__ = ["RankingRecipe", "make_ranker"]

logger = logging.getLogger(__name__)

HELD_OUT = "held out"  # what the queries of a report are called that no split names


@dataclass(frozen=True)
class RankingRecipe:
    """Everything that decides a student of rankings.

    Attributes:
        backbone: Folder or hub id of the encoder that the student starts from.
        teachers: Folders or hub ids of encoders; several are one teacher, whose score is the mean of theirs.
        student: Keywords of `DSE.from_backbone` besides head and number of layers.
        training: Optimiser settings.
    """

    backbone: str
    teachers: tuple[str, ...]
    student: Mapping[str, Any] = field(default_factory=dict)
    training: RankingTraining = field(default_factory=RankingTraining)


def make_ranker(
    corpus: Texts,
    queries: Texts | None,
    recipe: RankingRecipe,
    output: str | Path,
    *,
    judgements: Judgements | None = None,
    split: str = "test",
    name: str = "collection",
    command: str | None = None,
    show_progress_bar: bool = False,
) -> RankingReport:
    """Make a student that ranks: embed the texts with the teacher, train on its lists, evaluate, report.

    No label is read in training. Texts of split ``test`` and queries that are judged are only reported on. An
    interrupted run resumes where it stopped and ends in the same student; a finished one only reports.

    Args:
        corpus: The documents.
        queries: Queries, such as a log; None where there are none, as documents play the query too.
        recipe: The settings.
        output: Folder of the student; the teacher's vectors and the report lie in it too.
        judgements: For the metrics of the report; without them it shows agreement with the teacher, on the queries of
            ``split`` or, where there are none, on texts that were held out of training.
        split: Which queries are reported on.
        name: Of the collection, for the report.
        command: The command line, for the report.
        show_progress_bar: Whether to show bars.

    Returns:
        The report, also written to ``output/report`` and to the model card.

    Raises:
        MismatchError: If ``output`` holds a run with other settings or data, or a teacher has no vectors.
        BadDataError: If there are fewer than two documents.
        MissingExtraError: If the packages of the extra ``ranking`` are not installed.

    Example:
        >>> corpus = Texts(["d1", "d2", "d3"], ["a red bicycle", "a blue tent", "the old house"])
        >>> encoder, output = getfixture("encoder"), getfixture("tmp_path") / "student"
        >>> recipe = RankingRecipe(encoder, (encoder,), training=RankingTraining(steps=2))
        >>> report = make_ranker(corpus, None, recipe, output)
        >>> DSE(str(output)).head.kind, report.split
        ('cosine', 'held out')
    """
    for package in ("bm25s", "ir_measures", "Stemmer"):
        need_extra(package, "ranking")  # before any work
    output = Path(output)
    collection = Collection(corpus, queries or Texts([], []), judgements or {}, name)
    documents, log = corpus.for_training(), _query_log(collection)
    data = {"corpus": texts_hash(documents.texts), "queries": texts_hash(log.texts)}
    teachers = [load_ranking_teacher(path, dtype=recipe.training.dtype) for path in recipe.teachers]
    teacher = EncoderTeacher(teachers, output / "teacher_vectors")
    start = _start(recipe)
    claim_folder(output, {"kind": "ranking", "recipe": asdict(recipe), "data": data})
    if finished(output):
        student = DSE(str(output), dtype=start.inference_dtype, device=str(start.device))
    else:
        _say(collection, documents, log)
        student = _train(documents, log, teacher, _start(recipe), recipe, output, show_progress_bar)
    from dse.evaluation.card import write_results
    from dse.evaluation.ranking import evaluate_ranking, ranking_results, write_ranking_report

    asked, split = _asked(collection, documents, log, split, recipe)
    report = evaluate_ranking(
        student,
        asked,
        backbone=start,
        teacher=teacher,
        split=split,
        command=command,
        show_progress_bar=show_progress_bar,
    )
    report = replace(report, backbone=recipe.backbone)
    write_ranking_report(report, output / "report")
    write_results(output, f"{ranking_results(report)}\n\n{_how(recipe, documents, log, output)}")
    return report


def _start(recipe: RankingRecipe) -> DSE:
    """The untrained student."""
    settings: dict[str, Any] = {"head": "cosine", "num_layers": 1, "dtype": recipe.training.dtype, **recipe.student}
    student = DSE.from_backbone(recipe.backbone, **settings)
    check_student(student)
    return student


def _train(
    documents: Texts,
    log: Texts,
    teacher: EncoderTeacher,
    student: DSE,
    recipe: RankingRecipe,
    output: Path,
    bar: bool,
) -> DSE:
    vectors = teacher.vectors(documents.texts, log.texts, show_progress_bar=bar)
    student.info["teacher"] = teacher.fingerprint
    return distill_ranking(
        student,
        documents.texts,
        log.texts,
        output,
        teacher_vectors=vectors,
        settings=recipe.training,
        show_progress_bar=bar,
    )


def _query_log(collection: Collection) -> Texts:
    """The queries that play a part in training: none of split test, none that is judged, nor the same text again."""
    queries, judged = collection.queries, collection.judged()
    held_back = {*queries.of_splits(HELD_BACK).texts, *judged.texts}
    return queries.select([row for row, text in enumerate(queries.texts) if text not in held_back])


def _how(recipe: RankingRecipe, documents: Texts, log: Texts, output: Path) -> str:
    """How the student was trained, for the model card."""
    teachers = " and ".join(f"`{Path(path).name if Path(path).exists() else path}`" for path in recipe.teachers)
    undone = json.loads((output / "training.json").read_text(encoding="utf-8"))["kept_start"]
    return (
        f"Trained without labels on {len(documents):,} documents and {len(log):,} queries, to order the documents as "
        f"the cosine of {teachers} does: Kullback-Leibler divergence of its lists from the teacher's over the whole "
        f"corpus, at temperature {recipe.training.temperature:g}. Its score estimates the teacher's cosine."
        + (" The training did not help and was undone: the embeddings are the backbone's own." if undone else "")
    )


def _say(collection: Collection, documents: Texts, log: Texts) -> None:
    held_back = len(collection.queries) - len(log)
    logger.info(
        "learning from %s documents and %s queries%s",
        f"{len(documents):,}",
        f"{len(log):,}",
        f"; {held_back:,} queries are held back for the report" if held_back else "",
    )
    if held_back and not len(log):
        logger.info("no query is left to learn from, so the documents alone play the query; a query log would help")


def _asked(
    collection: Collection, documents: Texts, log: Texts, split: str, recipe: RankingRecipe
) -> tuple[Collection, str]:
    """What is reported on, and the name of its split."""
    queries = collection.queries
    if collection.judgements:
        return collection, split
    if len(queries.of_splits([split])):
        return collection, split
    held_out, _ = split_anchors(len(documents) + len(log), recipe.training.seed)
    chosen = log.select([row - len(documents) for row in held_out if row >= len(documents)])
    if not len(chosen):
        chosen = documents.select([row for row in held_out if row < len(documents)])
    return replace(collection, queries=replace(chosen, splits=[])), HELD_OUT
