"""The report of real (tiny, random) models: its numbers, its words, and what it leaves out."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from torch import nn

from dse.data.metrics import compute_metrics
from dse.data.pairs import Pairs
from dse.encoding.identity import fingerprint
from dse.errors import BadDataError, MismatchError
from dse.evaluation import evaluate, measure_speed, speed, table, write_report
from dse.evaluation.free_cosine import free_cosine
from dse.evaluation.render import regime
from dse.evaluation.timing import Summary
from tests.conftest import make_student
from tests.evaluation.factory import BINARY, NLI, REGRESSION, make_report


@pytest.fixture
def rows(pairs):
    return Pairs([a for a, _ in pairs], [b for _, b in pairs], None, "ten.tsv", skipped=2)


def labelled(rows, label):
    return Pairs(rows.sentence1, rows.sentence2, np.array(label), rows.source, rows.skipped)


@pytest.fixture
def binary(rows):
    return labelled(rows, [0.0, 1, 0, 1, 1, 0, 1, 0, 1, 1])


def raw(model, rows):
    return model.predict(rows.tuples(), activation_fn=nn.Identity(), show_progress_bar=False)


def numbers(line):
    return [float(x.replace(",", "")) for x in re.findall(r"-?\d[\d,]*\.?\d*", line)]


def test_binary_metrics_are_those_at_the_stored_threshold(student, teacher, binary):
    s, t = raw(student, binary), raw(teacher, binary)
    student.info["threshold"] = float(np.median(s))
    report = evaluate(student, binary, BINARY, teacher=teacher, teacher_scores=t, measure_speed=False)
    assert report.metrics["student"] == compute_metrics(s, binary.label, BINARY, student.raw_threshold)
    assert report.metrics["teacher"] == compute_metrics(t, binary.label, BINARY, 0.0)
    assert report.threshold == student.threshold and report.teacher_threshold == 0
    middle = float(np.median(t))
    moved = evaluate(
        student, binary, BINARY, teacher=teacher, teacher_scores=t, teacher_threshold=middle, measure_speed=False
    )
    assert moved.metrics["teacher"] == compute_metrics(t, binary.label, BINARY, middle) != report.metrics["teacher"]
    assert moved.fidelity["agreement"] == np.mean((s > student.raw_threshold) == (t > middle))
    assert moved.metrics["student"] == report.metrics["student"] and f"raw score of {middle:.3g}" in table(moved)
    assert f"stored threshold {student.threshold:.3f}" in table(report) and "chose this" not in table(report)
    del student.info["threshold"]
    report_at_half = evaluate(student, binary, BINARY, measure_speed=False)
    assert "so no pairs chose this one" in " ".join(table(report_at_half).split())
    assert report.retention["accuracy"] == pytest.approx(
        report.metrics["student"]["accuracy"] / report.metrics["teacher"]["accuracy"]
    )
    assert report.labels == ["different", "duplicate"]
    assert set(report.calibration_error) == {"student", "teacher"}
    assert report.fingerprints == {"student": fingerprint(student), "teacher": fingerprint(teacher)}


def test_a_task_of_other_classes_is_refused_before_anything_is_scored(student, teacher, binary, monkeypatch):
    monkeypatch.setattr(student, "raw_scores", None)
    monkeypatch.setattr(teacher, "predict", None)
    with pytest.raises(MismatchError, match=r"gives 1 score\(s\) a pair, and task 'nli' needs 3; name the task"):
        evaluate(student, binary, NLI, teacher=teacher, measure_speed=False)


def test_regression_metrics_are_those_of_activated_scores(student, teacher, rows):
    data = labelled(rows, np.linspace(0, 5, 10))
    report = evaluate(student, data, REGRESSION, teacher=teacher, measure_speed=False)
    s = torch.sigmoid(torch.tensor(raw(student, rows), dtype=torch.float64)).numpy()
    assert report.metrics["student"]["pearson"] == pytest.approx(np.corrcoef(s, data.label)[0, 1], abs=1e-5)
    assert report.threshold is None and "agreement" not in report.fidelity
    t = raw(teacher, rows)
    report = evaluate(student, data, REGRESSION, teacher_scores=t, measure_speed=False)
    assert report.fidelity["pearson"] == pytest.approx(np.corrcoef(raw(student, rows), t)[0, 1], abs=1e-5)


def test_multiclass(backbone, rows):
    student = make_student(backbone, num_labels=3)
    data = labelled(rows, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    scores = np.random.default_rng(0).normal(size=(10, 3))
    report = evaluate(student, data, NLI, teacher_scores=scores, measure_speed=False)
    assert report.metrics["student"]["accuracy"] == np.mean(raw(student, rows).argmax(1) == data.label)
    assert report.fidelity["agreement"] == np.mean(raw(student, rows).argmax(1) == scores.argmax(1))
    assert "equal predictions" in table(report)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "mpnet"])
def test_the_free_cosine_scores_by_the_cosine_itself(models, student, pairs, kind):
    """Not by a head's scale of it: a threshold is a cosine too."""
    model = free_cosine(models(kind), student)
    u, v = (model.encode([pair[side] for pair in pairs], show_progress_bar=False) for side in (0, 1))
    expected = (u * v).sum(axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    assert model.raw_scores(pairs)[:, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("better", [True, False])
def test_a_student_is_compared_with_the_free_cosine(student, binary, tmp_path, better):
    scores, middle = raw(student, binary), float(np.median(raw(student, binary)))
    known = labelled(binary, (scores > middle).astype(float))
    student.info["threshold"] = middle
    cosine = -scores if better else scores
    report = evaluate(
        student,
        known,
        BINARY,
        cosine_scores=cosine,
        cosine_threshold=-middle if better else middle,
        measure_speed=False,
    )
    at = report.cosine_threshold
    assert report.metrics["cosine"] == compute_metrics(cosine, known.label, BINARY, at)
    text = " ".join(table(report).split())
    assert "free cosine" in text and ("not shown here" in text) == (not better)
    write_report(report, tmp_path)
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert type(report).from_dict(saved).metrics == report.metrics
    assert "**free cosine**" in (tmp_path / "report.md").read_text(encoding="utf-8")
    old = {name: value for name, value in saved.items() if name not in ("cosine_threshold", "teacher_threshold")}
    assert type(report).from_dict(old).cosine_threshold is None  # a report of an earlier version


def test_without_teacher_nothing_speaks_of_one(student, binary, tmp_path):
    report = evaluate(student, binary, BINARY)
    assert report.retention == {} and report.fidelity == {} and set(report.fingerprints) == {"student"}
    assert report.speed.teacher is None and report.speed.speedup is None
    write_report(report, tmp_path)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert page.startswith("**The student reaches accuracy")
    assert "retention" not in page and "fidelity" not in page and "teacher" not in table(report)


def test_without_labels_there_is_fidelity_only(student, teacher, rows, tmp_path):
    report = evaluate(student, rows, BINARY, teacher=teacher, measure_speed=False)
    assert report.metrics == {} and report.retention == {} and report.calibration_error == {}
    assert set(report.fidelity) >= {"pearson", "agreement"}
    write_report(report, tmp_path)
    assert "none of them labelled" in (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()[0]


def test_with_neither_there_is_nothing_to_report(student, rows):
    with pytest.raises(BadDataError, match=r"ten\.tsv has no labels"):
        evaluate(student, rows, BINARY)


def test_retention_is_none_where_the_teacher_is_worth_nothing(student, binary):
    never = np.full(10, -1.0) - np.arange(10) / 10  # finds no positive: F1 is 0
    report = evaluate(student, binary, BINARY, teacher_scores=never, measure_speed=False)
    assert report.metrics["teacher"]["f1"] == 0 and report.retention["f1"] is None
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_teacher_that_is_not_ahead_is_spoken_of(student, rows, ahead):
    scores = raw(student, rows)
    known = labelled(rows, (scores > np.median(scores)).astype(float))  # the student orders them as they are
    good, bad = scores - np.median(scores), -scores
    student.info["threshold"] = float(np.median(scores)) if ahead else float(scores.max()) + 1
    report = evaluate(student, known, BINARY, teacher_scores=bad if ahead else good, measure_speed=False)
    assert ("may have little to teach" in " ".join(table(report).split())) == ahead


def test_table_shows_the_numbers_of_the_json(student, teacher, binary, tmp_path):
    report = evaluate(student, binary, BINARY, teacher=teacher, command="dse evaluate S --task duplicates")
    write_report(report, tmp_path)
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert saved == report.to_dict() and "scores" not in saved
    lines = table(report).splitlines()
    assert lines[0] == "duplicates (binary), split dev, 10 rows: teacher and student"
    assert max(map(len, lines)) <= 80
    shown = {line[:18].strip(): numbers(line[18:]) for line in lines if line}
    for name, value in saved["metrics"]["student"].items():
        of_teacher, kept = saved["metrics"]["teacher"][name], saved["retention"][name]
        expected = [of_teacher, value] + ([] if kept is None else [kept])
        assert shown[name] == [float(f"{100 * x:.1f}") for x in expected]
    assert shown["pearson r"] == [float(f"{100 * saved['fidelity']['pearson']:.1f}")]
    assert shown["from text"] == pytest.approx(
        [saved["speed"][key]["median"] for key in ("teacher", "student", "speedup")], rel=0.05, abs=0.5
    )


def test_page_says_everything_needed_to_make_it_again(student, teacher, binary, tmp_path):
    report = evaluate(student, binary, BINARY, teacher=teacher, command="dse evaluate S --task duplicates")
    files = write_report(report, tmp_path)
    assert all(path.exists() for path in files) and files[0].name == "report.json"
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    first = page.splitlines()[0]
    assert "of the teacher's accuracy on 10 rows" in first and "once their sentences are embedded" in first
    needed = [
        "```bash\ndse evaluate S --task duplicates\n```",
        "10 rows",
        "`ten.tsv`",
        "2 bad rows",
        "torch: ",
        "cpu: ",
    ]
    assert [text for text in needed if text not in page] == []
    assert all(f"]({path.relative_to(tmp_path).as_posix()})" in page for path in files[2:])


@pytest.mark.parametrize(("distinct", "says"), [(200, "Nearly every sentence"), (40, "each in 5.0 pairs on average")])
def test_regime_is_said_plainly(distinct, says):
    assert says in regime(make_report(REGRESSION, 100, distinct_sentences=distinct))


def test_speed_times_both_on_the_same_sample(student, teacher, binary, monkeypatch):
    seen = []
    predict = CrossEncoder.predict
    monkeypatch.setattr(
        CrossEncoder, "predict", lambda self, rows, **k: seen.append(len(rows)) or predict(self, rows, **k)
    )
    measured = measure_speed(student, binary, teacher)
    assert seen == [10] * (2 + speed.RUNS)  # a pilot, an untimed run, the runs
    assert measured.pairs == 10 and measured.distinct_sentences == len({*binary.sentence1, *binary.sentence2})
    for rate in (measured.teacher, measured.student, measured.embedded, measured.speedup, measured.speedup_embedded):
        assert len(rate.runs) == speed.RUNS and rate.minimum <= rate.median <= rate.maximum
    expected = [s / t for s, t in zip(measured.student.runs, measured.teacher.runs, strict=True)]
    assert measured.speedup.runs == pytest.approx(expected)


def test_sample_keeps_queries_together():
    queries = [f"q{i}" for i in range(100)] * 10
    rows = speed._sample(Pairs(queries, [str(i) for i in range(1000)]))
    counts = np.unique([row[0] for row in rows], return_counts=True)[1]
    assert len(rows) == speed.SAMPLE and sorted(counts)[1:] == [10] * 25


def test_break_even_is_where_both_take_equally_long():
    # The teacher takes 10 ms a pair; the student 4 ms a sentence and 1 ms a pair: 9 p = 4 m at p / m = 4/9.
    rates = {"teacher": 100.0, "student": 1 / (2 * 0.004 + 0.001), "embedded": 1000.0}
    named = {name: Summary.from_runs([value]) for name, value in rates.items()}
    assert speed._break_even(named, pairs=50, sentences=100) == pytest.approx(4 / 9)
    assert speed._break_even(named | {"embedded": named["teacher"]}, 50, 100) is None


def test_pairs_of_which_a_part_has_labels_are_refused(student):
    pairs = Pairs(["a", "b"], ["c", "d"], np.array([1.0, 0.0]), labelled=np.array([True, False]))
    with pytest.raises(BadDataError, match=r"pairs without a label; evaluate pairs\.select"):
        evaluate(student, pairs, BINARY, measure_speed=False)


@pytest.mark.parametrize("name", ["README.md", "report.md", "report.json", "a file"])
def test_a_report_is_written_over_a_report_only(student, binary, tmp_path, name):
    report, folder = evaluate(student, binary, BINARY, measure_speed=False), tmp_path / "mine"
    if name == "a file":
        folder.write_text("mine", encoding="utf-8")
    else:
        folder.mkdir()
        (folder / name).write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(MismatchError, match=str(folder)):
        write_report(report, folder)
    assert "mine" in (folder if name == "a file" else folder / name).read_text(encoding="utf-8")
    for _ in range(2):
        write_report(report, tmp_path / "own")
    (tmp_path / "own" / "notes.txt").write_text("beside a report", encoding="utf-8")
    write_report(report, tmp_path / "own")
