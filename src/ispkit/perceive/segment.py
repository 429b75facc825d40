"""How good a segmentation is: mean intersection over union, and how sure a difference between two is.

Definition: Everingham et al. 2015, "The Pascal Visual Object Classes Challenge: A Retrospective"; Long et al. 2015:
of a class the pixels that are right over those that are it or are said to be, all pictures counted together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.metrics.intervals import Interval
from ispkit.perceive.evaluate import paired_bootstrap

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Of a set of pictures, in [0, 1], higher is better; NaN where no pixel counts."""

    miou: float
    """mean intersection over union of the classes that occur in the truth"""
    accuracy: float
    """share of the pixels that are right"""
    per_class: dict[int, float]
    """label -> intersection over union, of the classes that occur in the truth"""


def confusion(said: Tensor, truth: Tensor, classes: int) -> Tensor:
    """(classes, classes) int64: how many pixels of class row are said to be of class column.

    `said` and `truth` are int64 of one shape; pixels whose truth is negative do not count. Raises `ShapeError`.
    """
    if said.shape != truth.shape:
        raise ShapeError(f"regions {tuple(said.shape)} do not fit the truth {tuple(truth.shape)}")
    counts = truth >= 0
    right, seen = truth[counts].to(said.device), said[counts.to(said.device)]
    for what, values in (("truth", right), ("said", seen)):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ShapeError(f"{what}: labels must be in 0..{classes - 1}, or negative in the truth")
    return torch.bincount(right * classes + seen, minlength=classes**2).reshape(classes, classes)


class Segmented:
    """A segmenter's judgement of N pictures: their confusion matrices (N, K, K)."""

    def __init__(self, matrices: Sequence[Tensor]) -> None:
        if len({tuple(m.shape) for m in matrices}) > 1:
            raise ShapeError("the pictures of one judgement have the same classes")
        self._matrices = np.stack([m.cpu().numpy() for m in matrices]) if matrices else np.zeros((0, 1, 1))
        self._matrices = self._matrices.astype(np.float64)

    @property
    def pictures(self) -> int:
        """How many."""
        return len(self._matrices)

    def summary(self, weights: Floats | None = None) -> Agreement:
        """Of all pictures together; with `weights` (pictures,), of a set that holds each so many times."""
        share = np.ones(self.pictures) if weights is None else weights
        table = np.tensordot(share, self._matrices, 1)
        right, there, said = np.diag(table), table.sum(1), table.sum(0)
        occurs = np.flatnonzero(there > 0)
        if not len(occurs):
            return Agreement(float("nan"), float("nan"), {})
        overlap = right[occurs] / (there + said - right)[occurs]
        per_class = {int(k): float(v) for k, v in zip(occurs, overlap, strict=True)}
        return Agreement(float(overlap.mean()), float(right.sum() / table.sum()), per_class)


def miou_difference(a: Segmented, b: Segmented, *, repeats: int = 2000, seed: int = 0) -> Interval:
    """The difference b - a in mIoU on the same pictures, with its paired bootstrap interval.

    Level 0.95. Raises `ShapeError`.
    """
    return paired_bootstrap(a, b, of=lambda agreement: agreement.miou, repeats=repeats, seed=seed)
