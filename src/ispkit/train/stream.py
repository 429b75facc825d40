"""The endless row of training batches: what step n reads depends on the seed and on n alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ispkit.core.errors import RecipeError
from ispkit.data.samples import Sample


class SampleSet(Protocol):
    """A map-style data set of samples of one picture; item i of epoch n depends on (seed, n, i) only."""

    def __len__(self) -> int:
        """Pictures."""

    def __getitem__(self, index: int) -> Sample:
        """The sample of one picture."""

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows, flips and noise."""


@dataclass(frozen=True)
class Share:
    """Which part of each batch a process reads."""

    rank: int = 0
    world: int = 1


class Stream:
    """Batches from step `first` on, each a list of `accumulate` samples; epochs are shuffled, none is cut short.

    Batch n holds the positions n x `batch` ... of the row of shuffled epochs; a process reads its share of each. With
    `workers` processes read ahead. Raises `RecipeError` where a batch cannot be shared out.
    """

    def __init__(self, data: SampleSet, *, seed: int, batch: int, accumulate: int = 1, share: Share = Share()) -> None:
        pieces = accumulate * share.world
        if batch % pieces:
            raise RecipeError(
                f"batch={batch} cannot be shared out to {share.world} processes x accumulate={accumulate}"
            )
        if not len(data):
            raise RecipeError("the data set is empty; nothing can be learned from it")
        self.data, self.seed, self.batch, self.accumulate, self.share = data, seed, batch, accumulate, share
        self.part = batch // pieces

    def batches(self, first: int = 0, *, workers: int = 0) -> Iterator[list[Sample]]:
        """Without end, from step `first`."""
        loader = DataLoader(
            _ByEpoch(self.data),
            batch_sampler=_Row(self, first),
            collate_fn=Sample.cat,
            num_workers=workers,
            worker_init_fn=_ignore_ctrl_c,
            generator=torch.Generator().manual_seed(self.seed),
        )
        samples: Iterator[Sample] = iter(loader)
        while True:
            yield [next(samples) for _ in range(self.accumulate)]

    def keys(self, step: int) -> list[list[tuple[int, int]]]:
        """(epoch, index) of what this process reads at a step, by accumulated part."""
        count, parts = len(self.data), []
        for piece in range(self.accumulate):
            start = step * self.batch + (piece * self.share.world + self.share.rank) * self.part
            places = [divmod(p, count) for p in range(start, start + self.part)]
            parts.append([(epoch, int(self._order(epoch)[at])) for epoch, at in places])
        return parts

    def _order(self, epoch: int) -> Any:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.data))


class _Row:
    """What a `DataLoader` asks for: keys, batch by batch, without end."""

    def __init__(self, stream: Stream, first: int) -> None:
        self.stream, self.first = stream, first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = self.first
        while True:
            yield from self.stream.keys(step)
            step += 1


class _ByEpoch(Dataset[Sample]):
    """Items by (epoch, index), so that a worker process that reads ahead knows the epoch."""

    def __init__(self, data: SampleSet) -> None:
        self.data, self.epoch = data, -1

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        self._turn_to(epoch)
        return self.data[index]

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[Sample]:
        """All of a batch at once, where the data set has a faster way to make several."""
        batch: Callable[[list[int]], Sample] | None = getattr(self.data, "batch", None)
        if batch is None:
            return [self[key] for key in keys]
        made = []
        for epoch, group in groupby(keys, key=lambda k: k[0]):
            self._turn_to(epoch)
            made.append(batch([index for _, index in group]))
        return made

    def _turn_to(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.data.set_epoch(epoch)
            self.epoch = epoch


def _ignore_ctrl_c(_: int) -> None:
    """In a process that reads data: Ctrl-C is the training process's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
