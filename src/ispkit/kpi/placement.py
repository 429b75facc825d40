"""Where a plane chart lies in a picture, and what the user says about it: corners, or regions in a file.

Coordinates are (x, y) with pixel (0, 0) covering [0, 1) x [0, 1), as in `Chart`; boxes are (top, left, height, width).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ispkit.charts.chart import Region, RegionKind
from ispkit.core.errors import FileError, ShapeError

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
Floats = NDArray[np.float64]
Point = tuple[float, float]
_LEAST_SIDE = 16


@dataclass(frozen=True)
class Placement:
    """A plane chart seen in a picture."""

    to_picture: Matrix
    """homography: chart px (x, y, 1) -> picture px"""
    picture_size: tuple[int, int]
    """height and width of the picture"""
    error_px: float = float("nan")
    """root mean square distance between what was found and where the homography puts it; NaN if nothing is left over"""
    warnings: tuple[str, ...] = ()

    def points(self, chart_xy: Sequence[Point] | Floats) -> Floats:
        """Picture (x, y) of chart points, (N, 2)."""
        return project(np.array(self.to_picture), np.asarray(chart_xy, dtype=np.float64))

    def polygon(self, region: Region, inset: float = 0.0) -> Floats:
        """Corners (4, 2) in the picture, clockwise from the chart's top left; `inset` shaves a share off each side."""
        top, left, height, width = region.box
        top, left = top + inset * height, left + inset * width
        bottom, right = top + (1 - 2 * inset) * height, left + (1 - 2 * inset) * width
        return self.points([(left, top), (right, top), (right, bottom), (left, bottom)])

    def box(self, region: Region, inset: float = 0.0) -> tuple[int, int, int, int]:
        """The largest upright rectangle inside the region, in whole px of the picture, cut at its border.

        Height or width is 0 where the region is outside the picture or thinner than a pixel.
        """
        x0, y0, x1, y1 = _inscribed(self.polygon(region, inset))
        height, width = self.picture_size
        eps = 1e-6  # a border that lies on a pixel's border belongs to it in spite of rounding
        top, left = max(0, int(np.ceil(y0 - eps))), max(0, int(np.ceil(x0 - eps)))
        bottom, right = min(height, int(np.floor(y1 + eps))), min(width, int(np.floor(x1 + eps)))
        return top, left, max(0, bottom - top), max(0, right - left)

    def covers(self, region: Region) -> bool:
        """Whether the whole region is in the picture."""
        height, width = self.picture_size
        corners = self.polygon(region)
        return bool((corners > -0.5).all() and (corners < np.array([width, height]) + 0.5).all())

    def sees(self, region: Region) -> bool:
        """Whether any of the region is in the picture."""
        height, width = self.box(region)[2:]
        return height > 0 and width > 0


def project(homography: Floats, xy: Floats) -> Floats:
    """Points (N, 2) through a 3x3 homography."""
    mapped = np.concatenate([xy, np.ones((len(xy), 1))], 1) @ homography.T
    flat: Floats = mapped[:, :2] / mapped[:, 2:]
    return flat


def from_corners(
    corners: Sequence[Point], box: tuple[float, float, float, float], picture_size: tuple[int, int]
) -> Placement:
    """From the picture's (x, y) of the corners of the chart's rectangle `box`, clockwise from top left.

    For a ColorChecker give the centers of its corner patches and `COLORCHECKER_CENTERS`. Raises `ShapeError`.
    """
    if len(corners) != 4 or any(len(c) != 2 for c in corners):
        raise ShapeError(f"corners are 4 points x,y (top left, top right, bottom right, bottom left), got {corners}")
    top, left, height, width = box
    seen = np.array(corners, dtype=np.float64)
    chart = np.array([(left, top), (left + width, top), (left + width, top + height), (left, top + height)])
    sides = np.roll(seen, -1, 0) - seen
    turns = sides[:, 0] * np.roll(sides, -1, 0)[:, 1] - sides[:, 1] * np.roll(sides, -1, 0)[:, 0]
    if not (np.isfinite(seen).all() and ((turns > 0).all() or (turns < 0).all())):
        raise ShapeError(f"corners {corners} do not go around a convex figure; list them clockwise from the top left")
    homography = cv2.getPerspectiveTransform(chart.astype(np.float32), seen.astype(np.float32))
    return Placement(as_matrix(homography), picture_size)


