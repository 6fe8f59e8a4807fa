"""The checkpoint of a ranking student's training: weights, optimiser, bank and what was read off the start."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dse.errors import MismatchError
from dse.files import write_tensors
from dse.ranks import ranks
from dse.training.ranking_lists import RankingLists
from dse.training.scored_lists import ScoredLists

logger = logging.getLogger(__name__)

STATE = "state.safetensors"


def save_checkpoint(trainer: Any, step: int) -> None:
    """Write weights, optimiser and bank of a `RankingTrainer` to one file, whole or not at all."""
    if not ranks().first:
        return
    tensors = {"bank": trainer.bank}
    for name, weight in trainer.weights.items():
        moments = trainer.optimizer.state[weight]
        tensors |= {f"weight.{name}": weight, f"first.{name}": moments["exp_avg"]}
        tensors |= {f"second.{name}": moments["exp_avg_sq"]}
    state = {"run": trainer.key, "step": step, "before": trainer.before, "log": trainer.log}
    state["scales"] = [part.scale for part in trainer.parts]
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    write_tensors(trainer.file, arrays, {"state": json.dumps(state)})


def load_checkpoint(trainer: Any) -> int:
    """Take up the checkpoint, if there is one; returns the step to go on with.

    Raises:
        MismatchError: If the file is of another run, or no checkpoint.
    """
    if not trainer.file.exists():
        return 0
    try:
        with safe_open(trainer.file, framework="pt", device=str(trainer.student.device)) as file:
            state = json.loads(file.metadata()["state"])
            if state["run"] != trainer.key:
                raise MismatchError(
                    f"{trainer.file} is the checkpoint of a run with other texts, vectors, settings or student; "
                    "choose another output or delete it."
                )
            trainer.bank = file.get_tensor("bank")
            for name, weight in trainer.weights.items():
                with torch.no_grad():
                    weight.copy_(file.get_tensor(f"weight.{name}"))
                moments = {"exp_avg": f"first.{name}", "exp_avg_sq": f"second.{name}"}
                trainer.optimizer.state[weight] = {
                    "step": torch.tensor(float(state["step"])),
                    **{moment: file.get_tensor(key) for moment, key in moments.items()},
                }
    except SafetensorError as error:
        raise MismatchError(f"{trainer.file} is no checkpoint ({error}); delete it.") from error
    trainer.before, trainer.log = state["before"], state["log"]
    for part, scale in zip(trainer.parts, state["scales"], strict=True):
        part.scale = scale
    logger.info("ranking: going on from step %d of %d", state["step"], trainer.steps)
    return int(state["step"])


def run_key(parts: Sequence[RankingLists | ScoredLists], start: dict[str, Tensor], prompts: tuple[str, str]) -> str:
    """Hash of what is learned and of the weights it starts from: a checkpoint of another run has another one."""
    digest = hashlib.blake2b(json.dumps([*(part.key() for part in parts), *prompts]).encode(), digest_size=16)
    for name, weight in start.items():
        digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
