"""Baselines that leave the transformer alone: vectors are computed once, and something small is trained on them.

cosine_untrained   cosine of the backbone's mean-pooled vectors; nothing is trained but the threshold
frozen             the student's own head on its embeddings (last 4 layers), transformer frozen; alpha 0.5
static             mean of word vectors, which start as the backbone's input embeddings and are trained; alpha 0.5
bilstm             a BiLSTM over frozen contextual vectors, max pooled, the same head; labels only, the recipe of
                   GLUE's ELMo baselines (Wang et al., ICLR 2019)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from dse import DSE
from dse.data.metrics import best_threshold, compute_metrics
from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.modules import PairHead
from dse.training.losses import Distillation, DistillationLoss

BATCH = 32
DROPOUT = 0.1
LSTM = 256  # units a direction


@dataclass(frozen=True)
class Setting:
    """How one of the small models is trained; epochs are stopped at the best one on the validation rows."""

    epochs: int
    learning_rate: float
    alpha: float


SETTINGS = {"frozen": Setting(20, 1e-3, 0.5), "static": Setting(15, 1e-3, 0.5), "bilstm": Setting(6, 1e-3, 0.0)}


@dataclass(frozen=True)
class Rows:
    """Pairs as positions in a list of distinct sentences."""

    pairs: Pairs
    index: Tensor  # (n, 2)


class Frozen(nn.Module):
    """Embeddings looked up."""

    def __init__(self, backbone: str, sentences: list[str]) -> None:
        super().__init__()
        embeddings = DSE.from_backbone(backbone).encode(sentences, convert_to_tensor=True, show_progress_bar=False)
        self.register_buffer("embeddings", embeddings)  # (m, d)
        self.dimension = int(embeddings.shape[1])

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings of sentences, (b, d)."""
        return self.embeddings[rows]


