"""A detector with frozen weights that judges pictures: its loss, its detections, and a score for tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.boxes import Boxes
from ispkit.nets.fastestdet import FastestDet, load_fastestdet
from ispkit.perceive.coco import COCO
from ispkit.perceive.detection_head import DetectionHead, decoded, suppress
from ispkit.perceive.evaluate import soft_miss

_LEAST_CONFIDENCE = 0.05


class FrozenDetector:
    """FastestDet as a judge: a `DetectionHead` whose weights never change; gradients flow to the picture.

    Pictures are (B, 3, H, W), encoded sRGB in [0, 1], of any size. Works on the device and in the dtype of the network.

    ```python
    detector = FrozenDetector.load("weight_AP05.pth")
    detector.loss(picture, boxes).backward()
    detector.detect(picture)
    ```
    """

    def __init__(
        self, net: FastestDet, names: Sequence[str] = COCO, *, size: tuple[int, int] = (352, 352), nms_iou: float = 0.45
    ) -> None:
        self.head = DetectionHead(net, names, size=size, nms_iou=nms_iou).eval().requires_grad_(False)
        self.net, self.names, self.size, self.nms_iou = net, self.head.names, size, nms_iou

    @staticmethod
    def load(weights: str | Path, names: Sequence[str] = COCO) -> FrozenDetector:
        """With the weights of a .pth file. Raises `FileError`."""
        return FrozenDetector(load_fastestdet(weights), names)

    def loss(self, picture: Tensor, boxes: Boxes | Sequence[Boxes]) -> Tensor:
        """The detector's training loss (`perceive.loss`), mean over B pictures: scalar, lower is better.

        `boxes` are what should be found, in pixels of the picture, labels as in `names` (`Boxes.renamed`).
        Differentiable in the picture. Raises `ShapeError`, `ParamError`.
        """
        truths = (boxes,) if isinstance(boxes, Boxes) else tuple(boxes)
        if any(len(t) and not 0 <= int(t.labels.min()) <= int(t.labels.max()) < len(self.names) for t in truths):
            raise ParamError(f"labels must be in 0..{len(self.names) - 1}; `Boxes.renamed` translates a data set's own")
        return self.head.loss(self._output(picture), truths, _size(picture))

    @torch.no_grad()
    def detect(self, picture: Tensor, *, least: float = _LEAST_CONFIDENCE) -> Boxes:
        """What is found in one picture (1, 3, H, W), best first, at most 100; in its pixels, cut at its edges.

        Cells whose confidence (`detection_head.decoded`) is below `least` are left out, then those that overlap a
        better one of the same class by more than `nms_iou`.
        """
        if len(picture) != 1:
            raise ShapeError(f"detect reads one picture (1, 3, H, W), got {tuple(picture.shape)}")
        return suppress(decoded(self._output(picture), _size(picture), least)[0], self.nms_iou)

    def score(self, picture: Tensor, boxes: Boxes) -> float:
        """One picture's soft miss rate (`evaluate.soft_miss`), lower is better."""
        return soft_miss(self.detect(picture), boxes)

    def _output(self, picture: Tensor) -> Tensor:
        output: Tensor = self.head(picture.to(next(self.net.parameters())))
        return output


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[-2], picture.shape[-1]
