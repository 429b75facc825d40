"""The point spread function over the picture, from a shot of the random-noise chart.

The chart's known cells are drawn where its markers say that they are; each cell of the picture is then aligned by
itself (a quadratic step, which takes up distortion), and the kernel of each color is the non-negative, smooth one that
best explains the mosaic from the drawing, from that color's own sites: nothing is demosaiced. In the style of Mosleh,
Green, Onzon, Begin, Langlois, "Camera intrinsic blur kernel estimation: a reliable framework", CVPR 2015; they work
on full-color pictures in the Fourier domain, we on the mosaic by least squares with the smoothness chosen by
generalized cross-validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter, map_coordinates, minimum_filter
from torch import Tensor

from ispkit.calibrate.psf_kernel import KernelSystem, border_share, centroid_of, gaussian, mtf50, shifted
from ispkit.charts.chart import Chart
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.core.profile import Plane, PsfGrid
from ispkit.kpi.placement import Placement, project

Floats = NDArray[np.float64]
COLORS = ("R", "G", "B")
SIZE = 15
_LARGEST_WINDOW = 320  # px; more of a cell would cost time and hardly lower the noise
_LEAST_SITES = 20  # of the rarest color per unknown of the kernel's radius
_SAMPLES = 2  # parts of a pixel per direction; more than one for charts that lie askew
_FARTHEST = 24  # px that the markers may be off in a cell, e.g. by distortion
_SIGMAS = (3.0, 3.0, 1.5, 1.0, 0.0)  # of the alignment's steps before the kernel is known
_TERMS = 6
_LEAST_INSIDE = 0.5
_BORDER_SHARE = 0.05


@dataclass(frozen=True)
class PsfResult:
    """Kernels, and how well they explain the shot."""

    grid: PsfGrid
    mtf50: Mapping[str, tuple[tuple[tuple[float, float], ...], ...]]
    """per color, rows x columns: horizontal and vertical frequency at 50 %, cycles per pixel; NaN above 0.5"""
    residual: tuple[tuple[float, ...], ...]
    """rms of what the green kernel does not explain, relative to the contrast of the cell; NaN where filled in"""
    moved_px: tuple[tuple[float, ...], ...]
    """how far the cell lay from where the markers put it"""
    warnings: tuple[str, ...]


def measure_psf(
    mosaic: Tensor,
    cfa: str,
    chart: Chart,
    placement: Placement,
    *,
    grid: tuple[int, int] | None = None,
    size: int = SIZE,
) -> PsfResult:
    """Kernels over equal cells of a mosaic (H, W) that shows `psf_noise`.

    Black is 0, white 1, shading corrected. A kernel is that of the lens (and whatever else blurs) beyond square pixels
    without gaps. Green's centroid is at the center; red and blue keep their shift against it (lateral color). `grid` is
    rows x columns, as many as the chart has blocks unless told otherwise; `size` is odd. Cells that the chart does not
    fill get the nearest kernel, with a warning. Raises `ShapeError`, `ParamError`, `FileError` if the chart fills no
    cell.
    """
    if mosaic.ndim != 2 or tuple(mosaic.shape) != placement.picture_size:
        raise ShapeError(f"a mosaic of {placement.picture_size} is needed, as placed; got {tuple(mosaic.shape)}")
    if size % 2 == 0 or size < 3:
        raise ParamError(f"size={size} is no odd kernel size from 3; 15 suits most lenses")
    if not chart.of_kind("noise"):
        raise FileError(f"chart {chart.name!r} has no noise to tell a point spread function from; shoot psf_noise")
    rows, columns = grid or _blocks(chart)
    pixels = mosaic.detach().cpu().double().numpy()
    drawing = _Drawing(chart, placement)
    cells = [[_Cell.at(pixels, cfa, (i, j, rows, columns), size) for j in range(columns)] for i in range(rows)]
    found = [[_measure(cell, drawing) for cell in line] for line in cells]
    return _gathered(found, size)


@dataclass(frozen=True)
class _Found:
    """One cell."""

    kernels: tuple[Floats, Floats, Floats]
    residual: float
    moved_px: float


@dataclass(frozen=True)
class _Cell:
    """A window of the mosaic."""

    pixels: Floats
    """without the margin that the kernel needs"""
    top: int
    left: int
    sites: Mapping[str, tuple[tuple[int, int], ...]]
    """per color the (row, column) of its sites in the top-left 2x2 of the window"""
    size: int

    @property
    def reach(self) -> float:
        """Half the longer side, px."""
        return float(max(self.pixels.shape)) / 2

    @staticmethod
    def at(pixels: Floats, cfa: str, place: tuple[int, int, int, int], size: int) -> _Cell:
        """The middle of cell (i, j) of rows x columns, at most `_LARGEST_WINDOW` px wide."""
        i, j, rows, columns = place
        spans = []
        for k, count, extent in ((i, rows, pixels.shape[0]), (j, columns, pixels.shape[1])):
            center, half = (k + 0.5) * extent / count, min(extent / count, _LARGEST_WINDOW) / 2
            low = max(0, round((center - half) / 2) * 2)  # an even start keeps the phase
            spans.append((low, min(extent, round((center + half) / 2) * 2)))
        (top, bottom), (left, right) = spans
        sites = {c: tuple((n // 2, n % 2) for n in range(4) if cfa[n] == c) for c in COLORS}
        return _Cell(pixels[top:bottom, left:right], top, left, sites, size)


class _Drawing:
    """The chart as ideal square pixels would see it; its integral makes that smooth in position."""

    def __init__(self, chart: Chart, placement: Placement) -> None:
        light = chart.picture.double().mean(0).numpy()
        self.size = light.shape
        self.level = float(light.mean())
        self.integral = np.pad((light - self.level).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        self.to_chart = np.linalg.inv(np.array(placement.to_picture))

    def window(self, cell: _Cell, warp: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Means over the pixels of a cell with the kernel's margin, and which lie on the chart.

        `warp` (2, 6) moves picture points by warp @ `_terms`, on top of the placement.
        """
        reach, (height, width) = cell.size // 2, cell.pixels.shape
        step = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        y = (np.arange(-reach, height + reach)[:, None] + step).ravel()
        x = (np.arange(-reach, width + reach)[:, None] + step).ravel()
        u, v = np.meshgrid(x - width / 2, y - height / 2)
        points = np.stack([u.ravel(), v.ravel()], 1)
        middle = np.array([cell.left + width / 2, cell.top + height / 2])
        seen = project(self.to_chart, points - _terms(points, cell.reach) @ warp.T + middle)
        corners = project(self.to_chart, middle + np.array([(0.0, 0), (1, 0), (0, 1)]))
        (a, b), (c, d) = corners[1] - corners[0], corners[2] - corners[0]
        side = np.sqrt(abs(a * d - b * c)) / _SAMPLES  # of a part of a pixel, in chart px
        inside = (seen > side / 2).all(1) & (seen < np.array(self.size[::-1]) - side / 2).all(1)
        shape = (height + 2 * reach, _SAMPLES, width + 2 * reach, _SAMPLES)
        return self._means(seen, side).reshape(shape).mean((1, 3)), inside.reshape(shape).all((1, 3))

    def _means(self, xy: Floats, side: float) -> Floats:
        """Of the chart over squares of that side around points: differences of its integral."""
        h = side / 2
        signed = (((-h, -h), 1), ((h, h), 1), ((-h, h), -1), ((h, -h), -1))
        total = np.zeros(len(xy))
        for (dx, dy), sign in signed:
            at = np.stack([xy[:, 1] + dy, xy[:, 0] + dx])
            total += sign * map_coordinates(self.integral, at, order=1, mode="nearest")
        means: Floats = total / side**2 + self.level
        return means


