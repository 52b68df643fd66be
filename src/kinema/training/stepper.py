"""One optimiser step: forward, backward, exact averaging over processes and micro-batches, and the guards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinema.data.sample import Batch
from kinema.errors import RecipeError, TrainingDiverged
from kinema.methods.base import Losses, Method, Phase, batch_size
from kinema.randomness import key_entropy, torch_generator
from kinema.training.distributed import rank, sum_over_processes, world_size
from kinema.training.optimisers import build_optimisers, set_lr
from kinema.training.recipe import Recipe

# The option's name changed in torch 2.13.
_SHARE_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
)
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(method: Method, precision: str, device: torch.device) -> None:
    """Refuse bfloat16 where torch gets the gradients of 3D convolutions wrong.

    oneDNN's kernels for CPUs with bfloat16 instructions (seen in torch 2.13 on AVX512) leave the gradient of 3 x 3 x 3
    weights unfinished where the input is two frames deep, as it is in the last stage of the usual networks.

    Raises:
        RecipeError: this build of torch on this CPU does so, and the method has 3D convolutions.
    """
    if precision != "bf16" or device.type != "cpu" or not any(isinstance(m, nn.Conv3d) for m in method.modules()):
        return
    if not _bf16_error() < 0.05:
        raise RecipeError(
            f"precision=bf16: torch {torch.__version__} computes wrong gradients of 3D convolutions in bfloat16 "
            "on this CPU; use precision=fp32, or a GPU"
        )


def _bf16_error() -> float:
    """Relative error of the gradient of convolution weights in bfloat16 on the CPU; about 0.003 where it is right."""
    generator = torch_generator("bf16")
    clip, weight, gradient = (
        torch.randn(shape, generator=generator) for shape in ((2, 64, 2, 7, 7), (64, 64, 3, 3, 3), (2, 64, 2, 7, 7))
    )
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        parameter = weight.to(dtype).detach().requires_grad_()
        told = nn.functional.conv3d(clip.to(dtype), parameter, padding=1)
        found.append(torch.autograd.grad(told, parameter, gradient.to(dtype))[0].float())
    return float((found[1] - found[0]).norm() / found[0].norm())


class Outcome(NamedTuple):
    """What one step measured, still on the device: the loss, its parts, the gradient norm, averaged over the batch."""

    loss: Tensor
    parts: dict[str, Tensor]
    grad_norm: Tensor


class _Forward(nn.Module):
    """The losses as a forward, which is what DistributedDataParallel and torch.compile hook into."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, phase: Phase) -> Losses:
        return self.method.losses(batch, phase)


