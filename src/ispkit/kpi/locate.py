"""Where a chart lies in a picture: by its ArUco markers, or by its 24 patches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.charts.chart import Chart, Region
from ispkit.charts.colorchecker import COLUMNS, LAB_D50, ROWS
from ispkit.charts.markers import MARKED, chart_of_marker
from ispkit.core.errors import FileError
from ispkit.kpi.checker_search import search_checker
from ispkit.kpi.placement import (
    Floats,
    Placement,
    as_matrix,
    check_picture,
    project,
)

REMEDY = "say where its corners are"
_MARKERS = cv2.aruco.DICT_4X4_50
_LEAST_MARKERS = 3
_LIKE_A_MARKER = 0.6  # correlation of a marker that could not be read with its drawing
_CELL = 100.0  # chart px of one cell of `COLORCHECKER`
_PATCH = 0.8  # side of a patch in cells
_BLURRED_PX = 6.0  # contrast / steepest slope of a marker's border; a Gaussian of 2.4 px
_CLIPPED = 0.995
# tone curve, blur, scale: as it is; dark; noisy; small; blurred or very noisy
_ATTEMPTS = (
    (1.0, 0.0, 1.0), (0.45, 0.0, 1.0), (2.2, 0.0, 1.0), (0.45, 1.2, 1.0),
    (0.45, 0.6, 2.0), (0.45, 0.0, 0.5), (0.7, 2.5, 1.0),
)  # fmt: skip


def locate(picture: Tensor, chart: Chart) -> Placement:
    """Find `chart` in a picture (3, H, W), linear or encoded, 1 = white, by at least three of its markers.

    The picture may be turned, tilted, dark or noisy, but not mirrored. Warns of blur and clipping. Raises
    `ShapeError` for a tensor of another shape and `FileError` if the chart is not found.
    """
    size = check_picture(picture)
    if len(chart.markers) < _LEAST_MARKERS:
        raise FileError(f"chart {chart.name!r} has no markers to be found by; {REMEDY}")
    gray = picture.detach().double().cpu().mean(0).numpy()
    found = {i: c for i, c in find_markers(gray).items() if i in chart.markers}
    read = len(found)
    if 1 < read < len(chart.markers):
        found |= _recovered(gray, chart, found)
    if len(found) < _LEAST_MARKERS:
        raise FileError(
            f"no chart found: {read} of the {len(chart.markers)} markers of {chart.name!r} are readable and "
            f"{_LEAST_MARKERS} are needed; show the whole chart, sharp and not mirrored, or {REMEDY}"
        )
    first = _from_markers(chart, found, robust=True)[0]
    # one corner may have gone astray; from where the others put it, each is measured again
    found = {i: _sharpened(gray, project(first, marker_corners(chart.markers[i]))) for i in found}
    homography, error = _from_markers(chart, found)
    placed = Placement(as_matrix(homography), size, error)
    return replace(placed, warnings=(*_blur_warnings(gray, found), *_clip_warnings(picture, chart, placed)))


def locate_colorchecker(picture: Tensor) -> Placement:
    """Find a 24-patch ColorChecker without markers in a picture (3, H, W), linear or encoded.

    The placement belongs to the regions `COLORCHECKER`. All eight orientations are tried, also mirrored ones, and the
    colors must resemble the chart's under some light and exposure. Raises `ShapeError`, `FileError`.
    """
    size = check_picture(picture)
    found = search_checker(picture.detach().double().cpu().numpy())
    if found is None:
        raise FileError(
            f"no chart found: no 4 x 6 patches with the colors of a ColorChecker; let it fill more or {REMEDY}"
        )
    homography, error, _ = found
    to_cells = np.diag([1 / _CELL, 1 / _CELL, 1.0])
    placed = Placement(as_matrix(homography @ to_cells), size, error)
    white = placed.box(COLORCHECKER[18], 0.2)
    return replace(placed, warnings=_bright_patch_warning(picture, white))


def _from_markers(chart: Chart, found: dict[int, Floats], *, robust: bool = False) -> tuple[Floats, float]:
    chart_xy = np.concatenate([marker_corners(chart.markers[i]) for i in found])
    return fit_homography(chart_xy, np.concatenate(list(found.values())), robust=robust)


def _recovered(gray: Floats, chart: Chart, found: dict[int, Floats]) -> dict[int, Floats]:
    """Markers that were not readable, where they look as the others' homography predicts; nearest ones first."""
    known = dict(found)
    for i in sorted(set(chart.markers) - set(found)):
        first = _from_markers(chart, known)[0]
        shift = _seen_near(gray, chart, first, chart.markers[i])
        if shift is not None:
            known[i] = _sharpened(gray, project(first, marker_corners(chart.markers[i])) + shift)
    return {i: c for i, c in known.items() if i not in found}


