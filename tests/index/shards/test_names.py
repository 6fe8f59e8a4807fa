"""The file that names shards."""

from __future__ import annotations

import json
import shutil

import pytest

from dse.errors import BadDataError, DSEError, MismatchError
from dse.index import CandidateIndex
from dse.index.shards.names import is_sharded, open_shards, read_names, write_names
from tests.index.shards.conftest import split
from tests.index.tables import prepared


def test_names_move_with_their_folder(cosine, tmp_path):
    folders = split(tmp_path / "here", cosine, [prepared(3), prepared(2, first=3)])
    assert not is_sharded(tmp_path / "here")
    write_names(tmp_path / "here" / "all", folders)
    assert is_sharded(tmp_path / "here" / "all") and not is_sharded("s3://bucket/all") and not is_sharded(folders[0])
    shutil.move(tmp_path / "here", tmp_path / "moved")
    assert [store.count() for store in open_shards(tmp_path / "moved" / "all")] == [3, 2]
    write_names(tmp_path / "moved" / "all", [tmp_path / "moved" / "shard-1"])  # changed to others
    assert read_names(tmp_path / "moved" / "all") == [str(tmp_path / "moved" / "shard-1")]


def test_shards_that_do_not_belong_together(cosine, student, tmp_path):
    folders = split(tmp_path, cosine, [prepared(3), prepared(2, first=2)])
    with pytest.raises(BadDataError, match=r"shard-1: the id 'row 2' is in .*shard-0 too; delete it from one\.$"):
        write_names(tmp_path / "all", folders)
    with pytest.raises(MismatchError, match="named twice"):
        write_names(tmp_path / "all", [folders[0], folders[0]])
    with pytest.raises(DSEError, match="no shards"):
        write_names(tmp_path / "all", [])
    with pytest.raises(BadDataError, match="is no index"):
        write_names(tmp_path / "all", [tmp_path / "nothing"])
    with pytest.raises(DSEError, match="is no folder"):
        write_names("s3://bucket/all", folders)
    with pytest.raises(DSEError, match="exists and is not empty"):
        write_names(tmp_path, folders)
    assert not (tmp_path / "all").exists()
    (tmp_path / "all").mkdir()
    for content in ("{", "[]", '{"format": 1}', '{"format": 1, "shards": 3}'):
        (tmp_path / "all" / "shards.json").write_text(content)
        with pytest.raises(BadDataError, match="cannot be read"):
            read_names(tmp_path / "all")
    (tmp_path / "all" / "shards.json").write_text(json.dumps({"format": 2, "shards": ["a"]}))
    with pytest.raises(DSEError, match="has format 2"):
        read_names(tmp_path / "all")
    with pytest.raises(BadDataError, match="run this on each of them"):
        CandidateIndex(tmp_path / "all", student)
    with pytest.raises(BadDataError, match="`dse index combine` makes one"):
        read_names(tmp_path / "no")
