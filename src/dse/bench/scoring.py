"""How fast prepared candidates are scored: against the matrix unit, the head written plainly, and the teacher."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import Tensor

from dse import scoring
from dse.bench.harness import Figure, Result
from dse.bench.memory import peak_mib
from dse.bench.sentences import bench_pairs
from dse.encoding.offline import offline_backbone
from dse.encoding.runtime import auto_dtype
from dse.evaluation.timing import alternate, ratios
from dse.model import DSE
from dse.modules import PairHead
from dse.scoring.fastpass import BLOCK, FastPass
from dse.scoring.selection import MARGIN, QUERIES, SPARE

K = 10
SIZES = {True: (10_000, 20_000), False: (10_000, 100_000, 1_000_000)}  # --quick or not
NOISE = 0.1  # of each dimension's standard deviation: copies are told apart, and stay near their sentence


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
    fit_head(student, embeddings, texts, pairs.tuples(), pairs.label)
    dtype = auto_dtype(student.device)
    fast = "bf16" if dtype == torch.bfloat16 else "fp32"

    sizes = SIZES[quick]
    figures, table = _against_the_matrix_unit(student.head, embeddings, sizes, dtype)
    wide = PairHead(4096).to(embeddings.device)
    tiled = embeddings.repeat(1, -(-4096 // embeddings.shape[1]))[:, :4096]
    more, rows = _against_the_matrix_unit(wide, tiled, sizes[: 3 if fast == "bf16" else 2], dtype)
    figures, table = figures + more[:1], table + rows
    if not embeddings.is_cuda:
        figures.append(_memory(student.head, embeddings, max(sizes), dtype))
    more, rows = _against_the_plain_head(student.head, embeddings, sizes[:2], dtype, fast)
    figures, table = figures + more, table + rows
    # In float32 the fast pass misses nothing but ties: fewer queries show it.
    asked = (20, 5_000) if quick else (64, 10_000) if fast == "fp32" else (1_000, 20_000)
    figures += _misses(student.head, embeddings, *asked, dtype)
    table += _parts(student.head, embeddings, dtype) + _once_a_query(student.head, embeddings, sizes[0], dtype)
    more, rows, per_pair = _against_the_teacher(student, name, texts, quick)
    figures, table = figures + more, table + rows
    figures.append(Figure("break_even_pairs_per_sentence", per_sentence / per_pair, "pairs"))
    return Result(
        "scoring",
        command,
        figures,
        table,
        [
            f"Embeddings: {len(texts):,} sentences of {origin}, d = {embeddings.shape[1]}, repeated with noise "
            f"({NOISE} of each dimension's standard deviation) to reach N; d = 4096 puts them side by side and "
            "takes a head at random.",
            "Head: fitted to the labels of those pairs, on frozen embeddings. Top 10, one query unless said otherwise; "
            f"the fast pass computes in {'bfloat16' if fast == 'bf16' else 'float32'} here.",
            f"GEMM rate: products of {'8192 x 8192 x 8192' if embeddings.is_cuda else '4096 x 2048 x 2048'} in that "
            "precision, as many operations as the search has, timed in turn with it; after folding a pair takes "
            "2 x 2 x d x 512. The figure is "
            f"{'that of the largest N' if embeddings.is_cuda else 'the worst of all N'}.",
            "Teacher: the same backbone as a cross-encoder, CrossEncoder.predict with its defaults; its times are "
            "extrapolated from a sample of pairs, the student's are measured.",
            "break_even_pairs_per_sentence: a sentence compared less often than that is cheaper with the teacher.",
            "linearity_worst: by how much a pair becomes dearer from any N or Q to a larger one; 0 where it only "
            "becomes cheaper. extra_memory: resident memory at the peak of the first search of a new process above its "
            "candidates.",
            "Plain: PairHead.score in float32, 1,024 pairs at a time; over_plain is that of the larger N of its rows.",
            *([] if fast == "bf16" else [_WITHOUT_BFLOAT16]),
        ],
    )


def fit_head(
    student: DSE, embeddings: Tensor, texts: Sequence[str], pairs: Sequence[tuple[str, str]], label: Any
) -> None:
    """Fit the pair head to labels on frozen embeddings: 300 steps of Adam, some seconds."""
    row = {text: i for i, text in enumerate(texts)}
    index = torch.tensor([[row[a], row[b]] for a, b in pairs], device=embeddings.device)
    target = torch.as_tensor(label, dtype=torch.float32, device=embeddings.device)[:, None]
    optimizer = torch.optim.Adam(student.head.parameters(), lr=1e-3)
    embeddings = embeddings.clone()  # out of inference mode
    for _ in range(300):
        some = torch.randint(len(index), (64,), device=embeddings.device)
        left, right = embeddings[index[some]].unbind(dim=1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(student.head.score(left, right), target[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def repeated(embeddings: Tensor, n: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Rows to the number of n: the embeddings over and over, each time with other noise."""
    generator = torch.Generator(device=embeddings.device).manual_seed(seed)
    scale = NOISE * embeddings.std(dim=0)  # (d,)
    rows = torch.empty(n, embeddings.shape[1], dtype=dtype, device=embeddings.device)
    for start in range(0, n, 50_000):
        part = rows[start : start + 50_000]
        of = torch.arange(start, start + len(part), device=embeddings.device) % len(embeddings)
        noise = torch.randn(part.shape, generator=generator, device=embeddings.device)
        part.copy_(noise.mul_(scale).add_(embeddings[of]))
    return rows


