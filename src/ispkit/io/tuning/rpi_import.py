"""Raspberry Pi tuning file -> `CameraProfile`."""

from __future__ import annotations

import numpy as np
import torch

from ispkit.core.cfa import CfaPattern
from ispkit.core.errors import FileError
from ispkit.core.profile import CameraProfile, LightColor, NoisePoint, Plane, ShadingMap
from ispkit.io.tuning.base import FloatArray, first_black, from_cells, matrix, rgb, site_names
from ispkit.io.tuning.rpi import RpiShading, RpiTuning
from ispkit.io.tuning.rpi_export import SLOPE_MARGIN
from ispkit.ops.color_spaces import D65_XY, adaptation, linear_srgb_to, rgb_to_xyz
from ispkit.ops.temperature import cct_to_xy

_WHITE = 65535.0
_GAIN_1_ISO = 100.0
# mean-square best line through the square root on [0, 1]
_ROOT_OFFSET, _ROOT_SLOPE = 4 / 15, 4 / 5
Shading = tuple[tuple[ShadingMap, ...], dict[float, tuple[float, float, float]]]
"""the maps, and by temperature what each of R, G, B was divided by more than green was"""


def to_profile(
    tuning: RpiTuning,
    *,
    cfa: CfaPattern = "RGGB",
    size: tuple[int, int] = (1080, 1920),
    luminance_strength: float = 1.0,
    name: str | None = None,
) -> CameraProfile:
    """What a tuning says of its camera, levels in 16 bits; the file knows neither `cfa` nor `size`.

    Lights are the temperatures of ct_curve and ccms together, each completed by linear interpolation as
    libcamera does. `luminance_strength` 1 gives the lens's own shading, `tuning.shading.strength` what
    the camera would correct. The noise slope is divided by the tuning tool's margin of 1.4. `delta_e00_*`
    are 0, which means unknown. Raises `FileError` where a block has a wrong shape.
    """
    level, shading = tuning.black_level, tuning.shading
    maps, divisors = _maps(shading, cfa, size, luminance_strength) if shading is not None else ((), {})
    sites = dict(zip(("R", "Gr", "Gb", "B"), (level[0], level[1], level[1], level[2]), strict=True)) if level else {}
    black = (first_black(_GAIN_1_ISO, [sites[s] for s in site_names(cfa)]),) if level else ()
    return CameraProfile(
        name=name or tuning.source,
        cfa=cfa,
        size=size,
        white_level=_WHITE,
        black=black,
        noise=_noise(tuning, _WHITE - (sum(level) / 3 if level else 0.0)),
        shading=maps,
        colors=_colors(tuning, divisors),
        made={"source": tuning.source, "target": tuning.target, "version": tuning.version},
    )


def _noise(tuning: RpiTuning, span: float) -> tuple[NoisePoint, ...]:
    """S x + O nearest to (c + m sqrt(span x))^2 / span^2."""
    law = tuning.noise
    if law is None:
        return ()
    c, m = law.constant / span, law.slope / SLOPE_MARGIN / span**0.5
    shot, read = m * m + 2 * c * m * _ROOT_SLOPE, c * c + 2 * c * m * _ROOT_OFFSET
    return (NoisePoint(_GAIN_1_ISO, (shot,) * 3, (read,) * 3, "tuning_file"),)


def _maps(shading: RpiShading, cfa: CfaPattern, size: tuple[int, int], strength: float) -> Shading:
    tables = {"R": shading.cr, "B": shading.cb}
    ccts = sorted({cct for entries in tables.values() for cct, _ in entries}) or [0.0]
    if shading.luminance is None and ccts == [0.0]:
        return (), {}
    shape = shading.luminance.shape if shading.luminance is not None else (shading.cr or shading.cb)[0][1].shape
    green = np.ones(shape) if shading.luminance is None else 1 + strength * (shading.luminance - 1)
    maps, divisors = [], {}
    for cct in ccts:
        # libcamera scales the tables so that their smallest gain is 1, and measures white after that
        color = {c: (t := _at(entries, cct, shape)) / t.min() for c, entries in tables.items()}
        cells = {"R": green * color["R"], "Gr": green, "Gb": green, "B": green * color["B"]}
        divisors[cct] = rgb([cells[name].min() / green.min() for name in ("R", "Gr", "B")])
        planes = {name: from_cells(plane / plane.min()) for name, plane in cells.items()}
        a, b, c, d = (_plane(planes[name]) for name in site_names(cfa))
        maps.append(ShadingMap(cct, (a, b, c, d), radial_fit(planes["Gr"], size), (0.5, 0.5)))
    return tuple(maps), divisors