def _seen_near(gray: Floats, chart: Chart, homography: Floats, marker: tuple[float, float, float]) -> Floats | None:
    """How far (x, y) a drawing of a marker with its quiet zone must move to match the picture; None if it does not."""
    top, left, side = marker
    margin = side / 6
    corners = project(homography, marker_corners((top - margin, left - margin, side + 2 * margin)))
    if not np.isfinite(corners).all() or np.ptp(corners, axis=0).max() > max(gray.shape):
        return None
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    far = max(6, int((high - low).max() // 3))
    inside = (low >= 0).all() and (high <= np.array(gray.shape[::-1])).all()
    if not inside or (high - low).min() < 12:
        return None
    center = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    move = np.array([[1, 0, -0.5 - low[0]], [0, 1, -0.5 - low[1]], [0, 0, 1]]) @ homography @ center
    light = chart.picture.mean(0).numpy().astype(np.float32)
    width, height = (int(v) for v in high - low)
    drawn = cv2.warpPerspective(light, move, (width, height), flags=cv2.INTER_LINEAR)
    padded = np.pad(gray.astype(np.float32), far, mode="edge")
    part = padded[low[1] : high[1] + 2 * far, low[0] : high[0] + 2 * far]
    part = cv2.GaussianBlur(part, (0, 0), 0.7)
    blurred = [cv2.GaussianBlur(drawn, (0, 0), sigma) for sigma in (1.0, 2.5)]
    match = max((cv2.matchTemplate(part, d, cv2.TM_CCOEFF_NORMED) for d in blurred), key=lambda m: float(m.max()))
    y, x = np.unravel_index(int(match.argmax()), match.shape)
    return np.array([x - far, y - far], dtype=np.float64) if match[y, x] > _LIKE_A_MARKER else None


def name_of_chart(picture: Tensor) -> str | None:
    """Which chart of the catalog a picture (3, H, W) shows, by the numbers of its markers; None if none is readable."""
    check_picture(picture)
    found = find_markers(picture.detach().double().cpu().mean(0).numpy())
    names = Counter(chart_of_marker(i) for i in found if i < 4 * len(MARKED))
    return names.most_common(1)[0][0] if names else None


def marker_corners(marker: tuple[float, float, float]) -> Floats:
    """Corners (4, 2) of the black square (top, left, side), clockwise from top left."""
    top, left, side = marker
    return np.array([(left, top), (left + side, top), (left + side, top + side), (left, top + side)])


def find_markers(gray: Floats) -> dict[int, Floats]:
    """ArUco markers (DICT_4X4_50) of a gray picture: corners (4, 2) in px by id, as many as any attempt reads.

    Attempts differ in tone curve, blur and scale; corners are refined to a fraction of a pixel in each.
    """
    best: dict[int, Floats] = {}
    for gamma, sigma, scale in _ATTEMPTS:
        found = _detect(_as_bytes(gray, gamma, sigma, scale), scale)
        if len(found) > len(best):
            best = found
        if len(best) >= 4:
            break
    return best


def _as_bytes(gray: Floats, gamma: float, sigma: float, scale: float) -> NDArray[np.uint8]:
    """Stretched to 8 bits between the darkest and brightest 0.5 %."""
    low, high = np.percentile(gray, (0.5, 99.5))
    level = np.clip((gray - low) / max(high - low, 1e-9), 0, 1) ** gamma
    if scale != 1:
        mode = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        level = cv2.resize(level, None, fx=scale, fy=scale, interpolation=mode).clip(0, 1)
    if sigma:
        level = cv2.GaussianBlur(level, (0, 0), sigma)
    return np.asarray((level * 255).round(), dtype=np.uint8)


def _detect(gray: NDArray[np.uint8], scale: float) -> dict[int, Floats]:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.cornerRefinementWinSize = 4
    parameters.minMarkerPerimeterRate = 0.01  # 1 % of the long side: small markers of a chart far away
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(_MARKERS), parameters)
    corners, ids, _ = detector.detectMarkers(gray)
    if ids is None:
        return {}
    names = [int(i) for i in ids.ravel()]
    # a number seen twice cannot be trusted; OpenCV counts from pixel centers
    return {
        i: (np.asarray(c, dtype=np.float64).reshape(4, 2) + 0.5) / scale
        for i, c in zip(names, corners, strict=True)
        if names.count(i) == 1
    }


def fit_homography(chart_xy: Floats, picture_xy: Floats, *, robust: bool = False) -> tuple[Floats, float]:
    """Least-squares (or `robust` median) homography between points (N, 2) and its root mean square error in px."""
    matrix, _ = cv2.findHomography(chart_xy, picture_xy, cv2.LMEDS if robust else 0)
    if matrix is None:
        raise FileError(f"no chart found: the markers do not lie in one plane; {REMEDY}")
    homography = np.asarray(matrix, dtype=np.float64)
    left = len(chart_xy) - 4
    squares = ((project(homography, chart_xy) - picture_xy) ** 2).sum()
    return homography, float(np.sqrt(squares / left)) if left > 0 else float("nan")


def _sharpened(gray: Floats, corners: Floats) -> Floats:
    """Corners where straight lines through the marker's four borders meet; the finder's where that goes astray.

    Along each normal, black inside and white outside, the border lies where the profile's area says: without bias
    from blur, and with little noise, since each side has many profiles.
    """
    refined = corners
    reach = max(2.0, float(np.linalg.norm(corners[1] - corners[0])) / 12)
    for _ in range(3):
        lines = np.array([_border(gray, a, b) for a, b in zip(refined, np.roll(refined, -1, 0), strict=True)])
        before = np.roll(lines, 1, 0)  # corner i is where side i - 1 ends and side i begins
        cross = before[:, 0] * lines[:, 1] - before[:, 1] * lines[:, 0]
        if np.abs(cross).min() < 0.1:
            return corners
        x = (before[:, 2] * lines[:, 1] - before[:, 1] * lines[:, 2]) / cross
        y = (before[:, 0] * lines[:, 2] - before[:, 2] * lines[:, 0]) / cross
        refined = np.stack([x, y], 1)
        if np.linalg.norm(refined - corners, axis=1).max() > reach:
            return corners
    return refined


def _border(gray: Floats, a: Floats, b: Floats) -> Floats:
    """The line n x = d of a marker's side from corner `a` to `b`, as (nx, ny, d)."""
    profiles, reach, along, normal = _profiles(gray, a, b, 0.7)
    ends = max(1, len(reach) // 6)
    white, black = np.median(profiles[:, -ends:]), np.median(profiles[:, :ends])
    dark = ((profiles - white) / min(black - white, -1e-9)).mean(1)
    offset = reach[0] + (reach[-1] - reach[0]) * dark
    slope, base = np.polyfit(along, offset, 1)
    p, q = a + normal * base, b + normal * (base + slope)
    across = np.array([q[1] - p[1], p[0] - q[0]]) / max(float(np.linalg.norm(q - p)), 1e-9)
    return np.append(across, across @ p)


def _profiles(gray: Floats, a: Floats, b: Floats, modules: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Gray values (N, M) across a side at M offsets in px, inside negative; offsets, places (0-1), normal."""
    length = float(np.linalg.norm(b - a))
    normal = np.array([b[1] - a[1], a[0] - b[0]]) / max(length, 1e-9)
    reach = np.linspace(-1, 1, 2 * max(4, int(length * modules / 1.5)) + 1) * length / 6 * modules
    along = np.linspace(0.15, 0.85, max(4, int(length)))
    xy = (a + along[:, None, None] * (b - a) + reach[None, :, None] * normal - 0.5).astype(np.float32)
    values = cv2.remap(
        gray.astype(np.float32), xy[..., 0], xy[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return values.astype(np.float64), reach, along, normal


def _blur_warnings(gray: Floats, found: dict[int, Floats]) -> tuple[str, ...]:
    width = float(np.median([_edge_width(gray, c) for c in found.values()]))
    if width <= _BLURRED_PX:
        return ()
    return (f"the chart is blurred: the markers' edges are {width:.1f} px wide; focus, or come closer",)


def _edge_width(gray: Floats, corners: Floats) -> float:
    """Contrast over steepest slope across a marker's border, px; the mean profile of each side."""
    widths = []
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        profiles, reach, _, _ = _profiles(gray, a, b, 1.0)
        profile = profiles.mean(0)
        slope = np.abs(np.diff(profile)).max() / (reach[1] - reach[0])
        widths.append(float(np.ptp(profile)) / max(float(slope), 1e-9))
    return float(np.mean(widths))


def _clip_warnings(picture: Tensor, chart: Chart, placed: Placement) -> tuple[str, ...]:
    """Clipping where the chart is not at its own brightest."""
    height, width = chart.size
    y, x = np.mgrid[0.5 : height : height / 64, 0.5 : width : width / 64]
    xy = np.stack([x.ravel(), y.ravel()], 1)
    at = np.floor(placed.points(xy)).astype(int)
    inside = (at >= 0).all(1) & (at[:, 0] < placed.picture_size[1]) & (at[:, 1] < placed.picture_size[0])
    truth = chart.picture[:, xy[:, 1].astype(int), xy[:, 0].astype(int)].amax(0).numpy()
    test = inside & (truth < 0.8 * truth.max())
    seen = picture[:, torch.from_numpy(at[test, 1]), torch.from_numpy(at[test, 0])].amax(0)
    share = float((seen >= _CLIPPED).double().mean()) if test.any() else 0.0
    return (f"{share:.0%} of the chart's darker part is clipped; expose less",) if share > 0.01 else ()


def _bright_patch_warning(picture: Tensor, box: tuple[int, int, int, int]) -> tuple[str, ...]:
    top, left, height, width = box
    patch = picture[:, top : top + height, left : left + width]
    if patch.numel() and float((patch >= _CLIPPED).double().mean((1, 2)).max()) > 0.5:
        return ("the white patch is clipped; its color says nothing, expose less",)
    return ()


def _checker_regions() -> tuple[Region, ...]:
    border = (1 - _PATCH) / 2
    found = []
    for i, (name, lab) in enumerate(LAB_D50.items()):
        row, column = divmod(i, COLUMNS)
        box = ((row + border) * _CELL, (column + border) * _CELL, _PATCH * _CELL, _PATCH * _CELL)
        found.append(Region(f"colorchecker/{name}", "patch", box, {"lab_d50": list(lab)}))
    return tuple(found)


COLORCHECKER = _checker_regions()
"""the 24 patches, row by row, on cells of 100 x 100 chart px"""
COLORCHECKER_CENTERS = (_CELL / 2, _CELL / 2, (ROWS - 1) * _CELL, (COLUMNS - 1) * _CELL)
"""the rectangle through the centers of the corner patches: dark skin, bluish green, black, white"""
