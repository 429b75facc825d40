"""A `Sample` is what a network learns from: RAW frames and the pictures that it should make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Frame


@dataclass(frozen=True)
class Sample:
    """A batch of B frames with their targets, pixel for pixel."""

    names: tuple[str, ...]
    """one a picture"""
    frame: Frame
    """(B, 1, H, W) RAW or MOSAIC, one CFA"""
    target: Tensor
    """(B, 3, H, W) the finished picture: encoded sRGB in [0, 1]"""
    restored: Tensor | None = None
    """(B, 3, H, W) the restored picture: linear sRGB, demosaiced, without noise, white-balanced, white level 1"""

    def __post_init__(self) -> None:
        for what, picture in (("target", self.target), ("restored", self.restored)):
            want = (self.frame.batch, 3, *self.frame.size)
            if picture is not None and tuple(picture.shape) != want:
                raise ShapeError(f"{', '.join(self.names)}: {what} {tuple(picture.shape)} must be {want} as its frame")
        if len(self.names) != self.frame.batch:
            raise ShapeError(f"{len(self.names)} names do not fit {self.frame.batch} frames")

    def map(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """The same frames with `change` applied to each target picture."""
        restored = None if self.restored is None else change(self.restored)
        return replace(self, target=change(self.target), restored=restored)

    def crop(self, y: int, x: int, height: int, width: int) -> Sample:
        """The window whose top-left pixel is `(y, x)`, of the frame and its targets. Raises `ShapeError`."""
        frame = self.frame.crop(y, x, height, width)
        window = (..., slice(y, y + height), slice(x, x + width))
        restored = None if self.restored is None else self.restored[window]
        return Sample(self.names, frame, self.target[window], restored)

    def to(self, device: torch.device | str) -> Sample:
        """Everything on a device."""
        return replace(self.map(lambda t: t.to(device)), frame=self.frame.to(device))

    @staticmethod
    def cat(samples: Sequence[Sample]) -> Sample:
        """One batch; all of one size and CFA, and all or none with `restored`. Raises `ShapeError`."""
        restored = [s.restored for s in samples if s.restored is not None]
        if len(restored) not in (0, len(samples)):
            raise ShapeError("samples with and without a restored picture cannot share a batch")
        return Sample(
            tuple(n for s in samples for n in s.names),
            Frame.cat([s.frame for s in samples]),
            torch.cat([s.target for s in samples]),
            torch.cat(restored) if restored else None,
        )
