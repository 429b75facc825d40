"""A folder of shots -> a calibrated camera, what was seen on the way, what is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ispkit.calibrate import shading as shading_of
from ispkit.calibrate.awb import AwbCurve, measure_awb
from ispkit.calibrate.black import DarkResult, measure_dark
from ispkit.calibrate.color import ChartShot, LightResult, measure_lights
from ispkit.calibrate.defects import DefectResult, find_defects, good_mask, ordered
from ispkit.calibrate.look import Pixels, site_planes
from ispkit.calibrate.missing import missing_shots
from ispkit.calibrate.noise import GainNoise, gains_to_measure, measure_gains
from ispkit.calibrate.photon_transfer import TransferPoints, dark_anchor, gain_law
from ispkit.calibrate.psf import PsfResult
from ispkit.calibrate.psf_shots import TRUTH, measure_psf_shot
from ispkit.calibrate.shading import ShadingResult, measure_shading
from ispkit.calibrate.shots import OVERRIDES, Inventory, Progress, Shot, raw_files, take_inventory
from ispkit.core.errors import FileError, IspkitError
from ispkit.core.profile import BlackPoint, CameraProfile, Rgb, Sites
from ispkit.io.sidecar import find_sidecar

_MOST_FRAMES = 8
"""frames of a series that are used; more would only cost memory"""
_LIT, _FULL = 0.05, 0.001
"""a flat gives shading from this share of the range on, while fewer pixels than that share are clipped"""
_PROPORTIONAL = 0.05
_SAME_LIGHT = 0.01  # flats and charts under one lamp carry the same color temperature in their names


@dataclass(frozen=True)
class Evidence:
    """What the numbers of the profile rest on, for a report."""

    inventory: Inventory
    darks: tuple[DarkResult, ...] = ()
    gains: tuple[GainNoise, ...] = ()
    defects: tuple[DefectResult, ...] = ()
    shading: tuple[ShadingResult, ...] = ()
    lights: tuple[LightResult, ...] = ()
    awb: AwbCurve | None = None
    """of the lights' whites, if there are two or more"""
    psf: PsfResult | None = None
    law: tuple[float, float] | None = None
    """exponent of S ~ ISO^p, and the largest deviation from proportionality"""


@dataclass(frozen=True)
class Calibration:
    """A profile, remarks on what was measured, what is still missing, and the evidence."""

    profile: CameraProfile
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    evidence: Evidence


def calibrate(
    folder: str | Path,
    *,
    name: str | None = None,
    mesh: tuple[int, int] = shading_of.MESH,
    progress: Progress | None = None,
) -> Calibration:
    """Measure everything that the shots of a folder allow.

    See `shots.take_inventory` for their names. `mesh` is rows x columns of the shading maps. Of a series of equal shots
    at most 8 are used, and in memory at once; noise takes all pairs, one by one. Raises `FileError` in one sentence
    where a shot would spoil the profile.
    """
    run = _Run(take_inventory(folder, progress), progress)
    run.measure_darks()
    run.measure_flat_defects()
    run.measure_noise()
    run.measure_shading(mesh)
    run.measure_colors()
    run.measure_psf()
    return run.result(name, fingerprint(folder, mesh))


