"""The processes of one training: one, or as many as `torchrun` started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from ispkit.train.stream import Share


@dataclass(frozen=True)
class Ranks:
    """This process among all; every method is the identity where there is one."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """What it reads of each batch."""
        return Share(self.rank, self.world)

    def sums(self, values: Sequence[float]) -> list[float]:
        """Numbers added up over all processes."""
        return self._reduced(values, dist.ReduceOp.SUM) if self.world > 1 else list(values)

    def largest(self, values: Sequence[float]) -> list[float]:
        """The largest of all processes, number by number: what all agree on."""
        return self._reduced(values, dist.ReduceOp.MAX) if self.world > 1 else list(values)

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()

    def _reduced(self, values: Sequence[float], how: dist.ReduceOp.RedOpType) -> list[float]:
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(numbers, how)
        return [float(v) for v in numbers]


@contextmanager
def joined(device: str = "cpu") -> Iterator[Ranks]:
    """The processes that `torchrun` started (it sets WORLD_SIZE), joined by gloo on CPUs and nccl on GPUs."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    where = torch.device(device)
    if where.type == "cuda" and world > 1:
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    if world == 1:
        yield Ranks(device=where)
        return
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, world, where)
    finally:
        dist.destroy_process_group()
