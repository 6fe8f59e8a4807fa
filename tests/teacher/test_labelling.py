"""Labelling: every pair has the score of its teacher, none is computed twice, none is lost."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import CrossEncoder

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding import auto_dtype
from dse.errors import BadDataError, MismatchError
from dse.teacher import kept_scores, label_pairs, labelling, teacher_name, teacher_scores
from dse.teacher.kept_scores import ScoreFile
from tests import processes
from tests.samples import BINARY, NLI, make_pairs
from tests.worker import LABELLED, SMALL_SHARD


@pytest.fixture
def scored(monkeypatch):
    """Every pair that a teacher scores from now on."""
    recorded: list[tuple[str, str]] = []

    def recording(teacher, pairs, *args, **kwargs):
        recorded.extend(pairs)
        return teacher_scores(teacher, pairs, *args, **kwargs)

    monkeypatch.setattr(labelling, "teacher_scores", recording)
    return recorded


@pytest.fixture
def never(monkeypatch):
    """Once called, scoring any pair fails."""

    def fail(*args, **kwargs):
        raise AssertionError("scored again")

    return lambda: monkeypatch.setattr(labelling, "teacher_scores", fail)


EXACT = {"dtype": "float32"}


def test_second_time_nothing_is_scored(tmp_path, teacher, never):
    pairs, path = make_pairs(BINARY, 20), tmp_path / "deep" / "s.parquet"
    first = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert first.shape == (20, 1) and first.dtype == np.float32
    assert np.abs(first - teacher_scores(teacher, pairs.tuples(), BINARY, **EXACT)).max() < 1e-5
    never()
    assert np.array_equal(label_pairs(teacher, pairs, BINARY, path, **EXACT), first)
    order = np.random.default_rng(0).permutation(20)  # rows are identified by their text, not by position
    assert np.array_equal(label_pairs(teacher, pairs.select(order), BINARY, path, **EXACT), first[order])
    assert np.array_equal(label_pairs(teacher, pairs.select([4, 4, 2]), BINARY, path, **EXACT), first[[4, 4, 2]])


def test_added_pairs_alone_are_scored(tmp_path, teacher, scored):
    pairs = make_pairs(BINARY, 20)
    before = label_pairs(teacher, pairs.select(range(12)), BINARY, tmp_path / "s.parquet", **EXACT)
    del scored[:]
    after = label_pairs(teacher, pairs, BINARY, tmp_path / "s.parquet", **EXACT)
    assert scored == pairs.tuples()[12:]
    assert np.array_equal(after[:12], before)
    assert pq.read_table(tmp_path / "s.parquet").num_rows == 20
    del scored[:]
    mirrored = Pairs(pairs.sentence2[:1], pairs.sentence1[:1])
    label_pairs(teacher, mirrored, BINARY, tmp_path / "s.parquet", **EXACT)
    assert scored == mirrored.tuples()  # a teacher reads (b, a) otherwise than (a, b)


def test_changed_weights_are_another_teacher(tmp_path, teacher, scored):
    pairs, path = make_pairs(BINARY, 8), tmp_path / "s.parquet"
    old_name = teacher_name(teacher, BINARY)
    old = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    with torch.no_grad():
        teacher.model.classifier.bias += 1
    new = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert len(scored) == 16
    assert np.allclose(new, old + 1, atol=1e-5)
    file = ScoreFile(path)
    assert np.array_equal(file.lookup(pairs.tuples(), old_name), old)  # both are kept apart
    assert np.array_equal(file.lookup(pairs.tuples(), teacher_name(teacher, BINARY)), new)


def test_another_positive_class_is_another_logit(tmp_path, backbone):
    teacher = CrossEncoder(backbone, num_labels=2, device="cpu")
    teacher.config.id2label = {0: "no", 1: "yes"}
    pairs, path = make_pairs(BINARY, 6), tmp_path / "s.parquet"
    yes, no = (Task("t", "binary", labels=("no", "yes"), positive=name) for name in ("yes", "no"))
    assert np.array_equal(
        label_pairs(teacher, pairs, yes, path, **EXACT), -label_pairs(teacher, pairs, no, path, **EXACT)
    )
    assert label_pairs(teacher, pairs, None, path, **EXACT).shape == (6, 2)


def test_renamed_outputs_are_another_order(tmp_path, backbone):
    """The same weights with other label names mean other classes."""
    teacher = CrossEncoder(backbone, num_labels=3, device="cpu")
    pairs, path = make_pairs(NLI, 6), tmp_path / "s.parquet"
    teacher.config.id2label = dict(enumerate(NLI.labels))
    one = label_pairs(teacher, pairs, NLI, path, **EXACT)
    teacher.config.id2label = dict(enumerate(NLI.labels[::-1]))
    other = label_pairs(teacher, pairs, NLI, path, **EXACT)
    assert np.abs(one - other[:, ::-1]).max() < 1e-5 < np.abs(one - other).max()


def test_missing_pairs_are_named(tmp_path, teacher):
    label_pairs(teacher, make_pairs(BINARY, 8), BINARY, tmp_path / "s.parquet", **EXACT)
    file, name = ScoreFile(tmp_path / "s.parquet"), teacher_name(teacher, BINARY)
    known = make_pairs(BINARY, 8).tuples()
    with pytest.raises(MismatchError, match=r"s.parquet: pair 3 \('a', 'b'\) has no score; label this data"):
        file.lookup([*known[:2], ("a", "b")], name)
    with pytest.raises(MismatchError, match=rf"pair 1 .* has a score of teacher {name} only"):
        file.lookup(known, "another")
    assert file.lookup([], name).shape[0] == 0


def test_unfit_teacher_writes_nothing(tmp_path, teacher):
    with pytest.raises(MismatchError, match="gives 1 scores per pair"):
        label_pairs(teacher, make_pairs(NLI, 4), NLI, tmp_path / "s.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 half of it"])
@pytest.mark.parametrize("name", ["s.parquet", "s.parquet.shards/000000.parquet"])
def test_broken_file(tmp_path, teacher, name, content):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadDataError, match=rf"{name} is no file of teacher scores .*; delete it and label again"):
        label_pairs(teacher, make_pairs(BINARY, 4), BINARY, tmp_path / "s.parquet")
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    "columns",
    [
        {"sentence1": ["a"], "sentence2": ["b"], "label": [1]},
        {"key": ["x"], "sentence1": ["a"], "sentence2": ["b"], "teacher": ["t"], "scores": ["high"]},
        {"key": [b"x"], "sentence1": ["a"], "sentence2": ["b"], "teacher": ["t"], "scores": [1.0]},
    ],
)
def test_another_kind_of_file(tmp_path, teacher, columns):
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    before = (tmp_path / "train.parquet").read_bytes()
    with pytest.raises(BadDataError, match=r"train.parquet is no file of teacher scores"):
        label_pairs(teacher, make_pairs(BINARY, 4), BINARY, tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").read_bytes() == before


# --------------------------------------------------------------------------------------- precision, and what is none


def test_scores_belong_to_the_precision_they_were_computed_in(tmp_path, teacher, scored):
    pairs, path = make_pairs(BINARY, 6), tmp_path / "s.parquet"
    rough = label_pairs(teacher, pairs, BINARY, path, dtype="bfloat16")
    exact = label_pairs(teacher, pairs, BINARY, path, dtype="float32")
    assert len(scored) == 12 and np.abs(rough - exact).max() > 1e-6
    assert np.array_equal(label_pairs(teacher, pairs, BINARY, path, dtype="bfloat16"), rough)
    assert np.array_equal(label_pairs(teacher, pairs, BINARY, path, dtype="float32"), exact)
    own = rough if auto_dtype(teacher.device) == torch.bfloat16 else exact
    assert np.array_equal(label_pairs(teacher, pairs, BINARY, path), own)
    assert len(scored) == 12


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_a_wish_kept_scores_of_any_precision_are_taken(tmp_path, teacher, never, dtype):
    """A file labelled on a machine with a GPU is good for one without."""
    pairs, path = make_pairs(BINARY, 6), tmp_path / "s.parquet"
    scores = label_pairs(teacher, pairs, BINARY, path, dtype=dtype)
    never()
    assert np.array_equal(label_pairs(teacher, pairs, BINARY, path), scores)


BAD = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("kept", [True, False])
def test_a_score_that_is_not_finite_is_named_and_not_kept(tmp_path, teacher, monkeypatch, value, kept):
    def spoilt(teacher, pairs, *args, **kwargs):
        scores = teacher_scores(teacher, pairs, *args, **kwargs)
        scores[[pair[0] == bad[0] for pair in pairs]] = value
        return scores

    pairs, path = make_pairs(BINARY, 12), tmp_path / "s.parquet" if kept else None
    bad = pairs.tuples()[7]
    with monkeypatch.context() as patch:
        patch.setattr(labelling, "teacher_scores", spoilt)
        patch.setattr(labelling, "SHARD", 4)
        with pytest.raises(BadDataError, match=rf"score of \('{bad[0]}', .* is not finite; .*--dtype float32"):
            label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert np.isfinite(label_pairs(teacher, pairs, BINARY, path, **EXACT)).all()


@pytest.mark.parametrize("value", [*BAD, None])
def test_kept_scores_that_are_not_finite_are_missing(tmp_path, teacher, scored, value):
    """As earlier versions kept them."""
    pairs, path = make_pairs(BINARY, 6), tmp_path / "s.parquet"
    scores = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    table = pq.read_table(path)
    column = table["scores"].to_pylist()
    column[2] = [value]
    pq.write_table(table.set_column(4, table.schema.field(4), pa.array(column, table.schema.field(4).type)), path)
    del scored[:]
    assert np.abs(label_pairs(teacher, pairs, BINARY, path, **EXACT) - scores).max() < 1e-6
    assert scored == [tuple(table.select(["sentence1", "sentence2"]).to_pylist()[2].values())]
    assert np.isfinite(ScoreFile(path).lookup(pairs.tuples())).all()


def test_a_folder_of_parquet_files_is_no_file_of_scores(tmp_path, teacher):
    label_pairs(teacher, make_pairs(BINARY, 4), BINARY, tmp_path / "folder" / "s.parquet", **EXACT)
    with pytest.raises(BadDataError, match="folder is no file of teacher scores"):
        label_pairs(teacher, make_pairs(BINARY, 4), BINARY, tmp_path / "folder", **EXACT)


def test_what_is_no_shard_stays(tmp_path, teacher):
    shards = tmp_path / "s.parquet.shards"
    shards.mkdir()
    (shards / "README.md").write_text("mine")
    label_pairs(teacher, make_pairs(BINARY, 4), BINARY, tmp_path / "s.parquet", **EXACT)
    assert [path.name for path in shards.iterdir()] == ["README.md"]
    assert len(ScoreFile(tmp_path / "s.parquet")) == 4


def test_two_processes_label_into_one_file(tmp_path, teacher, monkeypatch):
    pairs, path = make_pairs(BINARY, 8), tmp_path / "s.parquet"
    one, other = ScoreFile(path), ScoreFile(path)
    monkeypatch.setattr("os.getpid", lambda: 1)
    one.add("t", pairs.tuples()[:4], np.ones((4, 1), np.float32))
    monkeypatch.setattr("os.getpid", lambda: 2)
    other.add("t", pairs.tuples()[4:], np.ones((4, 1), np.float32))
    one.finish()
    other.finish()
    assert ScoreFile(path).missing("t", pairs.tuples()) == []
    assert [file.name for file in tmp_path.glob("[!.]*")] == ["s.parquet"]


# ----------------------------------------------------------------------------------------------- interruptions


def test_stopped_while_shards_are_joined(tmp_path, teacher, never, monkeypatch):
    """The file is written, its shards still exist."""
    pairs, path = make_pairs(BINARY, 10), tmp_path / "s.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(labelling, "SHARD", 4)
        patch.setattr(kept_scores, "_remove_shards", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert len(list(tmp_path.glob("s.parquet.shards/*.parquet"))) == 3
    next(tmp_path.glob("s.parquet.shards/000000*")).unlink()  # stopped in the middle of deleting
    never()
    scores = label_pairs(teacher, pairs, BINARY, path, **EXACT)
    assert np.abs(scores - teacher_scores(teacher, pairs.tuples(), BINARY, **EXACT)).max() < 1e-5
    assert pq.read_table(path).num_rows == 10
    assert [file.name for file in tmp_path.glob("[!.]*")] == ["s.parquet"]


@pytest.mark.slow
def test_killed_process_loses_one_shard_at_most(tmp_path, teacher, scored, monkeypatch):
    teacher.save_pretrained(str(tmp_path / "teacher"))
    path, shards = tmp_path / "s.parquet", tmp_path / "s.parquet.shards"
    process = processes.start("label", tmp_path / "teacher", path, 0.05)
    processes.kill_when(process, lambda: any(shards.glob("000003*")))
    assert not path.exists()
    saved = len(ScoreFile(path))
    assert 4 * SMALL_SHARD <= saved < LABELLED
    monkeypatch.setattr(labelling, "SHARD", SMALL_SHARD)
    teacher, pairs = CrossEncoder(str(tmp_path / "teacher"), device="cpu"), make_pairs(BINARY, LABELLED)
    resumed = label_pairs(teacher, pairs, BINARY, path)
    assert len(scored) == LABELLED - saved
    whole = label_pairs(teacher, pairs, BINARY, tmp_path / "whole.parquet")
    assert np.abs(resumed - whole).max() < 1e-6
    assert not shards.exists()
