"""Pure functions of the step: the learning rate, and which steps keep a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hf_listops.training.config import RunConfig

FLOOR = 0.1
"""What the cosine ends at, as a share of the peak."""


def learning_rate_at(config: RunConfig, step: int) -> float:
    """The learning rate of the update that leads from `step` to `step + 1`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps))
    if config.lr_scheduler_type == "constant":
        return config.learning_rate
    if config.lr_scheduler_type == "linear":
        return config.learning_rate * (1 - progress)
    return config.learning_rate * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * progress)) / 2)


def keeps_checkpoint(save_steps: Sequence[int], step: int) -> bool:
    """Whether a step's weights are kept: `[k]` keeps 0, 1, 2, 4 … 512 and every k, `[0]` none, a longer list those in it."""
    if len(save_steps) > 1:
        return step in save_steps
    every = save_steps[0]
    return every > 0 and (step % every == 0 or (step <= 512 and step & (step - 1) == 0))
