"""The fingerprint changes with whatever changes a score, and with nothing else; files of earlier versions are known."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from dse import DSE, CandidateIndex
from dse.encoding.identity import fingerprint, fingerprints
from dse.errors import MismatchError
from dse.scoring.candidates import Candidates
from dse.teacher import label_pairs, labelling, load_teacher
from dse.teacher.kept_scores import ScoreFile
from tests.conftest import BACKBONES, backbones, make_student
from tests.samples import BINARY, make_pairs


@backbones
def test_fingerprint_survives_save_and_load(name: str, models, tmp_path) -> None:
    student = make_student(models(name))
    before = student.fingerprint
    student.encode(["a red bicycle", "a tent"])  # sets padding and truncation of the tokenizer
    assert student.fingerprint == before
    student.save_pretrained(str(tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert DSE(str(tmp_path / "two"), device="cpu").fingerprint == before  # neither folder nor dtype "auto" matter
    assert len(before) == 32 and int(before, 16) >= 0


def test_fingerprint_changes_with_any_weight(student: DSE) -> None:
    seen = {student.fingerprint}
    for parameter in (student[0].model.embeddings.word_embeddings.weight, student.head.out.bias):
        with torch.no_grad():
            parameter.view(-1)[0] += 1e-3
        seen.add(student.fingerprint)
    assert len(seen) == 3


def test_fingerprint_changes_with_length_and_vocabulary(student: DSE) -> None:
    seen = {student.fingerprint}
    student.max_seq_length = 7
    seen.add(student.fingerprint)
    student.tokenizer.add_tokens(["quux"])
    seen.add(student.fingerprint)
    assert len(seen) == 3


def test_fingerprint_tells_students_apart_that_share_their_weights(backbone: str) -> None:
    """Pooling, layers and head kind decide the scores too."""
    variants = [
        make_student(backbone, head=kind, num_layers=num_layers, pooling=pooling, skip_cls=skip_cls)
        for kind, num_layers, pooling, skip_cls in [
            ("cosine", 1, "mean", False),
            ("cosine", 1, "max", False),
            ("cosine", 1, "mean", True),
            ("dot", 1, "mean", False),
        ]
    ]
    averaged = [make_student(backbone, head="cosine", num_layers=k, average_layers=True) for k in (2, 3)]
    for student in (*variants, *averaged):
        student.head.load_state_dict(variants[0].head.state_dict())
    assert len({student.fingerprint for student in (*variants, *averaged)}) == 6


def test_fingerprint_of_a_cross_encoder(teacher: CrossEncoder, tmp_path) -> None:
    before = fingerprint(teacher)
    teacher.predict([("a", "b")])
    teacher.save_pretrained(str(tmp_path))
    assert fingerprint(teacher) == before == fingerprint(CrossEncoder(str(tmp_path), device="cpu"))
    with torch.no_grad():
        next(teacher.parameters()).view(-1)[0] += 1e-3
    assert fingerprint(teacher) != before


def test_eight_architectures_are_eight_models(models) -> None:
    assert len({make_student(models(name)).fingerprint for name in BACKBONES}) == 8


# ------------------------------------------------------------------------------- what else changes a score, or none


def changed_config(folder: str, to: Path, file: str = "config.json", **changes: object) -> str:
    """A copy of a model with other settings and the same weights."""
    shutil.copytree(folder, to)
    if file == "config.json" and (to / "0_Transformer").exists():  # of a student
        file = "0_Transformer/config.json"
    config = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps(config | changes))
    return str(to)


@pytest.fixture
def saved(student: DSE, teacher: CrossEncoder, tmp_path: Path) -> dict[str, str]:
    student.save_pretrained(str(tmp_path / "student"))
    teacher.save_pretrained(str(tmp_path / "teacher"))
    return {name: str(tmp_path / name) for name in ("student", "teacher")}


def load(kind: str, folder: str) -> DSE | CrossEncoder:
    return DSE(folder, device="cpu", dtype="float32") if kind == "student" else load_teacher(folder, device="cpu")


SETTINGS = "config_sentence_transformers.json"


@pytest.mark.parametrize("kind", ["student", "teacher"])
@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"num_attention_heads": 4}),
        ("config.json", {"layer_norm_eps": 0.1}),
        (SETTINGS, {"prompts": {"query": "the old "}, "default_prompt_name": "query"}),
    ],
    ids=["activation", "heads", "norm", "prompt"],
)
def test_what_changes_the_scores(kind, file, changes, saved, tmp_path, pairs):
    models = [
        load(kind, folder) for folder in (saved[kind], changed_config(saved[kind], tmp_path / "t", file, **changes))
    ]
    one, other = (model.predict(pairs) for model in models)
    assert np.abs(one - other).max() > 1e-6
    assert fingerprint(models[0]) != fingerprint(models[1])


LONG = [("a dog " * 60 + "runs", "the river " * 60 + "blue"), ("[SEP] a", "b [MASK]")]


@pytest.mark.parametrize("kind", ["student", "teacher"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("truncation_side", "left"),
        ("split_special_tokens", True),
        ("model_input_names", ["input_ids", "attention_mask"]),  # BERT then takes both sentences for the first
    ],
)
def test_how_a_tokenizer_is_set(kind, setting, value, student, teacher):
    model = student if kind == "student" else teacher
    before, name = model.predict(LONG), student.fingerprint if kind == "student" else fingerprint(teacher)
    setattr(model.tokenizer, setting, value)
    assert (student.fingerprint if kind == "student" else fingerprint(teacher)) != name
    if (kind, setting) != ("student", "model_input_names"):
        assert np.abs(model.predict(LONG) - before).max() > 1e-6


def test_the_activation_of_the_scores(student, backbone):
    before = student.fingerprint
    student.info["activation"] = "identity"
    assert student.fingerprint != before
    one, other = (
        CrossEncoder(backbone, num_labels=1, device="cpu", activation_fn=fn) for fn in (None, torch.nn.Identity())
    )
    other.load_state_dict(one.state_dict())
    assert fingerprint(one) != fingerprint(other)


def test_a_prompt_set_later(student):
    before = student.fingerprint
    student.prompts["query"] = "the old "
    named = student.fingerprint
    student.default_prompt_name = "query"
    assert len({before, named, student.fingerprint}) == 3


@pytest.mark.parametrize("kind", ["student", "teacher"])
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_dropout_prob": 0.3, "initializer_range": 0.1, "use_cache": False, "transformers_version": "4.0.0"},
        {"id2label": {"0": "duplicate"}, "label2id": {"duplicate": 0}, "_name_or_path": "elsewhere"},
        {"gradient_checkpointing": False, "position_embedding_type": "absolute"},  # which older versions wrote
    ],
)
def test_what_changes_no_score(kind, changes, saved, tmp_path):
    other = changed_config(saved[kind], tmp_path / "t", **changes)
    assert fingerprint(load(kind, saved[kind])) == fingerprint(load(kind, other))


# -------------------------------------------------------------------------------------------- files of earlier versions


def as_before(model: DSE | CrossEncoder) -> str:
    """The fingerprint that earlier versions made, written out so that no change of the code changes it."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    vocabulary = json.loads(model.tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    later = [
        [type(m).__name__, m.get_config_dict()] for m in list(model.children())[1:] if hasattr(m, "get_config_dict")
    ]
    digest.update(json.dumps([vocabulary, model.max_seq_length, *later], sort_keys=True).encode())
    return digest.hexdigest()


