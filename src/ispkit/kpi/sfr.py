"""Slanted-edge frequency response (e-SFR) after ISO 12233, with a polynomial edge fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.kpi import edge_checks
from ispkit.kpi.edge_fit import EdgeFit, Window, fit_edge, to_vertical_rising, whole_cycles, window_of
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.kpi.signal import Array, falls_to, planes
from ispkit.ops.luma import WEIGHTS

BINS = 4
"""bins per pixel of the oversampled edge profile"""

_NYQUIST = 0.5  # cy/px


@dataclass(frozen=True, eq=False)
class SfrResult:
    """What one slanted edge tells.

    Frequencies are along the edge's normal; numbers without channel are of Y.
    """

    channels: tuple[str, ...]
    """rows of `sfr`: ("Y",) for luminance, ("R", "G", "B", "Y") for color"""
    frequency: Array
    """(F,) cycles per pixel, 0 to 1 cy/px or a little more"""
    sfr: Array
    """(C, F), 1 at 0"""
    mtf50: float
    """where the SFR first falls through 0.5, cy/px; NaN if it does not, or if the edge cannot be measured"""
    mtf10: float
    mtf50_sd: float
    """standard deviation of `mtf50` that white pixel noise of the measured size causes, cy/px"""
    angle_deg: float
    """tilt against the nearer picture axis, positive from a vertical edge when it leans right going down"""
    orientation: Literal["vertical", "horizontal"]
    contrast: float
    """(bright - dark) / (bright + dark) of the two sides"""
    clipped: float
    """share of pixels at or beyond the clip levels, of the worst channel"""
    noise: float
    """standard deviation of a pixel in the flat parts"""
    rows: int
    """rows (columns if horizontal) that were measured"""
    position: Array
    """(N,) distance from the edge along its normal, px; the dark side is negative"""
    esf: Array
    """(N,) edge spread function of Y in the picture's units"""
    lsf: Array
    """(N,) its derivative per bin, before the window"""
    warnings: tuple[str, ...] = ()

    @property
    def sampling_efficiency(self) -> float:
        """Where the SFR falls through 0.1, as a share of Nyquist (0.5 cy/px), at most 1."""
        return min(self.mtf10 / _NYQUIST, 1.0)

    def curve(self, channel: str = "Y") -> Array:
        """The SFR of one channel, (F,)."""
        return np.asarray(self.sfr[self.channels.index(channel)])

    def mtf50_of(self, channel: str) -> float:
        """MTF50 of one channel, cy/px."""
        return falls_to(self.frequency, self.curve(channel), 0.5)

    def at(self, frequency: float, channel: str = "Y") -> float:
        """The SFR at a frequency in cy/px, linearly interpolated."""
        return float(np.interp(frequency, self.frequency, self.curve(channel)))

    def as_result(self, region: str = "") -> Result:
        """`sfr.mtf50` and `sfr.mtf10` with the SFR curves of all channels."""
        source = "slanted edge, ISO 12233"
        kpis = (
            Kpi("sfr.mtf50", self.mtf50, "cy/px", "higher", region, f"frequency where the SFR falls to 0.5; {source}"),
            Kpi(
                "sfr.mtf10",
                min(self.mtf10, _NYQUIST),
                "cy/px",
                "higher",
                region,
                "where the SFR falls to 0.1, at most Nyquist",
            ),
        )
        curves = tuple(
            Curve("SFR", f"{region} {name}".strip(), self.frequency.tolist(), y.tolist(), "frequency (cy/px)", "SFR")
            for name, y in zip(self.channels, self.sfr, strict=True)
            if np.isfinite(y).all() and len(y)
        )
        prefix = f"{region}: " if region else ""
        return Result(kpis, curves, tuple(prefix + w for w in self.warnings))


def measure_sfr(
    linear_picture: Tensor,
    *,
    order: int = 5,
    window: Window = "tukey",
    alpha: float = 1.0,
    clip_levels: tuple[float, float] = (0.0, 1.0),
) -> SfrResult:
    """SFR of one slanted edge in linear light, (H, W) or (3, H, W), with what to doubt.

    The edge may be near-vertical or near-horizontal, rising or falling, and curved: its course is a polynomial
    of `order` (ISO 12233:2017 has 1; the edition of 2023 and Burns' sfrmat5 have 5, so that lens distortion
    does not read as blur). `window` is "tukey" with cosine flanks over `alpha` in [0.5, 1] of it (1 = Hann), or
    "hamming" as in older editions. The response of the derivative is divided out, by at most 10; that of the
    quarter-pixel bin, 1 % at 0.31 cy/px, is not, as in the standard. `clip_levels` are the values at and beyond
    which a pixel counts as clipped.

    What cannot be measured is NaN with a warning in words. Raises `ShapeError` below 16x16 pixels, `ParamError`
    for an order outside [1, 5] or an unknown window.
    """
    _check(order, window, alpha)
    picture = planes(linear_picture, "the slanted-edge SFR")
    clipped = max(float(np.mean((p <= clip_levels[0]) | (p >= clip_levels[1]))) for p in picture)
    if len(picture) == 3:
        picture = np.concatenate([picture, np.tensordot(WEIGHTS, picture, axes=1)[None]])
    upright, rotated, mirrored = to_vertical_rising(picture)
    fits = [fit_edge(plane, order, window, alpha) for plane in upright]
    luma = fits[-1]
    rows = whole_cycles(len(luma.position), luma.slope)
    facts = edge_checks.EdgeFacts(upright[-1], luma, rows, clipped)
    empty = _empty(facts, rotated, mirrored, len(picture))
    if lost := edge_checks.not_found(facts):
        return replace(empty, warnings=(lost,))
    own = [f if np.isfinite(f.rms) else luma for f in fits]
    profiles = [_profile(p[:rows], f) for p, f in zip(upright, own, strict=True)]
    return _measure(facts, empty, profiles, (window, alpha))


