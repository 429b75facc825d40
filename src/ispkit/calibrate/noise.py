"""Noise of every gain of a folder: photon transfer on flat pairs, else on a single image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.calibrate import photon_transfer
from ispkit.calibrate.look import Pixels, site_planes
from ispkit.calibrate.photon_transfer import COLORS, LineFit, TransferPoints
from ispkit.calibrate.shots import OVERRIDES, Inventory, Shot
from ispkit.calibrate.single_image_noise import SingleResult, estimate_noise
from ispkit.core.errors import FileError
from ispkit.core.profile import NoisePoint, Sites

_SAME_LIGHT = 0.05
_BENT = 2.0
"""mean squared residue above which the variance does not follow a line"""
_SURE = 0.1
"""relative standard error of O that is worth a remark"""
_UNKNOWN = 0.5
"""relative standard error of O from which on it says nothing"""


@dataclass(frozen=True)
class GainNoise:
    """What was measured at one gain, per color R, G, B."""

    iso: float
    fits: dict[str, LineFit]
    """by `method`"""
    method: str
    points: dict[str, TransferPoints]
    """binned, for plots; dark frames at signal 0 included"""
    single: dict[str, SingleResult]
    """the single-image method beside it, empty if there is no light"""

    @property
    def point(self) -> NoisePoint:
        """For the profile; an O that is hardly more than its own error is left out, as 0."""
        shot = tuple(float(f"{self.fits[c].shot:.6g}") for c in COLORS)
        read = tuple(float(f"{self.fits[c].read:.6g}") if self._tells_read(c) else 0.0 for c in COLORS)
        return NoisePoint(self.iso, (shot[0], shot[1], shot[2]), (read[0], read[1], read[2]), self.method)

    def _tells_read(self, color: str) -> bool:
        fit = self.fits[color]
        return fit.read_error < _UNKNOWN * fit.read

    @property
    def notes(self) -> Iterator[str]:
        """Remarks for the user."""
        if self.method == "single_image":
            yield (
                f"ISO {self.iso:g}: noise by the single-image method, for there is no pair of equal flats; "
                "it is an upper bound where the picture has texture"
            )
        for color, fit in self.fits.items():
            if fit.chi2 > _BENT and self.method == "flat_pairs":
                yield f"ISO {self.iso:g}: the variance of {color} does not follow S x + O (chi2 {fit.chi2:.1f})"
        unknown = [c for c in self.fits if not self._tells_read(c)]
        if unknown:
            yield (
                f"ISO {self.iso:g}: O of {', '.join(unknown)} cannot be told from these shots and is left out; "
                "shoot dark frames at this gain"
            )
        unsure = [c for c, f in self.fits.items() if c not in unknown and f.read_error >= _SURE * f.read]
        if unsure:
            yield f"ISO {self.iso:g}: O of {', '.join(unsure)} is uncertain; shoot dark frames at this gain"


Black = Callable[[Shot], Sites]
Anchor = Callable[[float], dict[str, TransferPoints] | None]


def measure_gains(
    inventory: Inventory, *, black: Black, anchor: Anchor, good: NDArray[np.bool_] | None, step: Callable[[str], None]
) -> tuple[list[GainNoise], list[str]]:
    """The noise of every gain that has flats or charts, and remarks.

    `black` gives a shot's black level, `anchor` the dark points of an ISO, `good` is False at defects; `step` is told
    of every series.
    """
    gains, notes = [], []
    for iso in gains_to_measure(inventory):
        step(f"noise at ISO {iso:g}")
        points = _pairs_at(inventory, iso, black, good)
        dark = anchor(iso)
        single, source = _single_at(inventory, iso, black, dark)
        if points is not None:
            fits = {c: photon_transfer.fit_line(points[c], dark[c] if dark else None) for c in COLORS}
            method = "flat_pairs"
            shown = {c: _with(points[c].binned(), dark, c) for c in COLORS}
        else:
            fits, method = {c: r.fit for c, r in single.items()}, "single_image"
            shown = {c: _with(r.points, dark, c) for c, r in single.items()}
        if not fits or not all(math.isfinite(f.shot) for f in fits.values()):
            why = (
                f"{source} is too even for the single-image method without a dark frame" if source else "too few pixels"
            )
            notes.append(f"ISO {iso:g}: noise not measured: no pair of equal flats, and {why}")
            continue
        gains.append(GainNoise(iso, fits, method, shown, single))
        notes += gains[-1].notes
    return gains, notes


def gains_to_measure(inventory: Inventory) -> list[float]:
    """The ISO of all flats; without a pair of flats of the charts too, which are less certain."""
    paired = any(pairs(series) for series in inventory.series("flat"))
    kinds = ("flat",) if paired else ("flat", "chart")
    return sorted({s.iso for s in inventory.shots if s.kind in kinds})


def _with(points: TransferPoints, dark: dict[str, TransferPoints] | None, color: str) -> TransferPoints:
    return points if dark is None else TransferPoints.join([dark[color], points])


def _pairs_at(
    inventory: Inventory, iso: float, black: Black, good: NDArray[np.bool_] | None
) -> dict[str, TransferPoints] | None:
    found: list[dict[str, TransferPoints]] = []
    for series in inventory.series("flat"):
        if series[0].iso != iso:
            continue
        for first, second in pairs(series):
            planes = [site_planes(s.frame()) for s in (first, second)]
            if np.array_equal(planes[0], planes[1]):
                raise FileError(
                    f"{first.name} and {second.name} hold the same pixels, one is a copy: shoot two flats, or list one "
                    f"in {OVERRIDES} as 'kind: skip'"
                )
            found.append(
                photon_transfer.pair_points(
                    planes[0], planes[1], black=black(first), white=first.white, cfa=first.cfa, good=good
                )
            )
    return {c: TransferPoints.join([f[c] for f in found]) for c in COLORS} if found else None


def pairs(series: Sequence[Shot]) -> list[tuple[Shot, Shot]]:
    """Disjoint pairs of one series whose levels agree within 5 %, brightest first."""
    found, rest = [], sorted(series, key=lambda s: (-s.look.level, s.name))
    while len(rest) > 1:
        first, second = rest[0], rest[1]
        if first.look.level - second.look.level <= _SAME_LIGHT * first.look.level:
            found.append((first, second))
            rest = rest[2:]
        else:
            rest = rest[1:]
    return found


def _single_at(
    inventory: Inventory, iso: float, black: Black, dark: dict[str, TransferPoints] | None
) -> tuple[dict[str, SingleResult], str]:
    """The single-image method on the first shot that it can work with, and that shot's name."""
    source = ""
    for shot in (*inventory.of("flat"), *inventory.of("chart")):
        if shot.iso != iso:
            continue
        planes: Pixels = site_planes(shot.frame())
        found = estimate_noise(planes, black=black(shot), white=shot.white, cfa=shot.cfa, anchor=dark)
        source = source or shot.name
        if all(math.isfinite(r.fit.shot) for r in found.values()):
            return found, shot.name
    return {}, source
