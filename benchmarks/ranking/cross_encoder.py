"""Train a cross-encoder that judges answers, from an encoder of sentence-transformers and the train splits at hand.

    python -m benchmarks.ranking.cross_encoder --data ../shared/data --encoder DIR --miner DIR --output DIR

Lists of 8 texts for a query: relevant ones, and near and random others. The list loss (ListNet) has the targets

    softmax_j(20 cos(t_q, t_j) + 6 [j is relevant])       # t: vectors of the encoder that it starts from

so that it keeps what the encoder knows of texts nobody judged. A stopped run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import ListNetLoss

from dse.data import load_collection

LISTS = {"wikiqa": 500, "qnli": 600, "feedbackqa": 300, "nl2bash": 400, "stackfaq": 200}
SIZE, NEAR, AMONG = 8, 4, 30  # documents of a list; near ones, and among how many they are drawn
SHARPNESS, BONUS = 20.0, 6.0
TOKENS = 96
FROZEN_LAYERS = 6
STEPS = 360  # of 4 lists

Part = tuple[list[str], list[str], list[dict[int, float]]]  # queries, documents, grades by row of the document

logger = logging.getLogger(__name__)


def main() -> None:
    """Build the lists, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder with ir/ and qnli/.")
    parser.add_argument("--encoder", required=True, help="SentenceTransformer that the cross-encoder starts from.")
    parser.add_argument(
        "--miner", required=True, help="SentenceTransformer that finds near texts; a small one will do."
    )
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    lists = {}
    for name, number in LISTS.items():
        file = options.output / "lists" / f"{name}.parquet"
        if not file.exists():
            make_lists(name, options.data, options.miner, options.encoder).to_parquet(str(file))
        data = Dataset.from_parquet(str(file))
        lists[name] = data.select(range(min(number, len(data))))
    train(options.encoder, lists, options.output)


def read_part(name: str, data: Path) -> Part:
    """Queries of the train split with their relevant documents."""
    if name == "qnli":
        rows = pd.read_parquet(data / "qnli" / "train.parquet")
        documents = list(dict.fromkeys(rows.sentence2))
        places = {text: row for row, text in enumerate(documents)}
        good = rows[rows.label == 0]  # entailment: the sentence answers the question
        return list(good.sentence1), documents, [{places[text]: 1.0} for text in good.sentence2]
    collection = load_collection(str(data / "ir" / name), split="train")
    judged = collection.judged()
    places = {document: row for row, document in enumerate(collection.corpus.ids)}
    grades = [{places[d]: float(g) for d, g in collection.judgements[query].items()} for query in judged.ids]
    return judged.texts, collection.corpus.texts, grades


def make_lists(name: str, data: Path, miner: str, encoder: str) -> Dataset:
    """Lists of texts with the logarithm of their targets, up to a constant, as labels."""
    generator = np.random.default_rng(0)
    queries, documents, grades = read_part(name, data)
    chosen = generator.permutation(len(queries))[: LISTS[name]]
    queries, grades = [queries[row] for row in chosen], [grades[row] for row in chosen]
    pooled = name == "wikiqa"  # every document of the pool is judged
    near = None if pooled else _near(queries, documents, miner)
    rows = [
        _list(generator, of_query, None if near is None else near[q], len(documents))
        for q, of_query in enumerate(grades)
    ]
    used = np.unique(np.concatenate(rows))
    model = _encoder(encoder)
    q = torch.from_numpy(model.encode(queries, normalize_embeddings=True, show_progress_bar=True))
    d = torch.from_numpy(
        model.encode([documents[row] for row in used], normalize_embeddings=True, show_progress_bar=True)
    )
    labels = [
        (SHARPNESS * d[torch.from_numpy(np.searchsorted(used, of_query))] @ q[i]).numpy()
        + BONUS * np.array([grades[i].get(int(row), 0) > 0 for row in of_query])
        for i, of_query in enumerate(rows)
    ]
    table = {"query": queries, "documents": [[documents[row] for row in of_query] for of_query in rows]}
    return Dataset.from_dict(table | {"labels": [list(map(float, of_query)) for of_query in labels]})


def _list(
    generator: np.random.Generator, grades: dict[int, float], near: np.ndarray | None, documents: int
) -> np.ndarray:
    """The documents of a list: one relevant one, near ones, random ones; of a pool, its own."""
    relevant = [row for row, grade in grades.items() if grade > 0]
    own = list(generator.permutation(relevant)[:2])
    if near is None:
        others = list(generator.permutation([row for row in grades if row not in set(relevant)])[: SIZE - len(own)])
        others += list(generator.integers(documents, size=SIZE - len(own) - len(others)))
        return np.array(own + others)
    own = own[:1]
    others = [row for row in generator.permutation(near) if row not in grades][:NEAR]
    drawn = [row for row in generator.integers(documents, size=2 * SIZE) if row not in grades and row not in others]
    return np.array([*own, *others, *drawn[: SIZE - len(own) - len(others)]])


def _near(queries: list[str], documents: list[str], miner: str) -> np.ndarray:
    """The documents nearest to each query, (q, AMONG)."""
    model = _encoder(miner)
    q, d = (model.encode(texts, normalize_embeddings=True, show_progress_bar=True) for texts in (queries, documents))
    return np.argpartition(-(q @ d.T), AMONG, axis=1)[:, :AMONG]


def _encoder(folder: str) -> SentenceTransformer:
    model = SentenceTransformer(folder, model_kwargs={"dtype": torch.bfloat16})
    model.max_seq_length = TOKENS
    encode = model.encode
    model.encode = lambda *args, **kwargs: encode(*args, convert_to_tensor=True, **kwargs).float().numpy()  # type: ignore[method-assign, assignment, union-attr]
    return model


def train(encoder: str, lists: dict[str, Dataset], output: Path) -> None:
    """Train on the lists, a batch from one collection; lower layers and embeddings stay."""
    torch.manual_seed(0)
    model = CrossEncoder(encoder, num_labels=1, max_length=TOKENS, device="cpu", model_kwargs={"dtype": torch.float32})
    backbone = model.model.base_model
    for module in (backbone.embeddings, *backbone.encoder.layer[:FROZEN_LAYERS]):
        module.requires_grad_(False)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(output / "checkpoints"),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        learning_rate=5e-5,
        warmup_steps=0.1,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        save_steps=100,
        save_total_limit=1,
        logging_steps=25,
        report_to="none",
        seed=0,
        disable_tqdm=True,
    )
    trainer = CrossEncoderTrainer(
        model=model, args=arguments, train_dataset=lists, loss=ListNetLoss(model, mini_batch_size=32)
    )
    trainer.train(resume_from_checkpoint=any((output / "checkpoints").glob("checkpoint-*")))
    model.save_pretrained(str(output / "model"))


if __name__ == "__main__":
    main()
