"""Ranking learned from vectors: the loss is the formula, training helps or is undone, a killed run ends the same."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dse import DSE
from dse.encoding.runtime import one_thread
from dse.errors import BadDataError, MismatchError
from dse.scoring.exact import check_finite
from dse.training import ranking, ranking_checkpoint, ranking_lists, ranking_loop
from dse.training.ranking import RankingTraining, distill_ranking
from dse.training.ranking_lists import RankingLists, split_anchors
from dse.training.scored_lists import ScoredLists
from tests import processes
from tests.conftest import make_student
from tests.samples import difference, tensors
from tests.training.ranking_samples import CORPUS, LISTS, QUERIES, VECTORS
from tests.worker import learn_ranking

CPU = torch.device("cpu")
QUICK = RankingTraining(
    steps=200, batch_size=16, learning_rate=2e-3, kept=0.0, checkpoint_steps=50, dtype="float32", seed=3
)
# Without refreshes: a refresh right after a checkpoint would hide a bank that was not kept.
SHORT = RankingTraining(steps=4, batch_size=8, learning_rate=1e-3, checkpoint_steps=2, refreshes=0, dtype="float32")


def new_student(backbone: str, **kwargs) -> DSE:
    return make_student(backbone, **({"head": "cosine", "num_layers": 1} | kwargs))


def run(student: DSE, output, settings=SHORT, **kwargs) -> DSE:
    return distill_ranking(student, CORPUS, QUERIES, output, settings=settings, **{"teacher_vectors": VECTORS} | kwargs)


# -------------------------------------------------------------------------------------------------------- the loss


def plain_scale(texts, n, teacher, held_out, bank) -> float:
    """r, list by list."""
    teacher, deviations = teacher / np.linalg.norm(teacher, axis=1, keepdims=True), []
    for vectors in (teacher, bank):
        lists = [[vectors[i] @ vectors[j] for j in range(n) if texts[j] != texts[i]] for i in held_out]
        squares = np.concatenate([np.square(of - np.mean(of)) for of in lists if of])
        deviations.append(np.sqrt(np.mean(squares)))
    return max(1.0, max(0.075, deviations[1]) / max(1e-6, deviations[0]))


def plain_loss(texts, n, teacher, rows, e, bank, temperature, r=1.0, first=1000) -> float:
    """The formula of the module, text by text; without a temperature, the mean of those by default."""
    if temperature is None:
        return float(np.mean([plain_loss(texts, n, teacher, rows, e, bank, t, r, first) for t in (0.1, 0.05)]))
    teacher = teacher / np.linalg.norm(teacher, axis=1, keepdims=True)
    losses = []
    for row, own in zip(rows, e, strict=True):
        others = [j for j in range(n) if texts[j] != texts[row]]
        near = sorted(others, key=lambda j: -teacher[row] @ teacher[j])[:first]
        near += sorted(others, key=lambda j: -own @ bank[j])[:first]
        p = np.exp([r * (teacher[row] @ teacher[j]) / temperature for j in set(near)])
        q = np.exp([own @ bank[j] / temperature for j in set(near)])
        p, q = p / p.sum(), q / q.sum()
        losses.append((p * np.log(p / q)).sum())
    return float(np.mean(losses))


def unit(random: np.random.Generator, *shape: int) -> np.ndarray:
    x = random.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@given(
    seed=st.integers(0, 1000),
    names=st.lists(st.integers(0, 9), min_size=2, max_size=12).filter(lambda names: len(set(names)) > 1),
    queries=st.lists(st.integers(0, 14), max_size=5),
    temperature=st.sampled_from([0.05, 0.1, 1.0, None]),
    first=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_loss_is_the_formula(seed, names, queries, temperature, first):
    """Neither the text itself nor its duplicates are candidates; queries are no candidates."""
    texts, n, random = [f"text {name}" for name in [*names, *queries]], len(names), np.random.default_rng(seed)
    vectors, bank = 3 * random.normal(size=(len(texts), 4)), unit(random, len(texts), 3)
    rows = random.integers(0, len(texts), size=4)
    e = unit(random, 4, 3)
    lists = RankingLists(texts[:n], texts[n:], vectors, RankingTraining(temperature=temperature), CPU)
    e_torch = torch.tensor(e, dtype=torch.float32, requires_grad=True)
    lists.begin(torch.tensor(bank, dtype=torch.float32))
    r = plain_scale(texts, n, vectors, lists.held_out, bank)
    assume(r < 3)  # cosines that hardly differ: one document is a candidate, or all are alike
    assert lists.scale == pytest.approx(r, rel=1e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking_lists, "FIRST", first)
        loss = lists.losses(rows, e_torch, torch.tensor(bank, dtype=torch.float32), lists.candidates(0)).mean()
    expected = plain_loss(texts, n, vectors, rows, e, bank, temperature, r, first)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4, abs=2e-5)
    whole = lists.divergences(rows, e_torch, torch.tensor(bank, dtype=torch.float32), lists.candidates(0)).mean()
    expected = plain_loss(texts, n, vectors, rows, e, bank, temperature, r, first=n)
    assert float(whole.detach()) == pytest.approx(expected, rel=1e-4, abs=2e-5)
    loss.backward()
    assert torch.isfinite(e_torch.grad).all()


@given(share=st.floats(0.01, 0.2), other=st.floats(0.01, 0.2), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_teachers_of_narrow_ranges_teach_the_same_lists(share, other, seed):
    """Cosines a cos + 1 - a, as of encoders whose scores all lie between 0.7 and 0.9."""
    bank = torch.from_numpy(unit(np.random.default_rng(seed), len(CORPUS) + len(QUERIES), 3)).float()
    wide = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    losses = []
    for a in (share, other):
        vectors = np.concatenate([np.sqrt(a) * wide, np.full((len(wide), 1), np.sqrt(1 - a))], axis=1)
        lists = RankingLists(CORPUS, QUERIES, vectors.astype(np.float32), RankingTraining(), CPU)
        lists.begin(bank)
        assert lists.scale > 1
        losses.append(lists.divergences(lists.held_out, bank[lists.held_out.tolist()], bank, lists.candidates(0)))
    assert torch.allclose(*losses, rtol=1e-3, atol=1e-4)


def test_loss_is_zero_for_the_teacher_itself():
    lists = RankingLists(CORPUS, QUERIES, VECTORS, RankingTraining(), CPU)
    rows = np.arange(0, 100, 7)
    assert float(
        lists.divergences(rows, lists.teacher[rows], lists.teacher, slice(0, lists.n)).mean()
    ) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("log", "times"), [(0, 0), (8, 4), (30, 2), (100, 1)])
def test_a_pass_has_every_document_once_and_few_queries_up_to_four_times(log, times):
    texts = [*CORPUS, *(f"query {i}" for i in range(log))]
    vectors = np.random.default_rng(0).normal(size=(len(texts), 8))
    lists = RankingLists(CORPUS, texts[len(CORPUS) :], vectors, RankingTraining(batch_size=1), CPU)
    assert not set(lists.anchors) & set(lists.held_out)
    documents, queries = lists.anchors[lists.anchors < lists.n], lists.anchors[lists.anchors >= lists.n]
    size = len(documents) + times * len(queries)
    rows = [int(lists.batch(step)[0]) for step in range(2 * size)]
    for one in (rows[:size], rows[size:]):
        assert sorted(one) == sorted([*documents, *np.repeat(queries, times)])
    assert rows[:size] != rows[size:]


def test_some_candidates_of_a_large_corpus(monkeypatch):
    monkeypatch.setattr(ranking_lists, "MOST_CANDIDATES", 20)
    lists = RankingLists(CORPUS, QUERIES, VECTORS, RankingTraining(), CPU)
    drawn = [lists.candidates(step).tolist() for step in range(40)]
    assert all(len(set(rows)) == 20 and max(rows) < len(CORPUS) for rows in drawn)
    assert drawn[0] != drawn[1] and lists.candidates(7).tolist() == drawn[7]
    assert set().union(*drawn) == set(range(len(CORPUS)))
    rows, e = lists.anchors[:5], torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    bank = torch.nn.functional.normalize(torch.randn(len(lists.texts), 3), dim=1)
    few = [lists.texts[row] for row in drawn[0]]
    loss = plain_loss(
        [*few, *(lists.texts[row] for row in rows)],
        20,
        np.concatenate([VECTORS[drawn[0]], VECTORS[rows]]),
        range(20, 25),
        e.numpy(),
        bank[drawn[0]].numpy(),
        None,
    )
    assert float(lists.divergences(rows, e, bank, lists.candidates(0)).mean()) == pytest.approx(loss, abs=1e-5)


@given(texts=st.integers(2, 20_000), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_held_out_texts_are_no_anchors(texts, seed):
    held_out, anchors = split_anchors(texts, seed)
    assert len(anchors) and 1 <= len(held_out) <= ranking_lists.MOST_HELD_OUT
    assert sorted([*held_out, *anchors]) == list(range(texts))


# ------------------------------------------------------------------------------------------------------ the training


@pytest.fixture(scope="module")
def trained(tmp_path_factory, backbone):
    output, student = tmp_path_factory.mktemp("ranking") / "student", new_student(backbone)
    before = tensors(student)
    return output, run(student, output, QUICK), before


def order_of(student: DSE) -> float:
    """How alike student and teacher order the documents for the queries: mean Spearman correlation."""
    e, b = (student.encode(texts, normalize_embeddings=True) for texts in (QUERIES, CORPUS))
    t = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    ranks = [np.argsort(np.argsort(x, axis=1), axis=1) for x in (e @ b.T, t[len(CORPUS) :] @ t[: len(CORPUS)].T)]
    return float(np.mean([np.corrcoef(*rows)[0, 1] for rows in zip(*ranks, strict=True)]))


def test_a_student_moves_towards_its_teacher(trained, backbone):
    output, student, _ = trained
    log = json.loads((output / "training.json").read_text())
    assert log["held_out"]["after"] < 0.7 * log["held_out"]["before"] and not log["kept_start"]
    assert [entry["step"] for entry in log["log"]] == [50, 100, 150, 200]
    assert log["log"][-1]["loss"] < log["log"][0]["loss"]
    assert order_of(student) > order_of(new_student(backbone)) + 0.1


def test_held_out_divergence_is_that_of_the_saved_student(trained):
    output, _, _ = trained
    student = DSE(str(output), dtype="float32", device="cpu")
    texts, (held_out, _) = [*CORPUS, *QUERIES], split_anchors(100, QUICK.seed)
    bank = student.encode(texts, normalize_embeddings=True)
    loss = plain_loss(texts, len(CORPUS), VECTORS, held_out, bank[held_out], bank, QUICK.temperature)
    assert json.loads((output / "training.json").read_text())["held_out"]["after"] == pytest.approx(loss, abs=1e-5)


def test_the_returned_student_is_the_saved_one(trained):
    output, student, _ = trained
    saved = DSE(str(output), dtype="float32", device="cpu")
    pairs = [(query, text) for query in QUERIES[:4] for text in CORPUS[::9]]
    assert np.array_equal(student.predict(pairs), saved.predict(pairs))
    assert saved.info == student.info
    assert saved.info["task"]["name"] == "ranking" and saved.info["activation"] == "identity"
    assert not (output / "checkpoints").exists()


def test_scores_are_on_the_teachers_scale(trained):
    """Slope and shift are those of least squares on the held-out lists."""
    _, student, _ = trained
    texts, (held_out, _) = [*CORPUS, *QUERIES], split_anchors(100, QUICK.seed)
    cells = [(i, j) for i in held_out for j in range(len(CORPUS)) if texts[i] != texts[j]]
    t = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    e = student.encode(texts, normalize_embeddings=True)
    x, y = ([float(v[i] @ v[j]) for i, j in cells] for v in (e, t))
    slope, shift = np.polyfit(x, y, 1)
    assert float(student.head.out.weight) == pytest.approx(slope, rel=1e-3)
    assert float(student.head.out.bias) == pytest.approx(shift, abs=1e-3)


def test_what_learns(trained):
    """All but the word embeddings and the head; afterwards everything is trainable as before."""
    _, student, before = trained
    after = tensors(student)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    still = before.keys() - moved
    assert any("word_embeddings" in name for name in still)
    assert all("word_embeddings" in name or "position_ids" in name or "pooler" in name for name in still), still
    assert all(weight.requires_grad and weight.grad is None for weight in student.parameters())


def test_word_embeddings_get_no_gradient(backbone, tmp_path, monkeypatch):
    student, seen = new_student(backbone), []
    step = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        seen.append(student.transformers_model.get_input_embeddings().weight.grad)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    run(student, tmp_path / "s")
    assert seen == [None] * 4


def test_flags_and_attention_are_restored_on_every_exit(backbone, tmp_path, monkeypatch):
    student = new_student(backbone)
    student.transformers_model.encoder.layer[0].requires_grad_(False)  # the user's own choice
    flags = [weight.requires_grad for weight in student.parameters()]
    config, during = student.transformers_model.config, []
    attention = config._attn_implementation
    assert attention != "eager"

    def fail(*args):
        during.append(config._attn_implementation)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ranking_loop.RankingTrainer, "_step", fail)
        with pytest.raises(KeyboardInterrupt):
            run(student, tmp_path / "s")
    assert during == ["eager"] and config._attn_implementation == attention
    assert [weight.requires_grad for weight in student.parameters()] == flags
    frozen = tensors(student.transformers_model.encoder.layer[0])
    run(student, tmp_path / "s")
    assert config._attn_implementation == attention
    assert [weight.requires_grad for weight in student.parameters()] == flags
    assert difference(frozen, tensors(student.transformers_model.encoder.layer[0])) == 0.0


def test_the_start_is_kept_where_training_does_not_help(backbone, tmp_path, caplog):
    student = new_student(backbone)
    before = tensors(student)
    bad = RankingTraining(steps=10, batch_size=8, learning_rate=3.0, checkpoint_steps=5, dtype="float32")
    with caplog.at_level(logging.WARNING, "dse"):
        run(student, tmp_path / "s", bad)
    assert "kept as it was" in caplog.text
    after = {name: t for name, t in tensors(student).items() if "pair_head" not in name}
    assert difference({name: before[name] for name in after}, after) == 0.0
    log = json.loads((tmp_path / "s" / "training.json").read_text())
    assert log["kept_start"] and log["held_out"]["after"] >= log["held_out"]["before"]
    saved = DSE(str(tmp_path / "s"), dtype="float32", device="cpu")
    assert np.array_equal(saved.encode(QUERIES), student.encode(QUERIES))
    assert np.array_equal(saved.encode(QUERIES), new_student(backbone).encode(QUERIES))


def test_a_share_of_the_start_is_kept(backbone, tmp_path):
    start = tensors(new_student(backbone))
    free, mixed = (
        tensors(run(new_student(backbone), tmp_path / str(kept), replace(SHORT, kept=kept, steps=16, temperature=0.1)))
        for kept in (0.0, 0.75)
    )
    names = [name for name in start if "pair_head" not in name]  # slope and shift are fitted afterwards
    expected = {name: 0.75 * start[name] + 0.25 * free[name] for name in names}
    assert difference(expected, {name: mixed[name] for name in names}) < 1e-6
    assert difference({name: start[name] for name in names}, {name: mixed[name] for name in names}) > 1e-5


LABELS = [(rows, (scores > 2).astype(float)) for rows, scores in LISTS[:22]] + [(np.empty(0, int), np.empty(0))] * 3


def spied(monkeypatch) -> list:
    """What is learned in each step: the kind of lists and the texts."""
    learned: list = []
    for kind in (RankingLists, ScoredLists):
        batch = kind.batch
        monkeypatch.setattr(
            kind,
            "batch",
            lambda self, turn, batch=batch: learned.append((type(self), turn, rows := batch(self, turn))) or rows,
        )
    return learned


@pytest.mark.parametrize(
    "teacher", [{"teacher_vectors": VECTORS}, {"teacher_vectors": None, "lists": LISTS}, {"lists": LISTS}]
)
def test_lists_of_several_kinds_take_turns(backbone, tmp_path, monkeypatch, teacher):
    """What either holds out, neither learns; the scores are on the teacher's scale; a killed run ends the same."""
    learned, settings_ = spied(monkeypatch), replace(SHORT, steps=6)
    whole = run(new_student(backbone), tmp_path / "whole", settings_, labels=LABELS, **teacher)
    kinds = [ScoredLists] * ("lists" in teacher) + [RankingLists] * (teacher.get("teacher_vectors", 0) is not None)
    kinds += [ScoredLists]
    assert [(kind, turn) for kind, turn, _ in learned] == [(k, t) for t in range(6 // len(kinds)) for k in kinds]
    own = ScoredLists(CORPUS, QUERIES, LABELS, settings_)
    other = RankingLists(CORPUS, QUERIES, VECTORS, settings_, CPU)
    held_out = {own.texts[row] for row in [*own.held_out, *(other.held_out if RankingLists in kinds else [])]}
    assert not held_out & {own.texts[row] for *_, rows in learned for row in rows if row >= own.n}
    without = run(new_student(backbone), tmp_path / "without", settings_, **teacher)
    logs = [json.loads((tmp_path / name / "training.json").read_text())["log"] for name in ("whole", "without")]
    assert logs[0] != logs[1] and whole.info["task"] == without.info["task"]
    step = ranking_loop.RankingTrainer._step
    with monkeypatch.context() as patch:
        patch.setattr(ranking_loop.RankingTrainer, "_step", lambda self, n: 1 / 0 if n == 5 else step(self, n))
        with pytest.raises(ZeroDivisionError):
            run(new_student(backbone), tmp_path / "s", settings_, labels=LABELS, **teacher)
    again = run(new_student(backbone), tmp_path / "s", settings_, labels=LABELS, **teacher)
    assert difference(tensors(whole), tensors(again)) == 0.0


def test_random_state_of_others_neither_matters_nor_changes(backbone, tmp_path):
    students = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        state = torch.random.get_rng_state()
        students.append(run(new_student(backbone), tmp_path / str(seed)))
        assert torch.equal(state, torch.random.get_rng_state())
    assert difference(*map(tensors, students)) == 0.0


def test_long_texts_are_split_and_put_back_in_order(backbone, tmp_path, monkeypatch):
    monkeypatch.setitem(ranking_loop.BATCH_TOKENS, "cpu", 40)
    student = new_student(backbone)
    lists = RankingLists(CORPUS, QUERIES, VECTORS, SHORT, CPU)
    trainer = ranking_loop.RankingTrainer(student, [lists], dict(student.named_parameters()), tmp_path)
    student.eval()
    with torch.no_grad():
        e = trainer._encode_batch(CORPUS[:30])
    assert np.allclose(e.numpy(), student.encode(CORPUS[:30], normalize_embeddings=True), atol=1e-5)


def new_trainer(backbone: str, folder, settings_: RankingTraining) -> ranking_loop.RankingTrainer:
    student = new_student(backbone)
    lists = RankingLists(CORPUS, QUERIES, VECTORS, settings_, CPU)
    weights = {name: weight for name, weight in student.named_parameters() if "encoder.layer" in name}
    return ranking_loop.RankingTrainer(student, [lists], weights, folder)


def test_the_bank_holds_the_last_embedding_of_each_text(backbone, tmp_path):
    """In one step the rows of the batch change, and only they; a refresh renews all."""
    trainer = new_trainer(backbone, tmp_path, SHORT)
    trainer.student.eval()
    trainer.bank = trainer._encode_bank()
    start = trainer.bank.clone()
    trainer._step(0)
    trainer.bank = torch.zeros_like(start)
    e = trainer._encode_batch([trainer.parts[0].texts[row] for row in trainer.parts[0].batch(1)])
    trainer._step(1)
    assert set(torch.nonzero(trainer.bank.any(dim=1)).flatten().tolist()) == set(trainer.parts[0].batch(1))
    assert torch.allclose(trainer.bank[trainer.parts[0].batch(1)], e, atol=1e-6)
    renewed = trainer._encode_bank()
    assert not torch.equal(start, renewed)
    looked_up = torch.zeros(len(renewed))
    looked_up[trainer.looked_up] = 1
    assert torch.allclose(renewed.norm(dim=1), looked_up) and looked_up.sum() < len(renewed)


class OnApple(torch.Tensor):
    """A tensor of a device that has no float64; `cpu` takes it from there."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        found = super().__torch_function__(func, types, args, kwargs or {})
        assert not (isinstance(found, torch.Tensor) and found.dtype == torch.float64), f"float64 of {func.__name__}"
        return found


@pytest.mark.parametrize("kind", ["vectors", "lists"])
def test_the_device_needs_no_float64(backbone, tmp_path, kind):
    if kind == "vectors":
        part = RankingLists(CORPUS, QUERIES, VECTORS, SHORT, CPU)
    else:
        part = ScoredLists(CORPUS, QUERIES, LISTS, SHORT)
    weights = {"w": torch.nn.Parameter(torch.zeros(1))}
    trainer = ranking_loop.RankingTrainer(new_student(backbone), [part], weights, tmp_path)
    plain = F.normalize(torch.randn(len(trainer.texts), 8, generator=torch.manual_seed(1)), dim=1)
    found = []
    for bank in (plain, plain.as_subclass(OnApple)):
        part.begin(bank)
        rows = part.batch(0)
        loss = part.divergences(rows, bank[rows.tolist()], bank, part.candidates(0)).mean()
        trainer.fit_scale(bank, bank)
        found.append([float(part.scale), float(loss), float(trainer.student.head.out.weight)])
        check_finite(bank, "bank")
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("kinds", ["vectors", "lists", "both"])
def test_no_list_reads_what_the_bank_does_not_hold(backbone, tmp_path, kinds):
    """Texts that no list looks up are not encoded: NaN in their place changes nothing."""
    random, parts = np.random.default_rng(3), []
    if kinds != "vectors":
        scored = [(rows, random.normal(size=4)) for rows in (random.permutation(len(CORPUS))[:4] for _ in QUERIES)]
        parts.append(ScoredLists(CORPUS, QUERIES, scored, SHORT))
    if kinds != "lists":
        parts.append(RankingLists(CORPUS, QUERIES, VECTORS, SHORT, CPU))
    trainer = ranking_loop.RankingTrainer(
        new_student(backbone), parts, {"w": torch.nn.Parameter(torch.zeros(1))}, tmp_path
    )
    whole = F.normalize(torch.randn(len(trainer.texts), 8, generator=torch.manual_seed(1)), dim=1)
    holed = torch.full_like(whole, torch.nan)
    holed[trainer.looked_up] = whole[trainer.looked_up]
    found = []
    for bank in (whole, holed):
        for part in parts:
            part.begin(bank)
        losses = [part.divergences(part.batch(0), whole[part.batch(0)], bank, part.candidates(0)) for part in parts]
        trainer.fit_scale(bank, bank)
        found.append([trainer.held_out(bank, bank), *losses, trainer.student.head.out.weight.detach().clone()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other) and torch.isfinite(one).all()


def test_held_out_loss_is_the_mean_over_texts(backbone, tmp_path):
    """Whatever the blocks it is computed in: the last one is smaller."""
    losses = []
    for size in (2, 100):
        trainer = new_trainer(backbone, tmp_path, RankingTraining(batch_size=size, dtype="float32"))
        assert len(trainer.parts[0].held_out) == 5
        trainer.bank = trainer._encode_bank()
        losses.append(float(trainer.held_out(trainer.bank, trainer.bank).mean()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_gradients_are_clipped_and_left_by_no_exit(backbone, tmp_path, monkeypatch):
    student, norms = new_student(backbone), []

    def stop(self, *args):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        norms.append(float(torch.cat([weight.grad.flatten() for weight in weights]).norm()))
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        run(student, tmp_path / "s", RankingTraining(temperature=0.001, steps=1, dtype="float32"))
    assert norms == [pytest.approx(1, abs=1e-4)]
    assert all(weight.grad is None for weight in student.parameters())


@pytest.mark.parametrize(("steps", "refreshes"), [(12, 0), (12, 2), (13, 3), (2, 3)])
def test_refreshes_and_learning_rates(backbone, tmp_path, monkeypatch, steps, refreshes):
    settings_ = RankingTraining(steps=steps, refreshes=refreshes, warmup=0.25, batch_size=32, dtype="float32")
    trainer, encoded, rates = new_trainer(backbone, tmp_path, settings_), [], []
    encode, step = trainer._encode_bank, trainer.optimizer.step
    monkeypatch.setattr(trainer, "_encode_bank", lambda: encoded.append(len(rates)) or encode())
    monkeypatch.setattr(
        trainer.optimizer, "step", lambda: rates.append(trainer.optimizer.param_groups[0]["lr"]) or step()
    )
    trainer.train(show_progress_bar=False)
    refreshes = min(refreshes, steps * 32 // len([*CORPUS, *QUERIES]))  # no more than passes
    every = max(1, steps // (refreshes + 1))
    assert encoded == [0, *[every * (i + 1) for i in range(refreshes) if every * (i + 1) < steps], steps]
    rising = max(1, round(0.25 * steps))
    expected = [1e-4 * min((i + 1) / rising, (steps - i) / max(1, steps - rising)) for i in range(steps)]
    assert (rates == pytest.approx(expected) and max(rates) == pytest.approx(1e-4) and rates[-1] < 1e-4) or steps == 2


# ------------------------------------------------------------------------------------------------------ killed runs


def test_a_killed_run_goes_on_to_the_same_student(tmp_path, backbone):
    """Killed with -9 after a checkpoint, in a process of its own; bit for bit the same, log included."""
    killed = processes.start("ranking", backbone, tmp_path / "killed", 0.05)
    processes.kill_when(killed, (tmp_path / "killed" / "checkpoints" / ranking_checkpoint.STATE).exists)
    assert not (tmp_path / "killed" / "training.json").exists()
    again = processes.start("ranking", backbone, tmp_path / "killed", 0)
    with one_thread():
        learn_ranking(backbone, tmp_path / "whole")
    _, err = processes.finish(again)
    assert "going on from step" in err
    one, other = (DSE(str(tmp_path / name), device="cpu") for name in ("whole", "killed"))
    assert difference(tensors(one), tensors(other)) == 0.0
    logs = [(tmp_path / name / "training.json").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


@pytest.mark.parametrize("stopped", [1, 2, 3, 4])
def test_stopped_at_any_step_in_one_process(backbone, tmp_path, monkeypatch, stopped):
    whole = run(new_student(backbone), tmp_path / "whole")
    step, calls = ranking_loop.RankingTrainer._step, []

    def stop_at(self, number):
        if len(calls) == stopped:
            raise KeyboardInterrupt
        calls.append(number)
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(ranking_loop.RankingTrainer, "_step", stop_at)
        if stopped < 4:
            with pytest.raises(KeyboardInterrupt):
                run(new_student(backbone), tmp_path / "s")
        else:  # all steps done, killed while saving
            patch.setattr(DSE, "save_pretrained", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run(new_student(backbone), tmp_path / "s")
    again = run(new_student(backbone), tmp_path / "s")
    assert difference(tensors(whole), tensors(again)) == 0.0


def test_a_checkpoint_is_written_whole_or_not_at_all(backbone, tmp_path, monkeypatch):
    """Killed while the second is written, the first still stands."""
    import dse.files

    whole, writes = run(new_student(backbone), tmp_path / "whole"), []
    replace = dse.files.os.replace

    def die(source, target):
        if str(target).endswith(ranking_checkpoint.STATE):
            writes.append(target)
            if len(writes) == 2:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(dse.files.os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            run(new_student(backbone), tmp_path / "s")
    assert len(writes) == 2 and writes[0].exists()
    again = run(new_student(backbone), tmp_path / "s")
    assert difference(tensors(whole), tensors(again)) == 0.0


@pytest.mark.parametrize("change", ["texts", "vectors", "settings", "student"])
def test_a_checkpoint_of_another_run_is_refused(backbone, tmp_path, monkeypatch, change):
    with monkeypatch.context() as patch:
        patch.setattr(DSE, "save_pretrained", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(new_student(backbone), tmp_path / "s")
    student, corpus, vectors, settings_ = new_student(backbone), list(CORPUS), VECTORS.copy(), SHORT
    if change == "texts":
        corpus[0] += " now"
    elif change == "vectors":
        vectors[3] = -vectors[3]
    elif change == "settings":
        settings_ = RankingTraining(**{**vars(SHORT), "seed": 5})
    else:
        with torch.no_grad():
            student.transformers_model.encoder.layer[0].output.dense.weight.add_(0.01)
    with pytest.raises(MismatchError, match="holds a run with other settings"):
        distill_ranking(student, corpus, QUERIES, tmp_path / "s", teacher_vectors=vectors, settings=settings_)


# -------------------------------------------------------------------------------------------------------- bad input


def changed(**cells) -> np.ndarray:
    vectors = VECTORS.copy()
    for row, value in cells.items():
        vectors[int(row.removeprefix("row"))] = value
    return vectors


@pytest.mark.parametrize(
    ("corpus", "vectors", "error", "message"),
    [
        (["one"], VECTORS[:1], BadDataError, "holds 1 distinct document"),
        (["one", "one"], VECTORS[:2], BadDataError, "holds 1 distinct document"),
        ([], VECTORS[:0], BadDataError, "holds 0 distinct document"),
        (CORPUS, VECTORS[:-1], MismatchError, r"\(74, 6\) do not fit 75 documents and 0 queries"),
        (CORPUS, VECTORS[:75, 0], MismatchError, r"\(75,\) do not fit"),
        (CORPUS, np.ones((75, 6), np.float32), BadDataError, "of all documents are alike"),
        (CORPUS, np.arange(1, 76)[:, None] * np.ones((1, 6)), BadDataError, "of all documents are alike"),
        (CORPUS, np.zeros((75, 6)), BadDataError, "of all documents are alike"),
        (CORPUS, changed(row6=np.nan)[:75], BadDataError, "vector of text 7 is not finite"),
        (CORPUS, changed(row0=np.inf)[:75], BadDataError, "vector of text 1 is not finite"),
    ],
)
def test_bad_input_is_refused_before_any_work(backbone, tmp_path, corpus, vectors, error, message):
    vectors = vectors[:74] if "74" in message else vectors
    with pytest.raises(error, match=message):
        distill_ranking(new_student(backbone), corpus, [], tmp_path / "s", teacher_vectors=vectors)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("kwargs", [{"head": "mlp"}, {"head": "cosine", "num_labels": 3}])
def test_a_student_of_another_kind_is_refused(backbone, tmp_path, kwargs):
    with pytest.raises(MismatchError, match='head="cosine", num_layers=1'):
        run(new_student(backbone, **kwargs), tmp_path / "s")


def test_a_frozen_student_is_refused(backbone, tmp_path):
    with pytest.raises(MismatchError, match="freeze_backbone"):
        run(new_student(backbone, freeze_backbone=True), tmp_path / "s")


BAD = {
    "steps": 0,
    "batch_size": 0,
    "learning_rate": None,
    "temperature": 0.0,
    "warmup": 1.5,
    "kept": -0.5,
    "refreshes": -1,
    "seed": -1,
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_cannot_train_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is {BAD[name]}"):
        RankingTraining(**{name: BAD[name]})


def test_given_vectors_are_not_written_to():
    vectors = VECTORS.copy()
    RankingLists(CORPUS, QUERIES, vectors, RankingTraining(), CPU)
    assert np.array_equal(vectors, VECTORS)


def test_a_batch_larger_than_the_texts(backbone, tmp_path):
    corpus = CORPUS[:3]
    student = distill_ranking(
        new_student(backbone), corpus, [], tmp_path / "s", teacher_vectors=VECTORS[[0, 5, 10]], settings=SHORT
    )
    assert np.isfinite(student.predict([(corpus[0], corpus[1])])).all()


def test_names():
    assert ranking.RankingTraining is RankingTraining


def test_texts_are_read_behind_the_prompts_that_they_are_ranked_with(backbone, tmp_path):
    prompts = {"query": "the old ", "document": "a red "}
    student = new_student(backbone, prompts=prompts)
    trainer = ranking_loop.RankingTrainer(
        student, [RankingLists(CORPUS, QUERIES, VECTORS, SHORT, CPU)], dict(student.named_parameters()), tmp_path
    )
    n = len(CORPUS)
    for rows, expected in (
        (slice(0, n), student.encode_document(CORPUS)),
        (slice(n, None), student.encode_query(QUERIES)),
    ):
        unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        held = np.intersect1d(np.arange(len(trainer.texts))[rows], trainer.looked_up)
        np.testing.assert_allclose(trainer._encode_bank()[held], unit[held - (rows.start or 0)], atol=1e-5)
        np.testing.assert_allclose(trainer._encode_batch(trainer.texts[rows]).detach(), unit, atol=1e-5)
    run(student, tmp_path / "s")
    assert DSE(str(tmp_path / "s")).pair_prompts == ("the old ", "a red ")


def test_the_output_is_an_empty_folder_or_ones_own_run(backbone, tmp_path, monkeypatch):
    for name in ("backbone", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text("mine")
        with pytest.raises(MismatchError, match=r"holds README.md, but no run.json"):
            run(new_student(backbone), tmp_path / name)
        assert [path.name for path in (tmp_path / name).iterdir()] == ["README.md"]
    once = run(new_student(backbone), tmp_path / "s")
    with pytest.raises(MismatchError, match=r"holds a run with other settings \(.*settings.seed was "):
        run(new_student(backbone), tmp_path / "s", replace(SHORT, seed=5))
    with pytest.raises(MismatchError, match="holds a run with other settings"):
        run(new_student(backbone), tmp_path / "s", teacher_vectors=VECTORS[:, ::-1] + 1)
    monkeypatch.setattr(ranking_loop.RankingTrainer, "train", None)  # not called
    again = run(new_student(backbone), tmp_path / "s")
    assert difference(tensors(once), tensors(again)) == 0.0 and again.info == once.info


@pytest.mark.parametrize(("seconds", "told"), [(60, ["ranking: about 3 minutes to go"]), (1, [])])
def test_a_log_tells_how_long_a_long_training_will_take(backbone, tmp_path, caplog, monkeypatch, seconds, told):
    clock = iter(seconds * number for number in range(999))
    # Five steps of so many seconds; other modules keep their clock.
    monkeypatch.setattr(ranking_loop, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    settings = replace(SHORT, steps=20, checkpoint_steps=20)
    with caplog.at_level(logging.INFO, "dse"):
        run(new_student(backbone), tmp_path, settings)
    found = [message for message in caplog.messages if "to go" in message]
    assert found == told
