"""Gray-code captures -> which point of the screen each camera pixel sees, with sub-pixel stripe borders.

Every pattern is shown twice, green and black exchanged; the sign of their difference is the bit, whatever
the vignetting, the screen's gamma or the color of the wall. The stripe borders are where the difference
crosses zero; each border of the screen occurs in exactly one pattern, so that it tells its own coordinate.
References: Gupta et al., Structured Light 3D Scanning in the Presence of Global Illumination, CVPR 2011;
Xu and Aliaga, Robust Pixel Classification for 3D Modeling with Structured Light, GI 2007.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ispkit.charts.gray_code import Axis, Pattern, bits_for
from ispkit.core.errors import ParamError, ShapeError
from ispkit.rig.contracts import Floats

AXES: tuple[Axis, ...] = ("column", "row")
Shot = tuple[Pattern, Floats]
"""a pattern of `charts.gray_code` and the linear green (H, W) that the camera saw of it"""
Mask = NDArray[np.bool_]
_RESOLVED = 0.35  # share of the full contrast that the stripes of a resolved pattern keep
_LIT = 0.05  # share of the picture's contrast (95th percentile) below which a pixel does not see the screen
_SIGMAS = 6.0  # a border's step against the noise
_INTERPOLATION_PX = 0.03  # error of a straight line through a blurred border
_NOISE_WINDOW = 31
_CLIPPED = 0.98  # of the sensor's range
_DIM = 0.02


@dataclass(frozen=True)
class Borders:
    """Points of the camera picture that lie on a known line of the screen."""

    x: Floats
    """(N,) camera position, px, pixel (0, 0) covers [0, 1)"""
    y: Floats
    at: Floats
    """(N,) the screen's coordinate there: x of a vertical line, y of a horizontal one"""
    sigma: Floats
    """(N,) expected error, camera px"""


@dataclass(frozen=True)
class Correspondence:
    """What the Gray codes tell, before any smoothness is assumed."""

    display_size: tuple[int, int]
    """height, width"""
    position: Floats
    """(2, H, W) x and y on the screen, the middle of the smallest stripe told apart; NaN where unseen"""
    stripe: NDArray[np.int32]
    """(2, H, W) width of that stripe in screen pixels; 0 where unseen"""
    confidence: Floats
    """(H, W) in [0, 1]: least |code - inverse| of the patterns told apart, over the pixel's full contrast"""
    contrast: Floats
    """(H, W) light of the screen, full green less black, as captured"""
    borders: dict[Axis, Borders]
    warnings: tuple[str, ...] = ()

    @property
    def seen(self) -> Mask:
        """(H, W): pixels that see the screen directly.

        Stray light follows coarse stripes but not fine ones, so a pixel that only tells the coarse ones
        apart, while the picture's median pixel tells finer ones, is left out.
        """
        lit: Mask = np.asarray((self.stripe > 0).all(0))
        for stripe in self.stripe:
            usual = np.median(stripe[lit]) if lit.any() else 0
            lit = lit & (stripe <= 4 * usual)
        return lit


@dataclass
class _Reading:
    """What is known of one axis so far, coarse to fine."""

    bits: int
    cell: NDArray[np.int32]
    left: NDArray[np.int8]
    ok: Mask
    confidence: Floats
    borders: list[Borders] = field(default_factory=list)


def decode(shots: Iterable[Shot], display_size: tuple[int, int]) -> Correspondence:
    """Read a sequence of captures in the order of `charts.gray_code.GrayCode.patterns`.

    `display_size` is (height, width) of the screen. White and black may be missing. Captures are taken one
    pair at a time, so a generator needs little memory. Raises `ParamError` for an incomplete or unordered
    sequence, `ShapeError` for captures of different sizes.
    """
    readings: dict[Axis, _Reading] = {}
    contrast = noise = last = None
    warnings: tuple[str, ...] = ()
    pairs = 0
    for pattern, difference, total in _pairs(shots):
        contrast = np.abs(difference) if contrast is None else np.maximum(contrast, np.abs(difference))
        noise = np.zeros_like(contrast) if noise is None else noise
        if last is not None:  # both patterns together are the same light in every pair
            noise += cv2.blur((total - last) ** 2, (_NOISE_WINDOW, _NOISE_WINDOW)) / 2
            pairs += 1
        last = total
        if pattern.axis is None:
            warnings = _exposure_warnings(difference, total)
            continue
        reading = readings.setdefault(pattern.axis, _fresh(pattern.axis, display_size, contrast.shape))
        if pattern.bit != reading.bits - 1:
            raise ParamError(f"{pattern.name} came, bit {reading.bits - 1} of the {pattern.axis}s was due")
        _read_bit(reading, difference, contrast, np.sqrt(noise / max(pairs, 1)))
    return _correspondence(readings, contrast, display_size, warnings)


def _exposure_warnings(difference: Floats, total: Floats) -> tuple[str, ...]:
    """What white and black say about the exposure."""
    top = float(np.percentile(difference, 99))
    if top < _DIM:
        return (f"the screen's green reaches {max(top, 0):.1%} of the camera's range only: expose more",)
    white = (total + difference)[difference > 0.5 * top] / 2
    if (white > _CLIPPED).mean() > 0.01:
        return ("the screen's green clips the camera, which moves edges: expose less",)
    return ()


