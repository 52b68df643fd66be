"""Learning-rate schedules as pure functions of the step: nothing to store, nothing to restore."""

from __future__ import annotations

import math

from kinema.training.recipe import ScheduleConfig


def lr_factor(config: ScheduleConfig, step: int, steps_per_epoch: float, total_steps: int) -> float:
    """Factor on the recipe's learning rate at global `step` (from 0).

    Warm-up rises linearly over its W steps, factor (step + 1) / W, or step / (W - 1) from zero. "cosine" then follows
    floor + (1 - floor) (1 + cos(pi i / I)) / 2 over the remaining I steps, i = 0 … I - 1. "step" counts its periods
    from the start of training, warm-up included.
    """
    unit = steps_per_epoch if config.unit == "epochs" else 1.0
    warmup = round(config.warmup * unit)
    if step < warmup:
        return step / max(1, warmup - 1) if config.rise == "zero" else (step + 1) / warmup
    if config.name == "constant":
        return 1.0
    if config.name == "step":
        passed = step / unit + 1e-9
        falls = sum(passed >= at for at in config.milestones) if config.milestones else passed // config.every
        return float(config.gamma**falls)
    share = (step - warmup) / max(1, total_steps - warmup)
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
