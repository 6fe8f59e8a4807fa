"""Callbacks of the trainer: a progress bar, and early stopping that survives a restart."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm
from transformers import TrainerCallback


class ProgressBar(TrainerCallback):
    """One bar on stderr, on a terminal only; the trainer's own writes its logs to stdout, where results belong."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.shown: dict[str, str] = {}
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, at the step of the checkpoint when resuming."""
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.description, disable=None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the last loss and metric."""
        if self.bar is None:  # an evaluation outside of training
            return
        metric = args.metric_for_best_model
        chosen = {k: v for k, v in (logs or {}).items() if k == "loss" or k == f"eval_{metric}"}
        self.shown.update({k: f"{float(v):.4f}" for k, v in chosen.items()})
        self.bar.set_postfix(self.shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar.close()


class Patience(TrainerCallback):
    """Stop after so many evaluations without a better one.

    Counts in the log, which checkpoints keep: the count of `EarlyStoppingCallback` would start anew when resuming.
    """

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def _lost(self, args: Any, state: Any) -> bool:
        name = f"eval_{args.metric_for_best_model}"
        found = [entry[name] for entry in state.log_history if name in entry]
        return bool(found) and len(found) - 1 - int(np.argmax(found)) >= self.evaluations

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop here."""
        control.should_training_stop = control.should_training_stop or self._lost(args, state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop where a run was resumed that had stopped already, as if there had been no further step."""
        if self._lost(args, state):
            control.should_training_stop = True
            control.should_log = control.should_evaluate = control.should_save = False