def _measure(cell: _Cell, drawing: _Drawing) -> _Found | None:
    """Align from coarse to fine, then fit each color; None where the chart fills too little."""
    warp = np.zeros((2, _TERMS))
    light, inside = drawing.window(cell, warp)
    if inside.mean() < _LEAST_INSIDE:
        return None
    warp[:, 0] = _coarse_shift(cell, light)
    for sigma in _SIGMAS:
        warp = warp + _alignment(cell, *drawing.window(cell, warp), gaussian(cell.size, 0.8), sigma)
    kernel = gaussian(cell.size, 0.8)
    for _ in range(2):
        fit = _fit(cell, "G", *drawing.window(cell, warp))
        if fit is None:
            return None
        centroid = centroid_of(fit[0])
        warp[:, 0] += centroid
        kernel = shifted(fit[0], -centroid)
        warp = warp + _alignment(cell, *drawing.window(cell, warp), kernel, 0.0)
    light, inside = drawing.window(cell, warp)
    fits = [fit for c in COLORS if (fit := _fit(cell, c, light, inside)) is not None]
    if len(fits) < len(COLORS):
        return None
    return _Found((fits[0][0], fits[1][0], fits[2][0]), fits[1][1], float(np.linalg.norm(warp[:, 0])))


def _terms(points: Floats, reach: float) -> Floats:
    """1, u, v, u^2, uv, v^2 (N, 6) of points (x, y) from the center, in units of `reach` px."""
    u, v = (points / reach).T
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], 1)


