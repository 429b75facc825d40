"""Where a slanted edge runs: rotated upright, found in every row, fitted by a polynomial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.polynomial import Polynomial

from ispkit.kpi.signal import Array, hamming, tukey

Window = Literal["tukey", "hamming"]


@dataclass(frozen=True, eq=False)
class EdgeFit:
    """The course of a near-vertical edge."""

    position: Array
    """(H,) column of the edge in every row, from the polynomial; pixel centers are whole numbers"""
    slope: float
    """of the straight line through the rows' positions, columns per row"""
    rms: float
    """of the rows' positions about the polynomial, px; infinite if more than a tenth of the rows has no step"""
    terms: int
    """coefficients of the polynomial"""

    @property
    def standard_error(self) -> float:
        """Of the fitted position, px."""
        return float(self.rms * np.sqrt(self.terms / len(self.position)))


def window_of(position: Array, center: float | Array, half_width: float | Array, shape: tuple[Window, float]) -> Array:
    """The named window at `position`; `shape` is the name and the share of the cosine flanks."""
    name, alpha = shape
    return hamming(position, center, half_width) if name == "hamming" else tukey(position, center, half_width, alpha)


def to_vertical_rising(picture: Array) -> tuple[Array, bool, bool]:
    """(C, H, W) turned so that the edge is near-vertical, dark left and bright right.

    Returns the picture, whether rows and columns were exchanged, and whether it was mirrored.
    """
    plane = picture[-1]
    height, width = (max(n // 10, 2) for n in plane.shape)
    down = plane[-height:].mean() - plane[:height].mean()
    right = plane[:, -width:].mean() - plane[:, :width].mean()
    rotated, step = bool(abs(down) > abs(right)), right
    if rotated:
        picture, step = picture.transpose(0, 2, 1), down
    mirrored = bool(step < 0)
    return (picture[:, :, ::-1] if mirrored else picture), rotated, mirrored


def fit_edge(plane: Array, order: int, window: Window, alpha: float) -> EdgeFit:
    """Centroid of the windowed derivative of every row, then a polynomial; twice.

    The second time the window follows the first fit. It has a floor of 0.05, which keeps the centroid stable when
    the edge is off-center (Burns, sfrmat5).
    """
    rows, columns = plane.shape
    derivative = np.diff(plane, axis=1)
    between = np.arange(columns - 1) + 0.5
    row = np.arange(rows, dtype=np.float64)
    center = np.full(rows, (columns - 1) / 2)
    for _ in range(2):
        half = np.maximum(center, columns - 1 - center) + 0.5
        weight = 0.95 * window_of(between[None], center[:, None], half[:, None], (window, alpha)) + 0.05
        mass = np.sum(derivative * weight, axis=1)
        usable = mass > max(0.25 * np.median(mass), 1e-12)
        if np.count_nonzero(usable) < max(0.9 * rows, order + 2):
            return EdgeFit(center, 0.0, np.inf, order + 1)
        found = np.sum(derivative * weight * between, axis=1)[usable] / mass[usable]
        course = Polynomial.fit(row[usable], found, order)
        center = np.clip(course(row), 0, columns - 1)
    residual = found - course(row[usable])
    slope = float(Polynomial.fit(row[usable], found, 1).convert().coef[1])
    return EdgeFit(course(row), slope, float(np.sqrt(np.mean(residual**2))), order + 1)


def whole_cycles(rows: int, slope: float) -> int:
    """Rows in which the edge crosses whole columns, so that all sub-pixel phases count alike."""
    cycles = np.floor(rows * abs(slope))
    return round(cycles / abs(slope)) if cycles >= 1 else rows
