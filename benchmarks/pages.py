"""Write the pages of `docs/results` and the results in README.md from the JSON that the benchmarks left.

    python -m benchmarks.pages            # write
    python -m benchmarks.pages --check    # fail if a page differs from what the JSON says

The JSON itself: `dse bench NAME --data ../shared/data --json > docs/results/NAME.json` for training, encoding,
labelling, scoring, search, serving and scale; `python -m benchmarks.evidence` for glue and transfer, `python -m
benchmarks.evidence.speed` for speed_quality; `python -m benchmarks.reliability`; and `dse quickstart`, whose output is
kept in `quickstart.txt`.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from benchmarks import records
from benchmarks.evidence.pages import pages as evidence_pages
from benchmarks.ranking.pages import pages as ranking_pages
from benchmarks.readme import quickstart, rows
from benchmarks.reliability.page import page as reliability_page
from benchmarks.render import render
from dse.files import write_text

BENCHES = {
    "training": "Distillation in batches of like length, one joint pass and bfloat16, against the original's way.",
    "encoding": "`DSE.encode` against `SentenceTransformer.encode` with its defaults, the same modules.",
    "search": "An index of candidates on disk, searched in two passes, beside plain cosine and the exact scan.",
    "scouts": "Which scout keeps most of the exact best in a shortlist of an index? Students of four tasks. Measured "
    "on 26 November 2026 at commit dd96e8b by a script removed since: `git show dd96e8b:benchmarks/scouts.py`.",
    "labelling": "`label_pairs` against `CrossEncoder.predict` with its defaults, the same teacher.",
    "scoring": "Candidates scored by the pair head: against the matrix unit, the head written plainly, the teacher.",
    "serving": "`dse serve` with stored rows and with texts, against the same server around a cross-encoder.",
    "scale": "Shards on the workers of a local Ray beside one process, what deaths cost them, and a match of a table.",
    "scoring_h100": "The same on a GPU: bfloat16 products and max(u,v) in one fused kernel (Triton 3.6.0).",
    "scoring_avx512": "The same on a processor that multiplies bfloat16 in its vector units, without a matrix unit.",
    "scoring_float32": "The same by an earlier version, on a processor without bfloat16 products.",
}
# Pages with targets that are not reached; docs/results/README.md says why.
MISSED = ("search", "serving", "scale", "scoring", "scoring_avx512", "scoring_h100")
# Figures in README.md: the page, the figure's name, what it compares.
FIGURES = (
    ("scoring", "over_teacher_n10k", "a query against 10,000 embedded candidates, teacher of the same backbone"),
    ("encoding", "encoding_speedup", "`encode`, against sentence-transformers"),
    ("labelling", "labelling_speedup", "a teacher's scores, against `CrossEncoder.predict`"),
    ("training", "training_speedup", "distilling, against the original code's way"),
)


def bench_page(name: str) -> str:
    """The page of one benchmark."""
    result = records.load(name)
    title = name.capitalize().replace("_", ", ")
    return render("bench", title=title, about=BENCHES[name], result=result, missed=name in MISSED)


def readme() -> str:
    """README.md with its generated parts as the results say."""
    by_page = {name: {f["name"]: f["value"] for f in records.load(name).get("figures", ())} for name in BENCHES}
    figures = [
        {"page": page, "text": text, "value": by_page[page][name]}
        for page, name, text in FIGURES
        if name in by_page[page]
    ]
    parts = {"results": render("readme", figures=figures, rows=rows())}
    if shown := quickstart():
        parts["quickstart"] = shown
    text = (records.ROOT / "README.md").read_text(encoding="utf-8")
    for name, content in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.DOTALL)
    return text


def stale() -> dict[Path, str]:
    """The pages that are not what the results say."""
    pages = {f"{name}.md": bench_page(name) for name in BENCHES if records.load(name).get("figures")}
    pages |= evidence_pages() | ranking_pages()
    if (found := records.load("reliability")).get("command"):
        pages["reliability.md"] = reliability_page(found)
    every = {records.RESULTS / name: text for name, text in pages.items()} | {records.ROOT / "README.md": readme()}
    return {path: text for path, text in every.items() if not path.exists() or path.read_text(encoding="utf-8") != text}


def write() -> None:
    """Write them."""
    for path, text in stale().items():
        write_text(path, text)


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if something would change")
    if not parser.parse_args().check:
        write()
    elif paths := stale():
        names = ", ".join(str(path.relative_to(records.ROOT)) for path in paths)
        sys.exit(f"{names}: not what the results say; run python -m benchmarks.pages.")


if __name__ == "__main__":
    main()