class Static(nn.Module):
    """Mean of word vectors."""

    def __init__(self, backbone: str, sentences: list[str]) -> None:
        super().__init__()
        model = SentenceTransformer(backbone)
        weight = model[0].auto_model.get_input_embeddings().weight.detach()
        ids = model.tokenizer(sentences, add_special_tokens=False, truncation=True, max_length=256)["input_ids"]
        used = sorted(
            {i for row in ids for i in row}
        )  # only these get a vector: an optimiser step costs by their number
        place = {i: row for row, i in enumerate(used)}
        self.ids = [torch.tensor([place[i] for i in row], dtype=torch.long) for row in ids]
        self.words = nn.EmbeddingBag.from_pretrained(weight[used].clone(), freeze=False, mode="mean")
        self.dimension = int(weight.shape[1])

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings of sentences, (b, d)."""
        ids = [self.ids[row] for row in rows.tolist()]
        offsets = torch.tensor([0, *(len(i) for i in ids[:-1])]).cumsum(0)
        return self.words(torch.cat(ids), offsets)


class BiLSTM(nn.Module):
    """A BiLSTM over the backbone's token vectors, max pooled."""

    def __init__(self, backbone: str, sentences: list[str]) -> None:
        super().__init__()
        model = SentenceTransformer(backbone, model_kwargs={"dtype": torch.bfloat16})
        encoded: Any = model.encode(sentences, output_value="token_embeddings", show_progress_bar=False)
        self.tokens = [tokens.cpu() for tokens in encoded]  # m of (t, h)
        self.lstm = nn.LSTM(self.tokens[0].shape[1], LSTM, bidirectional=True, batch_first=True)
        self.dimension = 2 * LSTM

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings of sentences, (b, d)."""
        tokens = [self.tokens[row].float() for row in rows.tolist()]
        packed = nn.utils.rnn.pack_sequence(tokens, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, padding_value=-torch.inf)
        return states.amax(dim=1)


ENCODERS: dict[str, Any] = {"frozen": Frozen, "static": Static, "bilstm": BiLSTM}


class Small(nn.Module):
    """An encoder of sentence positions and a pair head, as `DistillationLoss` calls a student."""

    def __init__(self, encoder: Any, num_labels: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, PairHead(encoder.dimension, num_labels)
        self.activation_fn = nn.Sigmoid() if num_labels == 1 else nn.Identity()

    def forward(self, features: dict[str, Tensor], pairs: bool = True) -> dict[str, Tensor]:
        """``scores`` (n, C) of the pairs ``features["index"]`` (n, 2)."""
        rows, place = features["index"].unique(return_inverse=True)
        embeddings = nn.functional.dropout(self.encoder(rows), DROPOUT, self.training)  # (b, d)
        left, right = place.unbind(dim=1)
        return {"scores": self.head.score(embeddings[left], embeddings[right])}

    def trained(self) -> dict[str, Tensor]:
        """A copy of what training changes: no buffers."""
        return {name: weight.detach().clone() for name, weight in self.named_parameters()}

    @torch.inference_mode()
    def scores(self, index: Tensor) -> np.ndarray:
        """Raw scores, (n, C)."""
        self.eval()
        return torch.cat([self({"index": part})["scores"] for part in index.split(256)]).double().numpy()


def measure(
    name: str, task: Task, backbone: str, train: Pairs, validation: Pairs, test: Pairs, t: np.ndarray, seed: int
) -> dict[str, float]:
    """Metrics of one of the rows on ``test``; ``t`` are teacher scores of ``train``, (n, C)."""
    torch.manual_seed(seed)
    sentences: dict[str, int] = {}
    sets = [_rows(pairs, sentences) for pairs in (train, validation, test)]
    if name == "cosine_untrained":
        found = _cosine(backbone, list(sentences), sets)
        return _judge(task, *(_as_scores(task, found[0], train, s) for s in found[1:]), validation, test)
    model = Small(ENCODERS[name](backbone, list(sentences)), task.num_labels)
    fit(model, task, sets[0], sets[1], t, SETTINGS[name], seed)
    scores = [_on_label_scale(task, model, model.scores(rows.index)) for rows in sets[1:]]
    return _judge(task, *scores, validation, test)


def fit(model: Small, task: Task, train: Rows, validation: Rows, t: np.ndarray, how: Setting, seed: int) -> None:
    """Train, and keep the epoch that is best on the validation rows."""
    loss = DistillationLoss(model, task, Distillation(alpha=how.alpha, divergence="kl"))  # type: ignore[arg-type]  # all it calls
    optimizer = torch.optim.AdamW(model.parameters(), lr=how.learning_rate, weight_decay=0.01)
    generator = np.random.default_rng(seed)
    label, teacher = torch.as_tensor(train.pairs.label), torch.as_tensor(t, dtype=torch.float32)
    best, kept = -np.inf, model.trained()
    for _ in range(how.epochs):
        model.train()
        for batch in np.array_split(generator.permutation(len(label)), max(1, len(label) // BATCH)):
            terms = loss([{"index": train.index[batch]}], {"label": label[batch], "teacher": teacher[batch]})
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
        s = _on_label_scale(task, model, model.scores(validation.index))
        quality = _judge(task, s, s, validation.pairs, validation.pairs)[task.main_metric]
        if quality > best:
            best, kept = quality, model.trained()
    model.load_state_dict(kept, strict=False)


def _rows(pairs: Pairs, sentences: dict[str, int]) -> Rows:
    index = [[sentences.setdefault(text, len(sentences)) for text in pair] for pair in pairs.tuples()]
    return Rows(pairs, torch.tensor(index))


def _on_label_scale(task: Task, model: Small, scores: np.ndarray) -> np.ndarray:
    return model.activation_fn(torch.from_numpy(scores)).numpy() if task.kind == "regression" else scores


def _judge(task: Task, held_out: np.ndarray, scores: np.ndarray, validation: Pairs, test: Pairs) -> dict[str, float]:
    threshold = best_threshold(held_out[:, 0], validation.label, task) if task.kind == "binary" else 0.0  # type: ignore[arg-type]
    return compute_metrics(scores, test.label, task, threshold)  # type: ignore[arg-type]


def _cosine(backbone: str, sentences: list[str], sets: list[Rows]) -> list[np.ndarray]:
    """Cosine of the mean-pooled last layer for the pairs of each set, (n, 1)."""
    model = DSE.from_backbone(backbone, num_layers=1)
    vectors = model.encode(sentences, normalize_embeddings=True, show_progress_bar=False)
    sides = [[vectors[rows.index[:, side].numpy()] for side in (0, 1)] for rows in sets]
    return [(u * v).sum(axis=1, keepdims=True) for u, v in sides]


def _as_scores(task: Task, train_cosine: np.ndarray, train: Pairs, cosine: np.ndarray) -> np.ndarray:
    """The cosine itself; for three classes the log-odds that a logistic regression on this one number gives."""
    if task.kind != "multiclass":
        return cosine
    model = LogisticRegression(C=1e3).fit(train_cosine, train.label)
    return model.decision_function(cosine)
