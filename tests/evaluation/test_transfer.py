"""The transfer protocol on data written here: it learns what can be learned, chooses nothing by what it reports."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dse.cli import app
from dse.errors import BadDataError
from dse.evaluation.probe import GRID, _soft_labels
from dse.evaluation.transfer import transfer
from dse.evaluation.transfer_tasks import SEVEN, TRANSFER_TASKS


class Numbers:
    """Embeds the text "0.5 -1" as [0.5, -1, and noise], and remembers what it was asked to encode."""

    def __init__(self):
        self.seen = []

    def encode(self, sentences, **kwargs):
        self.seen += sentences
        noise = np.random.default_rng(len(sentences)).normal(size=(len(sentences), 6))
        return np.hstack([np.array([[float(x) for x in s.split()] for s in sentences]), 0.01 * noise])


def write(file, **columns):
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


def sentences(n, seed, wrong=0.0):
    """Texts of two numbers; the label is the sign of the first, some of them wrong."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 2)).round(3)
    label = (x[:, 0] > 0) ^ (draw.random(n) < wrong)
    return {"sentence": [f"{a} {b}" for a, b in x], "label": label.astype(int).tolist()}


def pairs(n, seed):
    """Pairs whose score falls with the distance of their first numbers; scores 1 to 5."""
    draw = np.random.default_rng(seed)
    u, v = draw.normal(size=(2, n, 2)).round(3)
    texts = {f"sentence{i}": [f"{a} {b}" for a, b in side] for i, side in ((1, u), (2, v))}
    return texts | {"label": np.clip(5 - np.abs(u[:, 0] - v[:, 0]) * 2, 1, 5)}


def test_without_a_split_every_row_is_judged_by_a_fold_that_has_not_seen_it(tmp_path):
    write(tmp_path / "mr/all.parquet", **sentences(300, 0, wrong=0.1))
    (result,) = transfer(Numbers(), tmp_path, folds=5).results
    assert (result.task, result.metric, result.split, result.rows, result.train_rows) == (
        "mr",
        "accuracy",
        "5-fold",
        300,
        240,
    )
    assert 0.82 < result.value < 0.95  # a tenth of the labels is wrong


def test_labels_that_say_nothing_are_not_learned(tmp_path):
    table = sentences(400, 1)
    table["label"] = np.random.default_rng(2).permutation(table["label"]).tolist()
    write(tmp_path / "cr/all.parquet", **table)
    (result,) = transfer(Numbers(), tmp_path, folds=4).results
    assert abs(result.value - 0.5) < 0.1


def test_a_test_split_is_reported_and_dev_chooses(tmp_path):
    for split, (n, wrong) in {"train": (200, 0.2), "dev": (80, 0.2), "test": (150, 0.0)}.items():
        write(tmp_path / f"sst2/{split}.parquet", **sentences(n, n, wrong))
    (result,) = transfer(Numbers(), tmp_path).results
    assert (result.split, result.rows, result.train_rows) == ("test", 150, 200)
    chosen = _by_hand(tmp_path / "sst2")
    assert result.value == pytest.approx(chosen, abs=1 / 150)


def _by_hand(folder):
    """The same in plain scikit-learn."""
    tables = {split: pq.read_table(folder / f"{split}.parquet").to_pydict() for split in ("train", "dev", "test")}
    texts = list(dict.fromkeys(text for table in tables.values() for text in table["sentence"]))
    vectors = dict(zip(texts, Numbers().encode(texts), strict=True))
    x = {split: np.array([vectors[text] for text in table["sentence"]]) for split, table in tables.items()}
    y = {split: np.array(table["label"]) for split, table in tables.items()}
    scaler = StandardScaler().fit(x["train"])
    models = [LogisticRegression(C=c, max_iter=200).fit(scaler.transform(x["train"]), y["train"]) for c in GRID]
    best = max(models, key=lambda m: m.score(scaler.transform(x["dev"]), y["dev"]))
    return best.score(scaler.transform(x["test"]), y["test"])


def test_relatedness_is_learned_as_expected_score(tmp_path):
    write(tmp_path / "sick/train.parquet", **pairs(300, 3), entailment=[0, 1, 2] * 100)
    write(tmp_path / "sick/dev.parquet", **pairs(120, 4), entailment=[2, 1, 0] * 40)
    results = {(r.task, r.metric): r for r in transfer(Numbers(), tmp_path).results}
    assert results["sick-r", "pearson"].value > 0.85
    assert results["sick-r", "spearman"].value > 0.85
    assert results["sick-r", "pearson"].split == "dev"
    assert results["sick-e", "accuracy"].value < 0.6  # labels that say nothing


