"""Kernels of a point spread function: their least squares, and what they are like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve_triangular
from scipy.ndimage import map_coordinates
from scipy.optimize import nnls

Floats = NDArray[np.float64]


class KernelSystem:
    """Least squares for a kernel from windows (n, k k), with a free offset, smooth as data ask."""

    def __init__(self, windows: Floats) -> None:
        self.count = len(windows)
        self.mean = windows.mean(0)
        self.windows = windows
        self.normal = windows.T @ windows - self.count * np.outer(self.mean, self.mean)
        size = round(windows.shape[1] ** 0.5)
        self.rough = roughness(size) * (np.trace(self.normal) / len(self.normal))
        self.values, self.vectors = eigh(self.normal, self.rough)
        self.stiffness = 0.0

    def _right(self, seen: Floats) -> Floats:
        right: Floats = self.windows.T @ seen - self.mean * seen.sum()
        return right

    def smooth(self, seen: Floats) -> Floats:
        """The kernel of any sign; also chooses the stiffness that `positive` uses."""
        right = self.vectors.T @ self._right(seen)
        power = float(((seen - seen.mean()) ** 2).sum())
        stiffnesses = np.logspace(-8, 2, 51)
        scores = []
        for stiffness in stiffnesses:
            weight = 1 / (self.values + stiffness)
            rest = power - 2 * (right**2 * weight).sum() + (right**2 * weight**2 * self.values).sum()
            free = self.count - 1 - (self.values * weight).sum()
            scores.append(rest / free**2)
        self.stiffness = float(stiffnesses[int(np.argmin(scores))])
        solved: Floats = self.vectors @ (right / (self.values + self.stiffness))
        return solved

    def positive(self, seen: Floats) -> Floats:
        """The kernel without negative values."""
        factor = cholesky(
            self.normal + self.stiffness * self.rough + 1e-12 * np.trace(self.normal) * np.eye(len(self.normal))
        )
        target = solve_triangular(factor, self._right(seen), trans="T")
        kernel: Floats = nnls(factor, target)[0]
        return kernel


def roughness(size: int) -> Floats:
    """Squared first differences of a kernel with zeros around it, as a quadratic form."""
    index = np.arange(size * size).reshape(size, size)
    form = np.zeros((size * size, size * size))
    for axis in (0, 1):
        near, far = (np.take(index, s, axis).ravel() for s in (range(size - 1), range(1, size)))
        form[near, near] += 1
        form[far, far] += 1
        form[near, far] -= 1
        form[far, near] -= 1
        for edge in (0, -1):
            border = np.take(index, edge, axis)
            form[border, border] += 1
    return form


def mtf50(kernel: Floats) -> tuple[float, float]:
    """Horizontal and vertical frequency of 50 % MTF, cycles per px; NaN above 0.5."""
    found = []
    for axis in (0, 1):
        spread = np.asarray(kernel, dtype=np.float64).sum(axis)
        frequency = np.linspace(0, 0.5, 1001)
        wave = np.exp(-2j * np.pi * frequency[:, None] * np.arange(len(spread)))
        level = np.abs(wave @ spread) / max(abs(float(spread.sum())), 1e-12)
        below = np.flatnonzero(level < 0.5)
        if len(below) == 0:
            found.append(float("nan"))
            continue
        k = int(below[0])
        found.append(float(np.interp(0.5, [level[k], level[k - 1]], [frequency[k], frequency[k - 1]])))
    return found[0], found[1]


def border_share(kernel: Floats) -> float:
    """Share of the light that falls on the outermost pixels."""
    return 1 - float(kernel[1:-1, 1:-1].sum()) / max(float(kernel.sum()), 1e-12)


def centroid_of(kernel: Floats) -> Floats:
    """Its light's mean place (x, y), from the middle."""
    reach = len(kernel) // 2
    axis = np.arange(-reach, reach + 1)
    place: Floats = np.array([(kernel.sum(0) * axis).sum(), (kernel.sum(1) * axis).sum()]) / kernel.sum()
    return place


def shifted(kernel: Floats, by: Floats) -> Floats:
    """The kernel moved by (x, y) px, bilinear; sum 1."""
    y, x = np.mgrid[0 : len(kernel), 0 : len(kernel)]
    moved: Floats = np.asarray(map_coordinates(kernel, [y - by[1], x - by[0]], order=1), dtype=np.float64)
    moved /= moved.sum()
    return moved


def gaussian(size: int, sigma: float) -> Floats:
    """A sampled Gaussian, sum 1."""
    axis = np.arange(size) - size // 2
    line = np.exp(-0.5 * (axis / sigma) ** 2)
    plane: Floats = np.outer(line, line)
    plane /= plane.sum()
    return plane
