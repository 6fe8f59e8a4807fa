"""The runner of the evidence: its subsets, its rows with tiny models, its JSON and pages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks.evidence import ablation_pages, glue_pages, measure, other_pages, pages, results, shallow, speed, text
from benchmarks.evidence.__main__ import options_of
from benchmarks.evidence.embeddings import BagOfWords
from benchmarks.evidence.measure import Workshop, make
from benchmarks.evidence.plan import (
    DISTILLED,
    FURTHER,
    GLUE,
    LARGE_FURTHER,
    LARGE_MAIN,
    LARGE_TEACHER,
    MAIN,
    SEEDS,
    SHALLOW,
    TEACHERS,
    Row,
    rows,
)
from benchmarks.evidence.results import Table, headlines
from benchmarks.evidence.subsets import UNLABELLED, Size, prepare

from dse import get_task
from dse.data.pairs import Pairs, load_pairs
from tests.conftest import SENTENCES

TEXTS = [text for text in SENTENCES if text]


def write(file, n, label, seed=0, **more):
    draw = np.random.default_rng(seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {f"sentence{i}": draw.choice(TEXTS, n).tolist() for i in (1, 2)}
    pq.write_table(pa.table(columns | {"label": label(draw, n)} | more), file)


def score(draw, n):
    return draw.uniform(0, 5, n)


def classes(count):
    return lambda draw, n: draw.integers(0, count, n)


# ------------------------------------------------------------------------------------------------------ plan, data


def test_every_row_is_planned_once_and_the_headline_comes_first():
    every = rows()
    assert len(set(every)) == len(every)
    for task in GLUE:
        assert {r.name for r in every if r.task == task} == {*TEACHERS, *DISTILLED, *SHALLOW} - (
            {"three_blocks"} if task != "stsb" else set()
        )
        for seed in SEEDS:
            assert {r.name for r in every if (r.task, r.seed) == (task, seed)} >= {*MAIN, *FURTHER}
    first = {(r.task, r.name) for r in every[:40]}
    assert {(task, name) for task in GLUE for name in ("teacher", "dse", "no_distillation")} <= first


def test_rows_of_the_larger_teacher_are_made_where_it_is_given(capsys):
    """Its weights are not part of the project: without them `make evidence` makes the others, and says so if asked."""
    given = options_of(["--large-backbone", "folder", "--only", "mrpc/dse_large_teacher/42"])
    assert given.large_backbone == "folder"
    assert options_of(["--only", "mrpc/dse/42"]).large_backbone is None
    with pytest.raises(SystemExit):
        options_of(["--only", "mrpc/dse/42", "mrpc/dse_large_teacher/42"])
    assert "mrpc/dse_large_teacher/42 needs --large-backbone" in capsys.readouterr().err
    assert {row.name for row in rows() if row.large} == {*LARGE_MAIN, "unlabelled_large_teacher"}


def test_a_row_that_is_not_planned_is_refused(capsys):
    """A seed or name with a slip in it would else end at once, with nothing made and nothing said."""
    with pytest.raises(SystemExit):
        options_of(["--only", "mrpc/dse/42", "mrpc/dse/45"])
    assert "There is no row mrpc/dse/45" in capsys.readouterr().err


def test_subsets_are_named_and_repeatable(tmp_path):
    write(tmp_path / "mnli/train.parquet", 60, classes(3))
    write(tmp_path / "mnli/dev_matched.parquet", 20, classes(3), 1)
    for copy in ("a", "b"):
        prepare(str(tmp_path), "mnli", ("dev",), Size(15, None), tmp_path / copy)
    task = get_task("mnli")
    first, second = (load_pairs(tmp_path / copy / "mnli", task, "train") for copy in ("a", "b"))
    assert first.tuples() == second.tuples()
    np.testing.assert_array_equal(first.label, second.label)
    whole = load_pairs(tmp_path, task, "train")
    assert set(zip(first.tuples(), first.label, strict=True)) <= set(zip(whole.tuples(), whole.label, strict=True))
    about = json.loads((tmp_path / "a/mnli/about.json").read_text())
    assert (about["train"]["rows"], about["train"]["of"], about["dev"]["rows"]) == (15, 60, 20)


@pytest.mark.parametrize("name", ["qnli", "mrpc"])
def test_labels_survive_the_copy(tmp_path, name):
    for split in ("train", "dev"):
        write(tmp_path / f"{name}/{split}.parquet", 20, classes(2))
    own = prepare(str(tmp_path), name, ("dev",), Size(), tmp_path / "copy")
    task = get_task(name)
    for split in ("train", "dev"):
        there, here = load_pairs(tmp_path, task, split), load_pairs(own, task, split)
        np.testing.assert_array_equal(there.label, here.label)


def test_allnli_is_both_data_sets(tmp_path):
    write(tmp_path / "mnli/train.parquet", 20, classes(3))
    write(tmp_path / "snli/dev.parquet", 12, classes(3), 1)
    write(tmp_path / "snli/test.parquet", 8, classes(3), 2)
    own = prepare(str(tmp_path), "allnli", ("dev",), Size(), tmp_path / "copy")
    assert [len(load_pairs(own, get_task("allnli"), split)) for split in ("train", "dev")] == [32, 8]


# ------------------------------------------------------------------------------------------------------- baselines


def learnable(n, seed):
    """Pairs whose label says whether both sentences are the same."""
    draw = np.random.default_rng(seed)
    a = draw.choice(TEXTS, n)
    same = draw.random(n) < 0.5
    b = np.where(same, a, draw.choice(TEXTS, n))
    return Pairs(a.tolist(), b.tolist(), (a == b).astype(np.float32))


@pytest.mark.parametrize("name", ["frozen", "static", "bilstm"])
def test_baselines_learn_what_is_easy(name, backbone, monkeypatch):
    monkeypatch.setattr(shallow, "LSTM", 16)
    monkeypatch.setitem(shallow.SETTINGS, name, shallow.Setting(8, 5e-3, 0.5 if name != "bilstm" else 0.0))
    train, validation, test = learnable(160, 0), learnable(40, 1), learnable(60, 2)
    t = np.where(train.label > 0, 3.0, -3.0)[:, None]
    found = [shallow.measure(name, get_task("mrpc"), backbone, train, validation, test, t, 1) for _ in range(2)]
    assert found[0] == found[1]  # the seed decides everything
    assert found[0]["average_precision"] > 0.8


def test_untrained_cosine_is_the_cosine(backbone):
    from dse import DSE
    from dse.data.metrics import compute_metrics

    draw = np.random.default_rng(3)
    sets = [
        Pairs(draw.choice(TEXTS, n).tolist(), draw.choice(TEXTS, n).tolist(), draw.uniform(0, 5, n))
        for n in (20, 10, 30)
    ]
    task = get_task("stsb")
    found = shallow.measure("cosine_untrained", task, backbone, *sets, np.zeros((20, 1)), 0)
    student = DSE.from_backbone(backbone, num_layers=1)
    u, v = (student.encode(side, normalize_embeddings=True) for side in (sets[2].sentence1, sets[2].sentence2))
    assert found == pytest.approx(compute_metrics((u * v).sum(axis=1), sets[2].label, task), abs=1e-5)


def test_bag_of_words_is_the_mean_of_word_vectors(backbone):
    bag = BagOfWords(backbone)
    red, bicycle = (bag.encode([word])[0] for word in ("red", "bicycle"))
    np.testing.assert_allclose(bag.encode(["red bicycle"])[0], (red + bicycle) / 2, atol=1e-6)
    assert not bag.encode([""]).any()


# ---------------------------------------------------------------------------------------------------- rows and pages


@pytest.fixture
def place(tmp_path, backbone, models):
    for split, n in (("train", 60), ("dev", 24)):
        write(tmp_path / f"data/stsb/{split}.parquet", n, score, n)
    configs = Path(measure.__file__).parents[2] / "configs" / "small"
    return Workshop(
        str(tmp_path / "data"),
        "small",
        Size(40, 20, None, 1, None, 5),
        configs,
        tmp_path / "runs/small",
        backbone,
        models("mpnet"),
    )


@pytest.fixture
def docs(tmp_path, monkeypatch):
    folder = tmp_path / "docs"
    folder.mkdir()
    for module in (results, text, other_pages, pages):
        monkeypatch.setattr(module, "RESULTS", folder)
    return folder


def test_rows_are_made_once_and_become_json_and_pages(place, docs, monkeypatch, capsys):
    monkeypatch.setattr("dse.evaluation.plots.write_plots", lambda *_: [])
    names = ("dse", "no_distillation", "unlabelled", "frozen", "cosine_untrained")
    wanted = [Row("stsb", name) for name in (*names, "dse_large_teacher", "unlabelled_large_teacher")]
    for row in wanted:
        make(row, place)
    files = {
        row: row.folder(place.runs) / "row.json"
        for row in (*wanted, *(Row("stsb", name) for name in ("teacher", "large_teacher")))
    }
    times = {row: file.stat().st_mtime_ns for row, file in files.items()}
    monkeypatch.setattr(measure, "_dse", lambda _: pytest.fail("made again"))
    for row in files:
        make(row, place)
    assert times == {row: file.stat().st_mtime_ns for row, file in files.items()}

    results.gather([place.runs])
    glue = Table.read("glue")
    keys = {"task", "row", "split", "metric", "value", "seed", "rows", "command"}
    assert all(keys <= set(row) for row in glue.rows)
    assert {(row["train_rows"], row["train_rows_of"], row["rows"], row["rows_of"]) for row in glue.rows} == {
        (40, 60, 20, 24)
    }
    assert glue.where(row="dse").rows[0]["command"].endswith("--only stsb/dse/42")
    report = json.loads((files[wanted[0]].parent / "report/report.json").read_text())
    (headline,) = headlines(glue)
    assert headline.student.mean == report["metrics"]["student"]["spearman"]
    assert headline.teacher.mean == pytest.approx(report["metrics"]["teacher"]["spearman"])
    shown = glue_pages.glue_page(glue)
    assert f"| stsb | spearman | {100 * headline.teacher.mean:.1f} | {100 * headline.student.mean:.1f} |" in shown
    assert "trained on 40 of 60 rows" in shown
    assert {row["unlabelled_rows"] for row in glue.where(row="unlabelled").rows} == {5}
    assert "rows and 5 further pairs, reported on" in shown
    (large,) = headlines(glue, names=LARGE_TEACHER)
    (further,) = headlines(glue, names=LARGE_FURTHER)
    assert further.teacher == large.teacher and further.no_distillation == headline.no_distillation
    row = glue_pages.headline_row(further)
    assert row["without further pairs"] == large.student.text() and row["further pairs"] == "5"
    students = [json.loads((files[row].parent / "dse.json").read_text()) for row in (wanted[0], *wanted[-2:])]
    own, *others = (student["teacher"] for student in students)
    assert own != others[0] == others[1]
    assert "--large-backbone sentence-transformers/" in glue.where(row="dse_large_teacher").rows[0]["command"]
    assert "; 5 further pairs without labels" in ablation_pages.ablations_page(glue)
    known = {frozenset(pair) for pair in load_pairs(place.folder(wanted[0]), get_task("stsb"), "train").tuples()}
    further = load_pairs(place.folder(wanted[0]) / UNLABELLED, None)
    assert len(further) == 5 and not known & {frozenset(pair) for pair in further.tuples()}
    assert f"{100 * (glue.value(row='frozen', metric='spearman').mean - headline.student.mean):+.1f}" in (
        ablation_pages.ablations_page(glue)
    )
    check_speed(place, docs, monkeypatch)


def test_without_rows_left_over_there_is_no_unlabelled_row(place):
    make(Row("stsb", "unlabelled"), replace(place, sizes=Size()))
    assert not Row("stsb", "unlabelled").folder(place.runs).exists()


def check_speed(place, docs, monkeypatch):
    """Every model in turn, and the page of it; the quality is that of the seed whose models are timed."""
    about = json.loads((docs / "glue.json").read_text())
    other = about["rows"] + [row | {"seed": 43, "value": 0.0} for row in about["rows"] if row["row"] == "dse"]
    (docs / "glue.json").write_text(json.dumps(about | {"rows": other}))
    monkeypatch.setattr(speed, "RESULTS", docs)
    monkeypatch.setattr(speed, "BLOCK", (3, 40))
    monkeypatch.setattr(speed, "LARGE", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2})
    words = ["speed", "--runs", str(place.runs), "--backbone", place.backbone, "--rounds", "1"]
    monkeypatch.setattr("sys.argv", words)
    speed.main()
    table = {row["model"]: row for row in json.loads((docs / "speed_quality.json").read_text())["table"]}
    larger = {"large_teacher", "unlabelled_large_teacher"}
    assert set(table) == {"teacher", "dse", "static", "cosine_untrained"} | larger
    dse, pairs = table["dse"], speed.QUERIES * speed.CANDIDATES
    assert dse["quality"] == pytest.approx(100 * Table(about["rows"]).value(row="dse", metric="spearman").mean)
    assert table["static"]["quality"] is None
    embedding = (speed.QUERIES + speed.CANDIDATES) / dse["sentences_per_s"]
    assert dse["seconds"] == pytest.approx(embedding + pairs / dse["pairs_per_s"])
    assert table["teacher"]["seconds"] == pytest.approx(pairs / table["teacher"]["pairs_per_s"])
    for student, teacher in (("dse", "teacher"), ("unlabelled_large_teacher", "large_teacher")):
        t, s, e = (
            1 / table[name][rate]
            for name, rate in ((teacher, "pairs_per_s"), (student, "pairs_per_s"), (student, "sentences_per_s"))
        )
        assert table[student]["break_even"] == pytest.approx(e / (t - s))
    page = other_pages.speed_page()
    assert "| DSE, alpha 0.5 |" in page
    assert page.index("the larger teacher needs") < page.index("the teacher needs")


def measured(value, **changes):
    row = {"task": "mrpc", "row": "dse", "split": "dev", "metric": "f1", "seed": 42, "rows": 100, "command": "c"}
    return row | {"value": value, "train_rows": 500, "train_rows_of": 3668, "rows_of": 408, "device": "cpu"} | changes


def test_seeds_become_mean_and_spread_and_variants_meet_their_own_seeds():
    glue = Table(
        [measured(value, seed=seed) for seed, value in ((42, 0.8), (43, 0.9))]
        + [measured(0.85, row="teacher", seed=seed) for seed in (42, 43)]
        + [measured(0.7, row="no_distillation", seed=seed) for seed in (42, 43)]
        + [measured(0.81, row="one_layer")]
    )
    (headline,) = headlines(glue)
    assert headline.student.text() == "85.0 ± 7.1"
    assert headline.retention == pytest.approx(1.0)
    assert headline.gain == pytest.approx(15.0)
    variant, plain = ablation_pages.comparisons(glue)["one_layer"]["mrpc"]
    assert (variant.mean, plain.mean) == (0.81, 0.8)


def test_only_seeds_that_teacher_and_students_share_are_compared():
    """A teacher of three seeds beside a student of one says nothing about retention."""
    names = ("teacher", "dse", "no_distillation")
    glue = Table([measured(0.8, row=row) for row in names] + [measured(0.2, row="teacher", seed=43)])
    (headline,) = headlines(glue)
    assert headline.teacher.text() == "80.0" and headline.retention == 1
    apart = Table([measured(0.8, row=row, seed=seed) for seed, row in enumerate(names)])
    assert headlines(apart) == []


def test_every_seed_counts_where_all_were_run(docs):
    """One seed at a larger size is the headline; three at a smaller one say whether a gain is more than noise."""
    names = ("teacher", "dse", "no_distillation")
    gains = {"mrpc": (0.02, 0.03, 0.025), "stsb": (0.03, -0.02, 0.0)}
    made = [
        measured(0.8 + (gain if row == "dse" else 0), task=task, row=row, seed=seed, metric=metric)
        for task, metric in (("mrpc", "f1"), ("stsb", "spearman"))
        for seed, gain in zip(SEEDS, gains[task], strict=True)
        for row in names
    ]
    large = [measured(0.9, row=row, train_rows=3668) for row in names]
    glue = Table(made + large)
    assert [task.train_rows for task in headlines(glue)] == [3668, 500]
    first, second = headlines(glue, len(SEEDS))
    assert (first.train_rows, first.gains) == (500, pytest.approx([2.0, 3.0, 2.5]))
    assert (first.beyond, second.beyond) == (1, 0)
    about = {"rows": glue.rows, "command": "c", "machine": {}, "versions": {}}
    (docs / "glue.json").write_text(json.dumps(about))
    page = glue_pages.glue_page(glue)
    assert "none on mrpc and worse on no task." in page and "| +2.5 ± 0.5 |" in page and "| +0.3 ± 2.5 |" in page
    assert "## 3 seeds" not in glue_pages.glue_page(Table(large))


def test_the_largest_complete_size_counts_and_rows_measured_elsewhere_stay(docs):
    three = ("teacher", "dse", "no_distillation")
    small = [measured(0.5, row=row) for row in three]
    full = [measured(0.8, row=row, train_rows=3668) for row in three]
    assert headlines(Table(small + full[:2]))[0].train_rows == 500
    assert headlines(Table(small + full))[0].train_rows == 3668
    (docs / "glue.json").write_text(json.dumps({"rows": full}))
    folder = docs / "runs/small/mrpc/42/dse"
    folder.mkdir(parents=True)
    about = {"results": [measured(0.6)], "machine": {"device": "cpu"}, "versions": {}}
    (folder / "row.json").write_text(json.dumps(about))
    for _ in range(2):  # a second time changes nothing
        results.gather([docs / "runs/small"])
        assert [row["value"] for row in Table.read("glue").where(row="dse").rows] == [0.8, 0.6]


def test_transfer_page_names_subsets_and_the_best(docs):
    names = ("mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc")
    made = [
        measured(value, task=task, row=row, metric="accuracy", split="5-fold", train_rows=80)
        for row, value in (("bag_of_words", 0.6), ("untrained_mean", 0.7), ("dse_stsb", 0.75))
        for task in names
    ]
    (docs / "transfer.json").write_text(json.dumps({"rows": made, "machine": {}, "versions": {}}))
    shown = other_pages.transfer_page(Table.read("transfer"))
    assert "Best mean of the seven classification sets: DSE distilled on STSB, 75.0." in shown
    assert "+5.0 points to the best untrained" in shown
    assert "mr 100 (5-fold, trained on 80)" in shown
