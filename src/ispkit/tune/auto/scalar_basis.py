"""Functions of one coordinate that a separable score is made of: a line, a bowl, and smooth shapes of three widths."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ispkit.tune.contracts import Point
from ispkit.tune.searchers.record import Matrix

GRID = np.linspace(0.0, 1.0, 257)
WIDTHS = (0.3, 0.1, 0.035)
"""standard lengths of the smooth shapes, in units of the cube"""
_MOST_SHAPES = 1300
_BOWL, _LINES = 1, 2


class Basis:
    """Features of points of the cube in groups that share a variance.

    Groups: 0 the level, 1 one bowl common to all coordinates, 2 lines, 3 a bowl for each coordinate, 4.. shapes of the
    `WIDTHS` (as many as stay affordable). Lines and bowls are counted from `origin`.
    """

    def __init__(self, origin: Point) -> None:
        self.origin, self.dim = origin, len(origin)
        sizes = np.cumsum([shapes(width).shape[1] for width in WIDTHS])
        self.widths = tuple(
            w for w, n in zip(WIDTHS, sizes, strict=True) if w == WIDTHS[0] or n * self.dim <= _MOST_SHAPES
        )

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return 4 + len(self.widths)

    def features(self, points: Matrix) -> list[Matrix]:
        """One (n, k) matrix a group at points (n, d)."""
        line = 2.0 * (points - self.origin)
        bowl = line * line
        tall = [_at(shapes(width), points).reshape(len(points), -1) for width in self.widths]
        return [np.ones((len(points), 1)), bowl.sum(1, keepdims=True) / np.sqrt(self.dim), line, bowl, *tall]

    def curves(self, parts: list[Matrix | None]) -> np.ndarray:
        """What each coordinate adds on the grid, (m, d, 257), from each group's weights (m, k) or None."""
        line = 2.0 * (GRID - self.origin[:, None])
        total = np.zeros((1, self.dim, len(GRID)))
        for group, weights in enumerate(parts):
            if weights is None or group == 0:
                continue
            if group == _BOWL:
                total = total + weights[:, :, None] * line * line / np.sqrt(self.dim)
            elif group == _LINES:
                total = total + weights[:, :, None] * line
            elif group == _LINES + 1:
                total = total + weights[:, :, None] * line * line
            else:
                table = shapes(self.widths[group - 4])
                total = total + weights.reshape(len(weights), self.dim, -1) @ table.T
        return total


@lru_cache(maxsize=8)
def shapes(width: float) -> Matrix:
    """Smooth functions on the grid, (257, k): their products sum up to a squared-exponential kernel."""
    kernel = np.exp(-0.5 * ((GRID[:, None] - GRID) / width) ** 2)
    values, vectors = np.linalg.eigh(kernel)
    keep = values > 2e-3 * values[-1]
    return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))


def _at(table: Matrix, points: Matrix) -> np.ndarray:
    """A table on the grid at points (n, d), (n, d, k), linear between."""
    place = points * (len(GRID) - 1)
    low = np.minimum(place.astype(np.int64), len(GRID) - 2)
    part = (place - low)[..., None]
    return np.asarray(table[low] * (1.0 - part) + table[low + 1] * part)
