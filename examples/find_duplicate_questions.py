"""Find duplicate questions: every question of a list is compared with all others, and the closest pairs are printed.

    python examples/find_duplicate_questions.py
    python examples/find_duplicate_questions.py --texts questions.txt --student my-student

540 questions make 145,530 pairs. Each text is read once. Needs the extras `offline` and `train`.
"""

from __future__ import annotations

from pathlib import Path

from helpdesk import catalogue_and_queries, load_student, options

from dse.data import read_sentences


def main() -> None:
    """Print the pairs with the highest scores."""
    parser = options(__doc__)
    parser.add_argument("--texts", type=Path, help="your questions, one a line")
    parser.add_argument("--pairs", type=int, default=10, help="how many pairs to print")
    arguments = parser.parse_args()
    texts = read_sentences(arguments.texts) if arguments.texts else catalogue_and_queries()[0]
    texts = list(dict.fromkeys(texts))
    student = load_student(arguments)

    embeddings = student.encode(texts, show_progress_bar=False)  # (n, d)
    scores: dict[tuple[int, int], float] = {}
    for i, hits in enumerate(student.topk(embeddings, embeddings, k=min(6, len(texts)))):  # the text itself, and five
        for hit in hits:
            pair = (min(i, hit["corpus_id"]), max(i, hit["corpus_id"]))
            if pair[0] != pair[1]:
                scores[pair] = max(hit["score"], scores.get(pair, 0.0))
    for (i, j), score in sorted(scores.items(), key=lambda item: -item[1])[: arguments.pairs]:
        print(f"{score:.3f}  {texts[i]}\n       {texts[j]}")


if __name__ == "__main__":
    main()