def fingerprint(folder: str | Path, mesh: tuple[int, int] = shading_of.MESH) -> str:
    """Changes when a file that is read, the mesh or the toolkit changes; reads no pixels."""
    root = Path(folder)
    digest = hashlib.sha256(f"{version('ispkit')} {mesh}".encode())
    for file in files_read(root):
        stat = file.stat()
        digest.update(f"{file.relative_to(root).as_posix()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def files_read(root: Path) -> list[Path]:
    """What a calibration of the folder reads: RAW files, sidecars, `shots.yaml`, noise charts."""
    files = raw_files(root)
    beside = (root / OVERRIDES, *sorted(root.glob(TRUTH)), *map(find_sidecar, files))
    return [*files, *(f for f in beside if f is not None and f.is_file())]


class _Run:
    """One calibration in progress: measured parts, which build on each other."""

    def __init__(self, inventory: Inventory, progress: Progress | None) -> None:
        self.inventory, self.progress = inventory, progress
        self.first = inventory.shots[0]
        self.notes = list(inventory.notes)
        self.darks: list[DarkResult] = []
        self.defects: list[DefectResult] = []
        self.gains: list[GainNoise] = []
        self.shading: list[ShadingResult] = []
        self.lights: list[LightResult] = []
        self.psf: PsfResult | None = None
        self.law: tuple[float, float] | None = None
        self.flats: list[tuple[list[Shot], Pixels]] = []
        gains = gains_to_measure(inventory)
        self.done, self.steps = 0, len(inventory.series("dark")) + len(gains) + 2 * len(self._lights())
        charts = {(s.light, s.cct_k) for s in inventory.of("chart") if s.cct_k > 0}
        self.steps += len(charts) + bool(inventory.of("psf"))

    def step(self, what: str) -> None:
        """Tell that the next series is begun."""
        if self.progress is not None:
            self.progress(what, self.done, self.steps)
        self.done += 1

    def black_of(self, shot: Shot) -> Sites:
        """Measured at the nearest gain, and there at the nearest exposure; else the file's tag."""
        if not self.darks:
            return shot.black

        def distance(dark: DarkResult) -> tuple[float, float]:
            gap = np.log(np.array([shot.iso, shot.exposure_time_s]) + 1e-9)
            here = np.log(np.array([dark.point.iso, dark.point.exposure_time_s]) + 1e-9)
            return tuple(np.abs(gap - here).tolist())

        return min(self.darks, key=distance).point.level_dn

    def measure_darks(self) -> None:
        """Black level, read noise, hot pixels."""
        for series in self.inventory.series("dark"):
            shot = series[0]
            self.step(f"black level at ISO {shot.iso:g}")
            frames = [site_planes(s.frame()) for s in series[:_MOST_FRAMES]]
            dark = measure_dark(frames, iso=shot.iso, exposure_time_s=shot.exposure_time_s)
            source = f"dark frames at ISO {shot.iso:g}, {shot.exposure_time_s:g} s"
            self.defects.append(find_defects(dark.mean, source=source))
            self.darks.append(replace(dark, mean=np.zeros((4, 0, 0), np.float32)))
            self.notes += dark.notes

    def measure_flat_defects(self) -> None:
        """Dead and stuck pixels, on the mean flat of every light."""
        lights = self._lights()
        if self.inventory.of("flat") and not lights:
            self.notes.append("lens shading not measured: every flat is darker than 5 % of the range, or clipped")
        for shots in lights:
            self.step("defect pixels")
            source = f"flats at ISO {shots[0].iso:g}" + (f", {shots[0].cct_k:g} K" if shots[0].cct_k else "")
            mean = self._mean_light(shots)
            self.defects.append(find_defects(mean, source=source, relative=True))
            self.flats.append((shots, mean))
        self.notes += [d.note for d in self.defects if d.note]

    def _mean_light(self, shots: Sequence[Shot]) -> Pixels:
        """(4, h, w) DN above black; each shot counts alike, however long it was exposed."""
        lights = [self._light(s) for s in shots]
        levels = [float(light.mean()) for light in lights]
        return _mean([light / np.float32(level) for light, level in zip(lights, levels, strict=True)]) * np.float32(
            np.mean(levels)
        )

    def _light(self, shot: Shot) -> Pixels:
        black = np.array(self.black_of(shot), dtype=np.float32)
        light: Pixels = site_planes(shot.frame()) - black[:, None, None]
        return light

    def good(self) -> NDArray[np.bool_]:
        """(4, h, w), False at defects."""
        height, width = (n // 2 for n in self.first.size)
        return good_mask(self.points(), (4, height, width))

    def points(self) -> NDArray[np.int64]:
        """All defects, (n, 2)."""
        return ordered(np.concatenate([np.zeros((0, 2), np.int64), *(d.points for d in self.defects)]))

    def measure_noise(self) -> None:
        """S and O per gain."""
        self.gains, notes = measure_gains(
            self.inventory, black=self.black_of, anchor=self._anchor, good=self.good(), step=self.step
        )
        self.notes += notes
        self.law = gain_law({g.iso: g.fits["G"].shot for g in self.gains if g.method == "flat_pairs"})
        if self.law is not None and self.law[1] > _PROPORTIONAL:
            self.notes.append(
                f"S is not proportional to ISO: it grows as ISO^{self.law[0]:.2f}, off by up to {self.law[1]:.0%}; "
                "interpolate between the measured gains only"
            )

    def _anchor(self, iso: float) -> dict[str, TransferPoints] | None:
        same = [d for d in self.darks if d.point.iso == iso]
        if not same:
            return None
        # dark current adds noise with time: the shortest exposure is nearest to the readout's own
        dark = min(same, key=lambda d: (d.frames == 1, d.point.exposure_time_s))
        return dark_anchor(
            dark.variance, dark.degrees, black=dark.point.level_dn, white=self.first.white, cfa=self.first.cfa
        )

    def _lights(self) -> list[list[Shot]]:
        """Flats that can give shading, by light, of the lowest gain each."""
        lights: dict[tuple[float, str], list[Shot]] = {}
        for shot in self.inventory.of("flat"):
            if shot.look.level > _LIT and shot.look.clipped < _FULL:
                lights.setdefault((shot.cct_k, shot.light), []).append(shot)
        lowest = [[s for s in shots if s.iso == min(t.iso for t in shots)] for _, shots in sorted(lights.items())]
        return [shots[:_MOST_FRAMES] for shots in lowest]

    def measure_shading(self, mesh: tuple[int, int]) -> None:
        """One map a light."""
        good = self.good()
        for shots, light in self.flats:
            self.step(f"lens shading at {shots[0].cct_k:g} K" if shots[0].cct_k else "lens shading")
            cct_k, cfa = shots[0].cct_k, self.first.cfa
            self.shading.append(measure_shading(light, cfa=cfa, cct_k=cct_k, good=good, mesh=mesh, frames=len(shots)))
        self.flats.clear()

    def measure_colors(self) -> None:
        """White and matrices of every light; raises `FileError` if a chart is not found."""
        charts: dict[tuple[str, float], list[Shot]] = {}
        for shot in self.inventory.of("chart"):
            if shot.cct_k > 0:
                charts.setdefault((shot.light or f"{shot.cct_k:g} K", shot.cct_k), []).append(shot)
            else:
                self.notes.append(f"{shot.name}: no color measured, for its light is not known; name it chart_<cct>k")
        shading = tuple(s.map for s in self.shading)
        for (light, cct_k), group in sorted(charts.items(), key=lambda item: item[0][1]):
            self.step(f"color under {light}")
            names = ", ".join(s.name for s in group)
            shots = [ChartShot(s.frame(), light, cct_k, black=self.black_of(s)) for s in group[:_MOST_FRAMES]]
            try:
                self.lights += measure_lights(shots, shading=shading, white=self._white(cct_k))
            except IspkitError as error:
                raise FileError(f"{names}: {error}; or list it in {OVERRIDES} as 'kind: skip'") from error
            self.notes += [f"{names}: {warning}" for warning in self.lights[-1].warnings]

    def _white(self, cct_k: float) -> Rgb | None:
        """What the flats under this light say of its white, if there are any."""
        same = [s.white for s in self.shading if abs(s.map.cct_k - cct_k) < _SAME_LIGHT * cct_k]
        return same[0] if same else None

    def measure_psf(self) -> None:
        """Kernels from the first shot of the noise chart; raises `FileError` if it is not found."""
        shots = self.inventory.of("psf")
        if not shots:
            return
        self.step("point spread function")
        if len(shots) > 1:
            self.notes.append(f"of {len(shots)} shots of the noise chart only {shots[0].name} is used")
        shading = tuple(s.map for s in self.shading)
        shot, root = shots[0], self.inventory.folder
        self.psf = measure_psf_shot(shot, folder=root, black=self.black_of(shot), shading=shading)
        self.notes += [f"{shot.name}: {warning}" for warning in self.psf.warnings]

    def _stated_black(self) -> tuple[BlackPoint, ...]:
        """The file's tag, where no dark frame says better; its noise is not known."""
        return (BlackPoint(self.first.iso, self.first.exposure_time_s, self.first.black, (0.0,) * 4),)

    def result(self, name: str | None, key: str) -> Calibration:
        """All parts together."""
        first, missing = self.first, missing_shots(self.inventory)
        made = {
            "by": f"ispkit {version('ispkit')}",
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "shots": {k: [s.name for s in self.inventory.of(k)] for k in ("dark", "flat", "chart", "psf")},
            "key": key,
            "notes": self.notes,
            "missing": list(missing),
        }
        profile = CameraProfile(
            name=name or first.camera or self.inventory.folder.resolve().name,
            cfa=first.cfa,
            size=first.size,
            white_level=first.white,
            black=tuple(d.point for d in self.darks) or self._stated_black(),
            noise=tuple(g.point for g in self.gains),
            defects=tuple((int(r), int(c)) for r, c in self.points()),
            shading=tuple(s.map for s in self.shading),
            colors=tuple(light.color for light in self.lights),
            psf=self.psf.grid if self.psf is not None else None,
            made=made,
        )
        return Calibration(profile, tuple(self.notes), missing, self._evidence())

    def _evidence(self) -> Evidence:
        return Evidence(
            self.inventory,
            darks=tuple(self.darks),
            gains=tuple(self.gains),
            defects=tuple(self.defects),
            shading=tuple(self.shading),
            lights=tuple(self.lights),
            awb=measure_awb([light.color for light in self.lights]) if len(self.lights) > 1 else None,
            psf=self.psf,
            law=self.law,
        )


def _mean(frames: Sequence[Pixels]) -> Pixels:
    mean: Pixels = np.mean(frames, axis=0, dtype=np.float32)
    return mean
