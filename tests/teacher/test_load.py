"""What is taken for a teacher: a trained cross-encoder, read with its own prompt, whose output means what it says."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

from dse.data.tasks import Task
from dse.errors import MismatchError
from dse.pipeline import Recipe, make_student
from dse.teacher import check_outputs, fit, fit_teacher, label_pairs, load_teacher, teacher_scores
from dse.teacher.segments import segment_teacher
from dse.training.settings import Training
from tests.conftest import BACKBONES
from tests.conftest import make_student as untrained
from tests.samples import BINARY, NLI, REGRESSION, make_pairs, save_teacher

PROMPTS = {"prompts": {"query": "who sells the ", "other": "a "}, "default_prompt_name": "query"}
DUPLICATES = Task("duplicates", "binary", labels=("not_duplicate", "duplicate"))
RAW = torch.nn.Identity()


# ------------------------------------------------------------------------------------------------- trained or not


@pytest.mark.parametrize("name", BACKBONES)
def test_an_encoder_is_no_teacher(models, tmp_path, name):
    with pytest.raises(MismatchError, match=r"has no trained classifier \(.* would start at random\).*`dse teacher`"):
        load_teacher(models(name))
    saved = save_teacher(tmp_path / "t", models(name))
    assert load_teacher(saved, BINARY, device="cpu").num_labels == 1


def test_nor_are_sentence_encoders_and_students(backbone, encoder, tmp_path):
    untrained(backbone).save(str(tmp_path / "student"))
    with pytest.raises(MismatchError, match="is a sentence encoder, which embeds texts one by one"):
        load_teacher(encoder)
    with pytest.raises(MismatchError, match="is a student"):
        load_teacher(str(tmp_path / "student"))
    for folder in (backbone, encoder, tmp_path / "student"):
        with pytest.raises(MismatchError, match=str(folder)):
            make_student(*[make_pairs(BINARY, 20)] * 2, BINARY, Recipe(backbone, str(folder)), tmp_path / "s")


@pytest.mark.parametrize("lost", ["classifier.weight", "classifier.bias"])
def test_nor_is_one_that_has_lost_a_part_of_its_classifier(backbone, tmp_path, lost):
    saved = save_teacher(tmp_path / "t", backbone)
    file = tmp_path / "t" / "model.safetensors"
    weights = load_file(file)
    weights.pop(lost)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(MismatchError, match=rf"\({lost} would start at random\)"):
        load_teacher(saved)


def test_teachers_of_segments_are_loaded(backbone, tmp_path):
    segment_teacher(backbone, 1, device="cpu").save_pretrained(str(tmp_path / "t"))
    assert load_teacher(str(tmp_path / "t"), BINARY, device="cpu").num_labels == 1


# --------------------------------------------------------------------------------------------- name of one output


@pytest.mark.parametrize("name", ["duplicate", "Duplicate", "LABEL_0", "label0", "score", "scores", ""])
def test_a_name_that_fits_or_says_nothing(backbone, tmp_path, name, caplog):
    with caplog.at_level(logging.WARNING, "dse"):
        load_teacher(save_teacher(tmp_path / "t", backbone, (name,)), DUPLICATES, device="cpu")
    assert not caplog.records


def test_a_name_of_another_thing_is_taken_with_a_warning(backbone, tmp_path, caplog):
    load_teacher(save_teacher(tmp_path / "t", backbone, ("relevant",)), DUPLICATES, device="cpu")
    assert "'relevant'; it is taken for the score of 'duplicate'" in caplog.text


@pytest.mark.parametrize("name", ["not_duplicate", "Not Duplicate", "not-duplicate", "0"])
def test_a_teacher_that_scores_the_other_class_is_refused(backbone, tmp_path, name):
    saved = save_teacher(tmp_path / "t", backbone, (name,))
    task = Task("flags", "binary") if name == "0" else DUPLICATES
    with pytest.raises(MismatchError, match=rf"output is called '{name}', but a high score .* means '{task.positive}'"):
        load_teacher(saved, task)
    with pytest.raises(MismatchError, match="a high score"):
        label_pairs(CrossEncoder(saved, device="cpu"), make_pairs(BINARY, 4), task)
    assert check_outputs(load_teacher(saved, task, (str(task.positive),)), task) == [0]  # the name was wrong
    assert check_outputs(load_teacher(saved, REGRESSION), REGRESSION) == [0]
    inverted = Task("unlike", "binary", labels=task.labels, positive=task.labels[0])
    assert check_outputs(load_teacher(saved, inverted), inverted) == [0]


def test_own_teachers_are_named_after_what_they_score(backbone, tmp_path):
    quick = Training(epochs=1, batch_size=16, dtype="float32")
    fit_teacher(backbone, make_pairs(BINARY, 16), BINARY, tmp_path / "t", training=quick, device="cpu")
    assert load_teacher(str(tmp_path / "t"), BINARY).config.id2label == {0: "same"}
    with pytest.raises(MismatchError, match="a high score"):
        load_teacher(str(tmp_path / "t"), Task("apart", "binary", labels=BINARY.labels, positive="different"))


# -------------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize(("task", "names"), [(BINARY, ("score",)), (NLI, NLI.labels)])
def test_scores_are_those_of_cross_encoder_with_its_default_prompt(backbone, tmp_path, pairs, task, names):
    saved = save_teacher(tmp_path / "t", backbone, names, **PROMPTS)
    teacher = load_teacher(saved, task, device="cpu")
    expected = teacher.predict(pairs, activation_fn=RAW).reshape(len(pairs), -1)
    plain = teacher.predict(pairs, activation_fn=RAW, prompt="").reshape(len(pairs), -1)
    assert np.abs(expected - plain).max() > 1e-3
    assert np.abs(teacher_scores(teacher, pairs, task, dtype="float32") - expected).max() < 1e-5
    teacher.default_prompt_name = None
    assert np.abs(teacher_scores(teacher, pairs, task, dtype="float32") - plain).max() < 1e-5


@pytest.mark.parametrize("pooling", ["cls", "segments"])
def test_a_teacher_is_trained_with_the_prompt_it_is_used_with(backbone, tmp_path, pooling):
    settings = {"training": Training(epochs=1, batch_size=8, dtype="float32"), "device": "cpu", "pooling": pooling}
    read: list[str] = []

    def recorded(teacher: CrossEncoder) -> CrossEncoder:
        preprocess = teacher.preprocess

        def preprocess_recording(inputs, prompt=None, **kwargs):
            if not isinstance(inputs[0], str):  # single sentences are counted for the model card
                read.append(prompt)
            return preprocess(inputs, prompt=prompt, **kwargs)

        teacher.preprocess = preprocess_recording
        return teacher

    with pytest.MonkeyPatch.context() as patch:
        make = fit._untrained
        patch.setattr(fit, "_untrained", lambda *args, **kwargs: recorded(make(*args, **kwargs)))
        pairs = make_pairs(BINARY, 16)
        fit_teacher(backbone, pairs, BINARY, tmp_path / "t", validation=pairs, **settings, **PROMPTS)
    assert set(read) == {"who sells the "}
    saved = json.loads((tmp_path / "t" / "config_sentence_transformers.json").read_text())
    assert saved["default_prompt_name"] == "query"


def test_a_student_learns_what_its_teacher_scores_with_its_prompt(backbone, tmp_path):
    saved = save_teacher(tmp_path / "t", backbone, **PROMPTS)
    pairs = make_pairs(BINARY, 8)
    file = tmp_path / "s.parquet"
    kept = label_pairs(load_teacher(saved, BINARY, device="cpu"), pairs, BINARY, file, dtype="float32")
    expected = CrossEncoder(saved, device="cpu").predict(pairs.tuples(), activation_fn=RAW)
    assert np.abs(kept[:, 0] - expected).max() < 1e-5
