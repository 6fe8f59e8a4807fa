"""The runner of the evidence: its subsets, its rows with tiny models, its JSON and pages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from benchmarks.evidence import measure, pages, speed
from benchmarks.evidence.__main__ import gather, make_wanted, options_of
from benchmarks.evidence.measure import BagOfWords, Setup, make
from benchmarks.evidence.plan import (
    COSINE,
    DISTILLED,
    FURTHER,
    GLUE,
    LARGE_FURTHER,
    LARGE_MAIN,
    LARGE_TEACHER,
    MAIN,
    OWN_TEACHER,
    SEEDS,
    TEACHERS,
    Row,
    jobs,
    rows,
)
from benchmarks.evidence.subsets import UNLABELLED, Size, prepare
from benchmarks.evidence.tables import comparisons, degradation, headline
from pandas import DataFrame
from sklearn.linear_model import LogisticRegression

from benchmarks import records
from dse import DSE, get_task
from dse.cli import app
from dse.cli.recipe import setting_types
from dse.data.metrics import best_threshold, compute_metrics
from dse.data.pairs import load_pairs
from dse.pipeline import hold_out
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
        assert {r.name for r in every if r.task == task} == {*TEACHERS, *DISTILLED, COSINE} - (
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


def test_every_setting_of_the_plan_is_one_of_dse():
    parameters = typer.main.get_command(app).commands["teacher"].params
    known = {option for parameter in parameters for option in parameter.opts}
    assert {word for _, *options in TEACHERS.values() for word in options if word.startswith("--")} <= known
    assert {name for _, settings in DISTILLED.values() for name in settings} <= setting_types("distill").keys()


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


def test_bag_of_words_is_the_mean_of_word_vectors(backbone):
    bag = BagOfWords(backbone)
    red, bicycle = (bag.encode([word])[0] for word in ("red", "bicycle"))
    np.testing.assert_allclose(bag.encode(["red bicycle"])[0], (red + bicycle) / 2, atol=1e-6)
    assert not bag.encode([""]).any()


# ---------------------------------------------------------------------------------------------------- rows and pages


@pytest.fixture
def setup(tmp_path, backbone, models):
    for split, n in (("train", 60), ("dev", 24)):
        write(tmp_path / f"data/stsb/{split}.parquet", n, score, n)
        write(tmp_path / f"data/mnli/{'dev_matched' if split == 'dev' else split}.parquet", n, classes(3), n)
        write(tmp_path / f"data/mrpc/{split}.parquet", n, classes(2), n)
    write(tmp_path / "data/mnli/dev_mismatched.parquet", 24, classes(3), 2)
    configs = Path(measure.__file__).parents[2] / "configs" / "small"
    limits = Size(40, 20, None, 1, None, 5)
    runs = tmp_path / "runs/small"
    return Setup(str(tmp_path / "data"), "small", limits, configs, runs, backbone, models("mpnet"))


@pytest.fixture
def docs(tmp_path, monkeypatch):
    folder = tmp_path / "docs"
    folder.mkdir()
    monkeypatch.setattr(records, "RESULTS", folder)
    return folder


def test_jobs_are_all_rows_and_each_has_one_teacher():
    first, last = jobs(rows())
    together = [row for job in (*first, *last) for row in job]
    assert len(together) == len(set(together)) and set(together) == set(rows())
    assert all(len({row.teacher for row in job}) == 1 for job in first)
    owners = {row: number for number, job in enumerate(first) for row in job}
    assert all(owners[needed] == number for row, number in owners.items() for needed in row.needs)
    assert {row.task for job in last for row in job} == {"transfer"} and all(len(job) == 1 for job in last)


def test_rows_made_on_ray_workers_are_those_made_here(setup):
    pytest.importorskip("ray", reason="Ray is not installed")
    keys = [f"{task}/{COSINE}/42" for task in ("stsb", "mrpc")]
    made = {}
    for ray in ("local", None):
        here = replace(setup, runs=setup.runs / str(ray))
        make_wanted(options_of(["--only", *keys, *(["--ray", ray] if ray else [])]), here)
        made[ray] = [json.loads((here.runs / f"{task}/42/{COSINE}/row.json").read_text()) for task in ("stsb", "mrpc")]
    assert [row["results"] for row in made["local"]] == [row["results"] for row in made[None]]


@pytest.mark.parametrize("name", ["stsb", "mrpc", "mnli"])
def test_untrained_cosine_is_the_cosine(setup, name):
    """At the threshold that is best on the validation rows; for classes through a logistic regression."""
    task, row = get_task(name), Row(name, COSINE)
    make(row, setup)
    results = json.loads((row.folder(setup.runs) / "row.json").read_text())["results"]
    train, validation = hold_out(load_pairs(setup.pairs(row), task, "train"), row.seed)
    test = load_pairs(setup.pairs(row), task, "dev")
    student = DSE.from_backbone(setup.backbone, num_layers=1)

    def cosine(pairs):
        u, v = (student.encode(side, normalize_embeddings=True) for side in (pairs.sentence1, pairs.sentence2))
        return (u * v).sum(axis=1)

    scores, threshold = (
        cosine(test),
        best_threshold(cosine(validation), validation.label, task) if name == "mrpc" else 0,
    )
    if name == "mnli":
        odds = LogisticRegression(C=1e3).fit(cosine(train)[:, None], train.label)
        scores = odds.decision_function(scores[:, None])
    expected = compute_metrics(scores, test.label, task, threshold)
    assert {r["metric"]: r["value"] for r in results} == pytest.approx(expected, abs=1e-5)


def records_of(frame, **wanted):
    """The rows of a frame that have these values."""
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame


def test_rows_are_made_once_and_become_json_and_pages(setup, docs, monkeypatch):
    monkeypatch.setattr("dse.evaluation.plots.write_plots", lambda *_: [])
    names = ("dse", "no_distillation", "unlabelled", COSINE, "head_dot")
    wanted = [Row("stsb", name) for name in (*names, "dse_large_teacher", "unlabelled_large_teacher")]
    for row in wanted:
        make(row, setup)
    every = [*wanted, *(Row("stsb", name) for name in ("teacher", "large_teacher"))]
    files = {row: row.folder(setup.runs) / "row.json" for row in every}
    times = {row: file.stat().st_mtime_ns for row, file in files.items()}
    monkeypatch.setattr(measure, "_dse", lambda _: pytest.fail("made again"))
    for row in files:
        make(row, setup)
    assert times == {row: file.stat().st_mtime_ns for row, file in files.items()}

    gather([setup.runs])
    glue = records.frame("glue")
    assert {"task", "row", "split", "metric", "value", "seed", "rows", "command"} <= set(glue)
    assert set(glue[["train_rows", "train_rows_of", "rows", "rows_of"]].itertuples(index=False, name=None)) == {
        (40, 60, 20, 24)
    }
    assert records_of(glue, row="dse").command.iloc[0].endswith("--only stsb/dse/42")
    assert "--large-backbone sentence-transformers/" in records_of(glue, row="dse_large_teacher").command.iloc[0]
    assert set(records_of(glue, row="unlabelled").unlabelled_rows) == {5}
    report = json.loads((files[wanted[0]].parent / "report/report.json").read_text())
    student, teacher = (records_of(glue, row=row, metric="spearman").value.item() for row in ("dse", "teacher"))
    assert student == report["metrics"]["student"]["spearman"]
    assert teacher == pytest.approx(report["metrics"]["teacher"]["spearman"])
    own, large, further = (headline(glue, n).iloc[0] for n in (OWN_TEACHER, LARGE_TEACHER, LARGE_FURTHER))
    assert further.teacher == large.teacher and further["labels only"] == own["labels only"]
    assert further["without further pairs"] == large.student and further["further pairs"] == "5"
    models = [json.loads((files[row].parent / "dse.json").read_text()) for row in (wanted[0], *wanted[-2:])]
    first, *others = (model["teacher"] for model in models)
    assert first != others[0] == others[1]
    known = {frozenset(pair) for pair in load_pairs(setup.pairs(wanted[0]), get_task("stsb"), "train").tuples()}
    more = load_pairs(setup.pairs(wanted[0]) / UNLABELLED, None)
    assert len(more) == 5 and not known & {frozenset(pair) for pair in more.tuples()}

    shown = pages.pages()
    assert f"| stsb | spearman | {100 * teacher:.1f} | {100 * student:.1f} |" in shown["glue.md"]
    assert "| 40 of 60 | 5 | 20 of 24 |" in shown["glue.md"]
    assert "| trained on | 40 of 60 |" in shown["ablations.md"] and "| further pairs | 5 |" in shown["ablations.md"]
    dot = records_of(glue, row="head_dot", metric="spearman").value.item()
    assert f"{100 * dot:.1f} ({100 * (dot - student):+.1f})" in shown["ablations.md"]
    check_speed(setup, docs, monkeypatch)


def test_without_rows_left_over_there_is_no_unlabelled_row(setup):
    make(Row("stsb", "unlabelled"), replace(setup, limits=Size()))
    assert not Row("stsb", "unlabelled").folder(setup.runs).exists()


def check_speed(setup, docs, monkeypatch):
    """Every model in turn, and the page of it; the quality is that of the seed whose models are timed."""
    about = json.loads((docs / "glue.json").read_text())
    other = about["rows"] + [row | {"seed": 43, "value": 0.0} for row in about["rows"] if row["row"] == "dse"]
    (docs / "glue.json").write_text(json.dumps(about | {"rows": other}))
    monkeypatch.setattr(speed, "BLOCK", (3, 40))
    monkeypatch.setattr(speed, "LARGE", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2})
    monkeypatch.setattr("sys.argv", ["speed", "--runs", str(setup.runs), "--backbone", setup.backbone, "--rounds", "1"])
    speed.main()
    table = {row["model"]: row for row in json.loads((docs / "speed_quality.json").read_text())["table"]}
    larger = {"large_teacher", "unlabelled_large_teacher"}
    assert set(table) == {"teacher", "dse", "head_dot", "static", COSINE} | larger
    dse, pairs = table["dse"], speed.QUERIES * speed.CANDIDATES
    expected = records_of(DataFrame(about["rows"]), row="dse", metric="spearman").value.item()
    assert dse["quality"] == pytest.approx(100 * expected)
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
    page = pages.pages()["speed_quality.md"]
    assert f"| DSE, alpha 0.5 | {dse['quality']:.1f} |" in page and f"| {dse['pairs_per_s']:,.0f} |" in page


def measured(value, **changes):
    row = {"task": "mrpc", "row": "dse", "split": "dev", "metric": "f1", "seed": 42, "rows": 100, "command": "c"}
    return row | {"value": value, "train_rows": 500, "train_rows_of": 3668, "rows_of": 408, "device": "cpu"} | changes


def test_seeds_become_mean_and_spread_and_variants_meet_their_own_seeds():
    glue = DataFrame(
        [measured(value, seed=seed) for seed, value in ((42, 0.8), (43, 0.9))]
        + [measured(0.85, row="teacher", seed=seed) for seed in (42, 43)]
        + [measured(0.7, row="no_distillation", seed=seed) for seed in (42, 43)]
        + [measured(0.81, row="one_layer")]
    )
    task = headline(glue, OWN_TEACHER).iloc[0]
    assert (task.student, task.retention, task.gain) == ("85.0 ± 7.1", "100.0 %", "+15.0 ± 7.1")
    assert task.gains == pytest.approx([10, 20]) and task.seeds == 2
    assert np.isnan(degradation(headline(glue, OWN_TEACHER)))  # on 500 rows
    more = [measured(v, row=r, task="qqp", train_rows=1000) for r, v in zip(OWN_TEACHER, (0.8, 0.6, 0.6), strict=True)]
    assert degradation(headline(DataFrame([*glue.to_dict("records"), *more]), OWN_TEACHER)) == pytest.approx(25)
    (variant,) = comparisons(glue, ("one_layer", "one_head")).itertuples()
    assert (variant.value, variant.plain, variant.gain) == ("81.0", "80.0", pytest.approx(1.0))


def test_only_seeds_that_teacher_and_students_share_are_compared():
    """A teacher of three seeds beside a student of one says nothing about retention."""
    glue = DataFrame([measured(0.8, row=row) for row in OWN_TEACHER] + [measured(0.2, row="teacher", seed=43)])
    task = headline(glue, OWN_TEACHER).iloc[0]
    assert task.teacher == "80.0" and task.degradation == 0
    apart = DataFrame([measured(0.8, row=row, seed=seed) for seed, row in enumerate(OWN_TEACHER)])
    assert headline(apart, OWN_TEACHER).empty


def test_every_seed_counts_where_all_were_run(docs):
    """One seed at a larger size is the headline; three at a smaller one say whether a gain is more than noise."""
    gains = {"mrpc": (0.02, 0.03, 0.025), "stsb": (0.03, -0.02, 0.0)}
    made = [
        measured(0.8 + (gain if row == "dse" else 0), task=task, row=row, seed=seed, metric=metric)
        for task, metric in (("mrpc", "f1"), ("stsb", "spearman"))
        for seed, gain in zip(SEEDS, gains[task], strict=True)
        for row in OWN_TEACHER
    ]
    large = [measured(0.9, row=row, train_rows=3668) for row in OWN_TEACHER]
    glue = DataFrame(made + large)
    assert headline(glue, OWN_TEACHER).train_rows.tolist() == [3668, 500]
    first, _ = headline(glue, OWN_TEACHER, len(SEEDS)).itertuples()
    assert (first.train_rows, first.gains) == (500, pytest.approx([2.0, 3.0, 2.5]))
    for content in (made + large, large):
        about = {"rows": content, "command": "c", "machine": {}, "versions": {}}
        (docs / "glue.json").write_text(json.dumps(about))
        page = pages.glue_page("glue")
        shown = [text in page for text in ("| +2.5 ± 0.5 |", "| +0.3 ± 2.5 |", ": 3 seeds on fewer rows")]
        assert shown == [content != large] * 3


def test_the_largest_complete_size_counts_and_rows_measured_elsewhere_stay(docs):
    small = [measured(0.5, row=row) for row in OWN_TEACHER]
    full = [measured(0.8, row=row, train_rows=3668) for row in OWN_TEACHER]
    assert headline(DataFrame(small + full[:2]), OWN_TEACHER).train_rows.item() == 500
    assert headline(DataFrame(small + full), OWN_TEACHER).train_rows.item() == 3668
    (docs / "glue.json").write_text(json.dumps({"rows": full}))
    folder = docs / "runs/small/mrpc/42/dse"
    folder.mkdir(parents=True)
    about = {"results": [measured(0.6)], "machine": {"device": "cpu"}, "versions": {}}
    (folder / "row.json").write_text(json.dumps(about))
    for _ in range(2):  # a second time changes nothing
        gather([docs / "runs/small"])
        assert records_of(records.frame("glue"), row="dse").value.tolist() == [0.8, 0.6]


def test_the_transfer_page_names_subsets_and_takes_the_largest(docs):
    names = ("mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc")
    made = [
        measured(value, task=task, row=row, metric="accuracy", split="5-fold", train_rows=size)
        for row, best in (("bag_of_words", 0.6), ("untrained_mean", 0.7), ("dse_stsb", 0.75))
        for task in names
        for size, value in ((80, best), (40, 0.1))
    ]
    made = [row for row in made if (row["row"], row["task"]) != ("untrained_mean", "cr")]
    about = {"rows": made, "machine": {}, "versions": {}, "command": "c"}
    (docs / "transfer.json").write_text(json.dumps(about))
    page = pages.pages()["transfer.md"]
    assert f"| DSE distilled on STSB |{' 75.0 |' * 8}" in page
    assert f"| untrained backbone, last layer, mean | 70.0 |  |{' 70.0 |' * 5}  |" in page  # no mean of six
    assert f"| reported on |{' 100 |' * 7}" in page and f"| trained on |{' 80 |' * 7}" in page
