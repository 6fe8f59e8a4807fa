"""What other libraries make of the folder of a student: it works or is refused in a sentence; no score is random."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer

from dse import DSE
from dse.errors import BadDataError, MissingModelError
from dse.modules import PairHead, VectorInput
from dse.teacher import load_ranking_teacher, load_teacher
from dse.teacher.segments import segment_teacher
from tests.conftest import make_student

PAIRS = [("a red bicycle", "a tent"), ("a man reads", "the old woman reads a book")]


def langchain(path: str) -> object:
    from langchain_community.cross_encoders import HuggingFaceCrossEncoder

    return HuggingFaceCrossEncoder(model_name=path).score(PAIRS)


def llama_index(path: str) -> object:
    from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

    return SentenceTransformerRerank(model=path)


def mteb(path: str) -> object:
    from mteb.models import CrossEncoderWrapper

    return CrossEncoderWrapper(path)


CLIENTS: dict[str, Callable[[str], object]] = {
    "cross-encoder": lambda path: CrossEncoder(path, device="cpu"),
    "cross-encoder, new outputs": lambda path: CrossEncoder(path, device="cpu", num_labels=1),
    "cross-encoder, trusting": lambda path: CrossEncoder(path, device="cpu", trust_remote_code=True),
    "auto model": lambda path: transformers.AutoModelForSequenceClassification.from_pretrained(path),
    "auto model, trusting": lambda path: transformers.AutoModelForSequenceClassification.from_pretrained(
        path, trust_remote_code=True
    ),
    "pipeline": lambda path: transformers.pipeline("text-classification", model=path),
    "langchain_community": langchain,
    "llama_index.postprocessor": llama_index,
    "mteb": mteb,
}


def of_texts(backbone: str, encoder: str) -> DSE:
    return make_student(backbone)


def of_an_encoder(backbone: str, encoder: str) -> DSE:
    return DSE(modules=[*SentenceTransformer(encoder, device="cpu").children(), PairHead(8, kind="cosine-map")])


def of_vectors(backbone: str, encoder: str) -> DSE:
    return DSE(modules=[VectorInput(8), PairHead(8, kind="cosine-map")], device="cpu")


def saved_by_dse(student: DSE, folder: Path) -> None:
    student.save_pretrained(str(folder))


def saved_by_sentence_transformers(student: DSE, folder: Path) -> None:
    student.save(str(folder.parent / "first"))
    SentenceTransformer(str(folder.parent / "first"), trust_remote_code=True, device="cpu").save(str(folder))


@pytest.mark.parametrize("save", [saved_by_dse, saved_by_sentence_transformers])
@pytest.mark.parametrize("make", [of_texts, of_an_encoder, of_vectors])
def test_a_student_is_no_cross_encoder(make, save, backbone: str, encoder: str, tmp_path: Path) -> None:
    """Found in use: with the transformer beside `modules.json` each load drew another classifier at random."""
    student = make(backbone, encoder)
    student.info = {"threshold": 0.25, "note": "café"}
    save(student, tmp_path / "student")
    with pytest.raises(ValueError, match=r"DSE student: load it with dse\.DSE\(path\)"):
        CrossEncoder(str(tmp_path / "student"), device="cpu")
    again = DSE(str(tmp_path / "student"), device="cpu", dtype="float32")
    assert again.info == student.info and again.fingerprint == student.fingerprint
    if make is of_texts:
        np.testing.assert_array_equal(again.predict(PAIRS), student.predict(PAIRS))


@pytest.fixture(scope="module")
def saved(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "student"
    make_student(backbone).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_is_told(client: str, saved: Path) -> None:
    package = client.split(".")[0].split("_")[0]
    if package in ("langchain", "llama", "mteb"):
        pytest.importorskip(client)
    with pytest.raises(Exception, match=r"DSE student: load it with dse\.DSE\(path\)"):
        CLIENTS[client](str(saved))


def test_embeddings_need_consent_and_then_are_ours(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"dse\.modules"):
        SentenceTransformer(str(saved), device="cpu")
    plain = SentenceTransformer(str(saved), device="cpu", trust_remote_code=True)
    ours = DSE(str(saved), device="cpu", dtype="float32")
    np.testing.assert_allclose(plain.encode(["a red bicycle"]), ours.encode(["a red bicycle"]), atol=1e-6)


def as_saved_before(folder: Path) -> None:
    """The transformer beside `modules.json`, as in version 0.1.0."""
    for file in (folder / "0_Transformer").iterdir():
        shutil.move(file, folder / file.name)
    (folder / "0_Transformer").rmdir()
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = ""
    (folder / "modules.json").write_text(json.dumps(modules))


def test_older_folders_load(saved: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(saved, older)
    as_saved_before(older)
    new, old = (DSE(str(folder), device="cpu", dtype="float32") for folder in (saved, older))
    assert new.fingerprint == old.fingerprint and new.info == old.info
    np.testing.assert_array_equal(new.predict(PAIRS), old.predict(PAIRS))
    old.save(str(older))  # over itself, as a run that goes on does
    with pytest.raises(ValueError, match="DSE student"):
        CrossEncoder(str(older), device="cpu")
    np.testing.assert_array_equal(DSE(str(older), device="cpu", dtype="float32").predict(PAIRS), new.predict(PAIRS))


@pytest.mark.parametrize("older", [False, True])
def test_a_student_can_be_a_backbone(older: bool, saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    shutil.copytree(saved, folder)
    if older:
        as_saved_before(folder)
    student, made = DSE(str(folder), device="cpu", dtype="float32"), make_student(str(folder))
    np.testing.assert_array_equal(made.encode(["a red bicycle"]), student.encode(["a red bicycle"]))


@pytest.mark.parametrize("noted", [7, 10_000])
def test_the_length_noted_beside_a_transformer_in_its_own_folder(noted: int, saved: Path, tmp_path: Path) -> None:
    """Encoders of older versions note it in a file; the transformer's limit holds if it is less."""
    folder = tmp_path / "student"
    shutil.copytree(saved, folder)
    usual = make_student(str(folder)).max_seq_length
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": noted}))
    assert make_student(str(folder)).max_seq_length == min(noted, usual)
    assert make_student(str(folder), max_seq_length=5).max_seq_length == 5


