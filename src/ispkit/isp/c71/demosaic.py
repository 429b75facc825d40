"""Edge-directed demosaicking of an RGGB mosaic whose every decision is a threshold and a slope.

Green is interpolated along vertical/horizontal (vh) and along the diagonals (aa); va chooses between the two, uu falls
back to an estimate without direction where none stands out. Colors follow as interpolated differences from green.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.isp.c71.fixed import Plane, binomial, blend, noise_profile, padded, ramp, tap
from ispkit.isp.c71.registers import Codes

_R = 2

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Directions:
    """What was found at each pixel."""

    horizontal: Plane
    """contrast of vertical over horizontal activity: above 0, the edge runs horizontally"""
    rising: Plane
    """contrast of falling over rising activity: above 0, the edge runs from bottom left to top right"""
    vh: Plane
    """(H, W) in [0, 256]: how much the better axis is followed"""
    aa: Plane
    """how much the better diagonal is followed"""
    va: Plane
    """how much diagonals are preferred to axes"""
    defined: Plane
    """how much a direction is trusted at all (uu)"""
    sigma: Plane
    """noise profile with its offset, in 1/16 codes"""


def directions(mosaic: Plane, codes: Codes) -> Directions:
    """Compare the activity along four directions with thresholds that follow the noise profile."""
    wide = padded(mosaic, _R)
    horizontal = binomial(_activity(wide, 1, 0) - _activity(wide, 0, 1))
    rising = binomial(_activity(wide, 1, 1) - _activity(wide, 1, -1))
    sigma = noise_profile(binomial(mosaic), codes["np_offset"])
    axes, diagonals = np.abs(horizontal), (np.abs(rising) * 3) >> 2  # steps of a diagonal are longer

    def weight(excess: Plane, name: str) -> Plane:
        threshold = (sigma * codes[f"{name}_thresh"]) >> 9
        return ramp(excess - threshold, codes[f"{name}_slope"])

    return Directions(
        horizontal,
        rising,
        vh=weight(axes, "vh"),
        aa=weight(diagonals, "aa"),
        va=weight(binomial(binomial(diagonals - axes), 2), "va"),
        defined=weight(np.maximum(axes, diagonals), "uu"),
        sigma=sigma,
    )


def green(mosaic: Plane, found: Directions) -> Plane:
    """Green everywhere; at its own sites it stays as it is."""
    wide = padded(mosaic, _R)
    n, s, w, e = (tap(wide, _R, dy, dx) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)))
    axes = blend(*_axes(wide, mosaic, (n, s, w, e), found.horizontal > 0), found.vh)
    mean = (n + s + w + e + 2) >> 2
    bend = (mosaic << 2) - tap(wide, _R, -2, 0) - tap(wide, _R, 2, 0) - tap(wide, _R, 0, -2) - tap(wide, _R, 0, 2)
    lean = _lean(wide, found.rising > 0)
    diagonal = mean + (((((bend + lean) >> 1) * found.aa) >> 8) >> 4)
    directed = blend(axes, diagonal, found.va)
    result = blend(mean + (bend >> 4), directed, found.defined)
    result[0::2, 1::2] = mosaic[0::2, 1::2]
    result[1::2, 0::2] = mosaic[1::2, 0::2]
    return result


def color_differences(mosaic: Plane, full_green: Plane) -> tuple[Plane, Plane]:
    """R - G and B - G everywhere, bilinear between the sites of R and B."""
    known = mosaic - full_green
    red, blue = np.zeros_like(known), np.zeros_like(known)
    red[0::2, 0::2] = known[0::2, 0::2] << 2
    blue[1::2, 1::2] = known[1::2, 1::2] << 2
    return binomial(red), binomial(blue)


def _activity(wide: Plane, dy: int, dx: int) -> Plane:
    """First difference and second difference of the same color along a direction."""
    mosaic = tap(wide, _R, 0, 0)
    bend = (mosaic << 1) - tap(wide, _R, 2 * dy, 2 * dx) - tap(wide, _R, -2 * dy, -2 * dx)
    step = tap(wide, _R, dy, dx) - tap(wide, _R, -dy, -dx)
    activity: Plane = np.abs(step) + np.abs(bend)
    return activity


def _axes(wide: Plane, mosaic: Plane, near: tuple[Plane, Plane, Plane, Plane], horizontal: Mask) -> tuple[Plane, Plane]:
    """The mean of the two axes' estimates, and the better one."""
    n, s, w, e = near
    twice = mosaic << 1
    up = ((n + s) >> 1) + ((twice - tap(wide, _R, -2, 0) - tap(wide, _R, 2, 0)) >> 2)
    along = ((w + e) >> 1) + ((twice - tap(wide, _R, 0, -2) - tap(wide, _R, 0, 2)) >> 2)
    return (up + along) >> 1, np.where(horizontal, along, up)


def _lean(wide: Plane, rising: Mask) -> Plane:
    """The other color's sum along the edge less that across it, twice: 16 times what the plain average lacks."""
    lean = tap(wide, _R, -1, 1) + tap(wide, _R, 1, -1) - tap(wide, _R, -1, -1) - tap(wide, _R, 1, 1)
    return np.where(rising, lean << 1, -lean << 1)