def _at(entries: tuple[tuple[float, FloatArray], ...], cct_k: float, shape: tuple[int, ...]) -> FloatArray:
    """The table at a temperature: linear between two, the nearest outside, ones where there is none."""
    if not entries:
        return np.ones(shape)
    ccts = [cct for cct, _ in entries]
    position = float(np.interp(cct_k, ccts, range(len(ccts))))
    low = min(int(position), len(ccts) - 1)
    high = min(low + 1, len(ccts) - 1)
    return np.asarray(entries[low][1] + (position - low) * (entries[high][1] - entries[low][1]))


def _plane(values: FloatArray) -> Plane:
    return tuple(tuple(map(float, row)) for row in values)


def radial_fit(plane: FloatArray, size: tuple[int, int]) -> tuple[float, float, float, float, float]:
    """k0..k4 of the gain 1 + k0 r^2 + ... + k4 r^10 about the middle, least squares over a corner-to-corner mesh."""
    height, width = (n - 1 for n in size)
    y, x = (np.linspace(-side, side, n) for side, n in zip((height, width), plane.shape, strict=True))
    r2 = ((y[:, None] ** 2 + x[None, :] ** 2) / (height**2 + width**2)).reshape(-1)
    terms = np.stack([r2**i for i in range(1, 6)], -1)
    a, b, c, d, e = (float(v) for v in np.linalg.lstsq(terms, plane.reshape(-1) - 1, rcond=None)[0])
    return a, b, c, d, e


def _colors(tuning: RpiTuning, divisors: dict[float, tuple[float, float, float]]) -> tuple[LightColor, ...]:
    curve, ccms = tuning.ct_curve, tuning.ccms
    if not curve or not ccms:
        return ()
    points = np.array(curve)
    entries = tuple((cct, np.array(m)) for cct, m in ccms)
    colors = []
    for cct in sorted({*points[:, 0].tolist(), *(cct for cct, _ in ccms)}):
        white = np.array([np.interp(cct, points[:, 0], points[:, 1]), 1.0, np.interp(cct, points[:, 0], points[:, 2])])
        if divisors:
            known = sorted(divisors)
            white /= [np.interp(cct, known, [divisors[t][i] for t in known]) for i in range(3)]
        colors.append(light_color(f"{cct:.0f} K", cct, white, _rows_to_one(tuning, _at(entries, cct, (3, 3)))))
    return tuple(colors)


def _rows_to_one(tuning: RpiTuning, ccm: FloatArray) -> FloatArray:
    sums = ccm.sum(1, keepdims=True)
    if not (sums > 0).all():
        found = sums.reshape(-1).round(5).tolist()
        raise FileError(f"{tuning.source}: rpi.ccm.ccms has rows that sum to {found}; each must be positive, about 1")
    return np.asarray(ccm / sums)


def light_color(name: str, cct_k: float, white: FloatArray, ccm: FloatArray) -> LightColor:
    """The DNG matrices that go with a color matrix `ccm` and a white of any scale; ΔE00 is 0, unknown.

    Raises `FileError` where the matrix has no inverse.
    """
    if abs(np.linalg.det(ccm)) < 1e-6:
        raise FileError(f"{name}: the color matrix has no inverse; check its rows")
    neutral = white / white.max()
    xy = cct_to_xy(torch.tensor([cct_k], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    to_d65 = adaptation(xy, torch.tensor([D65_XY], dtype=torch.float64))[0].numpy()
    from_d65 = np.linalg.inv(rgb_to_xyz("srgb").double().numpy())
    color = np.diag(neutral) @ np.linalg.inv(ccm) @ from_d65 @ to_d65
    forward = linear_srgb_to("xyz").double().numpy() @ ccm
    return LightColor(name, cct_k, rgb(neutral), matrix(forward), matrix(color), matrix(ccm), 0.0, 0.0)
