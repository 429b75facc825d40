"""The training loss of FastestDet as a function of its output: how far a picture is from being detected rightly.

Source: github.com/dog-qiuqiu/FastestDet, whose loss is 8 box + 16 objectness + class, with SIoU (Gevorgyan 2022,
arXiv 2205.12740) between boxes. Two places differ, so that each picture has a value of its own and no labelled object
can leave it: the cells that answer for an object are chosen among the object's own (published: among all of a batch),
and an overlap below 0 counts as 0 where it is the goal of the objectness.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.nets.fastestdet import cells

_BOX, _OBJECTNESS = 8.0, 16.0
_FOUND, _EMPTY = 0.25, 0.75
_SHAPE_POWER = 4
_TINY = 1e-7


class Parts(NamedTuple):
    """The three parts of one picture's loss, scalars."""

    box: Tensor
    """mean of 1 - SIoU over the cells that answer for an object; 0 without objects"""
    objectness: Tensor
    """smooth L1 to the overlap reached (0 in empty cells); cells with objects weigh 1/4 together"""
    label: Tensor
    """mean negative log probability of the right class; 0 without objects"""

    @property
    def total(self) -> Tensor:
        """8 box + 16 objectness + label."""
        return _BOX * self.box + _OBJECTNESS * self.objectness + self.label


def detection_loss(output: Tensor, truth: Tensor, labels: Tensor) -> Parts:
    """The loss of one picture, lower is better, differentiable in the output.

    Args:
        output: (1, 5 + classes, h, w) of `FastestDet`.
        truth: (N, 4) left, top, right, bottom in units of the picture; N may be 0.
        labels: (N,) class numbers.
    """
    found = cells(output)
    height, width = output.shape[-2:]
    grid = output.new_tensor([width, height, width, height])
    cell, which = _candidates(truth * grid, height, width)
    reached = siou(corners(found.boxes[0, cell] * grid), truth[which] * grid)
    chosen = _better_half(reached, which, len(truth))
    cell, which, reached = cell[chosen], which[chosen], reached[chosen]
    objectness = _objectness(found.objectness[0], cell, reached.clamp(min=0))
    if not len(cell):
        return Parts(output.new_zeros(()), objectness, output.new_zeros(()))
    right = found.classes[0, cell, labels[which]].clamp(min=_TINY)
    return Parts((1 - reached).mean(), objectness, -right.log().mean())


def siou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap of boxes (..., 4), corners, less half the costs of distance (seen along its angle) and shape.

    1 for equal boxes, negative for far ones; symmetric in its arguments.
    """
    size_a, size_b = (box[..., 2:] - box[..., :2] for box in (a, b))
    near, far = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (far - near).clamp(min=0).prod(-1)
    iou = common / (size_a.prod(-1) + size_b.prod(-1) - common + _TINY)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    shift = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    # sin(2 alpha) of the angle alpha between the shift and an axis, without its arc sine
    angle = 2 * shift.prod(-1).abs() / (shift.square().sum(-1) + _TINY**2)
    along = (shift / (hull + _TINY)).square()
    distance = (1 - torch.exp((angle - 2)[..., None] * along)).sum(-1)
    unlike = (size_a - size_b).abs() / (torch.maximum(size_a, size_b) + _TINY)
    shape = (1 - torch.exp(-unlike)).pow(_SHAPE_POWER).sum(-1)
    return iou - (distance + shape) / 2


def corners(boxes: Tensor) -> Tensor:
    """(..., 4) center and size -> left, top, right, bottom."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], -1)


def _candidates(truth: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The up to four cells that may answer for each object, as (cell, object) numbers.

    They are the one with its center in it, and those right of it, below it and both.
    """
    center = (truth[:, :2] + truth[:, 2:]) / 2
    around = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=truth.device)
    limit = torch.tensor([width, height], device=truth.device)
    first = torch.minimum(center.floor().long().clamp(min=0), limit - 1)
    place = first[:, None] + around
    inside = (place < limit).all(-1)
    which = torch.arange(len(truth), device=truth.device)[:, None].expand(-1, 4)
    return (place[..., 1] * width + place[..., 0])[inside], which[inside]


def _better_half(reached: Tensor, which: Tensor, count: int) -> Tensor:
    """Mask of the cells that are at least as good as the mean of their object's cells."""
    value = reached.detach()
    total = value.new_zeros(count).index_add(0, which, value)
    cells_of = value.new_zeros(count).index_add(0, which, torch.ones_like(value))
    return value >= (total / cells_of.clamp(min=1))[which] - _TINY


def _objectness(said: Tensor, cell: Tensor, reached: Tensor) -> Tensor:
    wanted = torch.zeros_like(said).scatter_reduce(0, cell, reached, "amax")
    taken = torch.zeros_like(said, dtype=torch.bool).index_fill(0, cell, True)
    gap = F.smooth_l1_loss(said, wanted, reduction="none")
    empty = _EMPTY * (gap * ~taken).sum() / len(said)
    return empty + _FOUND * (gap * taken).sum() / taken.sum().clamp(min=1)
