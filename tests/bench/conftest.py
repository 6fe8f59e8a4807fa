from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

WORDS = "a the red blue small large bicycle tent dog cat runs sleeps under over bridge where is my parcel ?".split()


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT with 4 layers of width 16, no dropout, random weights."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=160, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data sets in the layout the benchmarks read."""
    folder = tmp_path_factory.mktemp("data")
    first = [f"the {a} {b} {c}" for a in WORDS[2:6] for b in WORDS[6:10] for c in WORDS[10:14]]  # 64
    second = [" ".join([*text.split()[::-1], "under my bridge"]) for text in first]
    label = [row % 2 for row in range(len(first))]
    for file in ("mrpc/train", "mrpc/dev", "qqp/dev", "mnli/dev_matched", "stsb/train", "stsb/dev"):
        path = folder / f"{file}.parquet"
        path.parent.mkdir(exist_ok=True)
        shift = len(file)  # other pairs in every file
        table = {"sentence1": first, "sentence2": second[shift:] + second[:shift], "label": label}
        pq.write_table(pa.table(table), path)
    (folder / "trec").mkdir()
    pq.write_table(pa.table({"sentence": ["where is my cat ?", "where is my dog ?"]}), folder / "trec/train.parquet")
    pq.write_table(pa.table({"sentence": ["red bicycle"]}), folder / "trec/train_phrases.parquet")
    return folder
