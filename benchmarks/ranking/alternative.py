"""What a person can do with the same texts and no teacher: contrastive learning on the corpus (InfoNCE)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from benchmarks.ranking.collection import Measured
from dse import DSE
from dse.data.collection import Texts
from dse.encoding.runtime import resolve_dtype
from dse.files import write_json
from dse.training.ranking import RankingTraining

BATCH, RATE = 32, 2e-5


def contrastive_student(measured: Measured, output: Path) -> DSE:
    """Train a student to find a document by its title or, where there are no titles, by another cut of its words.

    The loss is the one that sentence-transformers recommends for pairs, with all other documents of the batch as
    negatives (van den Oord et al. 2018); cuts of words are Contriever's pairs (Izacard et al. 2022).
    """
    student, documents, seed = measured.backbone(), measured.documents(), measured.setup.seed
    steps = RankingTraining().steps_for(len(documents) + len(measured.log()))  # as the encoder's student
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    rows = [row for row, text in enumerate(documents.texts) if len(text.split()) >= 4]
    chosen = [rows[i] for i in generator.permutation(len(rows))]
    while len(chosen) < steps * BATCH:
        chosen += [rows[i] for i in generator.permutation(len(rows))]
    pairs = [_pair(documents, row, generator) for row in chosen[: steps * BATCH]]
    data = Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [b for _, b in pairs]})
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(output / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        warmup_steps=0.1,
        bf16=resolve_dtype("auto", torch.device("cpu")) == torch.bfloat16,
        use_cpu=True,
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    student.transformers_model.set_attn_implementation("eager")  # its backward pass is faster on a CPU
    SentenceTransformerTrainer(
        model=student, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(student)
    ).train()
    student.eval()
    student.save_pretrained(str(output))
    write_json(output / "training.json", {"steps": steps, "batch_size": BATCH, "learning_rate": RATE})
    return student


def _pair(documents: Texts, row: int, generator: np.random.Generator) -> tuple[str, str]:
    title, text = documents.titles[row], documents.texts[row]
    body = text.removeprefix(title).strip(" .\n")
    if title and body:
        return title, body
    words = text.split()
    return _cut(words, generator), _cut(words, generator)


def _cut(words: list[str], generator: np.random.Generator) -> str:
    """Half or more of the words, in one piece."""
    length = max(2, int(len(words) * generator.uniform(0.5, 1.0)))
    start = int(generator.integers(len(words) - length + 1))
    return " ".join(words[start : start + length])