def _smoothed_green(cell: _Cell, sigma: float) -> Floats:
    """The mosaic's green sites, blurred over those that there are."""
    green, weight = np.zeros(cell.pixels.shape), np.zeros(cell.pixels.shape)
    for y, x in cell.sites["G"]:
        green[y::2, x::2], weight[y::2, x::2] = cell.pixels[y::2, x::2], 1
    blurred: Floats = gaussian_filter(green, sigma) / gaussian_filter(weight, sigma)
    return blurred


def _coarse_shift(cell: _Cell, light: Floats) -> Floats:
    """How far (x, y) the mosaic lies from the drawing, whole px; 0 unless clearly elsewhere."""
    reach = cell.size // 2
    middle = gaussian_filter(light, 2.0)[reach:-reach, reach:-reach].astype(np.float32)
    far = min(_FARTHEST, min(middle.shape) // 4)
    part = _smoothed_green(cell, 2.0)[far:-far, far:-far].astype(np.float32)
    match = cv2.matchTemplate(middle, part, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(match.argmax()), match.shape)
    near = match[far - 1 : far + 2, far - 1 : far + 2].max()
    return np.zeros(2) if match[y, x] < near + 0.1 else np.array([far - float(x), far - float(y)])


def _alignment(cell: _Cell, light: Floats, inside: NDArray[np.bool_], kernel: Floats, sigma: float) -> Floats:
    """A Gauss-Newton step (2, 6) that moves the blurred drawing onto the green sites.

    With `sigma`, both are blurred before: a wider reach, and less of the kernel's shape.
    """
    border, (height, width) = cell.size // 2, cell.pixels.shape
    drawn: Floats = np.asarray(convolve(light, kernel, mode="nearest"), dtype=np.float64)
    seen = cell.pixels
    if sigma:
        drawn[:], seen = gaussian_filter(drawn, sigma), _smoothed_green(cell, sigma)
    slope_y, slope_x = (np.gradient(drawn, axis=n)[border:-border, border:-border] for n in (0, 1))
    drawn = drawn[border:-border, border:-border]
    # no blur may have reached a place from where the chart, or the window, has ended
    far = min(int(np.ceil(3 * sigma)) + 2, min(height, width) // 4)
    inside = minimum_filter(inside, 2 * far + 1, mode="constant", cval=False)[border:-border, border:-border]
    if sigma:
        inside = inside & np.pad(np.ones((height - 2 * far, width - 2 * far), bool), far)
    normal, right = np.zeros((3 * _TERMS + 1,) * 2), np.zeros(3 * _TERMS + 1)
    for y, x in cell.sites["G"]:
        at = (slice(y, None, 2), slice(x, None, 2))
        keep = inside[at]
        v, u = np.mgrid[y:height:2, x:width:2] + 0.5
        terms = _terms(np.stack([u[keep] - width / 2, v[keep] - height / 2], 1), cell.reach)
        gx, gy, d = (t[at][keep][:, None] for t in (slope_x, slope_y, drawn))
        # gain varies a little over the cell
        row = np.concatenate([gx * terms, gy * terms, d * terms, np.ones_like(d)], 1)
        normal, right = normal + row.T @ row, right + row.T @ seen[at][keep]
    solved = np.asarray(np.linalg.lstsq(normal, right, rcond=1e-12)[0], dtype=np.float64)
    step: Floats = -solved[: 2 * _TERMS].reshape(2, _TERMS) / max(float(solved[2 * _TERMS]), 1e-9)
    return step * min(1.0, max(sigma, 1.0) * 1.5 / max(float(np.abs(step).max()), 1e-9))


def _fit(cell: _Cell, color: str, light: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, float] | None:
    """The kernel of one color, sum 1, and rms residual over contrast; None with too few sites."""
    reach = cell.size // 2
    windows = sliding_window_view(light, (cell.size, cell.size))
    # a kernel may only see what is known to be on the chart
    whole = minimum_filter(inside, cell.size)[reach:-reach, reach:-reach]
    height, width = cell.pixels.shape
    v, u = np.mgrid[0:height, 0:width] + 0.5
    design, seen, place = [], [], []
    for y, x in cell.sites[color]:
        at = (slice(y, None, 2), slice(x, None, 2))
        keep = whole[at]
        design.append(windows[at][keep][:, ::-1, ::-1].reshape(int(keep.sum()), -1))
        seen.append(cell.pixels[at][keep])
        place.append(np.stack([u[at][keep], v[at][keep]], 1))
    a, y_seen, uv = np.concatenate(design), np.concatenate(seen), np.concatenate(place)
    if len(y_seen) < _LEAST_SITES * cell.size * max(reach, 1):
        return None
    system = KernelSystem(a)
    plain = a @ system.smooth(y_seen)
    # what falls off within the cell: a quadratic gain
    terms = _terms(uv - np.array([width / 2, height / 2]), cell.reach)
    model = np.concatenate([plain[:, None] * terms, np.ones((len(plain), 1))], 1)
    *gain, offset = np.linalg.lstsq(model, y_seen, rcond=None)[0]
    flat = (y_seen - offset) / (terms @ gain / max(float(gain[0]), 1e-9)).clip(0.2)
    kernel = system.positive(flat)
    total = float(kernel.sum())
    if total <= 0:
        return None
    predicted = a @ kernel
    rest = (flat - flat.mean()) - (predicted - predicted.mean())
    return (kernel / total).reshape(cell.size, cell.size), float(rest.std() / max(predicted.std(), 1e-12))


def _gathered(found: list[list[_Found | None]], size: int) -> PsfResult:
    """Holes filled with the nearest kernels, warnings said."""
    known = {(i, j): f for i, line in enumerate(found) for j, f in enumerate(line) if f is not None}
    if not known:
        raise FileError("no cell of the picture is filled by the noise chart; come closer, or check the placement")
    places = [[(i, j) for j in range(len(line))] for i, line in enumerate(found)]
    full = [[known[min(known, key=lambda k: (k[0] - i) ** 2 + (k[1] - j) ** 2)] for i, j in line] for line in places]
    holes = sum(len(line) for line in places) - len(known)
    warnings = []
    if holes:
        warnings.append(
            f"the chart does not fill {holes} of {holes + len(known)} cells: they have their neighbor's kernel"
        )
    edge = max(border_share(f.kernels[1]) for f in known.values())
    if edge > _BORDER_SHARE:
        warnings.append(
            f"{edge:.0%} of a kernel lie on its border: blur wider than {size} px (take a larger size), or strong "
            "lens distortion moves the chart away from where the markers put it (correct it first)"
        )
    kernels = {c: tuple(tuple(_plane(f.kernels[n]) for f in line) for line in full) for n, c in enumerate(COLORS)}
    sharpness = {c: tuple(tuple(mtf50(f.kernels[n]) for f in line) for line in full) for n, c in enumerate(COLORS)}
    numbers = [[known.get(p) for p in line] for line in places]
    return PsfResult(
        PsfGrid(kernels),
        sharpness,
        tuple(tuple(f.residual if f else float("nan") for f in line) for line in numbers),
        tuple(tuple(f.moved_px if f else float("nan") for f in line) for line in numbers),
        tuple(warnings),
    )


def _plane(kernel: Floats) -> Plane:
    return tuple(tuple(float(v) for v in row) for row in kernel)


def _blocks(chart: Chart) -> tuple[int, int]:
    places = [r.truth for r in chart.of_kind("noise")]
    return max(int(t["row"]) for t in places) + 1, max(int(t["column"]) for t in places) + 1
