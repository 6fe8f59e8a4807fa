"""Search with filters: a catalogue on disk, with columns of its own, that a student searches.

    python examples/search_with_filters.py
    python examples/search_with_filters.py --query "my parcel is late" --where "area = 'delivery' and words < 10"

The index stays in the folder and may grow. Needs the extras `index`, `offline` and `train`.
"""

from __future__ import annotations

from pathlib import Path

from helpdesk import load_student, options

from dse import CandidateIndex
from dse.data.helpdesk import read_questions


def main() -> None:
    """Fill the index, the first time, and search it with and without the condition."""
    parser = options(__doc__)
    parser.add_argument("--index", type=Path, default=Path("example-index"))
    parser.add_argument("--query", default="I want my money back")
    parser.add_argument("--where", default="area = 'returns' and words < 8", help="a condition, as in SQL")
    parser.add_argument("--rows", type=int, default=2430, help="how many questions to put into it")
    arguments = parser.parse_args()
    student = load_student(arguments)

    if arguments.index.exists():
        index = CandidateIndex(str(arguments.index), student)
    else:
        index = CandidateIndex.create(str(arguments.index), student)
    rows = [
        {"id": f"q{i}", "text": question.text, "area": question.area, "words": len(question.text.split())}
        for i, question in enumerate(read_questions()[0][: arguments.rows])
    ]
    index.add(rows)  # rows that are there already are passed over
    print(f"{len(index):,} rows, columns {', '.join(rows[0])}")
    for where in (None, arguments.where):
        print(f"\n{arguments.query!r}" + (f" where {where}" if where else ""))
        for hit in index.search(arguments.query, k=3, where=where):
            print(f"  {hit['score']:.3f}  {hit['id']:<6} {hit['metadata']['area']:<15} {hit['text']}")


if __name__ == "__main__":
    main()
