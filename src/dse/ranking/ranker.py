"""From a corpus and an encoder to a student that ranks: teacher's vectors, training, evaluation, each step resumed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sentence_transformers import CrossEncoder

from dse.data.collection import Collection, Judgements, Texts
from dse.data.lists import Lists
from dse.errors import MismatchError, need_extra, refuse_file, refuse_unwritable
from dse.model import DSE
from dse.ranking.inputs import check_texts
from dse.ranking.rounds import BOUGHT
from dse.ranking.ways import FromLists, FromPairs, FromVectors, Way, choose_way
from dse.ranks import ranks, together
from dse.teacher.load import load_ranking_teacher
from dse.teacher.pair_teacher import PairTeacher
from dse.training.linear_start import several_layers
from dse.training.ranking import RankingTraining, check_student
from dse.training.run_folder import claim_folder

if TYPE_CHECKING:
    from dse.evaluation.ranking import RankingReport

__all__ = ["RankingRecipe", "make_ranker"]

logger = logging.getLogger(__name__)

HELD_OUT = "held out"  # what the queries of a report are called that no split names
PAIR_QUERIES = 20, 100  # of a report in which a teacher of pairs ranks too: at least, at most
PAIRS_OF_QUERY = 200  # that the teacher is then asked about, at most


@dataclass(frozen=True)
class RankingRecipe:
    """Everything that decides a student of rankings.

    Attributes:
        backbone: Folder or hub id of the encoder that the student starts from.
        teachers: Folders or hub ids. Encoders are one teacher, the mean of their cosines, each at the same spread;
            with a cross-encoder among them, the score is the mean of theirs, each normalised.
        student: Keywords of `DSE.from_backbone` besides head and number of layers.
        training: Optimiser settings.
        teacher_pairs: How many pairs a teacher that is no encoder scores at most for the student to learn from. The
            report asks it about up to as many again: 200 documents for each of 20 to 100 queries.
    """

    backbone: str
    teachers: tuple[str, ...] = ()
    student: Mapping[str, Any] = field(default_factory=dict)
    training: RankingTraining = field(default_factory=RankingTraining)
    teacher_pairs: int = 8_000

    def __post_init__(self) -> None:
        """Refuse one teacher without the tuple around it, whose letters would be teachers."""
        if isinstance(self.teachers, str):
            raise ValueError(f"teachers is one text; give a tuple, ({self.teachers!r},).")


@together()
def make_ranker(
    corpus: Texts,
    queries: Texts | None,
    recipe: RankingRecipe,
    output: str | Path,
    *,
    teacher: Any = None,
    lists: Lists | None = None,
    labels: Lists | None = None,
    teacher_cache: str | Path | None = None,
    judgements: Judgements | None = None,
    split: str = "test",
    name: str = "collection",
    command: str | None = None,
    show_progress_bar: bool = False,
) -> RankingReport:
    """Make a student that ranks: ask the teacher, train on its lists, evaluate, report.

    No label is read in training, unless ``lists`` or ``labels`` hold some. Texts of split ``test`` and queries that are
    judged are only reported on. An interrupted run resumes where it stopped and ends in the same student; a finished
    one only reports. Under `torchrun` all processes share the work, and the first one reports.

    Args:
        corpus: The documents.
        queries: Queries, such as a log; None where there are none. Documents play the query too: for an encoder the
            whole texts, for a teacher of pairs titles and beginnings where queries are too few.
        recipe: The settings.
        output: Folder of the student; what the teacher gave and the report lie in it too.
        teacher: In place of ``recipe.teachers`` any object with ``predict(pairs)``, or several.
        lists: In place of a teacher, scores from elsewhere; see `dse.data.load_lists`.
        labels: Beside the teacher's lists those that people judged, right and wrong documents of a query; learned in
            turn with them. Queries that the report is on are left out.
        teacher_cache: Folder for what the teacher gave, which several students may share; by default ``output``.
        judgements: For the metrics of the report; without them it shows agreement with the teacher, on the queries of
            ``split`` or, where there are none, on texts that were held out of training. Of lists without a teacher it
            shows agreement with the scores of lists that were held out.
        split: Which queries are reported on.
        name: Of the collection, for the report.
        command: The command line, for the report.
        show_progress_bar: Whether to show bars.

    Returns:
        The report, also written to ``output/report`` and to the model card.

    Raises:
        MismatchError: If ``output`` holds a run with other settings or data, or a teacher does not fit.
        BadDataError: If there are fewer than two documents, or too few lists.
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
    refuse_unwritable(output)
    if teacher_cache is not None:
        refuse_file(teacher_cache)
    for what, texts in (("corpus", corpus), ("queries", queries)):
        if texts is not None and not isinstance(texts, Texts):
            kind = type(texts).__name__
            raise MismatchError(f"{what} is a {kind}; give Texts, as dse.data.load_corpus and load_queries read them.")
    collection = Collection(corpus, Texts([], []) if queries is None else queries, judgements or {}, name)
    check_texts(collection.corpus, "document")
    check_texts(collection.queries, "query")
    given = teacher if isinstance(teacher, list | tuple) else [] if teacher is None else [teacher]
    if given and recipe.teachers:
        raise MismatchError("There are teachers in the recipe and beside it; give one of the two.")
    free = _free(recipe)
    if free != recipe:
        _start(recipe)  # refused, if it is, before the teachers are loaded, which are larger
    start = _start(free)
    loaded = [load_ranking_teacher(path, dtype=recipe.training.dtype) for path in recipe.teachers]
    way = choose_way(
        collection,
        recipe.training,
        output,
        show_progress_bar,
        teachers=[*loaded, *given],
        lists=lists,
        labels=labels,
        budget=recipe.teacher_pairs,
        cache=None if teacher_cache is None else Path(teacher_cache),
    )
    names = {"teacher": way.teacher.fingerprint} if given else {}
    claim_folder(output, {"kind": "ranking", "recipe": _settings(recipe, way), "data": way.data()} | names)
    if ranks().from_first(way.finished):
        student = DSE(str(output), dtype=start.inference_dtype, device=str(start.device))
    else:
        for path, model in zip(recipe.teachers, loaded, strict=True):
            reads = "a cross-encoder, reads each pair" if isinstance(model, CrossEncoder) else "embeds each text once"
            logger.info("teacher %s: %s", path, reads)
        if [realpath(path) for path in recipe.teachers] == [realpath(recipe.backbone)]:
            logger.warning("The teacher is the backbone itself, so there is nothing to learn; give a better model.")
        _say(collection, way)
        # An encoder's vectors of all texts are enough to fit a projection to.
        student = _start(recipe, several_layers(start) if isinstance(way, FromVectors) else None)
        student.info["backbone"] = recipe.backbone
        student = way.train(student)
    from dse.evaluation.card import write_results
    from dse.evaluation.ranking import evaluate_ranking, ranking_results, write_ranking_report

    held_out = None
    if isinstance(way, FromLists) and way.teacher is None and not collection.judgements:
        asked, held_out, split = collection, way.held_out_lists(), HELD_OUT
    else:
        asked, split = _asked(collection, way, split, recipe.teacher_pairs)

    def evaluate() -> RankingReport:
        report = evaluate_ranking(
            student,
            asked,
            backbone=start,
            teacher=way.teacher,
            lists=held_out,
            split=split,
            command=command,
            show_progress_bar=show_progress_bar,
        )
        report = replace(report, backbone=recipe.backbone, bought=_bought(output), training=_how(way, recipe))
        write_ranking_report(report, output / "report")
        write_results(output, f"{ranking_results(report)}\n\n{report.training}")
        return report

    return ranks().from_first(evaluate)


