"""Processes that train one model together: who is who, what they add up, and what one of them tells the others.

Every process has the same weights and a share of every batch. A loss is the local sum over the *whole* batch's count,
so losses and gradients are added up, not averaged: the same as averaging the local sum times the number of processes.
``torchrun`` starts the processes and ends all of them when one dies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

_PATIENCE = timedelta(hours=6)  # one rank judges and writes while the others wait
Told = TypeVar("Told")


class RankLostError(RuntimeError):
    """Another process of this training ended, so this one cannot go on."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone, it is the first of one."""

    rank: int = 0
    num_ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process judges, writes and talks."""
        return self.rank == 0

    def add_up(self, values: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        """Return the sum of ``values`` (n,) over all processes, and add up the gradients of ``parameters`` in place.

        All travel in one message; a parameter that no process used gets a gradient of zeros.
        """
        if self.num_ranks == 1:
            return values
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([values, *(gradient.flatten() for gradient in gradients)])
        with _company():
            distributed.all_reduce(flat)
        parts = flat.split([len(values), *(gradient.numel() for gradient in gradients)])
        for gradient, part in zip(gradients, parts[1:], strict=True):
            gradient.copy_(part.view_as(gradient))
        return parts[0]

    def told_by_first(self, value: Told) -> Told:
        """Return the first process's ``value`` in every process."""
        if self.num_ranks == 1:
            return value
        box = [value]
        with _company():
            distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, if it did, over gloo on a CPU and NCCL on GPUs; leave at the end.

    ``device`` is this process's own: on a machine with several GPUs that of its ``local_rank``.
    """
    if not is_shared():
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


@contextmanager
def _company() -> Iterator[None]:
    """Say in one sentence that a message found nobody."""
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            "another process of this training ended; the same command goes on from the last whole epoch"
        ) from error


def is_shared() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """Return this process's number on its machine: that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def own_device() -> torch.device:
    """Return what this process computes on: its own GPU, or the CPU where there is none."""
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")
