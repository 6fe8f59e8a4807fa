"""The loop that trains a student of rankings: steps, bank, held-out lists."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from dse.encoding.runtime import length_batches, resolve_dtype
from dse.model import DSE
from dse.ranks import ranks
from dse.training.progress import FIRST_STEPS, diverged, tell_rest
from dse.training.ranking_checkpoint import STATE, load_checkpoint, run_key, save_checkpoint
from dse.training.ranking_lists import RankingLists, prompted
from dse.training.scored_lists import ScoredLists

logger = logging.getLogger(__name__)

# Padded tokens of a forward pass. On a CPU padding costs as much as text, so texts of like length go together.
BATCH_TOKENS = {"cpu": 512}
BATCH_TOKENS_ELSEWHERE = 4096

Lists: TypeAlias = RankingLists | ScoredLists


class RankingTrainer:
    """Trains the weights of a student on lists; of several kinds, such as a teacher's and people's, in turn.

    Args:
        student: With a cosine head.
        parts: The lists of each kind, all of the same texts; scores are brought to the scale of the first.
        weights: Those that learn, by name.
        folder: Of the checkpoint.

    Attributes:
        before: Divergence of the held-out lists from the teacher's before training.
        after: The same after it.
        log: Mean loss of the steps between two checkpoints.
    """

    def __init__(self, student: DSE, parts: Sequence[Lists], weights: dict[str, nn.Parameter], folder: Path) -> None:
        self.student, self.parts, self.weights, self.file = student, parts, weights, folder / STATE
        self.settings = settings = parts[0].settings
        self.steps = settings.steps or sum(part.steps() for part in parts)
        self.texts = prompted(parts[0].texts, parts[0].n, student.pair_prompts)
        self.start = {name: weight.detach().clone() for name, weight in weights.items()}
        self.key = run_key(parts, self.start, student.pair_prompts)
        self.optimizer = torch.optim.AdamW(
            weights.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.before = self.after = 0.0  # divergence of the held-out lists
        self.bank: Tensor  # (m, d), rows of length 1, zeros where no list looks them up
        looked_up = np.unique(np.concatenate([part.looked_up() for part in parts]))
        maps = student.head.kind == "cosine-map"  # they learn from all embeddings
        self.looked_up: list[int] = list(range(len(self.texts))) if maps else looked_up.tolist()
        self.log: list[dict[str, float]] = []

    def train(self, show_progress_bar: bool) -> None:
        """Run the steps that are left."""
        first, losses = load_checkpoint(self), []
        if not first:
            self.bank = self._encode_bank()
            for part in self.parts:
                part.begin(self.bank)
            self.before = float(self.held_out(self.bank, self.bank).mean())
        # To encode all texts again takes as long as a pass over them, which a short training does not make.
        logger.info("training: %d steps of %d texts", self.steps - first, self.settings.batch_size)
        refreshes = min(self.settings.refreshes, self.steps * self.settings.batch_size // len(self.texts))
        every = max(1, self.steps // (refreshes + 1))
        self.student.eval()  # without dropout
        with (
            _fast_attention(self.student),
            tqdm(total=self.steps, initial=first, desc="ranking", unit="step", disable=not show_progress_bar) as bar,
        ):
            begin = time.monotonic()
            for step in range(first, self.steps):
                if step and step % every == 0 and step // every <= refreshes:
                    self.bank = self._encode_bank()
                losses.append(self._step(step))
                if (step + 1) % self.settings.checkpoint_steps == 0 or step + 1 == self.steps:
                    self.log.append({"step": step + 1, "loss": float(np.mean(losses))})  # since the last entry
                    losses = []
                    save_checkpoint(self, step + 1)
                    if not show_progress_bar:  # a log has lines in the bar's place
                        logger.info("step %d of %d: loss %.4f", step + 1, self.steps, self.log[-1]["loss"])
                    bar.set_postfix(loss=f"{self.log[-1]['loss']:.4f}", refresh=False)
                bar.update()
                if step + 1 - first == FIRST_STEPS and not show_progress_bar:
                    tell_rest("ranking", time.monotonic() - begin, self.steps - step - 1)
        self.mix(self.settings.kept)
        self.after = float(self.held_out(self.bank, self.bank).mean())
        logger.info(
            "held-out lists: divergence from the teacher %.4f before, %.4f after training", self.before, self.after
        )

    def _step(self, step: int) -> float:
        turn, place = divmod(step, len(self.parts))
        part: Any = self.parts[place]
        rows = part.batch(turn)
        own = ranks().part([self.texts[row] for row in rows])
        # Of several processes each encodes a part. All compute the whole loss; its gradient reaches a process's part.
        e = ranks().joined(self._encode_batch(own) if own else self.bank[:0], len(rows))  # (B, d)
        loss = part.losses(rows, e, self.bank, part.candidates(turn)).mean()
        if own:
            loss.backward()
        ranks().add_gradients(list(self.weights.values()))
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._schedule(step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.bank[torch.from_numpy(rows).to(e.device)] = e.detach()
        value = float(loss.detach())  # the only wait for the device
        if not math.isfinite(value):
            raise diverged(step + 1, self.settings.learning_rate)
        return value

    def _schedule(self, step: int) -> float:
        rising = max(1, round(self.settings.warmup * self.steps))
        return min((step + 1) / rising, (self.steps - step) / max(1, self.steps - rising))

    def _encode_batch(self, texts: Sequence[str]) -> Tensor:
        """Embeddings with gradient, of length 1, in the order of the texts: (B, d)."""
        device, dtype = self.student.device, resolve_dtype(self.settings.dtype, self.student.device)
        lengths = [len(ids) for ids in self.student.tokenizer(list(texts), truncation=True)["input_ids"]]
        parts, order = [], []
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for rows in length_batches(lengths, len(texts), BATCH_TOKENS.get(device.type, BATCH_TOKENS_ELSEWHERE)):
                features = self.student.preprocess([texts[row] for row in rows])
                features = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in features.items()}
                parts.append(self.student(features)["sentence_embedding"].float())
                order += rows
        return self._normalized(torch.cat(parts)[torch.tensor(order).argsort().to(device)])

    def _encode_bank(self) -> Tensor:
        """Embeddings without gradient, of length 1, of the texts that lists look up: (m, d)."""
        own = [self.texts[row] for row in ranks().part(self.looked_up)]  # prompts stand before them already
        embeddings = self.student.embed_texts(own, show_progress_bar=False).clone()  # out of inference mode
        found = ranks().joined(self._normalized(embeddings.float()).detach(), len(self.looked_up))
        bank = found.new_zeros(len(self.texts), found.shape[1])
        bank[self.looked_up] = found
        return bank

    def _normalized(self, embeddings: Tensor) -> Tensor:
        """What the head computes its cosine of, at length 1."""
        return F.normalize(self.student.head.cosine_part(embeddings), dim=1)

    # ---------------------------------------------------------------------------------------- before and after

    @torch.no_grad()
    def held_out(self, left: Tensor, right: Tensor, parts: Sequence[Lists] | None = None) -> Tensor:
        """The divergence of each held-out list, (h,), of all kinds or of some.

        Args:
            left: Embeddings of the texts as queries, (m, d).
            right: The same as documents, (m, d).
            parts: Kinds of lists; by default all.
        """
        found, size = [], self.settings.batch_size
        for part in parts or self.parts:
            rows, candidates = part.held_out, part.candidates(0)
            blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
            found += [part.divergences(block, left[block.tolist()], right, candidates) for block in blocks]  # type: ignore[arg-type]
        return torch.cat(found).clamp_min(0)  # no divergence is negative, but its rounding may be

    @torch.no_grad()
    def mix(self, start: float) -> None:
        """Give the student its first weights back, by that share, and encode the bank again."""
        for name, weight in self.weights.items():
            weight.lerp_(self.start[name], start)
        self.bank = self._encode_bank()

    @torch.no_grad()
    def fit_scale(self, left: Tensor, right: Tensor) -> None:
        """Fit slope and shift by which the student's score is nearest to the teacher's, on the held-out lists."""
        teacher = self.parts[0]
        rows = teacher.held_out
        y, x, itself = teacher.cosines(rows, left[rows.tolist()], right, teacher.candidates(0))  # type: ignore[arg-type]
        there = ~itself.cpu()
        x, y = (cosines.cpu().double()[there] for cosines in (x, y))  # not every device has float64
        dx, dy = x - x.mean(), y - y.mean()
        slope = (dx * dy).mean() / dx.square().mean().clamp_min(1e-12)
        slope = slope.clamp_min(1e-3)  # a score must rise with the cosine
        head: Any = self.student.head
        head.out.weight.fill_(float(slope))
        head.out.bias.fill_(float(y.mean() - slope * x.mean()))


def _fast_attention(student: DSE) -> Any:
    """On a CPU, attention written out while training: its backward pass takes half as long as the fused one's."""

    @contextmanager
    def written_out() -> Iterator[None]:
        model: Any = student.transformers_model
        before = model.config._attn_implementation
        model.set_attn_implementation("eager")
        try:
            yield
        finally:
            model.set_attn_implementation(before)

    usable = student.device.type == "cpu" and hasattr(student.transformers_model, "set_attn_implementation")
    return written_out() if usable else nullcontext()
