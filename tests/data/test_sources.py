"""Where pairs come from: columns of public layouts, standard input, folders and the hub."""

from __future__ import annotations

import logging
import re
import sys

import datasets
import pytest

from dse.data.pairs import load_pairs
from dse.data.tasks import get_task
from dse.errors import MissingExtraError
from tests.pair_files import FORMATS, NAMES, ROWS, as_rows, error_of, write

MRPC, QQP, QNLI, MNLI, SNLI, STSB = map(get_task, ("mrpc", "qqp", "qnli", "mnli", "snli", "stsb"))


# --- columns and the layouts of public data sets ----------------------------------------------------------------

LAYOUTS = [
    ("mrpc", "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\tA\tB", 1.0),
    ("qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t1\t2\tA\tB\t1", 1.0),
    ("qnli", "index\tquestion\tsentence\tlabel", "0\tA\tB\tentailment", 1.0),
    ("qnli", "index\tquestion\tsentence\tlabel", "0\tA\tB\tnot_entailment", 0.0),
    (
        "stsb",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain\tMSR\t2012\t1\tnone\tnone\tA\tB\t3.800",
        3.8,
    ),
    (
        "mnli",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse"
        "\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t1\t2\tgov\t(A)\t(B)\t(A)\t(B)\tA\tB\tneutral\tcontradiction",
        2,
    ),
    (
        "sick",
        "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score",
        "1\tA\tB\tNEUTRAL\t4.5",
        4.5,
    ),
    (
        "sick-e",
        "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score",
        "1\tA\tB\tNEUTRAL\t4.5",
        1,
    ),
]


@pytest.mark.parametrize(("task", "header", "row", "label"), LAYOUTS)
@pytest.mark.parametrize("suffix", [".tsv", ".txt"])
def test_published_tsv_layouts(tmp_path, task, header, row, label, suffix):
    file = tmp_path / f"x{suffix}"
    file.write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert as_rows(load_pairs(file, get_task(task))) == [("A", "B", pytest.approx(label))]


def test_snli_jsonl_layout_and_rows_without_gold_label(tmp_path, caplog):
    keys = ("annotator_labels", "gold_label", "sentence1", "sentence1_parse", "sentence2")
    rows = [
        (["neutral"], "neutral", "A", "(A)", "B"),
        (["neutral", "entailment"], "-", "C", "", "D"),
        ([], "entailment", "E", "", "F"),
    ]
    with caplog.at_level(logging.INFO):
        pairs = load_pairs(write(tmp_path / "x.jsonl", rows, keys), SNLI)
    assert (as_rows(pairs), pairs.skipped) == ([("A", "B", 1), ("E", "F", 0)], 0)
    assert "left out 1 of 3 rows" in caplog.text
    assert "without a gold label" in caplog.text


def test_only_rows_without_gold_label(tmp_path):
    file = write(tmp_path / "x.parquet", [("a", "b", -1)])
    assert "no usable row among 1" in error_of(file, SNLI)
    assert as_rows(load_pairs(file, SNLI, label_required=False)) == [("a", "b", None)]
    assert "unknown label -1" in error_of(file, MRPC)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("text1", "text2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("query", "document"),
        ("query", "passage"),
        ("query", "answer"),
        ("Sentence1", "SENTENCE2"),
    ],
)
@pytest.mark.parametrize("label", ["label", "labels", "is_duplicate", "Quality"])
def test_known_column_names(tmp_path, first, second, label):
    file = write(tmp_path / "x.csv", [("1", "a", "x", "b")], (label, first, "other", second))
    assert as_rows(load_pairs(file, MRPC)) == [("a", "b", 1.0)]


