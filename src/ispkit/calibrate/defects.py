"""Defect photosites: hot ones from dark frames, dead and stuck ones from flat fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ispkit.calibrate.look import Pixels, trimmed

Points = NDArray[np.int64]

_MIN_SIGMAS = 6.0
_NEIGHBORS = 5
"""side of the window of one site whose median is compared, so 10 px of the mosaic"""
_TOO_MANY = 0.01


@dataclass(frozen=True)
class DefectResult:
    """Photosites that stick out of one mean frame."""

    points: Points
    """(n, 2) row, column in the active area, in reading order"""
    source: str
    """"dark" or "flat", with the setting"""
    sigmas: float
    """threshold, in standard deviations (without outliers) of pixel minus median of its surroundings"""
    sigma: tuple[float, ...]
    """that standard deviation per site, DN for darks, relative for flats"""
    expected_false: float
    """false alarms that Gaussian noise would give"""
    note: str = ""


def find_defects(
    mean: Pixels, *, source: str, relative: bool = False, black: Sequence[float] = (0.0,) * 4
) -> DefectResult:
    """Photosites of a mean frame (4, h, w) that differ from their surroundings.

    Those are the median of 5x5 of the same site. The threshold is 6 standard deviations of what lies within 5 of
    them, or more where the picture is so large that Gaussian noise would pass it once in ten frames. `relative`
    compares with the local level above `black`, as flats need. If more than 1 % stick out it is a pattern, not
    defects: none is given.
    """
    pixels = mean.size
    sigmas = max(_MIN_SIGMAS, float(norm.isf(0.05 / pixels)))
    found, spreads = [], []
    for site in range(4):
        plane = np.ascontiguousarray(mean[site], dtype=np.float32)
        around = cv2.medianBlur(plane, _NEIGHBORS)
        residue = plane - around
        step = 1.0
        if relative:
            light = np.maximum(around - np.float32(black[site]), 1.0)
            middle = float(np.median(light))
            # in dim corners photon noise is relatively larger; it must not pass for defects
            residue, step = residue / light * np.minimum(1, np.sqrt(light / middle)), 1 / middle
        usual = trimmed(residue.ravel(), step=step)
        center, sigma = float(usual.mean()), max(float(usual.std(dtype=np.float64)), 0.3 * step)
        rows, columns = np.nonzero(np.abs(residue - center) > sigmas * sigma)
        found.append(np.stack([2 * rows + site // 2, 2 * columns + site % 2], axis=1))
        spreads.append(sigma)
    points = ordered(np.concatenate(found))
    expected = float(2 * pixels * norm.sf(sigmas))
    if len(points) > _TOO_MANY * pixels:
        note = (
            f"{source}: {len(points) / pixels:.1%} of the pixels stick out, so this is a pattern, not defects; ignored"
        )
        return DefectResult(np.zeros((0, 2), np.int64), source, sigmas, tuple(spreads), expected, note)
    return DefectResult(points, source, sigmas, tuple(spreads), expected)


def ordered(points: Points) -> Points:
    """Distinct points in reading order."""
    return np.unique(points.reshape(-1, 2), axis=0) if len(points) else points.reshape(0, 2)


def good_mask(points: Points, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(4, h, w), False at the defects."""
    good = np.ones(shape, dtype=bool)
    rows, columns = points[:, 0], points[:, 1]
    inside = (rows < 2 * shape[1]) & (columns < 2 * shape[2])
    rows, columns = rows[inside], columns[inside]
    good[2 * (rows % 2) + columns % 2, rows // 2, columns // 2] = False
    return good