def _settings(recipe: RankingRecipe, way: Way) -> dict[str, Any]:
    """The recipe as run.json keeps it: the budget where it counts."""
    settings = asdict(recipe)
    if not isinstance(way, FromPairs):
        del settings["teacher_pairs"]
    return settings


def _free(recipe: RankingRecipe) -> RankingRecipe:
    """The recipe of the free cosine, that of the last layer, whatever layers the student is made of."""
    own = ("num_layers", "projection", "average_layers", "freeze_backbone")
    return replace(recipe, student={name: value for name, value in recipe.student.items() if name not in own})


def _start(recipe: RankingRecipe, layers: Mapping[str, int] | None = None) -> DSE:
    """The untrained student, of the last layer or of others, as far as the recipe does not say so itself."""
    asked = recipe.student
    plain = asked.get("num_layers") == 1 or asked.keys() & {"projection", "average_layers"}
    own = layers if layers and not plain else {"num_layers": 1}
    settings: dict[str, Any] = {"head": "cosine", "dtype": recipe.training.dtype, **own, **asked}
    student = DSE.from_backbone(recipe.backbone, **settings)
    check_student(student)
    return student


def _say(collection: Collection, way: Way) -> None:
    held_back = sum(text in way.held_back for text in collection.queries.texts)
    logger.info(
        "learning from %s, a few of which only check the training%s",
        way.learned_from(),
        f"; {held_back:,} other queries are held back for the report" if held_back else "",
    )
    if way.cut:
        logger.info("learning %s short queries too, one to four words cut from documents", f"{way.cut:,}")
    if held_back and len(way.log) == way.cut:
        logger.info("all queries are held back, so the documents alone play the query; a query log would help")


def _asked(collection: Collection, way: Way, split: str, budget: int) -> tuple[Collection, str]:
    """What is reported on, and the name of its split; a teacher of pairs is asked about as many as in training."""
    if not collection.judgements and not len(collection.queries.of_splits([split])):
        collection, split = replace(collection, queries=replace(way.held_out(), splits=[])), HELD_OUT
    if not isinstance(way.teacher, PairTeacher):
        return collection, split
    queries = collection.judged() if collection.judgements else _of_split(collection.queries, split)
    fewest, most = PAIR_QUERIES
    number = min(len(queries), max(fewest, min(most, budget // PAIRS_OF_QUERY)))
    message = "report: on %d of %d queries; the teacher is asked about up to %s pairs more"
    logger.info(message, number, len(queries), f"{number * PAIRS_OF_QUERY:,}")
    if number == len(queries):
        return collection, split
    rows = np.random.default_rng(0).choice(len(queries), number, replace=False)
    chosen = queries.select(sorted(rows.tolist()))
    judgements = {name: grades for name, grades in collection.judgements.items() if name in set(chosen.ids)}
    return replace(collection, queries=chosen, judgements=judgements), split


def _of_split(queries: Texts, split: str) -> Texts:
    return queries.of_splits([split]) if any(queries.splits) else queries


def _how(way: Way, recipe: RankingRecipe) -> str:
    """How the student was trained, for report and model card."""
    names = [f"`{Path(path).name if Path(path).exists() else path}`" for path in recipe.teachers]
    training = json.loads((way.output / "training.json").read_text(encoding="utf-8"))
    sentences = [way.how()]
    if names:
        sentences.append(f"Teacher: {' and '.join(names)}.")
    if way.labels:
        sentences.append(f"In turn with these it learned what people judged, lists of {len(way.labels):,} queries.")
    if training["kept_start"]:
        sentences.append("The steps of training did not help and were undone.")
    return " ".join(sentences)


def _bought(output: Path) -> list[dict[str, float]]:
    """What each round of pairs bought; empty without rounds."""
    file = output / BOUGHT
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