def test_mapped_columns_win(tmp_path):
    file = write(
        tmp_path / "x.csv",
        [("a", "b", "c", "d", 0, 1)],
        ("sentence1", "sentence2", "q1", "q2", "label", "dup"),
    )
    mapping = {"sentence1": "q1", "sentence2": "q2", "label": "dup"}
    assert as_rows(load_pairs(file, MRPC, columns=mapping)) == [("c", "d", 1.0)]
    assert as_rows(load_pairs(file, MRPC, columns={"sentence1": "q1"})) == [("c", "b", 0.0)]
    assert as_rows(load_pairs(file, MRPC, columns={"sentence1": "sentence2", "sentence2": "sentence2"})) == [
        ("b", "b", 0.0)
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_columns_are_listed(tmp_path, suffix):
    file = write(tmp_path / f"x{suffix}", [("a", "b")], ("left", "right"))
    assert re.search(r"no two columns known to hold sentences, only left, right; map .*--columns", error_of(file, MRPC))
    assert '--columns "sentence1=NAME,sentence2=NAME,label=NAME"' in error_of(file, MRPC)  # all at once
    mapping = {"sentence1": "left", "sentence2": "right"}
    assert re.search(
        "no column known to hold labels, only left, right; map label", error_of(file, MRPC, columns=mapping)
    )
    assert "no column 'rihgt'" in error_of(file, MRPC, columns=mapping | {"sentence2": "rihgt"})
    assert "no column role 'sentence3'" in error_of(file, MRPC, columns={"sentence3": "left"})
    with_label = mapping | {"label": "dup"}
    assert "no column 'dup'" in error_of(file, MRPC, columns=with_label)


# --- folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mrpc/dev.csv", "mrpc/validation.tsv", "dev.jsonl", "validation.parquet"])
def test_a_split_in_a_folder(tmp_path, name):
    write(tmp_path / name, ROWS)
    write(tmp_path / "mrpc/train.csv", [("x", "y", 0)])
    if "/" not in name:
        (tmp_path / "mrpc/train.csv").unlink()
    assert as_rows(load_pairs(tmp_path, MRPC, "dev")) == ROWS


def test_the_folder_of_the_task_itself(tmp_path):
    write(tmp_path / "dev_matched.csv", [("a", "b", 0)])
    write(tmp_path / "validation_mismatched.csv", [("c", "d", 1)])
    assert as_rows(load_pairs(tmp_path, MNLI, "dev")) == [("a", "b", 0)]
    assert as_rows(load_pairs(tmp_path, MNLI, "dev_mismatched")) == [("c", "d", 1)]


def test_a_split_of_several_files_keeps_their_order_and_their_names(tmp_path):
    write(tmp_path / "mnli/train.tsv", [("a", "b", "neutral"), ("c", "d", "?")])
    write(tmp_path / "snli/train.jsonl", [("e", "f", 2), ("g", "h", -1)])
    allnli = get_task("allnli")
    pairs = load_pairs(tmp_path, allnli, skip_bad_rows=True)
    assert (as_rows(pairs), pairs.skipped) == ([("a", "b", 1), ("e", "f", 2)], 1)
    assert pairs.source == f"{tmp_path}/mnli/train.tsv, {tmp_path}/snli/train.jsonl"
    assert f"1 of 4 rows cannot be used: {tmp_path}/mnli/train.tsv:3: unknown label '?'" in error_of(tmp_path, allnli)


def test_half_a_split_is_refused(tmp_path):
    write(tmp_path / "mnli/train.csv", [("a", "b", 1)])
    write(tmp_path / "train.csv", [("c", "d", 1)])
    assert f"{tmp_path} has no snli/train.* (.parquet .csv" in error_of(tmp_path, get_task("allnli"))


def test_a_split_that_is_not_there_or_there_twice(tmp_path):
    write(tmp_path / "mrpc/train.csv", ROWS)
    assert "has no mrpc/dev.* " in error_of(tmp_path, MRPC, "dev")
    assert "has no mrpc/extra.* " in error_of(tmp_path, MRPC, "extra")
    assert "has no train.* " in error_of(tmp_path)
    write(tmp_path / "mrpc/train.tsv", ROWS)
    assert re.search(r"train.csv and .*train.tsv are the same split", error_of(tmp_path, MRPC))


def test_two_tasks_share_the_sick_files(tmp_path):
    write(tmp_path / "sick/train.parquet", [("a", "b", 4.5, 1)], (*NAMES, "entailment"))
    assert as_rows(load_pairs(tmp_path, get_task("sick"))) == [("a", "b", 4.5)]
    assert as_rows(load_pairs(tmp_path, get_task("sick-e"))) == [("a", "b", 1)]


# --- the hub ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A hub of data sets in memory: {(path, config): {split: columns}}; class names may be given for labels."""
    content = {}

    def load_dataset(path, name=None):
        if (path, name) not in content:
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset {path!r} doesn't exist\nand more")
        return datasets.DatasetDict(content[path, name])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return content


def hub_split(columns, class_names=None):
    data = datasets.Dataset.from_dict(columns)
    return data.cast_column("label", datasets.ClassLabel(names=class_names)) if class_names else data


def test_hub_labels_are_mapped_by_name(hub):
    columns = {
        "idx": [0, 1, 2, 3],
        "premise": list("abcd"),
        "hypothesis": list("efgh"),
        "label": [0, 1, 2, -1],
    }
    data = hub_split(columns, ["contradiction", "entailment", "neutral"])
    hub["nyu-mll/glue", "mnli"] = {"train": data, "validation_matched": data.select([0, 3])}
    assert as_rows(load_pairs(None, MNLI)) == [("a", "e", 2), ("b", "f", 0), ("c", "g", 1)]
    assert as_rows(load_pairs(None, MNLI, "dev")) == [("a", "e", 2)]
    assert load_pairs(None, MNLI).source == "nyu-mll/glue:mnli/train"


def test_hub_binary_labels_in_another_order(hub):
    columns = {"question": list("ab"), "sentence": list("cd"), "label": [0, 1]}
    hub["me/qnli", None] = {"train": hub_split(columns, ["not_entailment", "entailment"])}
    assert load_pairs("me/qnli", QNLI).label.tolist() == [0.0, 1.0]
    hub["nyu-mll/glue", "qnli"] = {"train": hub_split(columns, ["entailment", "not_entailment"])}
    assert load_pairs(None, QNLI).label.tolist() == [1.0, 0.0]


def test_hub_string_labels_config_and_split_names(hub):
    columns = {"query": ["a"], "passage": ["b"], "label": ["duplicate"]}
    hub["me/own", "v2"] = {"train": hub_split(columns), "validation": hub_split(columns | {"query": ["z"]})}
    assert as_rows(load_pairs("me/own:v2", QQP, "dev")) == [("z", "b", 1.0)]
    assert "no split 'test'; choose one of train, validation" in error_of("me/own:v2", QQP, "test")


def test_hub_bad_rows_have_their_number(hub):
    rows = 2_500  # more than one batch
    columns = {"sentence1": ["a"] * rows, "sentence2": ["b"] * rows, "label": [1] * rows}
    columns["sentence1"][2_100] = None
    hub["me/own", None] = {"train": hub_split(columns)}
    assert "1 of 2500 rows cannot be used: me/own/train:2101: sentence1 is missing" in error_of("me/own", MRPC)
    assert len(load_pairs("me/own", MRPC, skip_bad_rows=True)) == rows - 1


def test_hub_classes_that_are_not_those_of_the_task(hub):
    columns = {"sentence1": ["a"], "sentence2": ["b"], "label": [1]}
    hub["me/own", None] = {"train": hub_split(columns, ["negative", "positive"])}
    assert "me/own/train:1: unknown label 'positive'" in error_of("me/own", MRPC)


def test_hub_joins_the_sources_of_a_split(hub):
    nli = ["entailment", "neutral", "contradiction"]
    for path, config, text in (("nyu-mll/glue", "mnli", "m"), ("stanfordnlp/snli", None, "s")):
        columns = {"premise": [text], "hypothesis": [text], "label": [1]}
        hub[path, config] = {"train": hub_split(columns, nli)}
    assert load_pairs(None, get_task("allnli")).sentence1 == ["m", "s"]


def test_hub_problems_say_what_to_do(hub):
    message = error_of("me/nothing", MRPC)
    assert "'me/nothing' is no file or folder here and cannot be loaded from the hub (Dataset 'me/nothing'" in message
    assert "\n" not in message
    assert "task 'sick' has no 'train' split on the hub; pass a file" in error_of(None, get_task("sick"))
    assert "no task has" in error_of(None)


def test_the_hub_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'datasets is not installed; run: pip install "dse\[train\]"'):
        load_pairs(None, MRPC)


def test_hub_rows_without_a_class_are_left_out_of_binary_tasks_too(hub):
    columns = {"question1": list("ab"), "question2": list("cd"), "label": [-1, 1]}
    hub["nyu-mll/glue", "qqp"] = {"train": hub_split(columns, ["not_duplicate", "duplicate"])}
    assert as_rows(load_pairs(None, QQP)) == [("b", "d", 1.0)]


def test_an_exact_column_name_wins_over_another_case(tmp_path):
    for names in (("Sentence1", "sentence1"), ("sentence1", "Sentence1")):
        file = write(tmp_path / "x.csv", [(*names, "b", 1)], (*names, "sentence2", "label"))
        assert load_pairs(file, MRPC).sentence1 == ["sentence1"]


def test_where_no_row_can_be_used_none_is_to_be_left_out(tmp_path):
    """Labels of another task are the likeliest reason."""
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,label\na,b,yes\nc,d,no\n")
    assert error_of(file, MRPC).endswith("correct them, or name the labels, with --kind and --labels (Task)")
    missing = tmp_path / "pairs.jsonl"
    missing.write_text('{"sentence1": "a", "sentence2": null, "label": 1}\n')
    assert error_of(missing, MRPC).endswith("; correct them")
