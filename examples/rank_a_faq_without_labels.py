"""Distil without labels, on a FAQ of your own: a student learns to order it from the vectors of a larger encoder.

    python examples/rank_a_faq_without_labels.py
    python examples/rank_a_faq_without_labels.py --faq faq.txt --log log.txt --teacher LARGE --backbone SMALL

Without files it uses the bundled help desk and the recorded vectors of a larger encoder, so it needs no network.
Vectors that an embedding API gave you will do as well. Needs the extras `offline` and `train`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from dse import DSE
from dse.data import read_sentences
from dse.data.helpdesk import read_questions, split_questions, teacher_vectors
from dse.encoding.offline import offline_backbone
from dse.training.ranking import RankingTraining, distill_ranking


def bundled() -> tuple[list[str], list[str], np.ndarray]:
    """A FAQ, a log of questions, and what a larger encoder makes of each text."""
    questions, _ = read_questions()
    texts, split = [question.text for question in questions], split_questions(questions)
    vectors, _ = teacher_vectors(texts)
    rows = [*split.catalogue, *split.log]
    return [texts[i] for i in split.catalogue], [texts[i] for i in split.log], vectors[rows]


def main() -> None:
    """Train the student, then ask it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faq", type=Path, help="your FAQ, one text a line")
    parser.add_argument("--log", type=Path, help="questions that people asked, one a line")
    parser.add_argument("--teacher", help="folder or hub id of a larger sentence encoder, for your own files")
    parser.add_argument("--backbone", help="folder or hub id of a small encoder; by default the one in `offline`")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path("faq-student"))
    arguments = parser.parse_args()
    if arguments.faq and arguments.log and arguments.teacher:
        faq, log = read_sentences(arguments.faq), read_sentences(arguments.log)
        vectors = np.asarray(SentenceTransformer(arguments.teacher).encode([*faq, *log]))
    else:
        faq, log, vectors = bundled()
    student = DSE.from_backbone(arguments.backbone or offline_backbone(), head="cosine", num_layers=1)
    settings = RankingTraining(steps=arguments.steps)
    student = distill_ranking(student, faq, log, arguments.output, teacher_vectors=vectors, settings=settings)
    print(f"{arguments.output} has learned from {len(faq) + len(log):,} texts and no label")
    for hit in student.rank("where is my refund", faq, top_k=3, return_documents=True, show_progress_bar=False):
        print(f"{hit['score']:.3f}  {hit['text']}")


if __name__ == "__main__":
    main()
