"""A custom teacher, such as an API or an LLM: any object with `predict(pairs)` can teach a student to rank.

    python examples/learn_from_an_api.py

`Judge.ask` stands for the call to your API. Here it looks up what a larger encoder gave for the bundled texts, so that
the example runs offline. Every score is kept: a killed run asks for none of them twice. Needs the extras `ranking`,
`offline` and `train`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dse.data import Texts
from dse.data.helpdesk import read_questions, split_questions, teacher_vectors
from dse.encoding.offline import offline_backbone
from dse.evaluation.ranking import ranking_table
from dse.ranking import RankingRecipe, make_ranker
from dse.training.ranking import RankingTraining


class Judge:
    """How well a document answers a query, as a number; only the order matters."""

    fingerprint = "my-judge-2026-11"  # names the scores that are kept; a new prompt or model needs another name

    def __init__(self) -> None:
        texts = [question.text for question in read_questions()[0]]
        self.vectors = dict(zip(texts, teacher_vectors(texts)[0], strict=True))

    def ask(self, query: str, document: str) -> float:
        """One call: "From 0 to 10, how well does this document answer this query?"."""
        u, v = self.vectors[query], self.vectors[document]
        return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))

    def predict(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """A score for each pair."""
        return [self.ask(query, document) for query, document in pairs]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6000, help="how many pairs the judge may be asked about")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--backbone", help="folder or hub id of a small encoder; by default the one in `offline`")
    parser.add_argument("--output", type=Path, default=Path("judged-student"))
    arguments = parser.parse_args()
    texts, split = [question.text for question in read_questions()[0]], split_questions(read_questions()[0])
    corpus = Texts([f"c{i}" for i in split.catalogue], [texts[i] for i in split.catalogue])
    log = Texts([f"q{i}" for i in split.log], [texts[i] for i in split.log])
    training = RankingTraining(steps=arguments.steps)
    recipe = RankingRecipe(arguments.backbone or offline_backbone(), training=training, teacher_pairs=arguments.pairs)
    print(ranking_table(make_ranker(corpus, log, recipe, arguments.output, teacher=Judge())))
