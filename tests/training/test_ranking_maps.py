"""Maps of each side: a teacher that turns the vectors is learned by them, and without a gain the cosine stays."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dse import DSE
from dse.modules import PairHead
from dse.training import ranking_maps
from dse.training.ranking import RankingTraining, distill_ranking
from dse.training.ranking_loop import RankingTrainer
from dse.training.ranking_maps import fit_maps, moved
from dse.training.scored_lists import ScoredLists
from tests.conftest import make_student
from tests.training.ranking_samples import CORPUS, LISTS, QUERIES, VECTORS

WIDTH, DOCUMENTS, ASKED = 16, 60, 120
SETTINGS = RankingTraining(steps=4, batch_size=16, learning_rate=1e-3, checkpoint_steps=4, dtype="float32")


class AtRest(RankingTrainer):
    """A trainer whose embeddings are these."""

    def __init__(self, lists: ScoredLists, bank: torch.Tensor) -> None:
        self.parts, self.settings, self.bank = [lists], lists.settings, bank
        lists.begin(bank)


def trainer(turned: bool, seed: int = 0) -> AtRest:
    """Texts with random embeddings; the teacher's score is their cosine, of queries that are turned first or not."""
    random = np.random.default_rng(seed)
    bank = random.normal(size=(DOCUMENTS + ASKED, WIDTH))
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    rotation = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0] if turned else np.eye(WIDTH)
    lists = []
    for query in bank[DOCUMENTS:]:
        rows = random.permutation(DOCUMENTS)[:20]
        lists.append((rows, bank[rows] @ rotation @ query))
    texts = [f"document {i}" for i in range(DOCUMENTS)], [f"query {i}" for i in range(ASKED)]
    return AtRest(ScoredLists(*texts, lists, RankingTraining()), torch.tensor(bank, dtype=torch.float32))


def new_head() -> PairHead:
    return PairHead(WIDTH, 1, "cosine-map")


def maps_of(head: PairHead) -> list[torch.Tensor]:
    return [*head.left.parameters(), *head.right.parameters()]


def test_a_rotation_is_learned(monkeypatch):
    monkeypatch.setattr(ranking_maps, "LEARNING_RATE", 3e-3)
    monkeypatch.setattr(ranking_maps, "STEPS", 200)
    head, at_rest = new_head(), trainer(turned=True)
    fitted = fit_maps(head, at_rest)
    assert fitted["after"] < 0.5 * fitted["before"] and fitted["factor"] > 0
    assert fitted["before"] - fitted["after"] > fitted["standard_error"]
    after = at_rest.held_out(*moved(head, at_rest.bank)).mean()
    assert float(after) == pytest.approx(fitted["after"], rel=1e-6)  # what is kept is what was measured


def test_the_cosine_stays_where_it_is_the_teachers_own(monkeypatch):
    """Exactly: no map is left, though each was moved while it learned."""
    monkeypatch.setattr(ranking_maps, "STEPS", 50)
    head, at_rest = new_head(), trainer(turned=False)
    with torch.no_grad():
        for weight in maps_of(head):
            weight.fill_(0.3)  # of an earlier round
    fitted = fit_maps(head, at_rest)
    assert fitted["factor"] == 0 and fitted["after"] == fitted["before"]
    assert all(not weight.any() for weight in maps_of(head))
    u, v = at_rest.bank[:9], at_rest.bank[9:18]
    cosine = PairHead(WIDTH, 1, "cosine")
    cosine.out.load_state_dict(head.out.state_dict())
    assert torch.allclose(head.score(u, v), cosine.score(u, v), atol=1e-6)


@pytest.mark.parametrize(("error", "kept"), [(0.45, True), (0.55, False)])
def test_maps_are_kept_beyond_two_standard_errors(monkeypatch, error, kept):
    """Two held-out lists, of gains whose mean is 1 and whose standard error is this."""
    head, at_rest = new_head(), trainer(turned=True)
    monkeypatch.setattr(ranking_maps, "STEPS", ranking_maps.CHECK)
    before, after = torch.tensor([5.0, 5.0]), torch.tensor([4.0 - error, 4.0 + error])
    monkeypatch.setattr(at_rest, "held_out", lambda left, right, parts: before if left is right else after)
    fitted = fit_maps(head, at_rest)
    assert fitted["standard_error"] == pytest.approx(error)
    assert (fitted["factor"] > 0) == kept == any(weight.any() for weight in maps_of(head))
    assert fitted["after"] == (4.0 if kept else 5.0)


@pytest.mark.parametrize("turned", [True, False])
def test_the_first_kind_of_lists_decides(monkeypatch, turned):
    """Lists of a second kind, four times as many, want the opposite."""
    monkeypatch.setattr(ranking_maps, "LEARNING_RATE", 3e-3)
    monkeypatch.setattr(ranking_maps, "STEPS", 100)
    head, at_rest = new_head(), trainer(turned)
    at_rest.parts += [trainer(not turned).parts[0] for _ in range(4)]
    before = at_rest.held_out(at_rest.bank, at_rest.bank, at_rest.parts[:1]).mean()
    fitted = fit_maps(head, at_rest)
    assert fitted["before"] == pytest.approx(float(before))
    assert fitted["after"] <= fitted["before"] and (turned or fitted["factor"] == 0)


def test_fitting_is_the_same_every_time(monkeypatch):
    monkeypatch.setattr(ranking_maps, "STEPS", 25)
    heads = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.random.get_rng_state()
        heads.append(new_head())
        torch.random.set_rng_state(state)
        fit_maps(heads[-1], trainer(turned=True))
        assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one, other) for one, other in zip(*map(maps_of, heads), strict=True))


@pytest.mark.parametrize("what", ["lists", "vectors"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_student_with_maps(backbone, tmp_path, monkeypatch, what, layers):
    """Saved and loaded it scores the same; what the maps were measured on is what the head computes."""
    monkeypatch.setattr(ranking_maps, "STEPS", 25)
    student = make_student(backbone, head="cosine-map", num_layers=layers)
    given = {"lists": LISTS} if what == "lists" else {"teacher_vectors": VECTORS}
    trainers = []
    monkeypatch.setattr(
        "dse.training.ranking.fit_maps", lambda head, trainer: trainers.append(trainer) or fit_maps(head, trainer)
    )
    distill_ranking(student, CORPUS, QUERIES, tmp_path / "s", settings=SETTINGS, **given)
    saved = DSE(str(tmp_path / "s"), dtype="float32", device="cpu")
    pairs = [(query, document) for query in QUERIES[:3] for document in CORPUS[:9]]
    assert np.array_equal(student.raw_scores(pairs), saved.raw_scores(pairs))
    log = json.loads((tmp_path / "s" / "training.json").read_text())["maps"]
    assert log["after"] <= log["before"] and set(log) == {"before", "after", "standard_error", "factor"}
    left, right = moved(student.head, trainers[0].bank)
    cosines = left[len(CORPUS) : len(CORPUS) + 3] @ right[:9].T
    out = student.head.out
    expected = (float(out.weight.detach()) * cosines + float(out.bias.detach())).flatten()
    assert np.allclose(student.raw_scores(pairs)[:, 0], expected.detach().numpy(), atol=1e-4)
    assert all(weight.requires_grad and weight.grad is None for weight in student.parameters())