def _against_the_matrix_unit(
    head: PairHead, embeddings: Tensor, sizes: Sequence[int], dtype: torch.dtype
) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Fractions of the GEMM rate at each N, and how the time of a pair grows with N and Q."""
    d, h = head.embedding_dimension, head.hidden_dimension
    candidates, query = repeated(embeddings, max(sizes), dtype), embeddings[:1].float()
    worst: list[float] = []
    table, per_pair = [], []
    for n in sizes:
        part = candidates[:n]
        operations = 4.0 * d * h * n
        products, made = _products(operations, dtype, embeddings.device)
        rounds = alternate(products, _search(head, query, part, dtype), runs=_runs(n))
        fractions = [(operations / seconds[1]) / (made / seconds[0]) for seconds in rounds]
        worst = min(worst or fractions, fractions, key=median)
        per_pair.append(median(seconds[1] for seconds in rounds) / n)
        table.append(_row(f"top 10 of N, d = {d}", 1, n, per_pair[-1] * n, f"{median(fractions):.2f} of GEMM"))
    q = 8
    rounds = alternate(_search(head, embeddings[:q].float(), candidates[: sizes[0]], dtype), runs=5)
    per_pair.append(median(seconds[0] for seconds in rounds) / sizes[0] / q)
    table.append(_row(f"top 10 of N, d = {d}", q, sizes[0], per_pair[-1] * q * sizes[0], ""))
    figures = [Figure.from_runs(worst, f"gemm_fraction_d{d}", "", target=0.85)]
    if embeddings.is_cuda:  # below a million candidates a search is over before its kernels are launched
        gpu, wide = _gpu_name(embeddings.device), "" if d == 1536 else f"_d{d}"
        figures = [
            Figure.from_runs(fractions, f"{gpu}_gemm_fraction{wide}", "", target=0.5),
            Figure(f"{gpu}_pairs_per_s{wide}", 1 / min(per_pair), "pairs/s", target=None if wide else 1e8),
        ]
    return [*figures, Figure("linearity_worst", growth(per_pair), "", target=0.10)], table


def _gpu_name(device: torch.device) -> str:
    """A GPU's name as figures begin with it.

    h200 of "NVIDIA H200", a10g of "NVIDIA A10G".
    """
    words = torch.cuda.get_device_name(device).lower().split()
    return next((word for word in words if any(c.isdigit() for c in word)), "gpu")


def growth(per_pair: Sequence[float]) -> float:
    """By how much a pair becomes dearer from any size to a larger one; 0 where more pairs only make it cheaper.

    Example:
        >>> round(growth([1.0, 1.1, 0.9, 0.95]), 3), growth([2.0, 1.0])
        (0.1, 0.0)
    """
    return max((b / a - 1 for i, a in enumerate(per_pair) for b in per_pair[i:]), default=0.0)


def _runs(n: int) -> int:
    """Rounds timed with n candidates: where one takes milliseconds, what else the machine does hits half of a few."""
    return min(30, max(5, 300_000 // n))


def _products(operations: float, dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], float]:
    """Large products of about so many operations, what the matrix unit gives at its best; and how many they are."""
    n, k = (4096, 2048) if device.type == "cpu" else (8192, 8192)
    one = 2.0 * n * k * k
    times = max(1, round(operations / one))
    a, b = (torch.randn(rows, k, device=device).to(dtype) for rows in (n, k))
    room = torch.empty_like(a)

    def products() -> None:
        for _ in range(times):
            torch.mm(a, b, out=room)

    return products, times * one


def _memory(head: PairHead, embeddings: Tensor, n: int, dtype: torch.dtype) -> Figure:
    """What a search takes above the candidates, in a process that has never searched before."""
    task = (head, embeddings.numpy(), n, dtype)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        extra = pool.apply(memory_of_search, task)
    return Figure(f"extra_memory_mib_n{n // 1_000_000}m" if n >= 1_000_000 else "extra_memory_mib", extra, "MiB", 200)


def memory_of_search(head: PairHead, embeddings: np.ndarray, n: int, dtype: torch.dtype) -> float:
    """MiB at the peak of one search above what this process held before, its candidates included."""
    rows = torch.from_numpy(embeddings)
    return peak_mib(_search(head, rows[:1].float(), repeated(rows, n, dtype), dtype))


def _search(head: PairHead, queries: Tensor, candidates: Tensor, dtype: torch.dtype) -> Callable[[], object]:
    return lambda: scoring.topk(head, queries, candidates, K, dtype)


def _against_the_plain_head(
    head: PairHead, embeddings: Tensor, sizes: Sequence[int], dtype: torch.dtype, fast: str
) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Speed-ups with the most candidates, where the query's own work counts least; the table has every size."""
    query, figures, table = embeddings[:1].float(), [], []
    for n in sizes:
        candidates = repeated(embeddings, n, torch.float32)
        held = candidates.to(dtype)

        @torch.inference_mode()
        def plain(candidates: Tensor = candidates) -> Tensor:
            scores = [head.score(query.expand_as(v), v).squeeze(-1) for v in candidates.split(1024)]
            return torch.cat(scores).topk(K).values

        ways = _search(head, query, held, dtype), _search(head, query, candidates, torch.float32)
        rounds = alternate(plain, *ways, runs=_runs(n))
        figures = [Figure.from_runs(ratios(rounds, 0, 2), "over_plain_fp32", "x", target=2.5)]
        if fast == "bf16":
            figures.append(Figure.from_runs(ratios(rounds, 0, 1), "over_plain_bf16", "x", target=10))
        for i, name in enumerate(("plain", f"top 10, {fast}", "top 10, fp32")):
            note = f"{median(ratios(rounds, 0, i)):.1f} x" if i else ""
            table.append(_row(f"{name}, d = {embeddings.shape[1]}", 1, n, median(r[i] for r in rounds), note))
    return figures, table


