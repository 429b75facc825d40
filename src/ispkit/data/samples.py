"""A `Sample` is what a network learns from: frames and the pictures that it should make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Frame
from ispkit.data.boxes import Boxes

Labels = Tensor | tuple[Boxes, ...]
"""of B pictures: (B,) int64 a class each; (B, H, W) int64 a class each pixel, -1 for what does not count; or boxes"""


@dataclass(frozen=True)
class Sample:
    """A batch of B frames with their targets, pixel for pixel."""

    names: tuple[str, ...]
    """one a frame; views of one picture have the same"""
    frame: Frame
    """(B, 1, H, W) RAW or MOSAIC, one CFA; (B, 3, H, W) DISPLAY_RGB where an ISP has rendered it"""
    target: Tensor
    """(B, 3, H, W) the finished picture: encoded sRGB in [0, 1]"""
    restored: Tensor | None = None
    """(B, 3, H, W) the restored picture: linear sRGB, demosaiced, without noise, white-balanced, white level 1"""
    labels: Labels | None = None
    """what is in the pictures, for a network that looks at them"""
    views: int = 1
    """so many consecutive frames show one picture, each spoiled in its own way; target and labels are repeated"""

    def __post_init__(self) -> None:
        for what, picture in (("target", self.target), ("restored", self.restored)):
            want = (self.frame.batch, 3, *self.frame.size)
            if picture is not None and tuple(picture.shape) != want:
                raise ShapeError(f"{', '.join(self.names)}: {what} {tuple(picture.shape)} must be {want} as its frame")
        if len(self.names) != self.frame.batch:
            raise ShapeError(f"{len(self.names)} names do not fit {self.frame.batch} frames")
        if self.labels is not None and len(self.labels) != self.frame.batch:
            raise ShapeError(f"labels of {len(self.labels)} pictures do not fit {self.frame.batch} frames")
        if self.views < 1 or self.frame.batch % self.views:
            raise ShapeError(f"{self.frame.batch} frames cannot be views={self.views} of each picture")

    def map(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """The same frames with `change` applied to each target picture."""
        restored = None if self.restored is None else change(self.restored)
        return replace(self, target=change(self.target), restored=restored)

    def crop(self, y: int, x: int, height: int, width: int) -> Sample:
        """The window whose top-left pixel is `(y, x)`, of the frame and its targets. Raises `ShapeError`."""
        frame = self.frame.crop(y, x, height, width)
        window = (..., slice(y, y + height), slice(x, x + width))
        restored = None if self.restored is None else self.restored[window]
        labels = _cropped(self.labels, y, x, (height, width))
        return replace(self, frame=frame, target=self.target[window], restored=restored, labels=labels)

    def to(self, device: torch.device | str) -> Sample:
        """Everything on a device."""
        labels = self.labels.to(device) if isinstance(self.labels, Tensor) else self.labels
        return replace(self.map(lambda t: t.to(device)), frame=self.frame.to(device), labels=labels)

    @staticmethod
    def cat(samples: Sequence[Sample]) -> Sample:
        """One batch; all of one size, CFA and `views`, all or none with `restored`, and with `labels`.

        Raises `ShapeError`.
        """
        restored = [s.restored for s in samples if s.restored is not None]
        if len(restored) not in (0, len(samples)):
            raise ShapeError("samples with and without a restored picture cannot share a batch")
        views = sorted({s.views for s in samples})
        if len(views) > 1:
            raise ShapeError(f"samples of {' and '.join(map(str, views))} views cannot share a batch")
        return Sample(
            tuple(n for s in samples for n in s.names),
            Frame.cat([s.frame for s in samples]),
            torch.cat([s.target for s in samples]),
            torch.cat(restored) if restored else None,
            _joined([s.labels for s in samples if s.labels is not None], len(samples)),
            *views,
        )


def _cropped(labels: Labels | None, y: int, x: int, size: tuple[int, int]) -> Labels | None:
    """As `Frame.crop` sees them; a class of the whole picture stays."""
    if isinstance(labels, tuple):
        return tuple(boxes.crop(y, x, *size) for boxes in labels)
    return labels if labels is None or labels.ndim == 1 else labels[..., y : y + size[0], x : x + size[1]]


def _joined(labels: Sequence[Labels], samples: int) -> Labels | None:
    if len(labels) not in (0, samples) or len({type(each) for each in labels}) > 1:
        raise ShapeError("samples with and without labels, or with labels of two kinds, cannot share a batch")
    if not labels:
        return None
    if isinstance(labels[0], Tensor):
        return torch.cat(cast(list[Tensor], labels))
    return tuple(boxes for each in cast(Sequence[tuple[Boxes, ...]], labels) for boxes in each)
