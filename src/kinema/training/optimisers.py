"""One optimiser per phase, with parameter groups by the multipliers that a method asks for."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from kinema.errors import RecipeError
from kinema.methods.base import Method, ParamGroup, Phase, parameter_names
from kinema.training.recipe import OptimiserConfig

Groups = list[dict[str, Any]]


def build_optimiser(
    method: Method, phase: Phase, config: OptimiserConfig, *, scaled: bool = False
) -> torch.optim.Optimizer:
    """The optimiser of one phase. Every group carries "multiplier", its factor on the scheduled learning rate.

    Args:
        method: whose parameters.
        phase: which of them.
        config: how they move.
        scaled: under loss scaling, which leaves steps out.

    Raises:
        RecipeError: no trainable parameter belongs to the phase.
    """
    parameters = dict(method.named_parameters())
    groups: dict[ParamGroup, list[nn.Parameter]] = defaultdict(list)
    for name in parameter_names(method, phase):
        groups[method.param_group(name, parameters[name])].append(parameters[name])
    if not groups:
        raise RecipeError(f"phase '{phase.name}' has no trainable parameter that starts with {phase.params}")
    described: Groups = [
        {
            "params": members,
            "lr": config.lr * group.lr,
            "multiplier": group.lr,
            "weight_decay": config.weight_decay * group.weight_decay,
        }
        for group, members in groups.items()
    ]
    # One pass over weights, gradients and moments, where torch has such a kernel; its default elsewhere.
    kinds = {p.device.type for members in groups.values() for p in members}
    # Fused SGD takes its momentum from memory that nothing has written if the first step is left out (torch 2.13).
    is_safe = not (scaled and config.name == "sgd")
    fused = True if len(kinds) == 1 and kinds <= {"cuda", "cpu"} and is_safe else None
    try:
        return _KINDS[config.name](described, config, fused)
    except ValueError as error:
        raise RecipeError(f"optimiser '{config.name}' refuses its settings: {error}") from error


def build_optimisers(
    method: Method, config: OptimiserConfig, *, scaled: bool = False
) -> dict[str, torch.optim.Optimizer]:
    """One optimiser per phase, by the phase's name.

    Raises:
        RecipeError: a parameter of no phase or of two, phases of one name, or settings that no optimiser takes.
    """
    check_phases(method)
    return {phase.name: build_optimiser(method, phase, config, scaled=scaled) for phase in method.phases}


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the scheduled rate; each group gets its multiple of it."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["multiplier"]


def check_phases(method: Method) -> None:
    """Every trainable parameter must belong to exactly one phase, and every phase have a name of its own.

    Raises:
        RecipeError: naming the parameters that no phase, or more than one, would train, or the phases.
    """
    names = [phase.name for phase in method.phases]
    if len(set(names)) < len(names):
        raise RecipeError(f"the phases of a method need different names, got {', '.join(names)}")
    seen: dict[str, int] = defaultdict(int)
    for phase in method.phases:
        for name in parameter_names(method, phase):
            seen[name] += 1
    wrong = [name for name, p in method.named_parameters() if p.requires_grad and seen[name] != 1]
    if wrong:
        counts = ", ".join(f"{name} ({seen[name]} phases)" for name in wrong[:5])
        raise RecipeError(f"each trainable parameter belongs to exactly one phase; not so: {counts}")


def _sgd(groups: Groups, config: OptimiserConfig, fused: bool | None) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)


def _adamw(groups: Groups, config: OptimiserConfig, fused: bool | None) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)


def _adam(groups: Groups, config: OptimiserConfig, fused: bool | None) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=fused)


_KINDS = {"sgd": _sgd, "adamw": _adamw, "adam": _adam}
