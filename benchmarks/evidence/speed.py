"""Speed and quality: every kind of model in one run, from the rows of STS-B that were trained.

    python -m benchmarks.evidence.speed

Each model scores pairs or embeds sentences; the rates give the time of all pairs of many queries and candidates. Writes
`docs/results/speed_quality.json`; then `python -m benchmarks.evidence --pages`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from benchmarks import records
from benchmarks.evidence.measure import BagOfWords
from benchmarks.evidence.plan import COSINE, HEADS, SEEDS, Row
from dse import DSE, scoring
from dse.data.pairs import load_pairs
from dse.data.tasks import get_task
from dse.encoding.fast_copy import FastCopy
from dse.encoding.offline import offline_backbone
from dse.evaluation.machine import machine, versions
from dse.evaluation.timing import alternate
from dse.files import write_json
from dse.modules import PairHead
from dse.teacher import load_teacher, teacher_scores

READERS = ("teacher", "large_teacher")  # of pairs
KINDS = ("dse", "unlabelled_large_teacher", *HEADS, "one_layer", "three_blocks")  # differ in speed or teacher
TASK, METRIC = "stsb", "spearman"
QUERIES, CANDIDATES = 100, 10_000
COUNT = QUERIES * CANDIDATES
SENTENCES, PAIRS = 200, 48  # that are timed: embedded, and read by the teacher
BLOCK = (20, 2_000)  # queries x candidates that are timed once embedded
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}

Ways = dict[str, tuple[Callable[[], object], int]]  # name -> what is timed, and how many things it does


def seconds_each(ways: Ways, rounds: int) -> dict[str, float]:
    """Seconds a thing, the median of the rounds, in which all ways take turns."""
    timed = alternate(*(way for way, _ in ways.values()), runs=rounds)
    return {name: median(r[i] for r in timed) / things for i, (name, (_, things)) in enumerate(ways.items())}


def main() -> None:
    """Time everything in turn and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence/small"), help="the runs of one size")
    parser.add_argument("--backbone", help="of the rows that are not saved; default: the offline MiniLM")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder, backbone = options.runs / TASK / str(SEEDS[0]), options.backbone or offline_backbone()
    pairs = load_pairs(options.runs / "data" / TASK, get_task(TASK), "dev")
    sentences = list(dict.fromkeys([*pairs.sentence1, *pairs.sentence2]))[:SENTENCES]
    texts = pairs.tuples()[:PAIRS]
    seconds = seconds_each(_ways(folder, backbone, sentences, texts), options.rounds)
    size = json.loads((folder / "dse" / "row.json").read_text(encoding="utf-8"))["results"][0]["train_rows"]
    glue = records.frame("glue").query(
        "task == @TASK and train_rows == @size and seed == @SEEDS[0] and split == 'dev' and metric == @METRIC"
    )  # the rows of the same models
    quality = 100 * glue.set_index("row").value
    table = [
        {"model": name, "quality": quality.get(name)} | _times(name, seconds)
        for name in (*READERS, *KINDS, COSINE, "static")
        if f"{name} score" in seconds
    ]
    words = sum(len(text.split()) for text in sentences) / len(sentences)
    notes = [
        f"Rates: median of {options.rounds} rounds in which all models took turns, on {len(sentences)} sentences of "
        f"STS-B dev ({words:.0f} words on average), {len(texts)} pairs for the teachers, and "
        f"{BLOCK[0]} x {BLOCK[1]:,} pairs for the heads.",
        f"Times of {QUERIES:,} x {CANDIDATES:,} pairs follow from the rates: every pair for a teacher, every "
        "sentence once and every pair's head for a student. Break-even: against its own teacher.",
        "Quality: the rows of the same models in glue.json, trained on "
        f"{size:,} rows, reported on {glue.set_index('row').rows['dse']:,}.",
    ]
    command = shlex.join(["python", "-m", "benchmarks.evidence.speed", *sys.argv[1:]])
    about = {"command": command, "task": TASK, "metric": METRIC, "queries": QUERIES, "candidates": CANDIDATES}
    about |= {"table": table, "large": large(backbone, texts[:4], options.rounds), "notes": notes}
    write_json(records.RESULTS / "speed_quality.json", about | {"machine": machine(), "versions": versions()})


