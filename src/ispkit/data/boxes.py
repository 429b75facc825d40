"""`Boxes`: what is where in a picture, as a data set says it or as a detector found it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError

CORNERS = 4


@dataclass(frozen=True, eq=False)
class Boxes:
    """Objects of one picture: N boxes with labels, and scores where a detector made them.

    A pixel's area is [x, x + 1): a box around the whole of a picture is (0, 0, width, height).
    """

    boxes: Tensor
    """(N, 4) float: left, top, right, bottom, in pixels"""
    labels: Tensor
    """(N,) int64: index into a list of class names"""
    scores: Tensor | None = None
    """(N,) in [0, 1], of detections"""

    def __post_init__(self) -> None:
        count = self.boxes.shape[0] if self.boxes.ndim else -1
        if self.boxes.shape != (count, CORNERS) or self.labels.shape != (count,):
            shapes = f"{tuple(self.boxes.shape)} and {tuple(self.labels.shape)}"
            raise ShapeError(f"boxes are (N, 4) with (N,) labels, got {shapes}")
        if self.scores is not None and self.scores.shape != (count,):
            raise ShapeError(f"{count} boxes need ({count},) scores, got {tuple(self.scores.shape)}")
        if not torch.isfinite(self.boxes).all() or (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise ParamError("boxes must be finite, with left <= right and top <= bottom; check their order")

    def __len__(self) -> int:
        return int(self.boxes.shape[0])

    @staticmethod
    def make(boxes: Sequence[Sequence[float]], labels: Sequence[int], scores: Sequence[float] | None = None) -> Boxes:
        """From plain lists.

        >>> len(Boxes.make([(0, 0, 10, 5)], [2]))
        1
        """
        corners = torch.tensor([list(box) for box in boxes], dtype=torch.float32) if boxes else torch.zeros(0, CORNERS)
        found = None if scores is None else torch.tensor(list(scores), dtype=torch.float32)
        return Boxes(corners, torch.tensor(list(labels), dtype=torch.int64), found)

    def select(self, index: Tensor) -> Boxes:
        """Some of them: (M,) indices, or a mask (N,)."""
        return Boxes(self.boxes[index], self.labels[index], None if self.scores is None else self.scores[index])

    def crop(self, y: int, x: int, height: int, width: int, *, keep: float = 0.3) -> Boxes:
        """As `Frame.crop` sees them: moved, cut at the window; objects of which less than `keep` is left are dropped.

        Args:
            y: row of the window's first pixel.
            x: column of the window's first pixel.
            height: of the window.
            width: of the window.
            keep: least share of an object's area inside the window, in [0, 1].
        """
        moved = self.boxes - self.boxes.new_tensor([x, y, x, y])
        limit = self.boxes.new_tensor([width, height, width, height])
        cut = torch.minimum(moved.clamp(min=0), limit)
        left = area(cut)
        return replace(self, boxes=cut).select((left > 0) & (left >= keep * area(moved)))

    def flip(self, size: tuple[int, int], *, rows: bool = False, columns: bool = False) -> Boxes:
        """As `Frame.flip` sees them, in a picture of `size` (height, width)."""
        left, top, right, bottom = self.boxes.unbind(-1)
        if rows:
            top, bottom = size[0] - bottom, size[0] - top
        if columns:
            left, right = size[1] - right, size[1] - left
        return replace(self, boxes=torch.stack([left, top, right, bottom], -1))

    def scale(self, factor_y: float, factor_x: float | None = None) -> Boxes:
        """In a picture resized by these factors; one factor goes for both sides."""
        across = factor_y if factor_x is None else factor_x
        if not (factor_y > 0 and across > 0):
            raise ParamError(f"factors {factor_y:g}, {across:g} must be positive")
        return replace(self, boxes=self.boxes * self.boxes.new_tensor([across, factor_y, across, factor_y]))

    def renamed(self, names: Sequence[str], to: Sequence[str], same: Mapping[str, str] | None = None) -> Boxes:
        """Labels of the list `names` as labels of the list `to`; objects without a counterpart are dropped.

        `same` translates names first, e.g. `KITTI_AS_COCO`; letter case does not count.
        """
        table = {name.lower(): i for i, name in enumerate(to)}
        words = [(same or {}).get(name, name).lower() for name in names]
        labels = torch.tensor([table.get(word, -1) for word in words], dtype=torch.int64)[self.labels]
        return replace(self, labels=labels).select(labels >= 0)


def area(boxes: Tensor) -> Tensor:
    """(..., 4) corners -> (...,) pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of (..., 4) corners that broadcast, in [0, 1]; 0 for two empty boxes."""
    near, far = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (far - near).clamp(min=0).prod(-1)
    union = area(a) + area(b) - common
    return common / union.clamp(min=torch.finfo(a.dtype).tiny)
