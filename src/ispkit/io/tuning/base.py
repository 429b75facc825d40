"""What the tuning files have in common: levels of 16 bits, lights in order, grids of gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from ispkit.core.cfa import CfaPattern
from ispkit.core.errors import FileError
from ispkit.core.profile import BlackPoint, CameraProfile, LightColor, Matrix, NoisePoint, Rgb, ShadingMap

FloatArray = NDArray[np.float64]

D65_CCT_K = 6504.0
FULL_16_BIT = 65536.0


def depth_scale(white_level: float) -> float:
    """What takes a camera's DN to the 16-bit scale of tuning files, where 64 of 10 bits reads 4096."""
    return FULL_16_BIT / float(2 ** int(white_level).bit_length())


def site_names(cfa: CfaPattern) -> tuple[str, str, str, str]:
    """R, Gr, Gb, B of the top-left 2x2, row by row; Gr stands in the row of red.

    >>> site_names("GBRG")
    ('Gb', 'B', 'R', 'Gr')
    """
    red_row = cfa.index("R") // 2
    names = [color if color != "G" else ("Gr" if i // 2 == red_row else "Gb") for i, color in enumerate(cfa)]
    return names[0], names[1], names[2], names[3]


def black_levels(profile: CameraProfile) -> dict[str, float] | None:
    """Black level by R, Gr, Gb, B on the 16-bit scale, the mean over the shots of the lowest ISO; None if unknown."""
    if not profile.black:
        return None
    lowest = min(point.iso for point in profile.black)
    levels = np.mean([point.level_dn for point in profile.black if point.iso == lowest], axis=0)
    scaled = levels * depth_scale(profile.white_level)
    return dict(zip(site_names(profile.cfa), map(float, scaled), strict=True))


def lowest_noise(profile: CameraProfile) -> NoisePoint | None:
    """The noise at the lowest ISO, by flat pairs where there are both methods; None if unknown."""
    return min(profile.noise, key=lambda p: (p.iso, p.method != "flat_pairs"), default=None)


def lights(profile: CameraProfile) -> list[LightColor]:
    """Lights of known temperature, ascending; of two within one kelvin the one with the smaller error.

    Raises `FileError` for a light whose white is not positive in all channels.
    """
    best: dict[int, LightColor] = {}
    black = next((c for c in profile.colors if not min(c.neutral) > 0), None)
    if black is not None:
        raise FileError(f"{profile.name}: light {black.name!r} has the neutral {black.neutral}; all must be positive")
    # an error of 0 means that it is not known
    for light in sorted(profile.colors, key=lambda c: c.delta_e00_mean or float("inf"), reverse=True):
        if light.cct_k > 0:
            best[round(light.cct_k)] = light
    return [best[cct] for cct in sorted(best)]


def nearest_light(profile: CameraProfile, cct_k: float) -> LightColor | None:
    """The light nearest to `cct_k` in reciprocal temperature; None without lights."""
    return min(lights(profile), key=lambda c: abs(1 / c.cct_k - 1 / cct_k), default=None)


def shading_planes(shading: ShadingMap, cfa: CfaPattern) -> dict[str, FloatArray]:
    """Gains by R, Gr, Gb, B, each (rows, columns) from corner to corner."""
    return {name: np.array(plane) for name, plane in zip(site_names(cfa), shading.gains, strict=True)}


def shadings(profile: CameraProfile) -> dict[int, dict[str, FloatArray]]:
    """Gain planes by whole kelvin, ascending; lights of unknown temperature stand under 0."""
    found: dict[int, list[dict[str, FloatArray]]] = {}
    for shading in profile.shading:
        found.setdefault(round(shading.cct_k), []).append(shading_planes(shading, profile.cfa))
    return {cct: {name: _mean([p[name] for p in found[cct]]) for name in found[cct][0]} for cct in sorted(found)}


def _mean(planes: Sequence[FloatArray]) -> FloatArray:
    same = [plane for plane in planes if plane.shape == planes[0].shape]
    return np.asarray(np.mean(same, axis=0))


def sample(plane: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Bilinear values of a corner-to-corner mesh at relative positions (0 to 1), (rows, columns)."""
    wide = np.pad(plane, [(0, 2 - n if n < 2 else 0) for n in plane.shape], mode="edge")
    axes = [np.linspace(0, 1, n) for n in wide.shape]
    mesh = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    return np.asarray(RegularGridInterpolator(axes, wide)(mesh), dtype=np.float64)


def cell_centers(count: int) -> FloatArray:
    """Relative positions of the centers of `count` equal cells."""
    return (np.arange(count) + 0.5) / count


def from_cells(cells: FloatArray) -> FloatArray:
    """A corner-to-corner mesh (2 H + 1, 2 W + 1) of values given at the centers of H x W cells.

    Every second node is a cell's center, so that `sample` gives the cells back; the outermost half
    cell continues the slope of the last two.
    """
    axes = [cell_centers(n) for n in cells.shape]
    at = [np.linspace(0, 1, 2 * n + 1) for n in cells.shape]
    grid = RegularGridInterpolator(axes, cells, bounds_error=False, fill_value=None)
    return np.asarray(grid(np.stack(np.meshgrid(*at, indexing="ij"), -1)), dtype=np.float64)


def rgb(values: Sequence[float] | FloatArray) -> Rgb:
    """Three plain numbers."""
    r, g, b = (float(v) for v in values)
    return r, g, b


def matrix(values: Sequence[Sequence[float]] | FloatArray) -> Matrix:
    """Three rows of three plain numbers."""
    first, second, third = (rgb(row) for row in values)
    return first, second, third


def require_something(profile: CameraProfile, kind: str, holds: str, found: bool) -> None:
    """Refuse a profile that would leave the file as it is. Raises `FileError`."""
    if not found:
        raise FileError(f"{profile.name}: the profile has nothing that {kind} can hold; calibrate {holds} first")


def first_black(iso: float, levels: Sequence[float]) -> BlackPoint:
    """A black level without noise, per site."""
    a, b, c, d = (float(v) for v in levels)
    return BlackPoint(iso=iso, exposure_time_s=0.0, level_dn=(a, b, c, d), noise_dn=(0.0, 0.0, 0.0, 0.0))
