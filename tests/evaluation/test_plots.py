"""The plots that are drawn, and for whom."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from dse.evaluation import plots, write_report
from dse.evaluation.quality import Scores
from tests.evaluation.factory import BINARY, NLI, REGRESSION, make_report, make_scores

pytest.importorskip("matplotlib")
PNG = b"\x89PNG"
LOG = [
    {"loss": 1.0, "task": 0.6, "distill": 0.4, "step": 10},
    {"eval_f1": 0.5, "eval_runtime": 1.0, "eval_samples_per_second": 0.0, "step": 10},
    {"loss": 0.8, "task": 0.5, "distill": 0.3, "step": 20},
    {"eval_f1": 0.6, "eval_runtime": 1.0, "eval_samples_per_second": 0.0, "step": 20},
    {"train_runtime": 3.0, "train_loss": 0.9, "step": 20},
]


@pytest.mark.parametrize(
    ("task", "names"),
    [(BINARY, ["scores", "calibration"]), (REGRESSION, ["scores"]), (NLI, ["scores"])],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_each_kind_of_task_has_its_plots(tmp_path, task, names):
    written = plots.write_plots(make_report(task, 40), tmp_path)
    assert [plot.file for plot in written] == [f"plots/{name}.png" for name in names]
    assert all(plot.alt and (tmp_path / plot.file).read_bytes().startswith(PNG) for plot in written)


def test_without_teacher_or_labels_what_is_left_is_drawn(tmp_path):
    s = make_scores(BINARY, 40)
    no_teacher = make_report(BINARY, 40, scores=Scores(s.student, None, s.label))
    assert [plot.file for plot in plots.write_plots(no_teacher, tmp_path)] == ["plots/calibration.png"]
    no_labels = make_report(BINARY, 40, scores=Scores(s.student, s.teacher, None))
    assert [plot.file for plot in plots.write_plots(no_labels, tmp_path)] == ["plots/scores.png"]


def test_many_points_become_cells_in_one_panel_per_class():
    figure = plots.scatter(make_report(BINARY, 2 * plots.MANY + 2))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0].startswith("different (") and titles[1].startswith("duplicate (")
    assert len(plots.scatter(make_report(BINARY, 50)).axes) == 1


def test_colours_follow_the_label_and_not_its_place_in_the_task():
    report = make_report(BINARY, 60)  # the positive class is the first of the task's labels
    (panel,) = plots._panels(report)
    teacher_of = {name.split()[0]: teacher.mean() for name, _, teacher, _ in panel.kinds}
    assert teacher_of["duplicate"] > 0 > teacher_of["different"]


def test_training_curves_show_terms_and_metrics_but_no_timings(tmp_path):
    figure = plots.training_curves(LOG)
    shown = [[line.get_label() for line in axes.get_lines()] for axes in figure.axes]
    assert shown == [["sum", "task", "distillation"], ["f1"]]
    assert [list(line.get_ydata()) for line in figure.axes[1].get_lines()] == [[0.5, 0.6]]
    (tmp_path / "training.json").write_text(json.dumps({"log": LOG}), encoding="utf-8")
    written = plots.write_plots(make_report(REGRESSION, 20), tmp_path / "report", tmp_path)
    assert [plot.file for plot in written] == ["plots/scores.png", "plots/training.png"]


def test_training_curves_of_one_term_show_the_sum_and_of_one_step_nothing():
    alone = [{k: v for k, v in entry.items() if k != "distill"} for entry in LOG]
    assert [line.get_label() for line in plots.training_curves(alone).axes[0].get_lines()] == ["loss"]
    assert plots.training_curves(LOG[:2]) is None


def test_report_without_matplotlib_has_no_plots_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.WARNING):
        written = write_report(make_report(BINARY, 20), tmp_path)
    assert [path.name for path in written] == ["report.json", "report.md"]
    assert 'pip install "dse[report]"' in caplog.text
    assert not (tmp_path / "plots").exists() and "![" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_pyplot_is_not_touched(tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    plots.write_plots(make_report(BINARY, 20), tmp_path)
    assert ("matplotlib.pyplot" in sys.modules) == before
