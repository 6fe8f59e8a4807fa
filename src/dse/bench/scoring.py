"""How fast prepared candidates are scored: against the matrix unit, a plain form of the head, and the teacher."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import Tensor

from dse import scoring
from dse.bench import gemm
from dse.bench import scoring_setup as setup
from dse.bench.harness import Figure, Result
from dse.bench.memory import peak_mib
from dse.bench.scoring_setup import K
from dse.bench.sentences import bench_pairs
from dse.encoding.offline import offline_backbone
from dse.encoding.runtime import auto_dtype
from dse.evaluation.timing import alternate, ratios, seconds
from dse.model import DSE
from dse.modules import PairHead
from dse.scoring.fastpass import BLOCK, FastPass
from dse.scoring.selection import MARGIN, QUERIES, SPARE

SIZES = {True: (10_000, 20_000), False: (10_000, 100_000, 1_000_000)}  # --quick or not


def run(*, data: Path | None, backbone: str | None, quick: bool, command: str) -> Result:
    """Measure scoring with a head fitted to real labels, on embeddings of real sentences repeated with noise.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        backbone: Folder or hub id; None takes the offline one.
        quick: Fewer candidates.
        command: The command line, for the record.

    Returns:
        The figures of the page, see `docs/results/scoring.md`.
    """
    name = backbone or offline_backbone()
    torch.manual_seed(0)
    student = DSE.from_backbone(name)
    pairs, _, origin = bench_pairs(data, "mrpc", 300 if quick else 3_000)
    texts = list(dict.fromkeys(pairs.sentence1 + pairs.sentence2))
    start = time.perf_counter()
    embeddings = student.encode(texts, convert_to_tensor=True, show_progress_bar=False)
    per_sentence = (time.perf_counter() - start) / len(texts)
    setup.fit_head(student, embeddings, texts, pairs.tuples(), pairs.label)
    dtype = auto_dtype(student.device)
    fast = "bf16" if dtype == torch.bfloat16 else "fp32"

    sizes = SIZES[quick]
    figures, table = gemm.compare(student.head, embeddings, sizes, dtype)
    wide = PairHead(4096).to(embeddings.device)
    tiled = embeddings.repeat(1, -(-4096 // embeddings.shape[1]))[:, :4096]
    more, rows = gemm.compare(wide, tiled, sizes[: 3 if fast == "bf16" else 2], dtype)
    figures, table = figures + more[:1], table + rows
    if not embeddings.is_cuda:
        figures.append(_memory(student.head, embeddings, max(sizes), dtype))
    more, rows = _against_the_plain_head(student.head, embeddings, sizes[:2], dtype, fast)
    figures, table = figures + more, table + rows
    # In float32 the fast pass misses nothing but ties, which a few queries suffice to show.
    asked = (20, 5_000) if quick else (64, 10_000) if fast == "fp32" else (1_000, 20_000)
    figures += _misses(student.head, embeddings, *asked, dtype)
    table += _parts(student.head, embeddings, dtype) + _once_a_query(student.head, embeddings, sizes[0], dtype)
    more, rows, per_pair = _against_the_teacher(student, name, texts, quick)
    figures, table = figures + more, table + rows
    figures.append(Figure("break_even_pairs_per_sentence", per_sentence / per_pair, "pairs"))
    return Result("scoring", command, figures, table, _notes(embeddings, f"{len(texts):,} sentences of {origin}", fast))


def _notes(embeddings: Tensor, sentences: str, fast: str) -> list[str]:
    size, where = ("4096 x 2048 x 2048", "the worst of all N")
    if embeddings.is_cuda:
        size, where = ("8192 x 8192 x 8192", "that of the largest N")
    notes = [
        f"Embeddings: {sentences}, d = {embeddings.shape[1]}, repeated with noise "
        f"({setup.NOISE} of each dimension's standard deviation) to reach N; d = 4096 puts them side by side and "
        "takes a head at random.",
        "Head: fitted to the labels of those pairs, on frozen embeddings. Top 10, one query unless said otherwise; "
        f"the fast pass computes in {'bfloat16' if fast == 'bf16' else 'float32'} here.",
        f"GEMM rate: products of {size} in that precision, as many operations as the search has, timed in turn with "
        f"it; after folding a pair takes 2 x 2 x d x 512. The figure is {where}.",
        "Teacher: the same backbone as a cross-encoder, CrossEncoder.predict with its defaults; its times are "
        "extrapolated from a sample of pairs, the student's are measured.",
        "break_even_pairs_per_sentence: a sentence compared less often than that is cheaper with the teacher.",
        "linearity_worst: by how much a pair becomes dearer from any N or Q to a larger one; 0 where it only "
        "becomes cheaper. extra_memory: resident memory at the peak of the first search of a new process above its "
        "candidates.",
        "Plain: PairHead.score in float32, 1,024 pairs at a time; over_plain is that of the larger N of its rows.",
    ]
    if fast != "bf16":
        notes.append(
            "This processor multiplies bfloat16 no faster: over_plain_bf16 could not be measured, fast_pass_miss_rate "
            "is that of a float32 pass, and over_teacher_n10k is bounded by the float32 rate ('parts' show where the "
            "time goes)."
        )
    return notes


def _memory(head: PairHead, embeddings: Tensor, n: int, dtype: torch.dtype) -> Figure:
    """What a search takes above the candidates, in a process that has never searched before."""
    task = (head, embeddings.numpy(), n, dtype)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        extra = pool.apply(memory_of_search, task)
    return Figure(f"extra_memory_mib_n{n // 1_000_000}m" if n >= 1_000_000 else "extra_memory_mib", extra, "MiB", 200)


def memory_of_search(head: PairHead, embeddings: np.ndarray, n: int, dtype: torch.dtype) -> float:
    """MiB at the peak of one search above what this process held before, its candidates included."""
    rows = torch.from_numpy(embeddings)
    return peak_mib(setup.search(head, rows[:1].float(), setup.repeated(rows, n, dtype), dtype))


def _against_the_plain_head(
    head: PairHead, embeddings: Tensor, sizes: Sequence[int], dtype: torch.dtype, fast: str
) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Speed-ups with the most candidates, where the query's own work counts least; the table has every size."""
    query, figures, table = embeddings[:1].float(), [], []
    for n in sizes:
        candidates = setup.repeated(embeddings, n, torch.float32)
        held = candidates.to(dtype)

        @torch.inference_mode()
        def plain(candidates: Tensor = candidates) -> Tensor:
            scores = [head.score(query.expand_as(v), v).squeeze(-1) for v in candidates.split(1024)]
            return torch.cat(scores).topk(K).values

        fast_pass, float32 = (setup.search(head, query, v, v.dtype) for v in (held, candidates))
        rounds = alternate(plain, fast_pass, float32, runs=setup.rounds_for(n))
        figures = [Figure.from_runs(ratios(rounds, 0, 2), "over_plain_fp32", "x", target=2.5)]
        if fast == "bf16":
            figures.append(Figure.from_runs(ratios(rounds, 0, 1), "over_plain_bf16", "x", target=10))
        for i, name in enumerate(("plain", f"top 10, {fast}", "top 10, fp32")):
            note = f"{median(ratios(rounds, 0, i)):.1f} x" if i else ""
            table.append(setup.row(f"{name}, d = {embeddings.shape[1]}", 1, n, median(r[i] for r in rounds), note))
    return figures, table


