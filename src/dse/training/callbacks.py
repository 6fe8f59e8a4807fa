"""Callbacks of the trainer: a progress bar, and early stopping that survives a restart."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from tqdm.auto import tqdm
from transformers import TrainerCallback

from dse.training.progress import FIRST_STEPS, tell_rest

logger = logging.getLogger(__name__)


class ProgressBar(TrainerCallback):
    """One bar on stderr, or lines of a log where there is no terminal.

    The trainer's own writes its logs to stdout, where results belong.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.shown: dict[str, str] = {}
        self.bar: Any = None
        self.begin, self.first = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, at the step of the checkpoint when resuming."""
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.description, disable=None)
        if self.bar.disable:
            logger.info("%s: %d steps to go", self.description, state.max_steps - state.global_step)
        self.begin, self.first = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance."""
        self.bar.update(state.global_step - self.bar.n)
        if self.bar.disable and state.global_step == self.first + FIRST_STEPS:
            tell_rest(self.description, time.monotonic() - self.begin, state.max_steps - state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the last loss and metric."""
        if self.bar is None:  # an evaluation outside of training
            return
        metric = args.metric_for_best_model
        shown = {k: v for k, v in (logs or {}).items() if k == "loss" or k == f"eval_{metric}"}
        self.shown.update({k: f"{float(v):.4f}" for k, v in shown.items()})
        self.bar.set_postfix(self.shown, refresh=False)
        if self.bar.disable and "loss" in shown:
            logger.info(
                "%s: step %d of %d, loss %s", self.description, state.global_step, state.max_steps, self.shown["loss"]
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar.close()


class EarlyStopping(TrainerCallback):
    """Stop after so many evaluations without a better one.

    Counts in the trainer's log, which checkpoints keep. transformers' `EarlyStoppingCallback` can restore its count,
    but it stops at an evaluation only: a run that had stopped and is resumed would train on to the next one.

    Args:
        patience: How many evaluations in a row may bring no better metric.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def _exhausted(self, args: Any, state: Any) -> bool:
        name = f"eval_{args.metric_for_best_model}"
        metrics = [entry[name] for entry in state.log_history if name in entry]
        return bool(metrics) and len(metrics) - 1 - int(np.argmax(metrics)) >= self.patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after this evaluation."""
        control.should_training_stop = control.should_training_stop or self._exhausted(args, state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop a resumed run that had stopped before, as if the step it took had not happened."""
        if self._exhausted(args, state):
            control.should_training_stop = True
            control.should_log = control.should_evaluate = control.should_save = False
