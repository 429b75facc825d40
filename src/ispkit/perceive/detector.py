"""A detector with frozen weights that judges pictures: its loss, its detections, and a score for tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.boxes import Boxes, overlap
from ispkit.nets.fastestdet import FastestDet, cells, load_fastestdet
from ispkit.perceive.coco import COCO
from ispkit.perceive.evaluate import match
from ispkit.perceive.loss import corners, detection_loss

_OBJECTNESS_SHARE = 0.6  # how the published decoding mixes objectness and class to a confidence
_LEAST_CONFIDENCE = 0.05
_MOST = 100
_MATCH_IOU = 0.5


class FrozenDetector:
    """FastestDet as a judge: its weights never change, gradients flow to the picture.

    Pictures are (B, 3, H, W), encoded sRGB in [0, 1], of any size; they are stretched to `size` inside, bilinearly
    and without a low-pass, as the network was trained. Works on the device and in the dtype of the network.

    ```python
    detector = FrozenDetector.load("weight_AP05.pth")
    detector.loss(picture, boxes).backward()
    detector.detect(picture)
    ```
    """

    def __init__(
        self, net: FastestDet, names: Sequence[str] = COCO, *, size: tuple[int, int] = (352, 352), nms_iou: float = 0.45
    ) -> None:
        classes = net.detect_head.classes
        if len(names) != classes:
            raise ParamError(f"names: {len(names)} names for a network of {classes} classes; pass one for each")
        if not 0 < nms_iou < 1:
            raise ParamError(f"nms_iou={nms_iou:g} is outside (0, 1)")
        self.net = net.eval().requires_grad_(False)
        self.names, self.size, self.nms_iou = tuple(names), size, nms_iou

    @staticmethod
    def load(weights: str | Path, names: Sequence[str] = COCO) -> FrozenDetector:
        """With the weights of a .pth file. Raises `FileError`."""
        return FrozenDetector(load_fastestdet(weights), names)

    def loss(self, picture: Tensor, boxes: Boxes | Sequence[Boxes]) -> Tensor:
        """The detector's training loss (`perceive.loss`), mean over B pictures: scalar, lower is better.

        `boxes` are what should be found, in pixels of the picture, labels as in `names` (`Boxes.renamed`).
        Differentiable in the picture. Raises `ShapeError`, `ParamError`.
        """
        truths = [boxes] if isinstance(boxes, Boxes) else list(boxes)
        output = self._output(picture)
        if len(truths) != len(picture):
            raise ShapeError(f"{len(picture)} pictures need as many sets of boxes, got {len(truths)}")
        if any(len(t) and not 0 <= int(t.labels.min()) <= int(t.labels.max()) < len(self.names) for t in truths):
            raise ParamError(f"labels must be in 0..{len(self.names) - 1}; `Boxes.renamed` translates a data set's own")
        totals = []
        for single, truth in zip(torch.split(output, 1), truths, strict=True):
            where = truth.boxes.to(output) / _unit(picture).to(output)
            totals.append(detection_loss(single, where, truth.labels.to(output.device)).total)
        return torch.stack(totals).mean()

    @torch.no_grad()
    def detect(self, picture: Tensor, *, least: float = _LEAST_CONFIDENCE) -> Boxes:
        """What is found in one picture (1, 3, H, W), best first, at most 100; in its pixels, cut at its edges.

        A cell's confidence is objectness^0.6 times class probability^0.4, as published; cells below `least` are left
        out, then those that overlap a better one of the same class by more than `nms_iou`.
        """
        if len(picture) != 1:
            raise ShapeError(f"detect reads one picture (1, 3, H, W), got {tuple(picture.shape)}")
        found = cells(self._output(picture))
        probability, labels = found.classes[0].max(-1)
        confidence = found.objectness[0] ** _OBJECTNESS_SHARE * probability ** (1 - _OBJECTNESS_SHARE)
        limits = _unit(picture).to(found.boxes)
        boxes = torch.minimum((corners(found.boxes[0]) * limits).clamp(min=0), limits)
        seen = Boxes(boxes, labels, confidence).select(confidence >= least)
        return suppress(seen, self.nms_iou)

    def score(self, picture: Tensor, boxes: Boxes) -> float:
        """One picture's soft miss rate in [0, 1], 0 = all found surely and exactly, nothing else; lower is better.

        1 - 2 sum(confidence x overlap of right detections) / (objects + sum of all confidences): 1 - F with counts
        softened. Right: same class, overlap of at least 0.5, one detection an object. Steps where a match changes.
        """
        found = self.detect(picture)
        if found.scores is None or not len(found) + len(boxes):
            return 0.0
        hit = match(found, boxes, [_MATCH_IOU])[0]
        right = hit >= 0
        shared = overlap(found.boxes[right], boxes.boxes.to(found.boxes)[hit[right]])
        true = float((found.scores[right] * shared).sum())
        return 1 - 2 * true / (len(boxes) + float(found.scores.sum()))

    def _output(self, picture: Tensor) -> Tensor:
        if picture.ndim != 4 or picture.shape[1] != 3:
            raise ShapeError(f"a detector reads pictures (B, 3, H, W), got {tuple(picture.shape)}")
        weights = next(self.net.parameters())
        blue_first = picture.to(weights).flip(1)  # the order that the network was trained with
        output: Tensor = self.net(F.interpolate(blue_first, size=self.size, mode="bilinear", align_corners=False))
        return output


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


def _unit(picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    return torch.tensor([width, height, width, height], dtype=torch.float32)