@pytest.mark.parametrize("save", [saved_by_dse, saved_by_sentence_transformers])
def test_weights_can_be_read_by_others_whoever_saves_them(save, student: DSE, tmp_path: Path) -> None:
    save(student, tmp_path / "s")
    usual = (tmp_path / "s" / "modules.json").stat().st_mode
    assert {file.stat().st_mode for file in (tmp_path / "s").rglob("*") if file.is_file()} == {usual}


def test_a_teacher_of_segments_is_no_plain_classifier(backbone: str, tmp_path: Path) -> None:
    teacher = segment_teacher(backbone, 1, device="cpu")
    teacher.save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="DSE teacher: load it with CrossEncoder"):
        transformers.AutoModelForSequenceClassification.from_pretrained(str(tmp_path))
    again = CrossEncoder(str(tmp_path), trust_remote_code=True, device="cpu")
    np.testing.assert_array_equal(again.predict(PAIRS), teacher.predict(PAIRS))
    assert make_student(str(tmp_path)).encode("bike").shape == (32,)


def test_a_missing_file_of_information_is_told(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(saved, tmp_path / "student")
    (tmp_path / "student" / "dse.json").unlink()
    with caplog.at_level(logging.WARNING, logger="dse"):
        assert DSE(str(tmp_path / "student"), device="cpu").info == {}
    assert [r.message for r in caplog.records if "has no dse.json: threshold, task and activation" in r.message]


@pytest.mark.parametrize("file", ["dse.json", "modules.json", "0_Transformer/tokenizer.json", "3_PairHead/config.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"a": '])
def test_a_damaged_json_file_is_named(file: str, content: str, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "student")
    damaged = tmp_path / "student" / file
    if (file, content) == ("modules.json", "[]"):
        content = "{}"
    damaged.write_text(content)
    with pytest.raises(BadDataError, match=f"^{damaged} is damaged; copy or download the model again"):
        DSE(str(tmp_path / "student"), device="cpu")


def test_a_head_saved_alone_writes_into_its_own_folder(student: DSE, tmp_path: Path) -> None:
    (tmp_path / "head").mkdir()
    student.head.save(str(tmp_path / "head"))
    assert [path.name for path in tmp_path.iterdir()] == ["head"]


def test_saving_nowhere_does_nothing(student: DSE) -> None:
    student.save(None)  # as sentence-transformers has it


def test_the_transformers_configuration_is_one_that_older_versions_read(saved: Path) -> None:
    """transformers before 5.23 refuses a list of layers there; it is asked for when the student is loaded."""
    config = json.loads((saved / "0_Transformer" / "config.json").read_text())
    assert config["output_hidden_states"] is True
    assert DSE(str(saved), device="cpu").config.output_hidden_states in ([-4, -3, -2, -1], True)


@pytest.mark.parametrize("load", [DSE, DSE.from_backbone, load_teacher, load_ranking_teacher])
@pytest.mark.parametrize("name", ["nowhere", "some-org/no-such-model", "nowhere/./at/all"])
def test_a_model_that_is_not_there_is_named(load, name):
    """Offline the libraries say only that the hub cannot be reached."""
    with pytest.raises(MissingModelError, match=re.escape(name)) as caught:
        load(name)
    assert isinstance(caught.value, OSError) and caught.value.exit_code == 4
    assert "Check your internet connection" not in str(caught.value)


@pytest.mark.parametrize("kind", ["empty", "other", "file"])
@pytest.mark.parametrize("what", ["student", "teacher", "encoder"])
def test_what_is_no_model_is_named(tmp_path, kind, what):
    """A folder without a model, whatever it holds, and a file."""
    path = tmp_path / "notes"
    if kind == "file":
        path.write_text("a bike\n")
    else:
        path.mkdir()
        if kind == "other":
            (path / "notes.txt").write_text("a bike\n")
    load = {"student": DSE, "teacher": load_ranking_teacher, "encoder": DSE.from_backbone}[what]
    with pytest.raises(MissingModelError, match=rf"There is no \w+ at {path}; give "):
        load(str(path))
