"""The picture of speed and quality: every kind of model in one run, from the rows of STS-B that were trained.

    python -m benchmarks.evidence.speed

Each model scores some pairs; its rates give the time of all pairs of a search. Writes
`docs/results/speed_quality.json`; then `python -m benchmarks.evidence --pages`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from benchmarks.evidence.embeddings import BagOfWords
from benchmarks.evidence.plan import BEST, HEADS, SEEDS, SHALLOW, Row
from benchmarks.evidence.results import RESULTS, Table
from dse import DSE, scoring
from dse.bench.harness import alternate
from dse.data.pairs import load_pairs
from dse.data.tasks import get_task
from dse.encoding.offline import offline_backbone
from dse.encoding.runtime import FastCopy
from dse.evaluation.machine import machine, versions
from dse.files import write_json
from dse.modules import PairHead
from dse.teacher import load_teacher, teacher_scores

READERS = ("teacher", "large_teacher")  # of pairs
KINDS = (*BEST, *HEADS, "one_layer", "three_blocks")  # students that differ in speed or teacher
TASK, METRIC = "stsb", "spearman"
QUERIES, CANDIDATES = 100, 10_000
SENTENCES, PAIRS = 200, 48  # that are timed: encoded, and read by the teacher
BLOCK = (20, 2_000)  # queries x candidates that are timed once embedded
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


Ways = dict[str, tuple[Callable[[], object], int]]  # name -> what is timed, and how many things it does


def main() -> None:
    """Time everything in turn and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence/small"), help="the runs of one size")
    parser.add_argument("--backbone", help="of the rows that are not saved; default: the offline MiniLM")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pairs = load_pairs(options.runs / "data" / TASK, get_task(TASK), "dev")
    folder, backbone = options.runs / TASK / str(SEEDS[0]), options.backbone or offline_backbone()
    size = json.loads((folder / "dse" / "row.json").read_text(encoding="utf-8"))["results"][0]["train_rows"]
    glue = Table.read("glue").where(task=TASK, train_rows=size, seed=SEEDS[0])  # the same models' rows
    sentences = list(dict.fromkeys([*pairs.sentence1, *pairs.sentence2]))[:SENTENCES]
    texts = pairs.tuples()[:PAIRS]
    ways = _ways(folder, backbone, sentences, texts)
    rounds = alternate(*(way for way, _ in ways.values()), runs=options.rounds)
    rates = {
        name: items / median(seconds[i] for seconds in rounds) for i, (name, (_, items)) in enumerate(ways.items())
    }
    table = []
    for name in (*READERS, *KINDS, *SHALLOW):
        if f"{name} score" in rates:
            quality = glue.value(row=name, split="dev", metric=METRIC)
            table.append({"model": name, "quality": None if quality is None else 100 * quality.mean})
            teacher = Row(TASK, name).teacher.name  # of a teacher itself
            table[-1] |= _times(rates.get(f"{name} encode"), rates[f"{name} score"], rates[f"{teacher} score"])
    words = sum(len(text.split()) for text in sentences) / len(sentences)
    notes = [
        f"Rates: median of {options.rounds} rounds in which all models took turns, on {len(sentences)} sentences of "
        f"STS-B dev ({words:.0f} words on average), {len(texts)} pairs for the teachers, and "
        f"{BLOCK[0]} x {BLOCK[1]:,} pairs for the heads.",
        f"Times of {QUERIES:,} x {CANDIDATES:,} pairs follow from the rates: every pair for a teacher, every "
        "sentence once and every pair's head for a student. Break-even: against its own teacher.",
        "Quality: the rows of the same models in glue.json, trained on "
        f"{size:,} rows, reported on {glue.where(row='dse').rows[0]['rows']:,}.",
    ]
    result = {"command": shlex.join(["python", "-m", "benchmarks.evidence.speed", *sys.argv[1:]])}
    result |= {"task": TASK, "metric": METRIC, "queries": QUERIES, "candidates": CANDIDATES, "table": table}
    result |= {
        "large": large(backbone, texts[:4], options.rounds),
        "notes": notes,
        "machine": machine(),
        "versions": versions(),
    }
    write_json(RESULTS / "speed_quality.json", result)


