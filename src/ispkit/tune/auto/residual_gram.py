"""What was measured, kept as inner products: regressions on residuals need no more than their Gram matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import ShapeError
from ispkit.tune.auto.residual_lattice import Key, Lattice
from ispkit.tune.contracts import Outcome, Point

Array = NDArray[np.float64]


@dataclass
class Site:
    """One point and the mean of what was measured there."""

    point: Point
    features: Array
    score: float
    options: tuple[int, ...]
    count: int = 1
    row: int = -1
    """its row of the Gram matrix; -1 where no residual was told"""


class Evidence:
    """All outcomes by point: repeats averaged, residuals as Gram matrix, failures remembered."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.sites: list[Site] = []
        self.failed: set[Key] = set()
        self._index: dict[Key, int] = {}
        self._residuals = np.zeros((0, 0), dtype=np.float32)
        self._gram: Array = np.zeros((0, 0))
        self._rows = 0
        self._spread, self._repeats = 0.0, 0

    def knows(self, key: Key) -> bool:
        """Whether this point was measured or has failed."""
        return key in self._index or key in self.failed

    @property
    def noise(self) -> float:
        """Standard deviation of a score that is measured again; 0 until repeats have differed."""
        return math.sqrt(self._spread / self._repeats) if self._repeats else 0.0

    def add(self, outcome: Outcome) -> Site | None:
        """Take note; gives the site, or None for a failed trial. Raises `ShapeError` for another length."""
        point = np.asarray(outcome.point, dtype=np.float64)
        key = self.lattice.key(point)
        if not math.isfinite(outcome.score):
            self.failed.add(key)
            return None
        if key in self._index:
            return self._again(self.sites[self._index[key]], outcome)
        site = Site(point, self.lattice.features([point])[0], outcome.score, self.lattice.options(point))
        if outcome.residual is not None:
            site.row = self._rows
            self._append(self._checked(outcome.residual))
        self._index[key] = len(self.sites)
        self.sites.append(site)
        return site

    def gram(self, sites: list[Site]) -> Array:
        """(N, N): inner products of the residuals of `sites`, each of which has one."""
        rows = [site.row for site in sites]
        return self._gram[np.ix_(rows, rows)]

    def _checked(self, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = np.asarray(residual, dtype=np.float32).ravel()
        if self._rows and flat.size != self._residuals.shape[1]:
            raise ShapeError(f"a residual has {flat.size} numbers, the first one had {self._residuals.shape[1]}")
        return flat

    def _again(self, site: Site, outcome: Outcome) -> Site:
        """Average a repeat into its site."""
        difference = outcome.score - site.score
        self._spread += difference**2 * site.count / (site.count + 1)
        self._repeats += 1
        site.count += 1
        site.score += difference / site.count
        if outcome.residual is not None and site.row >= 0:
            row = self._residuals[site.row]
            row += (self._checked(outcome.residual) - row) / site.count
            self._products(site.row)
        return site

    def _append(self, residual: NDArray[np.float32]) -> None:
        if self._rows == len(self._residuals):  # grow by doubling
            capacity = max(64, 2 * self._rows)
            residuals, gram = np.zeros((capacity, residual.size), dtype=np.float32), np.zeros((capacity, capacity))
            residuals[: self._rows] = self._residuals[: self._rows] if self._rows else 0.0
            gram[: self._rows, : self._rows] = self._gram[: self._rows, : self._rows]
            self._residuals, self._gram = residuals, gram
        self._residuals[self._rows] = residual
        self._rows += 1
        self._products(self._rows - 1)

    def _products(self, row: int) -> None:
        products = self._residuals[: self._rows] @ self._residuals[row]
        self._gram[row, : self._rows] = self._gram[: self._rows, row] = products
