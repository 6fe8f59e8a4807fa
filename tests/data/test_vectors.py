"""Vectors from a file: what was written comes back, anything else is refused with its row."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.data.vectors import load_vectors
from dse.errors import BadDataError


@given(rows=st.integers(1, 6), width=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_what_was_written_comes_back(tmp_path_factory, rows, width, seed):
    folder = tmp_path_factory.mktemp("vectors")
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    ids = [f"d{row}" for row in range(rows)]
    pd.DataFrame({"id": ids, "embedding": list(vectors)}).to_parquet(folder / "v.parquet")
    lines = [json.dumps({"id": name, "embedding": vector.tolist()}) for name, vector in zip(ids, vectors, strict=True)]
    (folder / "v.jsonl").write_text("\n".join(lines))
    for file in ("v.parquet", "v.jsonl"):
        found, values = load_vectors(folder / file)
        assert found == ids and np.array_equal(values, vectors)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['{"id": "a", "embedding": [1, 2]}', '{"id": "a", "embedding": [1, 2]}'], "jsonl:2: .*'a' again"),
        (['{"id": "a", "embedding": [1, 2]}', '{"id": "b", "embedding": [1]}'], "jsonl:2: .*1 numbers"),
        (['{"id": "a", "embedding": [1, null]}'], "jsonl:1: .*no embedding"),
        (['{"id": "a", "embedding": [1, NaN]}'], "jsonl:1: "),
        (['{"id": "a", "embedding": [true]}'], "jsonl:1: .*no embedding"),
        (['{"id": "a", "embedding": "1 2"}'], "jsonl:1: .*no embedding"),
        (['{"id": "a", "embedding": []}'], "jsonl:1: .*no embedding"),
        (['{"id": "", "embedding": [1]}'], "jsonl:1: .*id"),
        (['{"id": "a", "text": "t"}'], "no column of embeddings"),
        ([], "no rows"),
    ],
)
def test_what_is_no_vector_is_refused(tmp_path, rows, message):
    file = tmp_path / "v.jsonl"
    file.write_text("".join(f"{row}\n" for row in rows))
    with pytest.raises(BadDataError, match=message):
        load_vectors(file)
