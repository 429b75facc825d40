"""A smooth map camera -> screen from scattered stripe borders: homography, lens distortion, and a spline.

The parametric part undoes Brown-Conrady distortion by a polynomial of its own and then projects; what it
leaves (a curved screen, an odd lens) is taken by a penalized tensor-product spline, whose smoothness is
chosen by generalized cross-validation. References: Brown, Decentering Distortion of Lenses, 1966; Eilers
and Marx, Flexible Smoothing with B-splines and Penalties, Statistical Science 1996; Golub, Heath, Wahba,
Generalized Cross-Validation, Technometrics 1979.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.optimize import least_squares

from ispkit.rig.contracts import DeviceError
from ispkit.rig.gray_code import AXES, Borders, Correspondence

Array = NDArray[np.float64]
_MOST = 250_000  # borders an axis that take part; more change nothing but the time
_FEW = 200  # borders an axis below which no fit is tried
_SAMPLE = 8000  # borders an axis for the parametric fit
_CELLS = 64  # residuals are averaged over the longer side / 64 px before the spline sees them
_DEGREE = 3
_SMOOTHER = 1.05  # the smoothest spline whose cross-validation is within 5 % of the best
_INTERVALS = 12  # of the spline along the longer side
_OUTLIER_SIGMAS = 6.0
_SEED = 0  # of the sample for the parametric fit


@dataclass(frozen=True)
class Surface:
    """Camera position -> screen position, both (x, y) in px."""

    camera_size: tuple[int, int]
    display_size: tuple[int, int]
    parameters: Array
    """homography h11..h32 (8), radial k1 k2 k3, tangential p1 p2, all in normalized coordinates"""
    spline: Array
    """(2, rows, columns) B-spline coefficients of what is left, screen px"""

    def at_grid(self, x: Array, y: Array) -> Array:
        """(2, len(y), len(x)) screen positions of the camera positions on a grid."""
        basis_y, basis_x = (_basis(p, n, c) for p, n, c in self._axes(x, y))
        rest = np.stack([basis_y @ c @ basis_x.T for c in self.spline])
        return np.asarray(self._projected(x[None, :], y[:, None]) + rest)

    def at(self, x: Array, y: Array) -> Array:
        """(2, N) screen positions of scattered camera positions (N,)."""
        basis_y, basis_x = (_basis(p, n, c) for p, n, c in self._axes(x, y))
        rest = np.stack([((basis_y @ c) * basis_x).sum(1) for c in self.spline])
        return np.asarray(self._projected(x, y) + rest)

    def _axes(self, x: Array, y: Array) -> tuple[tuple[Array, int, int], ...]:
        (height, width), (rows, columns) = self.camera_size, self.spline.shape[1:]
        return (y, height, rows), (x, width, columns)

    def _projected(self, x: Array, y: Array) -> Array:
        u, v = _normalized(x, y, self.camera_size)
        return _project(self.parameters, u, v, self.display_size)


@dataclass(frozen=True)
class Fit:
    """A surface and how well the borders lie on it."""

    surface: Surface
    residuals_px: Array
    """distance of each border from its line, camera px, outliers included"""
    inliers: NDArray[np.bool_]


def fit(found: Correspondence, camera_size: tuple[int, int]) -> Fit:
    """The smooth map under the borders of both axes; robust against wrong ones. Raises `DeviceError`."""
    for axis, each in found.borders.items():
        if len(each.x) < _FEW:
            raise DeviceError(
                f"only {len(each.x)} stripe borders of {axis}s were found, {_FEW} are needed; check that the "
                f"screen is in the picture, focused, and neither too dark nor clipped"
            )
    scale = _display_px_per_camera_px(found)
    borders = [_thinned(found.borders[axis]) for axis in AXES]
    intervals = [max(2, round(_INTERVALS * n / max(camera_size))) + _DEGREE for n in camera_size]
    flat = np.zeros((2, *intervals))
    plain = Surface(camera_size, found.display_size, _parametric(found, borders, camera_size, scale), flat)
    spline = []
    for i, each in enumerate(borders):
        residual = _residual(plain, i, each)
        spline.append(_spline(each, residual, _near(residual, scale), camera_size, intervals))
    surface = replace(plain, spline=np.stack(spline))
    residuals = [_residual(surface, i, each) for i, each in enumerate(borders)]
    distances = [
        np.abs(r) / _slope(surface, i, each) for i, (r, each) in enumerate(zip(residuals, borders, strict=True))
    ]
    return Fit(surface, np.concatenate(distances), np.concatenate([_near(r, scale) for r in residuals]))


def _thinned(borders: Borders) -> Borders:
    """A random part of very many borders."""
    if len(borders.x) <= _MOST:
        return borders
    some = np.random.default_rng(_SEED).choice(len(borders.x), _MOST, replace=False)
    return Borders(borders.x[some], borders.y[some], borders.at[some], borders.sigma[some])


def _normalized(x: Any, y: Any, camera_size: tuple[int, int]) -> tuple[Any, Any]:
    height, width = camera_size
    half = 0.5 * float(np.hypot(height, width))
    return (x - width / 2) / half, (y - height / 2) / half


def _project(parameters: Array, u: Any, v: Any, display_size: tuple[int, int]) -> Array:
    """Undistort and project normalized positions -> screen px."""
    h, (k1, k2, k3, p1, p2) = parameters[:8], parameters[8:]
    r2 = u * u + v * v
    factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    a = u * factor + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
    b = v * factor + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v
    depth = h[6] * a + h[7] * b + 1
    height, width = display_size
    x = (h[0] * a + h[1] * b + h[2]) / depth
    y = (h[3] * a + h[4] * b + h[5]) / depth
    return np.stack([(x + 0.5) * width, y * width + height / 2])


def _display_px_per_camera_px(found: Correspondence) -> float:
    """Linear scale in the middle of the seen part, from the decoded positions."""
    seen = found.seen
    if not seen.any():
        raise DeviceError(
            "no camera pixel tells the stripes apart; check that the screen is in the picture and focused"
        )
    ys, xs = np.nonzero(seen)
    points = np.stack([xs, ys], 1)[:: max(1, len(xs) // 20000)].astype(np.float64)
    there = found.position[:, points[:, 1].astype(int), points[:, 0].astype(int)].T.astype(np.float64)
    affine = np.linalg.lstsq(np.c_[points, np.ones(len(points))], there, rcond=None)[0][:2]
    return float(np.sqrt(abs(np.linalg.det(affine)))) or 1.0


def _parametric(found: Correspondence, axes: list[Borders], camera_size: tuple[int, int], scale: float) -> Array:
    """Homography by RANSAC from the decoded pixels, then all 13 parameters robustly from the borders."""
    start = np.zeros(13)
    start[:8] = _homography(found, camera_size)
    rng = np.random.default_rng(_SEED)
    picked = []
    for borders in axes:
        index = rng.permutation(len(borders.x))[:_SAMPLE]
        u, v = _normalized(borders.x[index].astype(np.float64), borders.y[index].astype(np.float64), camera_size)
        picked.append((u, v, borders.at[index].astype(np.float64), scale * borders.sigma[index]))

    def residuals(parameters: Array) -> Array:
        parts = [
            (_project(parameters, u, v, found.display_size)[i] - at) / sigma
            for i, (u, v, at, sigma) in enumerate(picked)
        ]
        return np.concatenate(parts)

    solution = least_squares(residuals, start, loss="soft_l1", f_scale=2.0, x_scale="jac", max_nfev=100)
    return np.asarray(solution.x)


def _homography(found: Correspondence, camera_size: tuple[int, int]) -> Array:
    height, width = found.display_size
    ys, xs = np.nonzero(found.seen)
    some = slice(None, None, max(1, len(xs) // 20000))
    ys, xs = ys[some], xs[some]
    u, v = _normalized(xs + 0.5, ys + 0.5, camera_size)
    x, y = found.position[:, ys, xs].astype(np.float64)
    target = np.stack([x / width - 0.5, (y - height / 2) / width], 1)
    matrix, _ = cv2.findHomography(np.stack([u, v], 1), target, cv2.RANSAC, 0.01)
    if matrix is None or abs(matrix[2, 2]) < 1e-12:
        raise DeviceError("the decoded pixels do not lie on one plane of the screen; is more than one screen in view?")
    return np.asarray((matrix / matrix[2, 2]).ravel()[:8])


def _residual(surface: Surface, i: int, borders: Borders) -> Array:
    """Known coordinate less mapped one, screen px."""
    rest: Array = borders.at - surface.at(borders.x.astype(np.float64), borders.y.astype(np.float64))[i]
    return rest


def _slope(surface: Surface, i: int, borders: Borders) -> Array:
    """Screen px a camera px across the line, which turns screen px into a distance on the camera."""
    x, y = borders.x.astype(np.float64), borders.y.astype(np.float64)
    dx = surface.at(x + 0.5, y)[i] - surface.at(x - 0.5, y)[i]
    dy = surface.at(x, y + 0.5)[i] - surface.at(x, y - 0.5)[i]
    return np.asarray(np.maximum(np.hypot(dx, dy), 1e-9))


def _near(residual: Array, scale: float) -> NDArray[np.bool_]:
    """Residuals within 6 robust sigmas of their median."""
    middle = np.median(residual)
    spread = 1.4826 * np.median(np.abs(residual - middle))
    inside: NDArray[np.bool_] = np.abs(residual - middle) <= _OUTLIER_SIGMAS * max(spread, 0.02 * scale)
    return inside


def _spline(
    borders: Borders, residual: Array, keep: NDArray[np.bool_], camera_size: tuple[int, int], shape: list[int]
) -> Array:
    """P-spline coefficients (rows, columns) of the residuals' local means."""
    x, y, value, weight = _binned(borders, residual, keep, camera_size)
    basis_y, basis_x = _basis(y, camera_size[0], shape[0]), _basis(x, camera_size[1], shape[1])
    design = (basis_y[:, :, None] * basis_x[:, None, :]).reshape(len(x), -1) * np.sqrt(weight)[:, None]
    wanted = value * np.sqrt(weight)
    gram, moment, rough = design.T @ design, design.T @ wanted, _roughness(shape)
    size = np.trace(gram) / np.trace(rough)
    tried: list[tuple[float, Array]] = []
    for strength in 10.0 ** np.arange(-6, 5):
        inverse = np.linalg.inv(gram + strength * size * rough + 1e-9 * size * np.eye(len(gram)))
        coefficients = inverse @ moment
        error = float(((wanted - design @ coefficients) ** 2).sum())
        free = max(1.0, len(wanted) - float(np.einsum("ij,ji->", inverse, gram)))
        tried.append((len(wanted) * error / free**2, coefficients))
    least = min(score for score, _ in tried)
    return [c for score, c in tried if score <= _SMOOTHER * least][-1].reshape(shape)


