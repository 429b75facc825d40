"""The 24-patch ColorChecker in any picture: squares of like size, a lattice through them, the colors in order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ispkit.charts.colorchecker import COLUMNS, ROWS, reference_linear_srgb
from ispkit.kpi.placement import project

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
_LEAST_LIKENESS = 0.85  # R^2; the right window reaches 0.95 to 0.99, a wrong one of a real chart about 0.6
_LEAST_SQUARES = 8
_LONG_SIDES = (1000, 2000, 4000)  # the picture is searched at these sizes until the chart is found
_LARGEST_SCALE = 2.0
_PATCH_SHARES = (0.76, 0.80, 0.84, 0.88, 0.92)


@dataclass(frozen=True)
class _Square:
    center: Floats
    axes: Floats
    """half the differences of opposite sides: rows are the two side vectors"""
    area: float


def search_checker(picture: Floats) -> tuple[Floats, float, float] | None:
    """Homography from cells (column, row) to picture px, its error in px, and the colors' likeness; None if absent.

    `picture` is (3, H, W), linear or encoded. The origin is the outer corner of dark skin's cell.
    """
    best: tuple[Floats, float, float] | None = None
    tried = set()
    for long_side in _LONG_SIDES:
        scale = min(long_side / max(picture.shape[1:]), _LARGEST_SCALE)
        if scale in tried:
            continue
        tried.add(scale)
        found = _search_at(picture, scale)
        if found is not None and (best is None or found[2] > best[2]):
            best = found
        if best is not None:
            return best
    return None


def _search_at(picture: Floats, scale: float) -> tuple[Floats, float, float] | None:
    shown = _shown(picture, scale)
    best: tuple[Floats, float, float] | None = None
    for group in _lattices(_squares(shown)):
        found = _oriented(shown, *group)
        if found is not None and (best is None or found[2] > best[2]):
            best = found
    if best is None:
        return None
    homography, error, likeness = _refined(shown, best)
    to_full = np.array([[1 / scale, 0, 0], [0, 1 / scale, 0], [0, 0, 1.0]])
    return to_full @ homography, error / scale, likeness


def _shown(picture: Floats, scale: float) -> Bytes:
    """(H, W, 3) in 8 bits, each channel stretched (a rough white balance), gamma-encoded and resized."""
    high = np.maximum(np.percentile(picture, 99.0, axis=(1, 2), keepdims=True), 1e-6)
    level = np.clip(picture / high, 0, 1)
    if np.median(level) < 0.35:  # looks linear
        level = level**0.45
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(level.transpose(1, 2, 0), None, fx=scale, fy=scale, interpolation=mode)
    return np.asarray((cv2.GaussianBlur(small, (0, 0), 0.8).clip(0, 1) * 255).round(), dtype=np.uint8)


def _squares(shown: Bytes) -> list[_Square]:
    """Convex quadrilaterals with sides of like length that are brighter than their surround, in any channel."""
    found: list[_Square] = []
    planes = [*cv2.split(shown), cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)]
    short = min(shown.shape[:2])
    for plane in planes:
        for share in (0.02, 0.06, 0.15):
            window = max(11, 2 * int(short * share) + 1)
            binary = cv2.adaptiveThreshold(plane, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, window, -3)
            for size in (3, 5):
                opened = cv2.morphologyEx(binary, cv2.MORPH_OPEN, np.ones((size, size), np.uint8))
                contours, _ = cv2.findContours(opened, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
                found += [s for c in contours if (s := _as_square(c)) is not None]
    return _distinct(found)


def _as_square(contour: NDArray[np.int32]) -> _Square | None:
    area = cv2.contourArea(contour)
    if area < 64:
        return None
    hull = cv2.convexHull(contour)
    if area < 0.8 * cv2.contourArea(hull):
        return None
    corners = cv2.approxPolyDP(hull, 0.06 * cv2.arcLength(hull, True), True).reshape(-1, 2).astype(np.float64)
    if len(corners) != 4:
        return None
    sides = np.linalg.norm(corners - np.roll(corners, 1, 0), axis=1)
    if sides.max() > 2.0 * sides.min() or area < 0.5 * sides.mean() ** 2:
        return None
    axes = np.stack(
        [corners[1] - corners[0] + corners[2] - corners[3], corners[2] - corners[1] + corners[3] - corners[0]]
    )
    moments = cv2.moments(hull)
    center = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
    return _Square(center, axes / 2, float(area))


def _distinct(squares: list[_Square]) -> list[_Square]:
    """One square a place and size: the mean center of those that agree."""
    left = sorted(squares, key=lambda s: -s.area)
    out: list[_Square] = []
    while left:
        first = left[0]
        reach = 0.25 * np.sqrt(first.area)
        same = [s for s in left if np.linalg.norm(s.center - first.center) < reach and s.area > 0.6 * first.area]
        left = [s for s in left if not any(s is other for other in same)]
        middle = same[len(same) // 2]
        out.append(_Square(np.median([s.center for s in same], axis=0), middle.axes, middle.area))
    return out


def _lattices(squares: list[_Square]) -> list[tuple[Floats, Floats]]:
    """Groups of squares on a common lattice: integer places (N, 2) and centers (N, 2)."""
    groups, used = [], set()
    centers = np.array([s.center for s in squares]).reshape(-1, 2)
    for seed in range(len(squares)):
        if seed in used:
            continue
        places = _grow(squares, centers, seed)
        used |= set(places)
        if len(places) >= _LEAST_SQUARES:
            index = list(places)
            groups.append((np.array([places[i] for i in index], dtype=np.float64), centers[index]))
    return groups


def _grow(squares: list[_Square], centers: Floats, seed: int) -> dict[int, tuple[int, int]]:
    """Breadth first from a square to its four neighbors, each found where the last step points."""
    places = {seed: (0, 0)}
    open_ends = [(seed, squares[seed].axes * 1.15)]
    while open_ends:
        i, step = open_ends.pop(0)
        for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
            place = (places[i][0] + sign * (axis == 0), places[i][1] + sign * (axis == 1))
            if place in places.values():
                continue
            j = _nearest(squares, centers, i, centers[i] + sign * step[axis])
            if j is None or j in places:
                continue
            places[j] = place
            moved = step.copy()
            moved[axis] = sign * (centers[j] - centers[i])
            open_ends.append((j, moved))
    return places


def _nearest(squares: list[_Square], centers: Floats, i: int, wanted: Floats) -> int | None:
    side = np.sqrt(squares[i].area)
    gap = np.linalg.norm(centers - wanted, axis=1)
    gap[i] = np.inf
    like = [0.45 < s.area / squares[i].area < 2.2 for s in squares]
    j = int(np.where(like, gap, np.inf).argmin())
    return j if gap[j] < 0.35 * side and like[j] else None


def _oriented(shown: Bytes, places: Floats, centers: Floats) -> tuple[Floats, float, float] | None:
    """The 6 x 4 window and orientation whose colors resemble the chart most; None if none does enough."""
    matrix, mask = cv2.findHomography(places, centers, cv2.RANSAC, 0.06 * _pitch(places, centers))
    if matrix is None:
        return None
    keep = mask.ravel() > 0
    if keep.sum() < _LEAST_SQUARES:
        return None
    best: tuple[Floats, float, float] | None = None
    reference = reference_linear_srgb().clamp(min=0).numpy() ** 0.45
    for turn in _turns():
        low, high = (places[keep] @ turn).min(0), (places[keep] @ turn).max(0)
        spare = np.array([COLUMNS, ROWS]) - 1 - (high - low)
        for dx in range(int(spare[0]) + 1):
            for dy in range(int(spare[1]) + 1):
                cells = (places[keep] @ turn) - low + np.array([dx, dy]) + 0.5
                found = _score(shown, cells, centers[keep], reference)
                if found is not None and found[2] > _LEAST_LIKENESS and (best is None or found[2] > best[2]):
                    best = found
    return best


def _refined(shown: Bytes, found: tuple[Floats, float, float]) -> tuple[Floats, float, float]:
    """Align a drawing of the patches, in the colors seen, with the picture (ECC, Evangelidis and Psarakis 2008)."""
    homography, error, likeness = found
    colors = _sample(shown, homography)
    cell = int(np.clip(_cell_size(homography), 12, 40))
    drawn_to_cells = np.diag([1 / cell, 1 / cell, 1.0])
    if colors is None:
        return found
    seen = shown.max(2).astype(np.float32)
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # OpenCV counts from pixel centers
    start = np.linalg.inv(shift) @ homography @ drawn_to_cells @ shift
    rule = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-6)
    best = -1.0
    better = homography
    for share in _PATCH_SHARES:  # makers leave gaps of different width
        drawn = _drawing(colors.max(1), cell, share)
        try:
            likeness_here, warp = cv2.findTransformECC(
                drawn, seen, (start / start[2, 2]).astype(np.float32), cv2.MOTION_HOMOGRAPHY, rule, None, 3
            )
        except cv2.error:  # it did not converge
            continue
        if likeness_here > best:
            best = likeness_here
            better = shift @ np.asarray(warp, dtype=np.float64) @ np.linalg.inv(drawn_to_cells @ shift)
    corners = np.array([(0.0, 0.0), (COLUMNS, 0), (COLUMNS, ROWS), (0, ROWS)])
    moved = np.linalg.norm(project(better, corners) - project(homography, corners), axis=1).max()
    return (better, error, likeness) if moved < 0.7 * _cell_size(homography) else found


def _cell_size(homography: Floats) -> float:
    """Mean side of a cell in the middle of the chart, px."""
    u, v = COLUMNS / 2, ROWS / 2
    a, b, c = project(homography, np.array([(u, v), (u + 1, v), (u, v + 1)]))
    return float((np.linalg.norm(b - a) + np.linalg.norm(c - a)) / 2)


def _drawing(levels: Floats, cell: int, share: float) -> NDArray[np.float32]:
    """Patches, `share` of a cell wide, on the chart's dark frame, `cell` px a cell; nothing from around the chart."""
    v, u = ((np.arange(n * cell) + 0.5) / cell for n in (ROWS, COLUMNS))
    # an edge inside a drawn pixel colors it in part
    y, x = (np.clip((share / 2 - np.abs(w - np.floor(w) - 0.5)) * cell + 0.5, 0, 1) for w in (v, u))
    patches = levels.reshape(ROWS, COLUMNS).repeat(cell, 0).repeat(cell, 1)
    dark = levels.min()
    return np.asarray(dark + (patches - dark) * y[:, None] * x, dtype=np.float32)


