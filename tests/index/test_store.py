"""What an open index keeps in memory."""

from __future__ import annotations

import pytest

from dse.index import store as stores
from dse.index.store import Store
from tests.index.test_write import ones, write
from tests.index.worker import create


@pytest.mark.parametrize("replace", [False, True])
def test_memory_does_not_grow_with_commits(tmp_path, monkeypatch, replace):
    most = 1 << 16
    monkeypatch.setattr(stores, "METADATA_BYTES", most)
    create(str(tmp_path))
    writer, reader = Store(tmp_path), Store(tmp_path)
    for number in range(60):
        write(writer, ones, [{"id": str(number), "text": f"text {number}"}], replace)
        assert reader.latest().count() == number + 1
    for store in (writer, reader):
        assert store.data.session().size_bytes() < 2 * most  # the cache drops entries a little later
