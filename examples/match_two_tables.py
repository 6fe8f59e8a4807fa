"""Match two tables: for each row of a supplier's price list, the row of the shop's catalogue that means the same.

    python examples/match_two_tables.py
    python examples/match_two_tables.py --left ours.csv --right theirs.csv --output matches.csv

Rows are compared by a column `name`. A student of your own products does better than this one of help-desk questions.
Needs the extras `offline` and `train`.
"""

from __future__ import annotations

import csv
from pathlib import Path

from helpdesk import load_student, options

DATA = Path(__file__).parent / "data"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Write the best match of every row, the surest first."""
    parser = options(__doc__)
    parser.add_argument("--left", type=Path, default=DATA / "shop.csv")
    parser.add_argument("--right", type=Path, default=DATA / "supplier.csv")
    parser.add_argument("--output", type=Path, default=Path("matches.csv"))
    arguments = parser.parse_args()
    left, right = read(arguments.left), read(arguments.right)
    student = load_student(arguments)

    catalogue = student.prepare([row["name"] for row in left], show_progress_bar=False)
    best = student.topk([row["name"] for row in right], catalogue, k=2, show_progress_bar=False)
    matches = [
        {
            "theirs": row["name"],
            "ours": left[hits[0]["corpus_id"]]["name"],
            "score": round(hits[0]["score"], 4),
            "lead": round(hits[0]["score"] - hits[1]["score"], 4),  # over the next; let a person check small ones
        }
        for row, hits in zip(right, best, strict=True)
    ]
    matches.sort(key=lambda match: -match["lead"])
    with arguments.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(matches[0]))
        writer.writeheader()
        writer.writerows(matches)
    for match in [*matches[:5], *matches[-3:]]:
        print(f"{match['score']:.3f} +{match['lead']:.3f}  {match['theirs']:<44} {match['ours']}")
    print(f"{len(matches)} matches are in {arguments.output}")


if __name__ == "__main__":
    main()
