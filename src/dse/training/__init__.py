"""Training a student: settings, losses, the head start of its pair head, and the loop with its checkpoints.

Settings, losses and loop also serve the fine-tuning of teachers (`dse.teacher`). `dse.distill` is the function of
`dse.training.distill`; it is not exported here, where it would hide that module.
"""

from __future__ import annotations

from dse.training.losses import Distillation, DistillationLoss
from dse.training.settings import Training

__all__ = ["Distillation", "DistillationLoss", "Training"]
