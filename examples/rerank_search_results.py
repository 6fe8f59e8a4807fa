"""Rerank search results: BM25 finds twenty texts for a query, a student puts the right ones first.

    python examples/rerank_search_results.py

The same two lines work with the results of any search engine. Needs the extras `ranking`, `offline` and `train`.
"""

from __future__ import annotations

import bm25s
from helpdesk import catalogue_and_queries, load_student, options

KEPT = 20  # texts that the first stage hands over


def first_stage(catalogue: list[str], queries: list[str]) -> list[list[int]]:
    """For each query the rows of the texts that BM25 puts first."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(catalogue, show_progress=False), show_progress=False)
    found, _ = index.retrieve(bm25s.tokenize(queries, show_progress=False), k=KEPT, show_progress=False)
    return [rows.tolist() for rows in found]


def main() -> None:
    """Rerank, and count how often a right text stands on top."""
    parser = options(__doc__)
    parser.add_argument("--queries", type=int, default=100, help="how many questions to ask")
    arguments = parser.parse_args()
    catalogue, queries, right = catalogue_and_queries()
    rows = range(0, len(queries), max(1, len(queries) // arguments.queries))
    student = load_student(arguments)

    before, after = 0, 0
    for row, found in zip(rows, first_stage(catalogue, [queries[row] for row in rows]), strict=True):
        hits = student.rank(queries[row], [catalogue[i] for i in found], show_progress_bar=False)
        best = found[hits[0]["corpus_id"]]
        before += right[row][found[0]]
        after += right[row][best]
    print(f"query        {queries[row]}")
    print(f"BM25         {catalogue[found[0]]}")
    print(f"and student  {catalogue[best]}")
    print(f"right on top: BM25 {before / len(rows):.0%}, BM25 and student {after / len(rows):.0%}")


if __name__ == "__main__":
    main()
