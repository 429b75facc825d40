"""Samples whose RAW has been through an ISP already: what a network sees that stands behind a fixed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.utils.data import Dataset

from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain
from ispkit.data.labelled_pairs import LabelledPairs
from ispkit.data.samples import Sample
from ispkit.isp.pipeline import ISP


class Rendered(Dataset[Sample]):
    """`data` with each frame rendered by `isp` to DISPLAY_RGB in [0, 1]; no gradients reach the ISP.

    With `keep` epochs, the samples of the first so many epochs are rendered once, held in memory, and come again:
    for ISPs that are slow, such as programs. Raises `ParamError` for `keep` below 0, and what the ISP raises.
    """

    def __init__(self, data: LabelledPairs, isp: ISP, *, keep: int = 0) -> None:
        if keep < 0:
            raise ParamError(f"keep={keep} must be 0, nothing, or a number of epochs")
        self.data, self.isp, self.keep = data, isp, keep
        self.epoch = 0
        self._kept: dict[tuple[int, int], Sample] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What the labels mean."""
        return self.data.names

    @property
    def classes(self) -> int:
        """How many classes a head must know; 0 where labels are no classes."""
        return self.data.classes

    @property
    def sparse(self) -> bool:
        """Whether labels are numbers of somebody's longer list."""
        return self.data.sparse

    def set_epoch(self, epoch: int) -> None:
        """Take other samples; call it before each epoch."""
        self.epoch = epoch % self.keep if self.keep else epoch
        self.data.set_epoch(self.epoch)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        if not self.keep:
            return self._shown(self.data[index])
        key = (self.epoch, index)
        if key not in self._kept:
            self._kept[key] = self._shown(self.data[index])
        return self._kept[key]

    def batch(self, indices: Sequence[int]) -> Sample:
        """Several items at once."""
        if self.keep:
            return Sample.cat([self[int(i)] for i in indices])
        return self._shown(self.data.batch(indices))

    @torch.no_grad()
    def _shown(self, sample: Sample) -> Sample:
        made = self.isp(sample.frame)
        made.expect(Domain.DISPLAY_RGB, "a network behind an ISP")
        return replace(sample, frame=made.with_data(made.data.clamp(0, 1)))
