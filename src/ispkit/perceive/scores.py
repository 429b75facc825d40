"""How well a head does, picture by picture, while it learns: one number in [0, 1] a picture, higher is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.data.boxes import Boxes
from ispkit.data.samples import Labels
from ispkit.perceive.evaluate import soft_miss
from ispkit.perceive.head import Head, Task

MEASURES: Mapping[Task, str] = {"classify": "top1", "detect": "found", "segment": "pixels"}
"""what `scores` counts, by task: right first guesses, 1 - the soft miss rate, right pixels"""


@torch.no_grad()
def scores(head: Head, output: Tensor, labels: Labels, size: tuple[int, int]) -> Tensor:
    """(B,) of the raw output of a head for pictures of `size`; NaN for a picture without any labeled pixel.

    Average precision and the mean overlap of classes belong to a set of pictures, not to one: `evaluate`, `segment`.
    Raises `ShapeError` for labels of another task.
    """
    if head.task == "detect":
        if isinstance(labels, Tensor):
            raise ShapeError(f"a detector is judged by boxes, got labels {tuple(labels.shape)}")
        found = [cast(Boxes, seen.boxes) for seen in head.seen(output, size)]
        return torch.tensor([1 - soft_miss(f, t) for f, t in zip(found, labels, strict=True)])
    if not isinstance(labels, Tensor) or labels.ndim != (1 if head.task == "classify" else 3):
        raise ShapeError(f"a head that can {head.task} is judged by other labels than these")
    if head.task == "classify":
        return (output.argmax(1).cpu() == labels.cpu()).float()
    made = torch.stack([cast(Tensor, seen.regions) for seen in head.seen(output, size)]).cpu()
    counts = labels.cpu() >= 0
    right = ((made == labels.cpu()) & counts).flatten(1).sum(1)
    return right / counts.flatten(1).sum(1)