def test_fractional_scores_become_two_weighted_rows():
    x, y, weight = _soft_labels(np.eye(3, dtype=np.float32), np.array([3.25, 4.0, 0.5]))
    rows = {(tuple(a), int(b)): w for a, b, w in zip(x.tolist(), y, weight, strict=True)}
    assert rows == {
        ((1.0, 0, 0), 3): 0.75,
        ((1.0, 0, 0), 4): 0.25,
        ((0, 1.0, 0), 4): 1.0,
        ((0, 0, 1.0), 0): 0.5,
        ((0, 0, 1.0), 1): 0.5,
    }


def test_sts_is_plain_cosine(tmp_path):
    table = pairs(60, 5)
    write(tmp_path / "sts14/test.parquet", **table)
    results = {r.metric: r.value for r in transfer(Numbers(), tmp_path).results}
    distinct = list(dict.fromkeys([*table["sentence1"], *table["sentence2"]]))
    vectors = dict(zip(distinct, Numbers().encode(distinct), strict=True))
    cosine = [
        np.dot(vectors[a], vectors[b]) / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])
        for a, b in zip(table["sentence1"], table["sentence2"], strict=True)
    ]
    assert results["pearson"] == pytest.approx(np.corrcoef(cosine, table["label"])[0, 1], abs=1e-5)


def test_average_needs_all_seven_and_a_subset_is_named(tmp_path):
    for name in SEVEN:
        task = TRANSFER_TASKS[name]
        data = sentences(60, 7) if task.kind == "sentence" else pairs(60, 7) | {"label": [0, 1] * 30}
        for split in ("all",) if name in ("mr", "cr", "subj", "mpqa") else ("train", "test"):
            write(tmp_path / name / f"{split}.parquet", **data)
    report = transfer(Numbers(), tmp_path, folds=2, max_rows=50)
    values = [r.value for r in report.results if r.metric == "accuracy"]
    assert report.average == pytest.approx(np.mean(values))
    assert "at most 50 rows" in report.table()
    assert {r.rows for r in report.results} == {50}
    assert transfer(Numbers(), tmp_path, ["mr"], folds=2).average is None


def test_each_text_is_encoded_once(tmp_path):
    write(tmp_path / "mrpc/train.parquet", **(pairs(40, 8) | {"label": [0, 1] * 20}))
    write(tmp_path / "mrpc/test.parquet", **(pairs(40, 8) | {"label": [0, 1] * 20}))
    model = Numbers()
    metrics = [r.metric for r in transfer(model, tmp_path).results]
    assert len(model.seen) == len(set(model.seen)) == 80
    assert metrics == ["accuracy", "f1"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["mrr"], "unknown transfer task 'mrr'"),
        (["subj"], "has no subj data"),
        (None, "none of the transfer data sets"),
    ],
)
def test_missing_data_is_reported_before_anything_is_encoded(tmp_path, tasks, message):
    model = Numbers()
    with pytest.raises(BadDataError, match=message):
        transfer(model, tmp_path, tasks)
    assert model.seen == []


def test_bad_rows_are_named(tmp_path):
    write(tmp_path / "trec/train.parquet", sentence=["1 2", None], label=[0, 1])
    write(tmp_path / "trec/test.parquet", sentence=["1 2", "3 4"], label=[0, 1])
    with pytest.raises(BadDataError, match=r"train\.parquet:2: sentence is None"):
        transfer(Numbers(), tmp_path)
    write(tmp_path / "trec/train.parquet", sentence=["1 2", "3 4"], kind=[0, 1])
    with pytest.raises(BadDataError, match="no column 'label'"):
        transfer(Numbers(), tmp_path)


def test_command(tmp_path, transfer_data, student, backbone, capsys):
    student.save_pretrained(str(tmp_path / "student"))
    app(
        ["transfer", str(tmp_path / "student"), "--data", str(transfer_data), "--folds", "2", "--json"],
        standalone_mode=False,
    )
    report = json.loads(capsys.readouterr().out)
    assert [r["task"] for r in report["results"]] == ["cr"]
    assert report["dimension"] == 32
    call = ["transfer", backbone, "--data", str(transfer_data), "--layers", "1", "--pooling", "cls", "--folds", "2"]
    app(call, standalone_mode=False)
    assert "cr        accuracy" in capsys.readouterr().out
