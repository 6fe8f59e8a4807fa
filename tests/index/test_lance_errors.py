"""Corrupt and missing files, and places where nothing can be written."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from dse.errors import BadDataError, DSEError
from dse.index import CandidateIndex
from tests.index.tables import prepared


def use(path, student):
    index = CandidateIndex(path, student)
    index.search("a red bicycle", exact=True)
    index.search("a red bicycle")


@pytest.fixture
def filled(student, tmp_path, small_scout):
    index = CandidateIndex.create(tmp_path / "index", student)
    index.add(prepared(400))
    index.optimize()
    return tmp_path / "index"


@pytest.mark.parametrize(
    "pattern",
    [
        "rows.lance/data/*.lance",
        "rows.lance/_versions/*.manifest",
        "rows.lance/_indices/*/*.idx",
        "scout.lance/data/*.lance",
    ],
)
@pytest.mark.parametrize("harm", ["half", "empty", "gone"])
def test_the_damaged_file_is_named(filled, student, pattern, harm):
    files = sorted(filled.glob(pattern))
    assert files
    for file in files:
        if harm == "gone":
            file.unlink()
        else:
            os.truncate(file, file.stat().st_size // 2 if harm == "half" else 0)
    with pytest.raises(DSEError) as caught:
        use(filled, student)
    message = str(caught.value)
    assert "\n" not in message and ".rs:" not in message
    if harm == "gone" and "_versions" in pattern:
        assert str(filled) in message
    else:
        assert any(file.name in message for file in files), message


def test_what_a_killed_writer_left_is_not_damage(filled, student):
    (filled / "rows.lance" / "data" / "half-written.lance").write_bytes(b"abc")
    index = CandidateIndex(filled, student)
    with pytest.raises(BadDataError, match="nothere"):
        index.search("x", where="nothere = 1")
    assert len(index.search("x")) == 10


def test_other_lance_datasets_and_other_formats_are_refused(filled, student, tmp_path):
    import lance
    import pyarrow as pa

    (tmp_path / "other").mkdir()
    lance.write_dataset(pa.table({"id": ["a"]}), str(tmp_path / "other" / "rows.lance"))
    with pytest.raises(BadDataError, match="no index of dse"):
        CandidateIndex(tmp_path / "other", student)
    index = CandidateIndex(filled, student)
    with contextlib.suppress(DSEError), index._handle.latest().store.writing():
        index._handle.latest().store.update_manifest(format=99)
    with pytest.raises(DSEError, match="format 99"):
        CandidateIndex(filled, student)


@pytest.mark.skipif(os.name != "posix", reason="mount points")
def test_a_read_only_folder_is_searched_and_not_written(filled, student):
    """A read-only bind mount in a namespace of its own, where the system lets us make one (root ignores file modes)."""
    code = (
        "from dse.index.store import Store; from dse.errors import DSEError; import sys\n"
        "store = Store(sys.argv[1]); assert store.count() == 400; assert len(list(store.scan(['id']))) >= 1\n"
        "try:\n    store.writing().__enter__()\nexcept DSEError as error: print(error)\n"
    )
    script = (
        f'mount --bind {filled} {filled} && mount -o remount,bind,ro {filled} && {sys.executable} -c "$CODE" {filled}'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, env=os.environ | {"CODE": code}
    )
    if "not permitted" in done.stderr or "denied" in done.stderr:
        pytest.skip("no namespaces here")
    assert done.returncode == 0, done.stderr
    assert "cannot be written to" in done.stdout


def test_a_damaged_file_is_not_taken_for_values_that_do_not_fit(student, tmp_path):
    index = CandidateIndex.create(tmp_path / "index", student)
    index.add([{"id": "1", "text": "a dog", "n": 1}])
    [file] = (tmp_path / "index" / "rows.lance" / "data").glob("*.lance")
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(BadDataError, match=f"{file.name} is damaged"):
        CandidateIndex(tmp_path / "index", student).add([{"id": "2", "text": "a cat", "n": 0.5}])
