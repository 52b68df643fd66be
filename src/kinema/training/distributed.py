"""Processes: who am I, how many are we, and the few collectives that training needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from kinema.errors import RecipeError

T = TypeVar("T")


def world_size() -> int:
    """Number of training processes; 1 outside torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes; the tensor itself when there is one."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the process group that torchrun announces in the environment, and leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield
        return
    # Gloo for CPU tensors also beside NCCL: small agreements must not make a GPU wait.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    try:
        yield
    finally:
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """The device of this process: "auto" takes CUDA where it exists, else the CPU; CUDA follows LOCAL_RANK.

    Raises:
        RecipeError: a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"device={name}: write auto, cpu, cuda, cuda:0 or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise RecipeError(f"device={name}: no CUDA device is visible; use device=auto or device=cpu")
        device = torch.device(
            "cuda", device.index if device.index is not None else int(os.environ.get("LOCAL_RANK", "0"))
        )
        torch.cuda.set_device(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RecipeError("device=mps: this build of torch has no Metal device; use device=auto")
    return device


def agree(empty: bool, failures: list[T]) -> tuple[bool, list[T]]:
    """Whether any process has nothing to train on, and the failures of all processes in order of rank.

    The two numbers travel as a CPU tensor, so that a GPU never waits; lists are exchanged only when there are any.
    """
    if world_size() == 1:
        return empty, failures
    flags = torch.tensor([int(empty), len(failures)])
    dist.all_reduce(flags)
    if not flags[1]:
        return bool(flags[0]), []
    gathered: list[list[T]] = [[] for _ in range(world_size())]
    dist.all_gather_object(gathered, failures)
    return bool(flags[0]), [value for part in gathered for value in part]
