"""The scout: the pair head distilled once more, into two towers whose dot product orders pairs as its scores do.

    y = P' v / c                                      # (m,)  P: leading eigenvectors of sum x x', x = v / |v|; (d, m)
                                                      #       c: root mean square of a coordinate
    z(v) = W0 y / |W0 y| + W2 relu(W1 y + b1) + b2    # (p,)  at first W0 keeps the first p of y: z follows the cosine

Rows and queries have weights of their own (z_row, z_query); `dse.index.scout_training` trains them. The first half of a
shortlist are the rows with the largest z_query(q) . z_row(v). The pair head scores them, and a ridge regression of
these scores s on z_row, around what the towers predict, gives the direction in which scores grow near this query; the
second half are the rows with the largest w . z_row(v):

    w = a z_query(q) + (A'G A + r I)^-1 A'G (s - a A z_query(q))     # (p,)   A: centred z_row of the first half, (n, p)
                                                                     #        a: slope of s on A z_query(q)
                                                                     #        G: weights exp(s / deviation of s)

High scores weigh more, because w must be right near the top.

Lance's vector index (IVF_RQ, 8 bits a value: the first of them dismisses most rows) searches the vectors. It knows
deletions and filters, and compares rows that it has not indexed yet one by one. docs/decisions/index_on_disk.md says
what it was compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import lance
import numpy as np
import pyarrow as pa
from safetensors.numpy import load, save

from dse.errors import BadDataError
from dse.index.layout import now

EXACT_ROWS = 10_000  # up to so many rows every one is scored: two passes would take as long
LADDER = tuple(round(32 * 2 ** (step / 2)) for step in range(15))  # lengths of shortlists: 32, 45, 64, ... 4,096
RIDGE = 1.0  # r in units of the variance of the scored rows, over their number; the best of 0.3, 1, 3 and 10
FIRST_FACTOR, SECOND_FACTOR = 2, 32  # of `probes`: the first half only has to give the direction
DEFAULT_SHORTLIST = 1024  # until `calibrate` has found another
INPUTS, HIDDEN, OUTPUTS = 256, 256, 128  # m, h and p at most


def partitions(rows: int) -> int:
    """How many partitions the scout's vectors are cut into: sqrt(n), a multiple of 16.

    Example:
        >>> partitions(200_000), partitions(10_000_000)
        (448, 3168)
    """
    return max(1, round(math.sqrt(rows) / 16)) * 16


def probes(shortlist: int, rows: int, factor: int) -> int:
    """How many partitions are searched for a shortlist: more for longer ones, so that one number decides both.

    Example:
        >>> probes(512, 1_000_000, FIRST_FACTOR), probes(512, 1_000_000, SECOND_FACTOR)
        (46, 725)
    """
    return max(1, min(partitions(rows), math.ceil(factor * math.sqrt(shortlist))))


@dataclass(frozen=True)
class Tower:
    """The weights of one side.

    Attributes:
        w0: (m, p).
        w1: (m, h); c is in it.
        b1: (h,).
        w2: (h, p).
        b2: (p,).
    """

    w0: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray

    @classmethod
    def identity(cls, m: int, h: int, p: int) -> Self:
        """Keeps the first p inputs and adds zero, so that the scout follows the cosine."""
        shapes = (m, h), (h,), (h, p), (p,)
        return cls(np.eye(m, p, dtype=np.float32), *(np.zeros(shape, dtype=np.float32) for shape in shapes))

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """(n, m) -> (n, p)."""
        z = normalised(y @ self.w0)  # (n, p)
        z += np.maximum(y @ self.w1 + self.b1, 0) @ self.w2 + self.b2
        return z


@dataclass(frozen=True)
class Scout:
    """The maps from embeddings to the scout's vectors.

    Attributes:
        name: The manifest names the scout in use by it.
        directions: P, (d, m).
        query: Tower of the queries.
        row: Tower of the rows.
    """

    name: str
    directions: np.ndarray
    query: Tower
    row: Tower

    @classmethod
    def cosine(cls, embeddings: np.ndarray) -> Self:
        """A scout that follows the cosine of embeddings like these (n, d), in their leading directions.

        They are not centred: plain cosine follows the scores of trained students better than that of centred vectors.

        Example:
            >>> scout = Scout.cosine(np.random.default_rng(0).standard_normal((100, 64)))
            >>> scout.directions.shape, scout.rows(np.ones((2, 64))).shape
            ((64, 64), (2, 64))
        """
        x = normalised(np.asarray(embeddings, dtype=np.float32))
        _, directions = np.linalg.eigh(x.T @ x)  # smallest first
        directions = np.ascontiguousarray(directions[:, ::-1][:, :INPUTS], dtype=np.float32)
        m = directions.shape[1]
        p = min(-(-m // 8) * 8, OUTPUTS)  # IVF_RQ takes multiples of 8; beyond m all is 0 until training
        return cls(f"cosine {p} {now()}", directions, Tower.identity(m, HIDDEN, p), Tower.identity(m, HIDDEN, p))

    @property
    def width(self) -> int:
        """How many numbers a scout vector has, p."""
        return len(self.row.b2)

    def reduced(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings in the leading directions, P' v: (n, d) -> (n, m) float32."""
        result: np.ndarray = np.asarray(embeddings, dtype=np.float32) @ self.directions
        return result

    def rows(self, embeddings: np.ndarray) -> np.ndarray:
        """z_row: (n, d) -> (n, p) float32."""
        return self.row(self.reduced(embeddings))

    def queries(self, embeddings: np.ndarray) -> np.ndarray:
        """z_query: (q, d) -> (q, p) float32."""
        return self.query(self.reduced(embeddings))

    def corrected(self, vector: np.ndarray, vectors: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """w: the query's vector, turned to where scores grow.

        Args:
            vector: z_query(q), (p,).
            vectors: z_row of rows that were scored, (n, p).
            scores: Their raw scores, (n,).

        Returns:
            A vector (p,) to search with; its length has no meaning.
        """
        g = np.exp((scores - scores.max()) / max(scores.std(), 1e-9))  # (n,)
        g /= g.sum()
        a_, s = vectors - g @ vectors, scores - g @ scores  # (n, p), (n,)
        along = a_ @ vector  # (n,)
        slope = (g * along) @ s / max((g * along) @ along, 1e-12)
        gram = (a_ * g[:, None]).T @ a_  # A' G A
        gram += (RIDGE * np.trace(gram) / len(a_) + 1e-6) * np.eye(len(vector), dtype=np.float32)
        result: np.ndarray = slope * vector + np.linalg.solve(gram, a_.T @ (g * (s - slope * along)))
        return result.astype(np.float32)

    def save(self, uri: str, storage_options: dict[str, str] | None = None) -> None:
        """Write the weights as the last version of the dataset at a URI."""
        tensors = {"directions": self.directions}
        for side, tower in (("query", self.query), ("row", self.row)):
            tensors |= {f"{side}.{name}": value for name, value in vars(tower).items()}
        table = pa.table({"name": [self.name], "weights": pa.array([save(tensors)], pa.large_binary())})
        lance.write_dataset(table, uri, mode="overwrite", data_storage_version="2.1", storage_options=storage_options)

    @classmethod
    def load(cls, uri: str, name: str, storage_options: dict[str, str] | None = None) -> Self:
        """Read the scout of a name; it is not in the last version if a process died before the manifest named that.

        Raises:
            BadDataError: If no version holds it.
        """
        data = lance.dataset(uri, storage_options=storage_options)
        for version in reversed(data.versions()):
            table = data.checkout_version(version["version"]).to_table()
            if table["name"][0].as_py() == name:
                tensors = load(table["weights"][0].as_py())
                query, row = (
                    Tower(**{field: tensors[f"{side}.{field}"] for field in Tower.__dataclass_fields__})
                    for side in ("query", "row")
                )
                return cls(name, tensors["directions"], query, row)
        raise BadDataError(f"{uri} lacks {name!r}; run `dse index rebuild`.")


def normalised(x: np.ndarray) -> np.ndarray:
    """Rows of length one, (n, d)."""
    result: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return result