def _misses(head: PairHead, embeddings: Tensor, q: int, n: int, dtype: torch.dtype) -> list[Figure]:
    """How many of the true top 10 are not on the shortlist of the fast pass, and not among its own first ten."""
    queries, candidates = embeddings[:q].float(), repeated(embeddings, n, torch.float32)
    _, true = scoring.topk(head, queries, candidates, K)
    size = K + MARGIN + SPARE
    some = (FastPass(head, part, dtype) for part in queries.split(QUERIES))
    listed = torch.cat([scoring.shortlist(fast_pass, candidates, size)[1] for fast_pass in some])  # (q, size)
    missed = {}
    for length in (size, K):
        hits = (listed[:, :length, None] == true[:, None]).any(dim=1)  # (q, K)
        missed[length] = float((~hits).float().mean())
    return [
        Figure("fast_pass_miss_rate", missed[size], "", target=1e-4, runs=q * K),
        Figure("fast_pass_miss_rate_without_margin", missed[K], "", runs=q * K),
    ]


_WITHOUT_BFLOAT16 = (
    "This processor does not multiply bfloat16: over_plain_bf16 could not be measured, fast_pass_miss_rate is that of "
    "a float32 pass, and over_teacher_n10k is bounded by the float32 rate ('parts' show where the time goes)."
)