def _ways(folder: Path, backbone: str, sentences: list[str], texts: list[tuple[str, str]]) -> Ways:
    """Every teacher and student of the folder, and the models without a saved student, by the vectors they use."""
    ways: Ways = {
        # with the low-precision copy kept, as whoever scores all pairs keeps it
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
    models |= {"static": (words, PairHead(words.words.shape[1])), "cosine_untrained": (last, last.head)}
    for name, (model, head) in models.items():
        ways[f"{name} encode"] = _encode(model, sentences), len(sentences)
        ways[f"{name} score"] = _score(head, torch.as_tensor(model.encode(sentences))), BLOCK[0] * BLOCK[1]
    return ways


def _encode(model: Any, sentences: list[str]) -> Callable[[], object]:
    return lambda: model.encode(sentences, show_progress_bar=False)


def _score(head: PairHead, embeddings: torch.Tensor) -> Callable[[], object]:
    u, v = (embeddings[torch.arange(n) % len(embeddings)] for n in BLOCK)
    return lambda: scoring.score_matrix(head, u, v)


def _times(encoding: float | None, pairs: float, teacher: float) -> dict[str, float | None]:
    """What the rates (sentences and pairs a second) come to."""
    count = QUERIES * CANDIDATES
    if encoding is None:
        none = {"sentences_per_s": None, "seconds_embedded": None, "break_even": None}
        return {"pairs_per_s": pairs, "seconds": count / pairs} | none
    head = count / pairs
    t, s, e = 1 / teacher, 1 / pairs, 1 / encoding  # a pair costs t, or s and e for each sentence not read before
    return {
        "sentences_per_s": encoding,
        "pairs_per_s": pairs,
        "seconds": (QUERIES + CANDIDATES) * e + head,
        "seconds_embedded": QUERIES * e + head,
        "break_even": e / (t - s) if t > s else None,
    }


def large(backbone: str, pairs: list[tuple[str, str]], rounds: int) -> list[dict[str, Any]]:
    """The same with the dimensions of BERT-large (24 layers, 1024 wide, d = 4096) and random weights."""
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    config = BertConfig(vocab_size=len(tokenizer), **LARGE)
    texts = [first for first, _ in pairs]
    features = tokenizer(texts, [second for _, second in pairs], padding=True, return_tensors="pt")
    single = tokenizer(texts, padding=True, return_tensors="pt")
    teacher, encoder = BertForSequenceClassification(config).eval(), BertModel(config, add_pooling_layer=False).eval()
    head = PairHead(4 * config.hidden_size)
    with torch.inference_mode():
        seconds = alternate(
            lambda: teacher(**features),
            lambda: encoder(**single),
            _score(head, torch.randn(200, head.embedding_dimension)),
            runs=rounds,
        )
    t, e, s = (median(r[i] for r in seconds) / n for i, n in enumerate((len(texts), len(texts), BLOCK[0] * BLOCK[1])))
    count = QUERIES * CANDIDATES
    ours = (QUERIES + CANDIDATES) * e + count * s
    return [
        {
            "way": "teacher, every pair",
            "a pair or sentence, ms": f"{1000 * t:.0f}",
            f"{QUERIES} x {CANDIDATES:,}, h": f"{count * t / 3600:,.1f}",
            "times faster": "",
        },
        {
            "way": "student, from text",
            "a pair or sentence, ms": f"{1000 * e:.0f}",
            f"{QUERIES} x {CANDIDATES:,}, h": f"{ours / 3600:,.2f}",
            "times faster": f"{count * t / ours:,.0f}",
        },
        {
            "way": "student, candidates embedded",
            "a pair or sentence, ms": f"{1000 * s:.2g}",
            f"{QUERIES} x {CANDIDATES:,}, h": f"{(QUERIES * e + count * s) / 3600:,.3f}",
            "times faster": f"{count * t / (QUERIES * e + count * s):,.0f}",
        },
    ]


if __name__ == "__main__":
    main()
