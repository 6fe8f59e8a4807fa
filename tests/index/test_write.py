"""A writer compares its rows with the stored ones again if another process wrote meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from dse.errors import BadDataError
from dse.index.store import Store
from dse.index.write import Writer
from tests.index.worker import create

ROWS = [{"id": "1", "text": "a red bicycle"}, {"id": "2", "text": "a tent"}]


def write(store, embed, rows, replace=False):
    return Writer(store, embed, replace).write(rows, "id", "text", 10, False)


def ones(texts):
    return np.ones((len(texts), 32), np.float16)


class Interrupted:
    """Embeds texts; the first time, another process writes rows before the embeddings are there."""

    def __init__(self, path, rows):
        self.other, self.rows, self.calls = Store(path), rows, []

    def __call__(self, texts):
        if not self.calls:
            write(self.other, ones, self.rows, replace=True)
        self.calls.append(texts)
        return ones(texts)


@pytest.mark.parametrize("replace", [False, True])
def test_rows_added_meanwhile_are_not_doubled(tmp_path, replace):
    create(str(tmp_path))
    store, embed = Store(tmp_path), Interrupted(tmp_path, ROWS[:1])
    done = write(store, embed, ROWS, replace)
    assert (done["added"], done["unchanged"]) == (1, 1)
    assert sorted(store.data.to_table()["id"].to_pylist()) == ["1", "2"]
    assert embed.calls == [["a red bicycle", "a tent"]]  # no text is encoded twice


def test_other_content_added_meanwhile_is_kept(tmp_path):
    create(str(tmp_path))
    store = Store(tmp_path)
    with pytest.raises(BadDataError, match="'1' is stored with other content"):
        write(store, Interrupted(tmp_path, [{"id": "1", "text": "a blue bicycle"}]), ROWS)
    store.refresh()
    assert store.data.to_table()["text"].to_pylist() == ["a blue bicycle"]
