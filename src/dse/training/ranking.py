"""Learning to rank from the vectors of a larger encoder, without labels.

    p(j | i) = softmax_j cos(t_i, t_j) / T              # teacher's vectors t, over all documents j except i itself
    q(j | i) = softmax_j cos(e_i, b_j) / T              # student's embeddings
    loss     = mean_i KL(p(. | i) || q(. | i))          # i: the texts of a batch

A query and a document are anchors i alike. e_i is encoded in the step, with gradient. b_j is the embedding that the
student gave document j when it was last encoded (the bank); encoding every document in every step would cost as much as
an epoch. After training, slope and shift of the cosine head are fitted so that scores are on the teacher's scale.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from dse.encoding.runtime import Dtype, length_batches, resolve_dtype
from dse.errors import BadDataError, MismatchError
from dse.files import write_json
from dse.model import DSE

logger = logging.getLogger(__name__)

HELD_OUT = 0.05  # of the texts: they are no anchors, and say whether the training helped
MOST_HELD_OUT = 256
MOST_CANDIDATES = 65_536  # documents of a list; of a larger corpus so many are drawn in every step
BATCH_TOKENS = 4096  # padded, of a forward pass
STATE = "state.safetensors"


@dataclass(frozen=True)
class RankingTraining:
    """How a student learns to rank.

    Attributes:
        steps: Optimiser steps; None takes three passes over the texts, at least 200 and at most 2,000 steps.
        batch_size: Texts encoded in a step.
        learning_rate: Peak of the linear schedule.
        temperature: T of both softmaxes.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: AdamW's.
        refreshes: How often, at even distances, the whole bank is encoded again.
        checkpoint_steps: Steps between two checkpoints.
        dtype: ``"auto"`` computes in bfloat16 where the hardware has it; weights stay float32.
        seed: Of the order of the texts.
    """

    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 1e-4
    temperature: float = 0.1
    warmup: float = 0.1
    weight_decay: float = 0.01
    refreshes: int = 3
    checkpoint_steps: int = 100
    dtype: Dtype = "auto"
    seed: int = 42

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in ("batch_size", "temperature", "checkpoint_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive.")

    def steps_for(self, texts: int) -> int:
        """How many steps train on so many texts.

        Example:
            >>> RankingTraining().steps_for(9600), RankingTraining(steps=7).steps_for(9600)
            (900, 7)
        """
        return self.steps or min(2000, max(200, 3 * texts // self.batch_size))


def distill_ranking(
    student: DSE,
    corpus: Sequence[str],
    queries: Sequence[str],
    output: str | Path,
    *,
    teacher_vectors: np.ndarray,
    settings: RankingTraining | None = None,
    show_progress_bar: bool = False,
) -> DSE:
    """Train a cosine student to order a corpus as the teacher's vectors do, and save it.

    Goes on from the last checkpoint of an interrupted run with the same output, to the same weights, bit for bit.

    Args:
        student: With a ``cosine`` head, as ``DSE.from_backbone(backbone, head="cosine", num_layers=1)`` builds it.
        corpus: The documents, n texts.
        queries: Queries like those to come, as far as there are any; documents play the query too.
        output: Folder of the student; the checkpoint lives in ``output/checkpoints`` until it is done.
        teacher_vectors: A row for each document, then for each query, (n + q, D); their cosine is the teacher's score.
        settings: Optimiser settings.
        show_progress_bar: Whether to show one.

    Returns:
        The student, trained and saved. Where the held-out lists are further from the teacher's after training than
        before, it is the student as it was given, and a warning says so.

    Raises:
        MismatchError: If the student's head is of another kind, or the vectors do not fit the texts.
        BadDataError: If there are fewer than two documents, or the teacher gives every pair the same score.
    """
    settings, output = settings or RankingTraining(), Path(output)
    if student.head.kind != "cosine" or student.num_labels != 1:
        raise MismatchError(
            f"Ranking is learned by a student with a cosine head, this one's is {student.head.kind!r}; build it with "
            'DSE.from_backbone(backbone, head="cosine", num_layers=1).'
        )
    lists = _Lists(corpus, queries, teacher_vectors, settings, student.device)
    trainer = _Trainer(student, lists, settings, output / "checkpoints")
    before = trainer.held_out_loss()
    trainer.train(show_progress_bar)
    after = trainer.held_out_loss()
    logger.info("held-out lists: divergence from the teacher %.4f before, %.4f after training", before, after)
    kept_start = after >= before
    if kept_start:
        logger.warning(
            "The held-out lists are not closer to the teacher's after training (%.4f, before %.4f); the student is "
            "kept as it was. Give more texts or queries.",
            after,
            before,
        )
        trainer.restore_start()
    trainer.fit_scale()
    student.info |= {"task": {"name": "ranking", "kind": "regression"}, "activation": "identity"}
    student.save_pretrained(str(output))
    log = {"settings": asdict(settings), "held_out": {"before": before, "after": after}, "kept_start": kept_start}
    write_json(output / "training.json", log | {"log": trainer.log})
    trainer.remove_checkpoint()
    return student


class _Lists:
    """The texts, and the teacher's distribution over the documents for each of them."""

    def __init__(
        self,
        corpus: Sequence[str],
        queries: Sequence[str],
        vectors: np.ndarray,
        settings: RankingTraining,
        device: torch.device,
    ) -> None:
        self.texts, self.n = [*corpus, *queries], len(corpus)
        if self.n < 2:
            raise BadDataError(f"The corpus holds {self.n} document(s); ranking needs at least two.")
        if vectors.shape[:1] != (len(self.texts),) or vectors.ndim != 2:
            raise MismatchError(
                f"Teacher vectors of shape {vectors.shape} do not fit {self.n} documents and {len(queries)} queries; "
                "give one row each, documents first."
            )
        self.teacher = F.normalize(torch.from_numpy(np.asarray(vectors, np.float32)), dim=1).to(device)  # (m, D)
        if not torch.isfinite(self.teacher).all() or self.teacher.std(dim=0).max() < 1e-6:
            raise BadDataError("The teacher's vectors are all alike, or not finite; check the teacher.")
        same: dict[str, int] = {}
        # Texts that occur twice are one: neither is a candidate of the other.
        self.identity = torch.tensor([same.setdefault(text, len(same)) for text in self.texts], device=device)
        generator = np.random.default_rng(settings.seed)
        order = generator.permutation(len(self.texts))
        held = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(order))))
        self.held_out, self.anchors = order[:held], order[held:]
        self.settings = settings

    def batch(self, step: int) -> np.ndarray:
        """The anchors of a step, (B,): whole passes over all of them, each in another order."""
        size, seed = self.settings.batch_size, self.settings.seed
        positions = np.arange(step * size, (step + 1) * size)
        passes = np.unique(positions // len(self.anchors))
        orders = {p: np.random.default_rng((seed, int(p))).permutation(self.anchors) for p in passes}
        return np.array([orders[i // len(self.anchors)][i % len(self.anchors)] for i in positions])

    def candidates(self, step: int) -> Tensor | slice:
        """The documents of the step's lists."""
        if self.n <= MOST_CANDIDATES:
            return slice(0, self.n)
        drawn = np.random.default_rng((self.settings.seed, step, 1)).choice(self.n, MOST_CANDIDATES, replace=False)
        return torch.from_numpy(np.sort(drawn)).to(self.teacher.device)

    def loss(self, rows: np.ndarray, e: Tensor, bank: Tensor, candidates: Tensor | slice) -> Tensor:
        """KL of the student's lists from the teacher's, mean over the rows; e (B, d), bank (m, d), both of length 1."""
        at, temperature = torch.from_numpy(rows).to(e.device), self.settings.temperature
        itself = self.identity[at][:, None] == self.identity[candidates][None]  # (B, n)
        t = (self.teacher[at] @ self.teacher[candidates].T / temperature).masked_fill(itself, -torch.inf)
        s = (e @ bank[candidates].T / temperature).masked_fill(itself, -torch.inf)
        p, q = t.log_softmax(dim=1), s.log_softmax(dim=1)  # (B, n)
        return (p.exp() * (p - q)).masked_fill(itself, 0.0).sum(dim=1).mean()


class _Trainer:
    """The loop: weights, optimiser, bank, checkpoint."""

    def __init__(self, student: DSE, lists: _Lists, settings: RankingTraining, folder: Path) -> None:
        self.student, self.lists, self.settings, self.folder = student, lists, settings, folder
        self.steps = settings.steps_for(len(lists.texts))
        backbone: Any = student.transformers_model
        backbone.get_input_embeddings().requires_grad_(False)  # most words occur too rarely to be learned
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler.requires_grad_(False)  # BERT's own, which no embedding passes
        student.head.requires_grad_(False)
        self.weights = {name: p for name, p in student.named_parameters() if p.requires_grad}
        self.start = {name: p.detach().clone() for name, p in self.weights.items()}
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.bank = self._encode_all(lists.texts)
        self.log: list[dict[str, float]] = []

    def train(self, show_progress_bar: bool) -> None:
        """Run the steps that are left."""
        first = self._load()
        every = max(1, self.steps // (self.settings.refreshes + 1))
        self.student.eval()  # without dropout
        with (
            _fast_attention(self.student),
            tqdm(total=self.steps, initial=first, desc="ranking", unit="step", disable=not show_progress_bar) as bar,
        ):
            for step in range(first, self.steps):
                if step and step % every == 0 and self.settings.refreshes:
                    self.bank = self._encode_all(self.lists.texts)
                loss = self._step(step)
                if (step + 1) % self.settings.checkpoint_steps == 0 or step + 1 == self.steps:
                    self.log.append({"step": step + 1, "loss": loss})
                    self._save(step + 1)
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update()
        self.student.train(False)

    def _step(self, step: int) -> float:
        rows = self.lists.batch(step)
        e = self._encode_batch([self.lists.texts[row] for row in rows])  # (B, d)
        loss = self.lists.loss(rows, e, self.bank, self.lists.candidates(step))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._schedule(step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.bank[torch.from_numpy(rows).to(e.device)] = e.detach()
        return float(loss.detach())

    def _schedule(self, step: int) -> float:
        rising = max(1, round(self.settings.warmup * self.steps))
        return min((step + 1) / rising, (self.steps - step) / max(1, self.steps - rising))

    def _encode_batch(self, texts: list[str]) -> Tensor:
        """Embeddings with gradient, of length 1, in the order of the texts: (B, d)."""
        device, dtype = self.student.device, resolve_dtype(self.settings.dtype, self.student.device)
        lengths = [len(ids) for ids in self.student.tokenizer(texts, truncation=True)["input_ids"]]
        parts, order = [], []
        for rows in length_batches(lengths, len(texts), BATCH_TOKENS):
            features = self.student.preprocess([texts[row] for row in rows])
            features = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in features.items()}
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                parts.append(self.student(features)["sentence_embedding"].float())
            order += rows
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return F.normalize(torch.cat(parts)[back.to(device)], dim=1)

    def _encode_all(self, texts: Sequence[str]) -> Tensor:
        """Embeddings without gradient, of length 1: (m, d)."""
        embeddings = self.student.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
        return F.normalize(embeddings.float(), dim=1).clone()  # out of inference mode

    # ---------------------------------------------------------------------------------------- before and after

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """The loss on texts that are no anchors, with the bank encoded now."""
        rows = self.lists.held_out
        bank = self._encode_all(self.lists.texts)
        e = bank[torch.from_numpy(rows).to(bank.device)]
        return float(self.lists.loss(rows, e, bank, self.lists.candidates(0)))

    def restore_start(self) -> None:
        """Give the student its first weights back."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.start[name])

    @torch.no_grad()
    def fit_scale(self) -> None:
        """Slope and shift by which the student's cosine is nearest to the teacher's, on the held-out lists."""
        rows = torch.from_numpy(self.lists.held_out).to(self.bank.device)
        candidates = self.lists.candidates(0)
        bank = self._encode_all(self.lists.texts)
        x = (bank[rows] @ bank[candidates].T).flatten().double()
        y = (self.lists.teacher[rows] @ self.lists.teacher[candidates].T).flatten().double()
        slope = ((x - x.mean()) * (y - y.mean())).mean() / (x - x.mean()).square().mean().clamp_min(1e-12)
        slope = slope.clamp_min(1e-3)  # a score must rise with the cosine
        self.student.head.out.weight.fill_(float(slope))
        self.student.head.out.bias.fill_(float(y.mean() - slope * x.mean()))
        self.student.requires_grad_(True)

    # ---------------------------------------------------------------------------------------- checkpoint

    def _save(self, step: int) -> None:
        """Write weights, optimiser and bank to one file, whole or not at all."""
        tensors = {"bank": self.bank}
        for name, weight in self.weights.items():
            state = self.optimizer.state[weight]
            tensors |= {f"weight.{name}": weight.detach(), f"first.{name}": state["exp_avg"]}
            tensors |= {f"second.{name}": state["exp_avg_sq"]}
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{STATE}.{os.getpid()}.tmp"
        log = "\n".join(f"{entry['step']} {entry['loss']!r}" for entry in self.log)
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary, {"step": str(step), "log": log})
        os.replace(temporary, self.folder / STATE)

    def _load(self) -> int:
        """Take up the checkpoint, if there is one; returns the step to go on with."""
        file = self.folder / STATE
        if not file.exists():
            return 0
        with safe_open(file, framework="pt", device=str(self.student.device)) as state:
            metadata = state.metadata()
            step = int(metadata["step"])
            self.bank = state.get_tensor("bank")
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(state.get_tensor(f"weight.{name}"))
                    self.optimizer.state[weight] = {
                        "step": torch.tensor(float(step)),
                        "exp_avg": state.get_tensor(f"first.{name}"),
                        "exp_avg_sq": state.get_tensor(f"second.{name}"),
                    }
        pairs = (line.split() for line in metadata["log"].splitlines())
        self.log = [{"step": int(number), "loss": float(loss)} for number, loss in pairs]
        logger.info("ranking: going on from step %d of %d", step, self.steps)
        return step

    def remove_checkpoint(self) -> None:
        """Delete the checkpoint of a finished run."""
        (self.folder / STATE).unlink(missing_ok=True)
        if self.folder.exists():
            self.folder.rmdir()


def _fast_attention(student: DSE) -> Any:
    """On a CPU, attention written out while training: its backward pass takes half as long as the fused one's."""
    import contextlib

    @contextlib.contextmanager
    def written_out() -> Iterator[None]:
        model: Any = student.transformers_model
        before = model.config._attn_implementation
        model.set_attn_implementation("eager")
        try:
            yield
        finally:
            model.set_attn_implementation(before)

    usable = student.device.type == "cpu" and hasattr(student.transformers_model, "set_attn_implementation")
    return written_out() if usable else contextlib.nullcontext()
