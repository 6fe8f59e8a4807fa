from __future__ import annotations

import torch

from dse import DSE
from dse.bench import gemm, scoring, scoring_setup
from dse.bench.memory import peak_mib


def test_every_figure_is_there(tiny_backbone, data_folder, monkeypatch):
    monkeypatch.setattr(gemm, "products", lambda *_: (lambda: torch.randn(64, 64) @ torch.randn(64, 64), 2.0 * 64**3))
    monkeypatch.setattr(scoring_setup, "rounds_for", lambda n: 2)
    monkeypatch.setattr(scoring, "SIZES", {True: (300, 400), False: ()})
    result = scoring.run(data=data_folder, backbone=tiny_backbone, quick=True, command="dse bench scoring --quick")
    names = {figure.name for figure in result.figures}
    assert {
        "gemm_fraction_d64",
        "gemm_fraction_d4096",
        "over_plain_fp32",
        "over_teacher_n10k",
        "linearity_worst",
        "fast_pass_miss_rate",
        "break_even_pairs_per_sentence",
    } <= names
    assert all(figure.value >= 0 for figure in result.figures)
    assert "extrapolated" in result.table_text()


def test_the_head_learns(student: DSE):
    texts = [f"a {a} {b}" for a in ("red", "blue", "old", "new") for b in ("bicycle", "tent", "book", "river")]
    embeddings = student.encode(texts, convert_to_tensor=True)
    pairs = [(a, b) for a in texts for b in texts]
    label = [float(a.split()[2] == b.split()[2]) for a, b in pairs]
    torch.manual_seed(0)
    scoring_setup.fit_head(student, embeddings, texts, pairs, label)
    scores = student.predict(pairs)
    assert scores[[y == 1 for y in label]].mean() > scores[[y == 0 for y in label]].mean()


def test_repeated_rows_stay_near_their_sentence():
    embeddings = torch.randn(7, 12)
    rows = scoring_setup.repeated(embeddings, 30, torch.float32)
    nearest = torch.cdist(rows, embeddings).argmin(dim=1)
    assert nearest.tolist() == [i % 7 for i in range(30)]
    assert rows.unique(dim=0).shape == rows.shape


def test_the_peak_is_seen():
    assert 30 < peak_mib(lambda: [torch.ones(8 << 20).sqrt_().sum() for _ in range(9)]) < 80  # 32 MiB, freed each time
