"""FastestDet as a head that can be trained; `FrozenDetector` is the same network as a judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.boxes import Boxes, overlap
from ispkit.data.samples import Labels
from ispkit.nets.fastestdet import FastestDet, cells
from ispkit.perceive.coco import COCO
from ispkit.perceive.head import Seen, Task
from ispkit.perceive.loss import corners, detection_loss
from ispkit.perceive.net_head import NetHead, Norms, Reading

SIDE = 352
"""of the square pictures that the published weights were trained on"""
_OBJECTNESS_SHARE = 0.6  # how the published decoding mixes objectness and class to a confidence
_STEP = 32
_MOST = 100


class DetectionHead(NetHead):
    """Finds objects; learns by the loss of `perceive.loss`.

    Args:
        net: the network; its weights are trained unless the caller freezes them.
        names: of its classes.
        size: (height, width) that pictures are stretched to inside, multiples of 32.
        norms: see `NetHead`.
        nms_iou: the largest overlap of two detections of one class.
        least: confidence below which nothing is told.
    """

    task: ClassVar[Task] = "detect"

    def __init__(
        self,
        net: FastestDet,
        names: Sequence[str] = COCO,
        *,
        size: tuple[int, int] = (SIDE, SIDE),
        norms: Norms = "batch",
        nms_iou: float = 0.45,
        least: float = 0.05,
    ) -> None:
        if len(names) != net.detect_head.classes:
            raise ParamError(f"names: {len(names)} names for a network of {net.detect_head.classes} classes")
        if any(side % _STEP for side in size) or not 0 < nms_iou < 1 or not 0 <= least < 1:
            raise ParamError(
                f"size={size} must be multiples of {_STEP}, nms_iou={nms_iou:g} in (0, 1), least={least:g} in [0, 1)"
            )
        # stretched without a low-pass, blue first: as the network was trained
        reading = Reading(size, mean=(0.0,) * 3, std=(1.0,) * 3, order="bgr", antialias=False)
        super().__init__(net, names, reading=reading, norms=norms)
        self.nms_iou, self.least = nms_iou, least

    def loss(self, output: Tensor, labels: Labels, size: tuple[int, int]) -> Tensor:
        """Mean over pictures; `labels` are `Boxes` in pixels of the pictures, one each. Raises `ShapeError`."""
        if isinstance(labels, Tensor) or len(labels) != len(output):
            got = f"a tensor {tuple(labels.shape)}" if isinstance(labels, Tensor) else f"{len(labels)} sets"
            raise ShapeError(f"a head that detects learns from {len(output)} sets of boxes, got {got}")
        unit = _unit(size).to(output)
        totals = [
            detection_loss(one, truth.boxes.to(output) / unit, truth.labels.to(output.device)).total
            for one, truth in zip(torch.split(output, 1), labels, strict=True)
        ]
        return torch.stack(totals).mean()

    @torch.no_grad()
    def seen(self, output: Tensor, size: tuple[int, int]) -> Sequence[Seen]:
        """What is found in each picture, in its pixels, the surest first, at most 100."""
        return [Seen(boxes=suppress(found, self.nms_iou)) for found in decoded(output, size, self.least)]


def decoded(output: Tensor, size: tuple[int, int], least: float) -> list[Boxes]:
    """The cells of FastestDet's output as boxes in pixels of pictures of `size`, cut at their edges, not suppressed.

    A cell's confidence is objectness^0.6 times class probability^0.4, as published; those below `least` are left out.
    """
    found, limits = cells(output), _unit(size).to(output)
    probability, labels = found.classes.max(-1)
    confidence = found.objectness**_OBJECTNESS_SHARE * probability ** (1 - _OBJECTNESS_SHARE)
    places = torch.minimum((corners(found.boxes) * limits).clamp(min=0), limits)
    rows = zip(places, labels, confidence, strict=True)
    return [Boxes(place, label, sure).select(sure >= least) for place, label, sure in rows]


def suppress(found: Boxes, iou: float, *, most: int = _MOST) -> Boxes:
    """Greedy non-maximum suppression: best first, without those that overlap a better one of their class.

    `found` needs scores; `iou` is the largest overlap that may stay; at most `most` are kept.
    """
    if found.scores is None:
        raise ParamError("suppression sorts by score; these boxes have none")
    ranked = found.select(found.scores.argsort(descending=True, stable=True))
    clash = overlap(ranked.boxes[:, None], ranked.boxes[None]) > iou
    clash &= ranked.labels[:, None] == ranked.labels[None]
    alive = torch.ones(len(ranked), dtype=torch.bool)
    rows = clash.cpu().triu(1)
    for i in range(len(ranked)):
        if alive[i]:
            alive &= ~rows[i]
    return ranked.select(alive.nonzero()[:most, 0].to(ranked.boxes.device))


def _unit(size: tuple[int, int]) -> Tensor:
    height, width = size
    return torch.tensor([width, height, width, height], dtype=torch.float32)