def _misses(head: PairHead, embeddings: Tensor, q: int, n: int, dtype: torch.dtype) -> list[Figure]:
    """How many of the true top 10 are not on the shortlist of the fast pass, and not among its own first ten."""
    queries, candidates = embeddings[:q].float(), setup.repeated(embeddings, n, torch.float32)
    _, true = scoring.topk(head, queries, candidates, K)
    size = K + MARGIN + SPARE
    passes = (FastPass(head, part, dtype) for part in queries.split(QUERIES))
    listed = torch.cat([scoring.shortlist(fast_pass, candidates, size)[1] for fast_pass in passes])  # (q, size)
    missed = {}
    for length in (size, K):
        hits = (listed[:, :length, None] == true[:, None]).any(dim=1)  # (q, K)
        missed[length] = float((~hits).float().mean())
    return [
        Figure("fast_pass_miss_rate", missed[size], "", target=1e-4, runs=q * K),
        Figure("fast_pass_miss_rate_without_margin", missed[K], "", runs=q * K),
    ]


def _parts(head: PairHead, embeddings: Tensor, dtype: torch.dtype) -> list[dict[str, Any]]:
    """The share of each step of the fast pass in its time, measured on blocks of the usual size."""
    n = 3 * BLOCK
    v, u = setup.repeated(embeddings, n, dtype).split(BLOCK), embeddings[0].to(dtype)
    w = torch.randn(head.hidden_dimension, head.embedding_dimension, device=u.device).to(dtype)
    c, larger = torch.randn(len(w), device=u.device), torch.maximum(v[0], u)
    hidden = torch.randn(BLOCK, len(w), device=u.device).to(dtype)
    w2, wide = torch.randn(len(w), device=u.device), torch.empty_like(hidden, dtype=torch.float32)
    steps: dict[str, Callable[[Tensor], object]] = {
        "F v": lambda b: torch.mm(b, w.T, out=hidden),
        "M max(u,v)": lambda b: hidden.addmm_(larger, w.T),
        "max(u,v)": lambda b: torch.maximum(b, u, out=larger),
        "w2 relu": lambda b: torch.mv(torch.maximum(wide.copy_(hidden), -c, out=wide), w2),
    }
    with torch.inference_mode():
        rounds = alternate(*(lambda step=step: [step(b) for b in v] for step in steps.values()), runs=5)
    times = [median(column) for column in zip(*rounds, strict=True)]
    total = sum(times)
    return [setup.row(f"parts: {name}", 1, n, t, f"{t / total:.0%}") for name, t in zip(steps, times, strict=True)]