def from_regions(
    path: str | Path, picture_size: tuple[int, int] | None = None
) -> tuple[tuple[Region, ...], Placement | None]:
    """Regions in px of the picture, and their placement if its size is given, from a JSON file.

    The file holds `[{"kind": "edge", "box": [top, left, height, width], "name": ..., "truth": {...}}, ...]`, or an
    object with such a list as `regions`; name and truth may be left out. Raises `FileError`.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read regions from {path}: {error}") from error
    entries = data.get("regions") if isinstance(data, dict) else data
    if not isinstance(entries, list) or not entries:
        raise FileError(f'{path} holds no list of regions; expected [{{"kind": "edge", "box": [t, l, h, w]}}, ...]')
    regions = tuple(_region(entry, f"{path}: regions[{i}]", i) for i, entry in enumerate(entries))
    if len({r.name for r in regions}) != len(regions):
        raise FileError(f"{path}: two regions have the same name; names are unique")
    return regions, None if picture_size is None else identity(picture_size)


def identity(picture_size: tuple[int, int]) -> Placement:
    """The picture is the chart: same pixels."""
    return Placement(as_matrix(np.eye(3)), picture_size)


def _region(entry: object, where: str, index: int) -> Region:
    if not isinstance(entry, dict) or entry.get("kind") not in get_args(RegionKind):
        raise FileError(f"{where} needs a kind, one of {', '.join(get_args(RegionKind))}")
    box, truth = entry.get("box"), entry.get("truth", {})
    numbers = [float(v) for v in box if isinstance(v, int | float)] if isinstance(box, list) else []
    if len(numbers) != 4 or min(numbers[2:]) <= 0:
        raise FileError(f"{where} needs a box [top, left, height, width] of numbers with a size above 0, got {box}")
    if not isinstance(truth, dict):
        raise FileError(f"{where}: truth is an object of facts, got {truth!r}")
    top, left, height, width = numbers
    return Region(
        str(entry.get("name", f"{entry['kind']}/{index:02d}")), entry["kind"], (top, left, height, width), truth
    )


def check_picture(picture: Tensor) -> tuple[int, int]:
    """Height and width of a picture (3, H, W) of floats. Raises `ShapeError`."""
    if picture.ndim != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
        raise ShapeError(f"a picture is (3, H, W) of floats, got {tuple(picture.shape)} of {picture.dtype}")
    if min(picture.shape[1:]) < _LEAST_SIDE:
        raise ShapeError(
            f"a picture of {picture.shape[1]}x{picture.shape[2]} pixels shows no chart; {_LEAST_SIDE} a side are needed"
        )
    return int(picture.shape[1]), int(picture.shape[2])


def _inscribed(polygon: Floats) -> tuple[float, float, float, float]:
    """Largest upright rectangle (x0, y0, x1, y1) inside a convex quadrilateral: a concave problem."""
    following = np.roll(polygon, -1, 0)
    normal = np.stack([following[:, 1] - polygon[:, 1], polygon[:, 0] - following[:, 0]], 1)
    normal *= np.sign(((polygon - polygon.mean(0)) * normal).sum(1, keepdims=True))
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal /= np.maximum(length, 1e-12)
    reach = (normal * polygon).sum(1)
    # the corner of the rectangle that is farthest along each normal must be inside
    plus, minus = np.maximum(normal, 0), np.minimum(normal, 0)
    rows = np.concatenate([minus, plus], 1)  # times (x0, y0, x1, y1)
    span = max(float(np.ptp(polygon)), 1e-9)
    center = polygon.mean(0)
    scaled = (reach - rows @ np.tile(center, 2)) / span

    def cost(v: Floats) -> float:
        return -float(np.log(max(v[2] - v[0], 1e-9)) + np.log(max(v[3] - v[1], 1e-9)))

    start = np.array([-0.01, -0.01, 0.01, 0.01])
    inside = {"type": "ineq", "fun": lambda v: scaled - rows @ v, "jac": lambda v: -rows}
    found = minimize(cost, start, constraints=[inside], method="SLSQP", options={"ftol": 1e-10})
    x0, y0, x1, y1 = np.tile(center, 2) + span * found.x
    return float(x0), float(y0), float(x1), float(y1)


def as_matrix(homography: NDArray[np.floating]) -> Matrix:
    """Rows of a 3x3 array, its last number 1."""
    a, b, c = ((float(r[0]), float(r[1]), float(r[2])) for r in homography / homography[2, 2])
    return a, b, c