def _check(order: int, window: str, alpha: float) -> None:
    if not 1 <= order <= 5:
        raise ParamError(f"order={order} of the edge fit is outside [1, 5]; 5 follows a curved edge, 1 is a line")
    if window not in {"tukey", "hamming"}:
        raise ParamError(f"no window {window!r} for the SFR; take 'tukey' or 'hamming'")
    if not 0.5 <= alpha <= 1:
        raise ParamError(f"alpha={alpha} of the Tukey window is outside [0.5, 1]")


def _empty(facts: edge_checks.EdgeFacts, rotated: bool, mirrored: bool, count: int) -> SfrResult:
    """All that is known before the profile: geometry, contrast, clipping."""
    tilt = float(np.degrees(np.arctan(facts.fit.slope)))
    none = np.empty(0)
    return SfrResult(
        channels=("Y",) if count == 1 else ("R", "G", "B", "Y"),
        frequency=none,
        sfr=np.empty((count, 0)),
        mtf50=np.nan,
        mtf10=np.nan,
        mtf50_sd=np.nan,
        angle_deg=-tilt if mirrored else tilt,
        orientation="horizontal" if rotated else "vertical",
        contrast=facts.contrast,
        clipped=facts.clipped,
        noise=np.nan,
        rows=facts.rows,
        position=none,
        esf=none,
        lsf=none,
    )


def _measure(
    facts: edge_checks.EdgeFacts, empty: SfrResult, profiles: list[_Profile], shape: tuple[Window, float]
) -> SfrResult:
    """Spectra and numbers from the profiles of all channels, Y last."""
    cosine = 1 / np.hypot(1, facts.fit.slope)
    profile = profiles[-1]
    windows = [_lsf_window(p, *shape) for p in profiles]
    frequency = np.fft.rfftfreq(len(profile.esf), cosine / BINS)
    kept = frequency <= 1 / cosine
    sfr = np.stack(
        [_spectrum(p.lsf * w, float(np.abs(p.esf).max()))[kept] for p, w in zip(profiles, windows, strict=True)]
    )
    frequency = frequency[kept]
    mtf50 = falls_to(frequency, sfr[-1], 0.5)
    spread = edge_checks.mtf50_sd(facts, profile.noise, windows[-1], (frequency * cosine, sfr[-1]))
    warnings = edge_checks.doubts(facts, windows[-1], mtf50 * cosine, spread / mtf50)
    return replace(
        empty,
        frequency=frequency,
        sfr=sfr,
        mtf50=mtf50,
        mtf10=falls_to(frequency, sfr[-1], 0.1),
        mtf50_sd=spread / cosine,
        noise=profile.noise,
        position=profile.position * cosine,
        esf=profile.esf,
        lsf=profile.lsf,
        warnings=warnings,
    )


@dataclass(frozen=True, eq=False)
class _Profile:
    """The edge of one channel, oversampled."""

    position: Array
    """centers of the bins, px along a row, 0 on the edge"""
    esf: Array
    lsf: Array
    noise: float
    """standard deviation of a pixel about its bin, away from the edge"""


def _profile(plane: Array, fit: EdgeFit) -> _Profile:
    """Project all pixels along the fitted edge into quarter-pixel bins, then differentiate."""
    rows, columns = plane.shape
    distance = np.arange(columns) - fit.position[:rows, None]
    middle = float(fit.position[:rows].mean())
    first = int(np.floor(-middle * BINS))
    index: NDArray[np.intp] = np.floor(distance * BINS).astype(np.intp) - first
    inside = (index >= 0) & (index < columns * BINS)
    total = np.bincount(index[inside], weights=plane[inside], minlength=columns * BINS)
    number = np.bincount(index[inside], minlength=columns * BINS)
    filled = np.flatnonzero(number)
    bins = np.arange(columns * BINS)
    esf = np.interp(bins, filled, total[filled] / number[filled])
    position = (bins + first + 0.5) / BINS

    far = inside & (np.abs(distance) > columns / 4)
    freedom = np.count_nonzero(far) - np.count_nonzero(np.bincount(index[far]))
    scatter = np.sum((plane[far] - esf[index[far]]) ** 2) / max(freedom, 1)
    lsf = np.convolve(esf, [0.5, 0, -0.5], "same")
    lsf[0], lsf[-1] = lsf[1], lsf[-2]
    return _Profile(position, esf, lsf, float(np.sqrt(scatter)))


def _lsf_window(profile: _Profile, window: Window, alpha: float) -> Array:
    """The window over the line spread function, centered on its peak near the fitted edge."""
    bins = np.arange(len(profile.lsf), dtype=np.float64)
    near = np.where(np.abs(profile.position) <= len(bins) / BINS / 8, profile.lsf, -np.inf)
    peak = float(np.flatnonzero(near == near.max()).mean())
    return window_of(bins, peak, len(bins) / 2, (window, alpha))


def _spectrum(lsf: Array, level: float) -> Array:
    """|DFT| over its value at 0, divided by the response of the derivative [0.5 0 -0.5].

    NaN where there is no step, next to the `level` of the plane.
    """
    transform = np.abs(np.fft.rfft(lsf))
    if transform[0] <= 1e-9 * level:
        return np.full(len(transform), np.nan)
    phase = 2 * np.pi * np.arange(1, len(transform)) / len(lsf)
    sine = np.abs(np.sin(phase))
    correction = np.ones(len(transform))
    correction[1:] = np.minimum(phase / np.maximum(sine, phase / 10), 10)
    spectrum: Array = transform / transform[0] * correction
    return spectrum
