"""A head judged on pictures: what is kept of each, what all of them say together, and how sure a difference is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.data.boxes import Boxes
from ispkit.data.samples import Labels
from ispkit.metrics.intervals import Interval
from ispkit.perceive.classify import Classified, ranks, top_difference
from ispkit.perceive.evaluate import Evaluation, map_difference
from ispkit.perceive.head import Head, Task
from ispkit.perceive.segment import Segmented, confusion, miou_difference

MAIN: Mapping[Task, str] = {"classify": "top-1", "detect": "mAP", "segment": "mIoU"}
"""the measure that methods are compared by"""


@dataclass(frozen=True, eq=False)
class Looked:
    """What is kept of one picture; one of the three, by the head's task."""

    rank: int = -1
    """place of the right class, 0 is first"""
    boxes: tuple[Boxes, Boxes] | None = None
    """found and true"""
    table: Tensor | None = None
    """confusion matrix of the pixels"""


@torch.no_grad()
def look(head: Head, picture: Tensor, labels: Labels) -> list[Looked]:
    """The head on pictures (B, 3, H, W) in [0, 1]. Raises `ShapeError` for labels of another task."""
    size = (picture.shape[-2], picture.shape[-1])
    output = head(picture)
    if head.task == "detect":
        if isinstance(labels, Tensor):
            raise ShapeError(f"a detector is judged by boxes, got labels {tuple(labels.shape)}")
        found = [cast(Boxes, seen.boxes) for seen in head.seen(output, size)]
        return [Looked(boxes=pair) for pair in zip(found, labels, strict=True)]
    if not isinstance(labels, Tensor):
        raise ShapeError(f"a head that can {head.task} is not judged by boxes")
    if head.task == "classify":
        return [Looked(rank=int(r)) for r in ranks(output, labels)]
    made = [cast(Tensor, seen.regions) for seen in head.seen(output, size)]
    return [Looked(table=confusion(m, t, len(head.names))) for m, t in zip(made, labels, strict=True)]


class Judged:
    """A set of pictures that a head looked at; methods that looked at the same ones, in order, can be compared."""

    def __init__(self, task: Task, pictures: Sequence[Looked]) -> None:
        self.task, self.pictures = task, tuple(pictures)

    def measures(self) -> dict[str, float]:
        """Top-1 and top-5, mAP and AP50, or mIoU and the share of right pixels; in [0, 1], the main one first."""
        if self.task == "classify":
            return {"top-1": self._classified.top(1), "top-5": self._classified.top(5)}
        if self.task == "detect":
            summary = self.found.summary()
            return {"mAP": summary.map, "AP50": summary.ap50}
        agreement = self.segmented.summary()
        return {"mIoU": agreement.miou, "pixels": agreement.accuracy}

    @property
    def main(self) -> float:
        """The measure of `MAIN`."""
        return self.measures()[MAIN[self.task]]

    def above(self, other: Judged, *, seed: int = 0) -> Interval:
        """This less the other in the main measure, paired by picture, with its 95 % interval. Raises `ShapeError`."""
        if self.task == "classify":
            return top_difference(other._classified, self._classified, seed=seed)
        if self.task == "detect":
            return map_difference(other.found, self.found, seed=seed, repeats=500)
        return miou_difference(other.segmented, self.segmented, seed=seed)

    @property
    def _classified(self) -> Classified:
        return Classified(np.array([p.rank for p in self.pictures], dtype=np.int64))

    @property
    def found(self) -> Evaluation:
        """Of a detector: the boxes of all pictures, matched."""
        pairs = [cast(tuple[Boxes, Boxes], p.boxes) for p in self.pictures]
        return Evaluation([found for found, _ in pairs], [true for _, true in pairs])

    @property
    def segmented(self) -> Segmented:
        """Of a segmenter: the classes of all pixels, counted."""
        return Segmented([cast(Tensor, p.table) for p in self.pictures])