def _score(shown: Bytes, cells: Floats, centers: Floats, reference: Floats) -> tuple[Floats, float, float] | None:
    matrix, _ = cv2.findHomography(cells, centers, 0)
    if matrix is None:
        return None
    homography = np.asarray(matrix, dtype=np.float64)
    seen = _sample(shown, homography)
    if seen is None:
        return None
    likeness = _likeness(seen, reference)
    squares = ((project(homography, cells) - centers) ** 2).sum()
    return homography, float(np.sqrt(squares / max(len(cells) - 4, 1))), likeness


def _sample(shown: Bytes, homography: Floats) -> Floats | None:
    """Median colors (24, 3) about the middle of each cell, or None if one is outside the picture."""
    row, column = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    spread = np.linspace(0.3, 0.7, 5)
    v, u = (g.ravel() for g in np.meshgrid(spread, spread, indexing="ij"))
    cells = np.stack([(column[:, None] + u).ravel(), (row[:, None] + v).ravel()], 1)
    xy = np.floor(project(homography, cells)).astype(int)
    height, width = shown.shape[:2]
    if xy.min() < 0 or (xy >= [width, height]).any():
        return None
    colors: Floats = np.median(shown[xy[:, 1], xy[:, 0]].reshape(ROWS * COLUMNS, -1, 3), axis=1)
    return colors


def _likeness(seen: Floats, reference: Floats) -> float:
    """Share of the variance of 24 colors that an affine map of the chart's explains: light and exposure drop out."""
    model = np.concatenate([reference, np.ones((len(reference), 1))], 1)
    fitted = model @ np.linalg.lstsq(model, seen, rcond=None)[0]
    return 1 - float(((seen - fitted) ** 2).sum() / max(((seen - seen.mean(0)) ** 2).sum(), 1e-9))


def _pitch(places: Floats, centers: Floats) -> float:
    order = np.lexsort((places[:, 0], places[:, 1]))
    steps = [
        np.linalg.norm(centers[j] - centers[i]) for i, j in pairwise(order) if abs(places[i] - places[j]).sum() == 1
    ]
    return float(np.median(steps)) if steps else 10.0


def _turns() -> list[Floats]:
    """The eight symmetries of the square, as matrices on row vectors."""
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    mirror = np.array([[-1.0, 0.0], [0.0, 1.0]])
    turns = [np.linalg.matrix_power(quarter, k) for k in range(4)]
    return turns + [mirror @ t for t in turns]