def _binned(
    borders: Borders, residual: Array, keep: NDArray[np.bool_], camera_size: tuple[int, int]
) -> tuple[Array, Array, Array, Array]:
    """Weighted means of position and residual over square cells."""
    cell = max(camera_size) / _CELLS
    x, y, value = borders.x[keep].astype(np.float64), borders.y[keep].astype(np.float64), residual[keep]
    number = (y // cell).astype(np.int64) * (_CELLS + 1) + (x // cell).astype(np.int64)
    weight = 1 / borders.sigma[keep].astype(np.float64) ** 2
    total = np.bincount(number, weight)
    full = total > 0
    x, y, value = (np.bincount(number, weight * a)[full] / total[full] for a in (x, y, value))
    return x, y, value, total[full] / total[full].mean()


def _basis(position: Array, extent: int, count: int) -> Array:
    """Cubic B-splines (N, count) on equal intervals over [0, extent]; the border's polynomial goes on outside."""
    intervals = count - _DEGREE
    knots = np.arange(-_DEGREE, intervals + _DEGREE + 1) * (extent / intervals)
    inside = np.clip(np.ravel(position), 0, extent)
    return np.asarray(BSpline.design_matrix(inside, knots, _DEGREE, extrapolate=True).toarray())


def _roughness(shape: list[int]) -> Array:
    """Second differences along rows and columns, squared."""
    rows, columns = (np.diff(np.eye(n), 2, axis=0) for n in shape)
    return np.kron(rows.T @ rows, np.eye(shape[1])) + np.kron(np.eye(shape[0]), columns.T @ columns)
