"""Batch normalisation over the batches of all processes, on any device.

The network's own statistics then equal those of one process with the joined batch, exactly, also when the processes
hold different numbers of values (uneven last batches, an empty one). `torch.nn.SyncBatchNorm` refuses the CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from kinema.modules.gather import distributed


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of [B, C, ...] whose training statistics are those of all processes' values together.

    Same parameters, buffers and options as `torch.nn.BatchNorm3d`. In a single process and in eval mode it is ordinary
    batch normalisation. Running variance is unbiased over the joined batch. Statistics are computed in float32, or
    float64 where the input is. Gradients of weight and bias are those of the process's own values, as data-parallel
    training expects; gradients of the input are exact for the sum of all processes' losses.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected [batch, channels, ...], got shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, ...] to the same shape and dtype."""
        if not (self.training and distributed()):
            return super().forward(input)
        self._check_input_dim(input)
        statistics = _joint_statistics(input.detach())
        self._track(statistics)
        arguments = (input, self.weight, self.bias, statistics, self.eps)
        normalised: Tensor = _Normalise.apply(*arguments)  # type: ignore[no-untyped-call]
        return normalised

    @torch.no_grad()
    def _track(self, statistics: _Statistics) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share: float | Tensor = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked
        unbiased = statistics.variance * (statistics.values / (statistics.values - 1).clamp(min=1))
        for running, value in ((self.running_mean, statistics.mean), (self.running_var, unbiased)):
            running.add_((value.to(running.dtype) - running) * share)


def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
    """Make every BatchNorm1d, 2d and 3d in `module` a SyncBatchNorm, in place; returns `module`.

    The layers stay the same objects, with their parameters, buffers and hooks, so optimisers and shared layers stay
    valid. Subclasses of them are left alone.
    """
    for part in module.modules():
        if type(part) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            part.__class__ = SyncBatchNorm
    return module


class _Statistics(NamedTuple):
    """Per channel, over all processes: mean and biased variance [C], and the scalar number of values in a channel."""

    mean: Tensor
    variance: Tensor
    values: Tensor


def _joint_statistics(x: Tensor) -> _Statistics:
    """Exchanges means and variances, not sums of squares, which would cancel where means are large."""
    x = _wide(x)
    if x.numel():
        own = torch.stack(torch.var_mean(x, _other_axes(x), correction=0))
    else:
        own = x.new_zeros(2, x.shape[1])
    own = torch.cat([own, torch.full_like(own[:1], x[:, 0].numel())])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    variances, means, counts = torch.stack(parts, dim=1).unbind()
    values = counts[:, 0].sum()
    mean = (counts * means).sum(0) / values
    variance = (counts * (variances + (means - mean).square())).sum(0) / values
    return _Statistics(mean, variance, values)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with the statistics a function of all processes' x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, statistics: _Statistics, eps: float
    ) -> Tensor:
        inverse = torch.rsqrt(statistics.variance + eps)
        ctx.save_for_backward(x, weight, statistics.mean, inverse, statistics.values)
        normalised = _standardise(x, statistics.mean, inverse)
        if weight is not None and bias is not None:
            normalised = torch.addcmul(_along(bias, x), normalised, _along(weight, x))
        return normalised.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, values = ctx.saved_tensors
        gradient, normalised = _wide(gradient), _standardise(x, mean, inverse)
        axes = _other_axes(x)
        own = torch.stack([(gradient * normalised).sum(axes), gradient.sum(axes)])
        joint = own.clone()
        dist.all_reduce(joint)
        slope, shift = (joint / values).unbind()
        scale = inverse if weight is None else inverse * weight
        through = gradient - _along(shift, x) - normalised * _along(slope, x)
        affine = (None, None) if weight is None else own.to(weight.dtype).unbind()
        return (through * _along(scale, x)).to(x.dtype), *affine, None, None


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _other_axes(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _along(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.view(1, -1, *(1,) * (x.ndim - 2))


def _standardise(x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    return (_wide(x) - _along(mean, x)) * _along(inverse, x)