class Stepper:
    """Owns the optimisers and does one step at a time.

    A loss is the mean over its `weight` items. Each micro-batch contributes the gradient of loss x weight; the sum is
    divided by the total weight over processes and micro-batches, so that the result is the gradient of one big batch.
    """

    def __init__(self, method: Method, recipe: Recipe, device: torch.device) -> None:
        self.method, self.recipe, self.device = method, recipe, device
        self.optimisers = build_optimisers(method, recipe.optimiser, scaled=recipe.precision == "fp16")
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.forward = self._wrap(method)

    def _wrap(self, method: Method) -> nn.Module:
        forward: nn.Module = _Forward(method)
        if self.recipe.compile:
            forward.compile()
        if world_size() > 1 and any(p.requires_grad for p in method.parameters()):
            # Buffers stay local: shared BatchNorm statistics are equal already, and queues must not be overwritten.
            unshared: dict[str, Any] = {_SHARE_BUFFERS: False}
            forward = DistributedDataParallel(forward, find_unused_parameters=len(method.phases) > 1, **unshared)
        return forward

    def step(self, batches: Sequence[Batch], step: int, lr: float) -> Outcome:
        """One optimiser step of every phase on this process's micro-batches.

        Raises:
            TrainingDiverged: a loss or gradient is not finite (on the CPU before the weights move; on other devices
                the caller checks the outcome, to keep the device busy).
        """
        # Dropout and the like draw from the global generators: key them, so that nothing needs storing for a resume.
        torch.manual_seed(key_entropy(self.recipe.seed, "step", step, rank()) & 0x7FFF_FFFF_FFFF_FFFF)
        self.method.before_step(step)
        outcomes = [self._phase(phase, batches, step, lr) for phase in self.method.phases for _ in range(phase.repeat)]
        self.method.after_step(step)
        parts = {name: value for outcome in outcomes for name, value in outcome.parts.items()}
        total = torch.stack([outcome.loss for outcome in outcomes]).sum()
        return Outcome(total, parts, torch.stack([outcome.grad_norm for outcome in outcomes]).max())

    def _phase(self, phase: Phase, batches: Sequence[Batch], step: int, lr: float) -> Outcome:
        optimiser = self.optimisers[phase.name]
        set_lr(optimiser, lr)
        self.method.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        weight = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches):
            with self._sync(last=number == len(batches) - 1), self._autocast():
                losses = self.forward(batch, phase)
                items = losses.get("weight")
                items = torch.tensor(float(batch_size(batch)), device=self.device) if items is None else items.detach()
                self.scaler.scale(losses["loss"].float() * items).backward()
            weight = weight + items
            measured = {"loss": losses["loss"], **losses["parts"]}
            for name, value in measured.items():
                sums[name] = sums.get(name, torch.zeros_like(weight)) + value.detach().float() * items
        return self._update(optimiser, sums, weight, step)

    def _update(self, optimiser: torch.optim.Optimizer, sums: dict[str, Tensor], weight: Tensor, step: int) -> Outcome:
        totals = sum_over_processes(torch.stack([weight, *sums.values()]))
        means = dict(zip(sums, (totals[1:] / totals[0]).unbind(), strict=True))
        self.scaler.unscale_(optimiser)
        parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        # DDP has averaged over processes; undo that and divide by the true number of items.
        torch._foreach_mul_([p.grad for p in parameters], world_size() / totals[0])
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        loss = means.pop("loss")
        outcome = Outcome(loss, means, norm)
        # Before clipping, which would spread one gradient that is not finite to all of them.
        if self.device.type == "cpu":
            self.check(outcome, step)
        if self.recipe.clip_grad is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.recipe.clip_grad, norm)
        self.scaler.step(optimiser)
        self.scaler.update()
        return outcome

    def _sync(self, *, last: bool) -> AbstractContextManager[Any]:
        # Only the last micro-batch's backward exchanges gradients.
        if isinstance(self.forward, DistributedDataParallel) and not last:
            return self.forward.no_sync()
        return nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = PRECISIONS.get(self.recipe.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def check(self, outcome: Outcome, step: int) -> None:
        """Stop a run whose numbers are no longer finite.

        Raises:
            TrainingDiverged: with what is not finite, and what to try.
        """
        # Loss scaling meets infinite gradients by design: it skips the step and halves the scale.
        watched = [outcome.loss] if self.recipe.precision == "fp16" else [outcome.loss, outcome.grad_norm]
        if bool(torch.isfinite(torch.stack([value.float() for value in watched])).all()):
            return
        raise TrainingDiverged(self._diagnosis(outcome, step))

    def _diagnosis(self, outcome: Outcome, step: int) -> str:
        parts = [name for name, value in outcome.parts.items() if not bool(torch.isfinite(value))]
        named = list(self.method.named_parameters())
        weights = [name for name, p in named if not bool(torch.isfinite(p).all())]
        gradients = [name for name, p in named if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
        facts = [f"loss {float(outcome.loss):g}, gradient norm {float(outcome.grad_norm):g} at step {step}"]
        facts += [f"not finite: {', '.join(parts)}"] if parts else []
        facts += [f"{len(weights)} weights not finite, first {weights[0]}"] if weights else []
        facts += [f"{len(gradients)} gradients not finite, first {gradients[0]}"] if gradients else []
        lr = next(iter(self.optimisers.values())).param_groups[0]["lr"]
        return (
            f"training stopped: {'; '.join(facts)}. The learning rate was {lr:g}: try a tenth of it, or clip_grad=1.0"
            f"{', or precision=fp32' if self.recipe.precision != 'fp32' else ''}. What was saved before is good."
        )

    def state_dict(self) -> dict[str, Any]:
        """States of the optimisers and of the loss scaler."""
        return {
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.scaler.load_state_dict(state["scaler"])
