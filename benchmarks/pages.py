"""Write the pages of `docs/results` and the tables of README.md from the JSON the benchmarks left.

    python -m benchmarks.pages            # write
    python -m benchmarks.pages --check    # fail if a page differs from what the JSON says

The JSON itself: `dse bench NAME --data ../shared/data --json > docs/results/NAME.json` for training, encoding and
labelling; `python -m benchmarks.evidence` for glue and transfer, `python -m benchmarks.evidence.speed` for
speed_quality; and `dse quickstart`, whose output is kept in `quickstart.txt`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.evidence.pages import pages as evidence_pages
from benchmarks.evidence.pages import readme_section
from dse.files import write_text

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
BENCHES = {
    "training": "Distillation in batches of like length, one joint pass and bfloat16, against the original's way.",
    "encoding": "`DSE.encode` against `SentenceTransformer.encode` with its defaults, the same modules.",
    "search": "An index of candidates on disk, searched in two passes, beside plain cosine and the exact scan.",
    "scouts": "What keeps most of the exact best in a shortlist of an index? Several scouts, students of four tasks.",
    "labelling": "`label_pairs` against `CrossEncoder.predict` with its defaults, the same teacher.",
    "scoring": "Candidates scored by the pair head: against the matrix unit, the head written plainly, the teacher.",
    "scoring_h100": "The same on a GPU: bfloat16 products and max(u,v) in one fused kernel (Triton 3.6.0).",
    "scoring_avx512": "The same on a processor that multiplies bfloat16 in its vector units, without a matrix unit.",
    "scoring_float32": "The same by an earlier version, on a processor without bfloat16 products.",
}
# Pages with figures that are not reached; docs/results/README.md says what stands in their way.
SHORT = ("search", "scoring", "scoring_avx512", "scoring_h100")
# Not in README.md: ratios that are not all times faster, or told already.
ELSEWHERE = ("search", "scoring_avx512", "scoring_h100", "scoring_float32")


def number(value: Any) -> str:
    """A cell: numbers with a sensible count of digits."""
    if not isinstance(value, float):
        return str(value).replace("|", "\\|")
    if abs(1 - value) < 0.01:
        return f"{value:.5f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown, first column left, the others right."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "| --- |" + " ---: |" * (len(names) - 1)]
    return lines + ["| " + " | ".join(number(row[name]) for name in names) + " |" for row in rows]


def bench_page(name: str) -> str:
    """The page of one benchmark."""
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    figures = [
        {
            "figure": f"`{f['name']}`",
            "value": number(f["value"]),
            "unit": f["unit"],
            "min": "" if f["min"] is None else number(f["min"]),
            "max": "" if f["max"] is None else number(f["max"]),
            "runs": f["runs"],
            "target": "" if f["target"] is None else number(f["target"]),
        }
        for f in result["figures"]
    ]
    machine = ", ".join(f"{k} {v}" for k, v in result["machine"].items())
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    title = name.capitalize().replace("_", ", ")
    lines = [f"# {title}", "", BENCHES[name], "", *table(figures), "", *table(result["table"]), ""]
    if name in SHORT:
        lines += ["What stands in the way of the targets that are missed: see [results](README.md).", ""]
    lines += [*(f"- {note}" for note in result["notes"]), "", f"    {result['command']}", ""]
    lines += [f"Machine: {machine}. Versions: {versions}. Absolute times belong to this machine.", ""]
    return "\n".join(lines)


def results_section() -> str:
    """The table of results in README.md, each number with its command."""
    lines = readme_section()
    figures = []
    for name in (name for name in BENCHES if name not in ELSEWHERE):
        file = RESULTS / f"{name}.json"
        if file.exists():
            result = json.loads(file.read_text(encoding="utf-8"))
            for f in result["figures"]:
                if f["unit"] == "x":
                    spread = "" if f["min"] is None else f" ({number(f['min'])} to {number(f['max'])})"
                    figures.append(
                        {
                            "what": f"{BENCHES[name].removesuffix('.')} (`{f['name']}`)",
                            "times faster": number(f["value"]) + spread,
                            "command": f"`{result['command'].removesuffix(' --json')}`",
                        }
                    )
    if figures:
        lines += ["Side by side in one run, median and range of the rounds:", "", *table(figures), ""]
    return "\n".join(lines)


def readme() -> str:
    """README.md with its generated parts as the results say."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = {"results": results_section()}
    quickstart = RESULTS / "quickstart.txt"
    if quickstart.exists():
        parts["quickstart"] = "```text\n" + quickstart.read_text(encoding="utf-8").rstrip() + "\n```\n"
    for name, content in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.DOTALL)
    return text


def pages() -> dict[Path, str]:
    """Every page as the results say."""
    found = {RESULTS / f"{name}.md": bench_page(name) for name in BENCHES if (RESULTS / f"{name}.json").exists()}
    return found | evidence_pages() | {ROOT / "README.md": readme()}


def stale() -> dict[Path, str]:
    """The pages that are not what the results say."""
    return {
        path: text for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }


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
    elif found := stale():
        names = ", ".join(str(path.relative_to(ROOT)) for path in found)
        sys.exit(f"{names}: not what the results say; run python -m benchmarks.pages.")


if __name__ == "__main__":
    main()
