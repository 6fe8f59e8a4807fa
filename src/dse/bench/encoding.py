"""How fast sentences become embeddings: `DSE.encode` against `SentenceTransformer.encode`, same vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

from dse.bench.harness import Figure, Result
from dse.bench.sentences import bench_pairs, distinct_sentences
from dse.encoding.offline import offline_backbone
from dse.encoding.runtime import resolve_dtype
from dse.evaluation.timing import alternate, rate, ratios
from dse.model import DSE


def run(*, data: Path | None, backbone: str | None, quick: bool, command: str) -> Result:
    """Measure encoding with defaults on both sides.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        backbone: Folder or hub id; None takes the offline one.
        quick: Fewer sentences.
        command: The command line, for the record.

    Returns:
        `encoding_speedup`, `encoding_cosine_min` and `encoding_cosine_mean`.
    """
    name = backbone or offline_backbone()
    sentences, origin = distinct_sentences(data, 600 if quick else 10_000)
    torch.manual_seed(0)
    student = DSE.from_backbone(name)
    reference, last_layer = as_sentence_transformer(student), SentenceTransformer(name)
    runs = 3
    rounds = alternate(*(_encode(model, sentences) for model in (reference, student, last_layer)), runs=runs)
    speedups = ratios(rounds)
    cosines = agreement(reference, student, sentences)
    repeated, pairs_origin = _with_repeats(data, 300 if quick else 5_000)
    repeat_rounds = alternate(_encode(reference, repeated), _encode(student, repeated), runs=1)

    tokens = sum(len(ids) for ids in student.tokenizer(sentences, truncation=True)["input_ids"]) / len(sentences)
    same, twice = f"{len(sentences):,} distinct sentences", f"sentences of {len(repeated) // 2:,} pairs"
    return Result(
        "encoding",
        command,
        [
            Figure.from_runs(speedups, "encoding_speedup", "x", target=2.5),
            Figure("encoding_cosine_min", float(cosines.min()), "", target=0.99),
            Figure("encoding_cosine_mean", float(cosines.mean()), "", target=0.9999),
        ],
        [
            _row("SentenceTransformer.encode, last layer only", same, rate(len(sentences), rounds, 2), None),
            _row("SentenceTransformer.encode", same, rate(len(sentences), rounds, 0), [1.0]),
            _row("DSE.encode", same, rate(len(sentences), rounds, 1), speedups),
            _row("SentenceTransformer.encode", twice, rate(len(repeated), repeat_rounds, 0), [1.0]),
            _row("DSE.encode", twice, rate(len(repeated), repeat_rounds, 1), ratios(repeat_rounds)),
        ],
        [
            f"Sentences: {origin}; {tokens:.1f} tokens on average.",
            f"Pairs: {pairs_origin}; {len(set(repeated)):,} of their {len(repeated):,} sentences are distinct.",
            "Both sides run with their defaults: SentenceTransformer in float32, DSE in "
            f"{'bfloat16' if _is_bfloat16(student) else 'float32'}. 'last layer only' is the backbone as "
            "sentence-transformers loads it; every other row joins the last four layers.",
            "cosine: of DSE's vectors to SentenceTransformer's of the same sentences.",
        ],
    )


def as_sentence_transformer(student: DSE) -> SentenceTransformer:
    """The student's own modules, without its pair head, as sentence-transformers runs them."""
    return SentenceTransformer(modules=list(student.children())[:-1], device=str(student.device))


def agreement(reference: SentenceTransformer, student: DSE, sentences: list[str]) -> np.ndarray:
    """Cosine of the two embeddings of each sentence, (n,)."""
    left = reference.encode(sentences, convert_to_tensor=True, show_progress_bar=False)
    right = student.encode(sentences, convert_to_tensor=True, show_progress_bar=False)
    cosines: np.ndarray = F.cosine_similarity(left.double(), right.double(), dim=1).cpu().numpy()
    return cosines


def _encode(model: SentenceTransformer, sentences: list[str]) -> Callable[[], object]:
    return lambda: model.encode(sentences, show_progress_bar=False)


def _with_repeats(data: Path | None, n: int) -> tuple[list[str], str]:
    """Both sentences of n pairs; in MNLI a premise comes with several hypotheses."""
    pairs, _, origin = bench_pairs(data, "mnli", n, split="dev_matched")
    return pairs.sentence1 + pairs.sentence2, origin


def _is_bfloat16(student: DSE) -> bool:
    return resolve_dtype(student.inference_dtype, student.device) == torch.bfloat16


def _row(name: str, inputs: str, per_second: float, speedups: list[float] | None) -> dict[str, object]:
    ratio = "" if speedups is None else f"{median(speedups):.2f}"
    return {"way": name, "input": inputs, "sentences/s": per_second, "speed-up": ratio}
