"""A student on NanoBEIR, small parts of BEIR's collections, by the evaluators of sentence-transformers.

from dse.evaluation.nano_beir import nano_beir

nano_beir(DSE("my-student"), ["msmarco", "nq"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.evaluation import CrossEncoderNanoBEIREvaluator
from sentence_transformers.sentence_transformer.evaluation import NanoBEIREvaluator

from dse.errors import BadDataError, need_extra
from dse.evaluation.ranking.rankers import check_scorer
from dse.model import DSE

SOURCE = "sentence-transformers/NanoBEIR-en"


def nano_beir(
    student: DSE, names: Sequence[str] | None = None, *, source: str = SOURCE, show_progress_bar: bool = False
) -> dict[str, dict[str, float]]:
    """Measure nDCG@10 as sentence-transformers reports it, so that figures compare with published ones.

    Args:
        student: A student with one score per pair.
        names: Collections, such as ``msmarco`` and ``nq``; by default the eleven that
            `CrossEncoderNanoBEIREvaluator` takes.
        source: Hub data set, or a folder of the same shape.
        show_progress_bar: Whether to show one.

    Returns:
        For each collection, and for their ``mean``: ``BM25``, the order of BM25's 100 as published; ``student``, which
        reranks them, relevant documents that BM25 missed added, as that evaluator does; ``student's cosine``, of its
        embeddings over the whole collection.

    Raises:
        BadDataError: If the data cannot be loaded.
        MismatchError: If the student gives several scores per pair.
        MissingExtraError: If `datasets` is not installed.
    """
    need_extra("datasets", "train")
    check_scorer(student)
    chosen = None if names is None else list(names)
    try:
        reranking = CrossEncoderNanoBEIREvaluator(chosen, source, show_progress_bar=show_progress_bar, write_csv=False)
        searching = NanoBEIREvaluator(
            reranking.dataset_names, source, show_progress_bar=show_progress_bar, write_csv=False
        )
    except ValueError as error:
        raise BadDataError(f"NanoBEIR cannot be loaded ({error}); check names and connection") from error
    reranked = reranking(cast(CrossEncoder, student))  # it calls `predict` and no more
    searched = searching(student)
    collections = [key.removesuffix("_R100_ndcg@10") for key in reranked if key.endswith("_R100_ndcg@10")]
    results = {
        name: {
            "BM25": reranked[f"{name}_R100_base_ndcg@10"],
            "student": reranked[f"{name}_R100_ndcg@10"],
            "student's cosine": searched[f"{name}_cosine_ndcg@10"],
        }
        for name in collections
    }
    means = {row: sum(values[row] for values in results.values()) / len(results) for row in results[collections[0]]}
    return results | {"mean": means}