def _pairs(shots: Iterable[Shot]) -> Iterator[tuple[Pattern, Floats, Floats]]:
    """Difference and sum of each pattern with its inverse; white is the pattern of black."""
    first: Shot | None = None
    size: tuple[int, ...] = ()
    for pattern, light in shots:
        size = size or light.shape
        if light.shape != size:
            raise ShapeError(f"captures of different sizes: {size} and {light.shape}; keep the camera's mode")
        if first is None:
            first = pattern, light
            continue
        if pattern != _partner(first[0]):
            break
        yield first[0], first[1] - light, first[1] + light
        first = None
    if first is not None:
        raise ParamError(f"the capture of {first[0].name} is not followed by that of {_partner(first[0]).name}")


def _partner(pattern: Pattern) -> Pattern:
    return Pattern("black") if pattern.kind == "white" else replace(pattern, inverse=True)


def _fresh(axis: Axis, display_size: tuple[int, int], shape: tuple[int, ...]) -> _Reading:
    bits = bits_for(_extent(axis, display_size))
    cells, left = np.zeros(shape, np.int32), np.full(shape, bits, np.int8)
    return _Reading(bits, cells, left, np.ones(shape, bool), np.ones(shape, np.float32))


def _extent(axis: Axis, display_size: tuple[int, int]) -> int:
    return display_size[1 if axis == "column" else 0]


def _read_bit(reading: _Reading, difference: Floats, contrast: Floats, noise: Floats) -> None:
    """Halve every cell where this pattern is resolved, and collect the borders inside the cells."""
    bit = reading.bits - 1
    size = np.abs(difference)
    amplitude = cv2.dilate(size, np.ones((5, 5), np.uint8))
    reading.ok &= amplitude > np.maximum(_RESOLVED * contrast, 3 * noise)
    for step in ((0, 1), (1, 0)):
        reading.borders.append(
            _crossings(reading, difference, np.maximum(0.05 * contrast, _SIGMAS * noise), noise, step)
        )
    one = (difference > 0) ^ (reading.cell & 1).astype(bool)
    reading.cell = np.where(reading.ok, 2 * reading.cell + one, reading.cell)
    reading.left -= reading.ok
    share = size / np.maximum(contrast, 1e-12)
    reading.confidence = np.where(reading.ok, np.minimum(reading.confidence, share), reading.confidence)
    reading.bits = bit


def _crossings(reading: _Reading, d: Floats, least: Floats, noise: Floats, step: tuple[int, int]) -> Borders:
    """Zeros of the difference between neighbors of the same cell, by linear interpolation."""
    height, width = d.shape
    here = np.s_[: height - step[0], : width - step[1]]
    there = np.s_[step[0] :, step[1] :]
    jump = np.abs(d[here] - d[there])
    on = (d[here] > 0) != (d[there] > 0)
    on &= (reading.cell[here] == reading.cell[there]) & reading.ok[here] & reading.ok[there]
    on &= jump > np.maximum(least[here], least[there])
    on &= _wide(d, step)
    rows, columns = np.nonzero(on)
    part = np.abs(d[here][on]) / jump[on]
    bit = reading.bits - 1
    at = (reading.cell[here][on] * 2 + 1) * 2**bit
    sigma = np.hypot(noise[here][on] / jump[on], _INTERPOLATION_PX)
    x, y = columns + 0.5 + part * step[1], rows + 0.5 + part * step[0]
    return Borders(*(np.asarray(a, np.float32) for a in (x, y, at, sigma)))


def _wide(d: Floats, step: tuple[int, int]) -> Mask:
    """Whether both stripes at a border are two pixels wide or more: of narrower ones the zero is unreliable."""
    axis = step.index(1)
    same = np.diff(np.signbit(d), axis=axis) == 0
    pad = [(0, 0), (0, 0)]
    pad[axis] = (1, 1)
    padded = np.pad(same, pad)
    before, after = (np.take(padded, range(i, same.shape[axis] + i), axis) for i in (0, 2))
    wide: Mask = before & after
    return wide


def _correspondence(
    readings: dict[Axis, _Reading], contrast: Floats | None, display_size: tuple[int, int], warnings: tuple[str, ...]
) -> Correspondence:
    missing = [a for a in AXES if a not in readings or readings[a].bits]
    if missing or contrast is None:
        raise ParamError(f"the sequence of {missing[0]}s is not complete; show every bit of both axes down to 0")
    dark = contrast < _LIT * np.percentile(contrast, 95)
    positions, stripes = [], []
    borders: dict[Axis, Borders] = {}
    for axis in AXES:
        reading = readings[axis]
        stripe = 2 ** reading.left.astype(np.int32)
        nothing = dark | (reading.cell == 0) & (reading.left == bits_for(_extent(axis, display_size)))
        position = (reading.cell + 0.5) * stripe
        positions.append(np.where(nothing, np.nan, position).astype(np.float32))
        stripes.append(np.where(nothing, 0, stripe))
        borders[axis] = _lit_only(_joined(reading.borders), dark)
    confidence = np.minimum(*(readings[axis].confidence for axis in AXES))
    return Correspondence(
        display_size,
        np.stack(positions),
        np.stack(stripes),
        np.where((np.stack(stripes) > 0).all(0), confidence, 0).astype(np.float32),
        contrast,
        borders,
        warnings,
    )


def _joined(parts: list[Borders]) -> Borders:
    return Borders(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "y", "at", "sigma")))


def _lit_only(borders: Borders, dark: Mask) -> Borders:
    keep = ~dark[borders.y.astype(np.int64), borders.x.astype(np.int64)]
    return Borders(borders.x[keep], borders.y[keep], borders.at[keep], borders.sigma[keep])
