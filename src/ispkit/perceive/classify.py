"""How good a classifier is: top-k accuracy picture by picture, and how sure a difference between two is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.metrics.intervals import Interval, mean_interval


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """The place of the right class in the order of the logits, (B,) int64, 0 is first.

    `logits` are (B, K), `labels` (B,) int64. Of equal logits the right one counts as the last, so that a network
    that says nothing is right by chance never; one that is not a number is the last of all. Raises `ShapeError`.
    """
    if logits.ndim != 2 or tuple(labels.shape) != (len(logits),):
        raise ShapeError(f"logits (B, K) with labels (B,), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise ShapeError(f"labels must be in 0..{logits.shape[1] - 1}, as many classes as there are logits")
    own = logits.gather(1, labels[:, None].to(logits.device))
    # "not less" counts what is not a number as better
    return (~(logits < own)).sum(1) - 1


@dataclass(frozen=True, eq=False)
class Classified:
    """A classifier's judgement of N pictures. Top-5 is the true one: right among the first five."""

    ranks: NDArray[np.int64]
    """(N,) the place of the right class, 0 is first"""

    @staticmethod
    def of(logits: Tensor, labels: Tensor) -> Classified:
        """From logits (N, K) and labels (N,). Raises `ShapeError`."""
        return Classified(ranks(logits.detach(), labels).cpu().numpy())

    @staticmethod
    def cat(parts: Sequence[Classified]) -> Classified:
        """The pictures of all parts, in order."""
        return Classified(np.concatenate([p.ranks for p in parts]) if parts else np.zeros(0, np.int64))

    @property
    def pictures(self) -> int:
        """How many."""
        return len(self.ranks)

    def right(self, k: int = 1) -> NDArray[np.float64]:
        """(N,) 1 where the right class is among the first k, else 0. Raises `ParamError`."""
        if k < 1:
            raise ParamError(f"k={k} must be at least 1")
        return (self.ranks < k).astype(np.float64)

    def top(self, k: int = 1) -> float:
        """Share of the pictures whose class is among the first k, in [0, 1]; NaN without pictures."""
        return float(self.right(k).mean()) if len(self.ranks) else float("nan")


def top_difference(a: Classified, b: Classified, *, k: int = 1, repeats: int = 2000, seed: int = 0) -> Interval:
    """The difference b - a in top-k accuracy on the same pictures, with its paired bootstrap interval.

    Level 0.95. Raises `ShapeError`.
    """
    if a.pictures != b.pictures:
        raise ShapeError(f"a paired comparison needs the same pictures, got {a.pictures} and {b.pictures}")
    return mean_interval((b.right(k) - a.right(k)).tolist(), repeats=repeats, seed=seed)