def _parts(head: PairHead, embeddings: Tensor, dtype: torch.dtype) -> list[dict[str, Any]]:
    """Where the time of the fast pass goes: its steps, timed one by one on blocks of the usual size."""
    n = 3 * BLOCK
    v, u = repeated(embeddings, n, dtype).split(BLOCK), embeddings[0].to(dtype)
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
    seconds = [median(column) for column in zip(*rounds, strict=True)]
    return [_row(f"parts: {name}", 1, n, t, f"{t / sum(seconds):.0%}") for name, t in zip(steps, seconds, strict=True)]


def _once_a_query(head: PairHead, embeddings: Tensor, n: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """What a search does however many candidates there are: why few of them take more time each."""
    candidates, query = repeated(embeddings, n, dtype), embeddings[:1].float()
    again = K + MARGIN
    rows = torch.linspace(0, n - 1, again, device=query.device).long()[None]  # (1, k + margin), scattered
    steps: dict[str, Callable[[], object]] = {
        "fold the weights": lambda: FastPass(head, query, dtype),
        f"{again} again in float32": lambda: scoring.rescore(head, query, candidates, rows),
    }
    rounds = alternate(_search(head, query, candidates, dtype), *steps.values(), runs=_runs(n))
    table = []
    for i, name in enumerate(steps, start=1):
        share = median(seconds[i] / seconds[0] for seconds in rounds)
        row = _row(
            f"once a query: {name}", 1, n, median(seconds[i] for seconds in rounds), f"{share:.0%} of the search"
        )
        table.append(row | {"pairs/s": ""})
    return table


def _against_the_teacher(
    student: DSE, backbone: str, texts: Sequence[str], quick: bool
) -> tuple[list[Figure], list[dict[str, Any]], float]:
    teacher = CrossEncoder(backbone, num_labels=1)
    sample = [(texts[0], text) for text in texts[1 : 65 if quick else 257]]
    n = 10_000
    embeddings = student.encode(list(texts[:2_000]), convert_to_tensor=True, show_progress_bar=False)
    candidates = student.prepare(repeated(embeddings, n, torch.float32), dtype="auto")
    rounds = alternate(
        lambda: teacher.predict(sample, show_progress_bar=False),
        lambda: student.rank(texts[0], candidates, top_k=K, show_progress_bar=False),
        runs=5,
    )
    per_pair = median(seconds[0] for seconds in rounds) / len(sample)
    table = []
    some = list(texts[:500])
    start = time.perf_counter()
    student.encode(some, show_progress_bar=False)
    embedding = (time.perf_counter() - start) / len(some) * n
    for q in (1, 10, 100) if not quick else (1, 10):
        queries = list(texts[:q])
        start = time.perf_counter()
        student.topk(queries, candidates, k=K, show_progress_bar=False)
        seconds = time.perf_counter() - start
        note = f"teacher {per_pair * q * n / 3600:,.2f} h (extrapolated); candidates embedded once {embedding:,.0f} s"
        table.append(_row("texts, candidates prepared", q, n, seconds, note))
    speedups = [seconds[0] / len(sample) * n / seconds[1] for seconds in rounds]
    return [Figure.from_runs(speedups, "over_teacher_n10k", "x", target=1000)], table, per_pair


def _row(what: str, queries: int, candidates: int, seconds: float, note: str) -> dict[str, Any]:
    pairs = queries * candidates
    return {
        "what": what,
        "Q": queries,
        "N": f"{candidates:,}",
        "seconds": seconds,
        "pairs/s": pairs / seconds,
        "": note,
    }