def _once_a_query(head: PairHead, embeddings: Tensor, n: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """The work that a search does once per query, which makes a pair slower where candidates are few."""
    candidates, query = setup.repeated(embeddings, n, dtype), embeddings[:1].float()
    again = K + MARGIN
    rows = torch.linspace(0, n - 1, again, device=query.device).long()[None]  # (1, k + margin), scattered
    steps: dict[str, Callable[[], object]] = {
        "fold the weights": lambda: FastPass(head, query, dtype),
        f"{again} again in float32": lambda: scoring.rescore(head, query, candidates, rows),
    }
    rounds = alternate(setup.search(head, query, candidates, dtype), *steps.values(), runs=setup.rounds_for(n))
    table = []
    for i, name in enumerate(steps, start=1):
        share = median(times[i] / times[0] for times in rounds)
        elapsed = median(times[i] for times in rounds)
        row = setup.row(f"once a query: {name}", 1, n, elapsed, f"{share:.0%} of the search")
        table.append(row | {"pairs/s": ""})
    return table


def _against_the_teacher(
    student: DSE, backbone: str, texts: Sequence[str], quick: bool
) -> tuple[list[Figure], list[dict[str, Any]], float]:
    teacher = CrossEncoder(backbone, num_labels=1)
    sample = [(texts[0], text) for text in texts[1 : 65 if quick else 257]]
    n = 10_000
    embeddings = student.encode(list(texts[:2_000]), convert_to_tensor=True, show_progress_bar=False)
    candidates = student.prepare(setup.repeated(embeddings, n, torch.float32), dtype="auto")
    rounds = alternate(
        lambda: teacher.predict(sample, show_progress_bar=False),
        lambda: student.rank(texts[0], candidates, top_k=K, show_progress_bar=False),
        runs=5,
    )
    per_pair = median(times[0] for times in rounds) / len(sample)
    table = []
    sample_texts = list(texts[:500])
    embedding = seconds(lambda: student.encode(sample_texts, show_progress_bar=False)) / len(sample_texts) * n
    for q in (1, 10, 100) if not quick else (1, 10):
        search = partial(student.topk, list(texts[:q]), candidates, k=K, show_progress_bar=False)
        note = f"teacher {per_pair * q * n / 3600:,.2f} h (extrapolated); candidates embedded once {embedding:,.0f} s"
        table.append(setup.row("texts, candidates prepared", q, n, seconds(search), note))
    speedups = [times[0] / len(sample) * n / times[1] for times in rounds]
    return [Figure.from_runs(speedups, "over_teacher_n10k", "x", target=1000)], table, per_pair