def _ways(folder: Path, backbone: str, sentences: list[str], texts: list[tuple[str, str]]) -> Ways:
    """Every teacher and student of the folder, and the models without a saved student, by the vectors they use."""
    ways: Ways = {
        # with the low-precision copy kept, as it is where all pairs are scored
        f"{name} score": (partial(teacher_scores, load_teacher(str(folder / name)), texts, fast=FastCopy()), len(texts))
        for name in READERS
        if (folder / name / "row.json").exists()
    }
    models: dict[str, tuple[Any, PairHead]] = {}
    for name in KINDS:
        if (folder / name / "dse.json").exists():
            student = DSE(str(folder / name))
            models[name] = student, student.head
    words, last = BagOfWords(backbone), DSE.from_backbone(backbone, num_layers=1, head="cosine")
    models |= {COSINE: (last, last.head), "static": (words, PairHead(words.words.shape[1]))}
    for name, (model, head) in models.items():
        ways[f"{name} encode"] = partial(model.encode, sentences, show_progress_bar=False), len(sentences)
        ways[f"{name} score"] = _score(head, torch.as_tensor(model.encode(sentences))), BLOCK[0] * BLOCK[1]
    return ways


def _score(head: PairHead, embeddings: torch.Tensor) -> Callable[[], object]:
    u, v = (embeddings[torch.arange(n) % len(embeddings)] for n in BLOCK)
    return partial(scoring.score_matrix, head, u, v)


def _times(name: str, seconds: Mapping[str, float]) -> dict[str, float | None]:
    """Rates of a model, and the time of all pairs; ``seconds`` are those of a pair or a sentence."""
    pair, sentence = seconds[f"{name} score"], seconds.get(f"{name} encode")
    if sentence is None:
        none = {"sentences_per_s": None, "seconds_embedded": None, "break_even": None}
        return {"pairs_per_s": 1 / pair, "seconds": COUNT * pair} | none
    # A pair costs the teacher t; a student its head's time, and an embedding for each sentence not read before.
    saved = seconds[f"{Row(TASK, name).teacher.name} score"] - pair
    return {
        "sentences_per_s": 1 / sentence,
        "pairs_per_s": 1 / pair,
        "seconds": (QUERIES + CANDIDATES) * sentence + COUNT * pair,
        "seconds_embedded": QUERIES * sentence + COUNT * pair,
        "break_even": sentence / saved if saved > 0 else None,
    }


def large(backbone: str, pairs: list[tuple[str, str]], rounds: int) -> list[dict[str, Any]]:
    """The same with the dimensions of BERT-large (24 layers, 1024 wide, d = 4096) and random weights."""
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    config = BertConfig(vocab_size=len(tokenizer), **LARGE)
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    both, single = (tokenizer(*texts, padding=True, return_tensors="pt") for texts in ((first, second), (first,)))
    teacher, encoder = BertForSequenceClassification(config).eval(), BertModel(config, add_pooling_layer=False).eval()
    head = PairHead(4 * config.hidden_size)
    ways: Ways = {
        "teacher": (lambda: teacher(**both), len(pairs)),
        "encoder": (lambda: encoder(**single), len(pairs)),
        "head": (_score(head, torch.randn(200, head.embedding_dimension)), BLOCK[0] * BLOCK[1]),
    }
    with torch.inference_mode():
        pair, sentence, score = seconds_each(ways, rounds).values()
    from_text, embedded = ((n * sentence + COUNT * score) / 3600 for n in (QUERIES + CANDIDATES, QUERIES))
    hours = COUNT * pair / 3600
    lines = (
        ("teacher, every pair", f"{1000 * pair:.0f}", f"{hours:,.1f}", ""),
        ("student, from text", f"{1000 * sentence:.0f}", f"{from_text:,.2f}", f"{hours / from_text:,.0f}"),
        ("student, candidates embedded", f"{1000 * score:.2g}", f"{embedded:,.3f}", f"{hours / embedded:,.0f}"),
    )
    names = ("way", "a pair or sentence, ms", f"{QUERIES} x {CANDIDATES:,}, h", "times faster")
    return [dict(zip(names, line, strict=True)) for line in lines]


if __name__ == "__main__":
    main()
