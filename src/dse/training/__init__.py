"""Training a student: settings, losses, the start of the pair head, and the loop with its checkpoints.

The settings and the loop also fine-tune teachers (`dse.teacher`).
"""

from __future__ import annotations

from dse.training.distill import Distillation, DistillationLoss
from dse.training.settings import Training

__all__ = ["Distillation", "DistillationLoss", "Training"]