def test_the_earlier_name(student, teacher):
    for model in (student, teacher):
        assert fingerprints(model)[1] == as_before(model) != fingerprint(model) == fingerprints(model)[0]


def test_no_earlier_name_with_prompts(student, teacher):
    """Earlier versions put a student's prompt before both sides, and a teacher's nowhere."""
    for model in (student, teacher):
        model.prompts = {"query": "the old "}
        assert set(fingerprints(model)) == {fingerprint(model)}


def test_candidates_prepared_by_an_earlier_version(student):
    texts = ["a red bicycle", "a blue tent"]
    kept = Candidates(student.prepare(texts).embeddings, as_before(student))
    assert student.rank("a tent", kept) == student.rank("a tent", student.prepare(texts))
    with pytest.raises(MismatchError, match="prepare them again"):
        student.rank("a tent", Candidates(kept.embeddings, "0" * 32))


def test_an_index_made_by_an_earlier_version(student, tmp_path):
    pytest.importorskip("lance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(student), "fingerprints", property(lambda student: (as_before(student),) * 3))
        rows = [{"id": 1, "text": "a red bicycle"}, {"id": 2, "text": "a blue tent"}]
        CandidateIndex.create(tmp_path / "index", student).add(rows)
    index = CandidateIndex(tmp_path / "index", student)
    assert index.info()["student"] == as_before(student)
    assert len(index.search("a tent", k=2)) == 2


def test_scores_kept_by_an_earlier_version(teacher, tmp_path, monkeypatch):
    """Their precision is not known: they are taken unless one is asked for."""
    pairs, scores = make_pairs(BINARY, 4), np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    file = ScoreFile(tmp_path / "s.parquet")
    order = f"-{BINARY.positive}-{','.join(BINARY.labels)}-[0]"
    name = hashlib.blake2b((as_before(teacher) + order).encode(), digest_size=16).hexdigest()
    file.add(name, pairs.tuples(), scores)
    file.finish()
    assert label_pairs(teacher, pairs, BINARY, tmp_path / "s.parquet").tolist() == scores.tolist()
    monkeypatch.setattr(labelling, "teacher_scores", lambda *args, **kwargs: scores + 1)
    assert (label_pairs(teacher, pairs, BINARY, tmp_path / "s.parquet", dtype="float32") == scores + 1).all()


@pytest.mark.parametrize(
    "set_then", [torch.nn.Identity(), torch.nn.Tanh(), torch.sigmoid, lambda scores: 2 * scores, None]
)
@pytest.mark.parametrize(
    "set_first", [torch.nn.Identity(), torch.nn.Tanh(), torch.sigmoid, lambda scores: -scores, None]
)
def test_embeddings_stay_those_of_a_student_with_another_activation(student, set_first, set_then):
    student.activation_fn = set_first
    kept = student.prepare(["a red bicycle", "a blue tent"])
    student.activation_fn = set_then
    assert len(student.rank("a tent", kept)) == 2


def test_an_index_stays_that_of_a_student_with_another_activation(student, tmp_path):
    pytest.importorskip("lance")
    CandidateIndex.create(tmp_path / "index", student).add([{"id": "1", "text": "a red bicycle"}])
    student.activation_fn = torch.nn.Identity()
    [hit] = CandidateIndex(tmp_path / "index", student).search("a tent")
    assert hit["score"] == pytest.approx(student.raw_scores([("a tent", "a red bicycle")])[0, 0], abs=1e-2)
    student.save(str(tmp_path / "student"))
    assert len(CandidateIndex(tmp_path / "index", str(tmp_path / "student")).search("a tent")) == 1
    with torch.no_grad():
        student.head.out.weight.mul_(0.5)
    with pytest.raises(MismatchError):
        CandidateIndex(tmp_path / "index", student)
