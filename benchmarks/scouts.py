"""Which scout keeps most of the exact best? Several of them, on students of four tasks.

    python -m benchmarks.scouts --data ../shared/data --work DIR > docs/results/scouts.json

DIR is that of `dse bench search`, whose embeddings of the sentences are used again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dse.bench import catalogue
from dse.bench.harness import Figure, Result
from dse.bench.sentences import distinct_sentences
from dse.encoding.offline import offline_backbone
from dse.index.scout import Scout, normalised
from dse.index.scout_training import train_scout
from dse.index.student import row_scorer
from dse.model import DSE

# Similarity, duplicates, question and answer, entailment; the class searched for where there are several.
TASKS = {"stsb": None, "qqp": None, "qnli": None, "mnli": "entailment"}
ROWS, QUERIES, TAUGHT = 50_000, 200, 200  # candidates, queries measured, other queries that the learned map sees
LENGTHS = (32, 64, 128, 256, 512, 1024)
K = 10
MEASURED = 512  # the length that the figures are given for

Rank = Callable[[int, int], np.ndarray]  # from a query and a length to that many rows


class Corpus:
    """Candidates and queries of one student, with the exact best and the scouts' vectors."""

    def __init__(self, student: DSE, embeddings: np.ndarray, label: str | None) -> None:
        self.scorer = row_scorer(student, label)
        x = embeddings.astype(np.float32)
        self.v, self.q, self.taught = np.split(x, [ROWS, ROWS + QUERIES])
        self.cosine, self.towers = Scout.cosine(self.v), train_scout(self.scorer, self.v)
        queries, candidates = torch.from_numpy(self.q), torch.from_numpy(self.v)
        with torch.inference_mode():
            parts = [self.scorer.best(some, candidates, K)[1] for some in queries.split(8)]
        self.true = torch.cat(parts).numpy()  # (q, K)

    @torch.inference_mode()
    def scores(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Of the pair head, (n,)."""
        found = self.scorer.scores(torch.from_numpy(query), torch.from_numpy(self.v[rows]))
        return found.numpy()

    def recall(self, rank: Rank) -> list[float]:
        """Share of the exact best among the rows kept, for each length."""
        hits = [[np.isin(self.true[i], rank(i, n)).mean() for n in LENGTHS] for i in range(QUERIES)]
        return [float(share) for share in np.mean(hits, axis=0)]


def top(similarity: np.ndarray, n: int) -> np.ndarray:
    """Rows of the n largest, largest first."""
    some = np.argpartition(-similarity, n - 1)[:n]
    return some[np.argsort(-similarity[some], kind="stable")]


def scouts(corpus: Corpus) -> dict[str, Rank]:
    """The ways to keep a shortlist."""
    v, q, mean = corpus.v, corpus.q, corpus.v.mean(axis=0)
    vc, qc = normalised(v - mean), normalised(q - mean)
    squares = np.square(v).sum(axis=1)
    z, zq = corpus.cosine.rows(v), corpus.cosine.queries(q)  # (n, p), (q, p)
    zt, zqt = corpus.towers.rows(v), corpus.towers.queries(q)
    learned = taught_map(corpus, z)
    return {
        f"cosine, {z.shape[1]} directions": lambda i, n: top(z @ zq[i], n),
        "cosine, centred": lambda i, n: top(vc @ qc[i], n),
        "euclidean distance": lambda i, n: top(2 * v @ q[i] - squares, n),
        "cosine, corrected": lambda i, n: corrected(corpus, corpus.cosine, z, zq[i], i, n),
        "learned linear map": lambda i, n: top(z @ (zq[i] @ learned), n),
        "towers": lambda i, n: top(zt @ zqt[i], n),
        "towers, corrected (used)": lambda i, n: corrected(corpus, corpus.towers, zt, zqt[i], i, n),
    }


def corrected(corpus: Corpus, scout: Scout, z: np.ndarray, vector: np.ndarray, i: int, n: int) -> np.ndarray:
    """As `Searcher.shortlist`, without an index: half by the scout, half by what their scores point to."""
    first = top(z @ vector, n // 2)
    w = scout.corrected(vector, z[first], corpus.scores(corpus.q[i], first))
    more = top(z @ w, n)
    return np.append(first, more[~np.isin(more, first)][: n - len(first)])


def taught_map(corpus: Corpus, z: np.ndarray) -> np.ndarray:
    """A (p, p) map of query vectors, from the directions in which the scores of other queries grow."""
    zt = corpus.cosine.queries(corpus.taught)
    directions = []
    for query, vector in zip(corpus.taught, zt, strict=True):
        near = top(z @ vector, 512)
        w = corpus.cosine.corrected(vector, z[near], corpus.scores(query, near))
        directions.append(w)
    w_, p = normalised(np.stack(directions)), zt.shape[1]
    ridge = 0.1 * np.square(zt).sum() / p
    # Around the identity: with few queries the map stays near cosine.
    return np.eye(p) + np.linalg.solve(zt.T @ zt + ridge * np.eye(p), zt.T @ (w_ - zt))


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder of `dse bench search --work`")
    options = parser.parse_args()
    sentences, origin = distinct_sentences(options.data, 10_000_000)
    sentences = sentences[: ROWS + QUERIES + TAUGHT]
    figures, table = [], []
    for task, label in TASKS.items():
        student, base = catalogue.make_student(options.work, options.data, offline_backbone(), task)
        corpus = Corpus(student, catalogue.embed(options.work, base, student, sentences), label)
        for name, rank in scouts(corpus).items():
            found = dict(zip(LENGTHS, corpus.recall(rank), strict=True))
            table.append({"student": task, "scout": name} | {str(n): share for n, share in found.items()})
            if name.endswith("(used)"):
                figures.append(Figure(f"recall_{task}_{MEASURED}", found[MEASURED], "", runs=QUERIES))
        print(f"{task} done", file=sys.stderr)
    notes = [
        f"Share of the exact best {K} within a shortlist of the length that heads the column: {ROWS:,} sentences "
        f"({origin}), {QUERIES} other sentences as queries, vectors compared without an index.",
        f"Students: projection to {catalogue.DIMENSION} dimensions and an mlp head on a frozen encoder, fitted to "
        f"{catalogue.PAIRS:,} training pairs of the task; of MNLI the log-odds of entailment are searched for.",
        f"The learned linear map saw {TAUGHT} other queries; the towers learn from the rows alone.",
    ]
    command = shlex.join(["python", "-m", "benchmarks.scouts", *sys.argv[1:]])
    print(json.dumps(Result("scouts", command, figures, table, notes).to_dict(), indent=2))


if __name__ == "__main__":
    main()
