"""`Sensor`: a camera's fixed facts, from which `simulate.capture` makes RAW frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ispkit.core.cfa import CfaPattern
from ispkit.core.profile import (
    BlackPoint,
    CameraProfile,
    LightColor,
    Matrix,
    NoisePoint,
    PsfGrid,
    Rgb,
    ShadingMap,
    Sites,
)
from ispkit.sensor import laws

DefectKind = Literal["hot", "dead", "stuck"]
Radial = tuple[float, float, float, float, float]
"""gain that corrects a falloff: 1 + k0 r^2 + k1 r^4 + ... + k4 r^10, r = 1 in the farthest corner"""
NO_FALLOFF: Radial = (0.0, 0.0, 0.0, 0.0, 0.0)
LINEAR_SRGB: Matrix = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)
"""color matrix of a sensor whose primaries are those of linear sRGB"""


class Defect(NamedTuple):
    """A pixel that misbehaves, at `row`, `column` of the active area."""

    row: int
    column: int
    kind: DefectKind = "stuck"
    value: float = 1.0
    """hot: extra dark current in electrons per second; dead: what is left of its response (0 none);
    stuck: what it always reads, black 0, white 1"""


@dataclass(frozen=True)
class SiteShading:
    """Falloff under one light that differs by color: a radial gain per site of the top-left 2x2, row by row."""

    cct_k: float
    radial: tuple[Radial, Radial, Radial, Radial]
    center: tuple[float, float] = (0.5, 0.5)
    """row and column of the center, in units of height and width"""


@dataclass(frozen=True)
class Sensor:
    """A camera's fixed facts; the default is an invented one of ordinary character.

    Signals x are linear, black 0, white 1. Gain is ISO / 100. What is measured per ISO (`noise`, `black`,
    `row_noise`) takes the place of the laws from ISO 100; between two measured ISO it is interpolated
    (doubly logarithmic, the black level linear), beyond them scaled with the gain.
    """

    name: str = "ispkit Simulated Camera"
    cfa: CfaPattern = "RGGB"
    bits: int = 14
    black_level: float = 512.0
    color_matrices: tuple[Matrix, Matrix] = (
        ((0.9602, -0.3823, -0.0410), (-0.4013, 1.2320, 0.1867), (-0.0513, 0.1498, 0.5620)),
        ((0.7866, -0.2108, -0.0555), (-0.4869, 1.2483, 0.2681), (-0.1176, 0.2069, 0.7501)),
    )
    """XYZ -> sensor RGB under 2856 K and 6504 K"""
    shot_at_iso100: float = 1.2e-4
    """S of the noise model variance = S x + O; 1 / S is the number of electrons at white"""
    read_at_iso100: float = 2.0e-8
    """O of the noise model; grows with the square of the gain"""
    blur_px: float = 0.45
    """sigma of the lens and pixel blur; not used where there is a `psf`"""
    vignetting: Radial = (0.25, 0.10, 0.0, 0.0, 0.0)
    """gain that corrects the falloff of all colors: 1 + k0 r^2 + k1 r^4 ..., r = 1 in the corner"""
    black_offsets: Sites = (0.0, 0.0, 0.0, 0.0)
    """DN added to the black level, per site of the top-left 2x2, row by row"""
    white_dn: float | None = None
    """DN at which the sensor saturates; None: the largest number of `bits`"""
    noise: tuple[NoisePoint, ...] = ()
    """S and O per color as measured at some ISO"""
    black: tuple[BlackPoint, ...] = ()
    """black levels as measured; the exposure time nearest to the shot's is used"""
    row_noise: tuple[tuple[float, float], ...] = ()
    """(ISO, standard deviation of x) of an offset that each row draws anew in each picture"""
    column_pattern: float = 0.0
    """standard deviation of x of an offset that each column always has"""
    prnu: float = 0.0
    """standard deviation of the pixels' relative response (photo response non-uniformity)"""
    dark_current_e_s: float = 0.0
    """electrons per second without light; they raise the signal and have shot noise of their own"""
    serial: int = 0
    """which sensor of this model: fixes the PRNU and the column pattern"""
    defects: tuple[Defect, ...] = ()
    shading: tuple[SiteShading | ShadingMap, ...] = ()
    """falloff by light, on top of `vignetting`; interpolated in reciprocal temperature"""
    lights: tuple[LightColor, ...] = ()
    """colors as measured under some lights, in place of `color_matrices`; interpolated likewise"""
    psf: PsfGrid | None = None
    source: str = ""
    """where the numbers are from: repository, commit, licence, paper"""

    @property
    def white_level(self) -> float:
        """Largest stored value."""
        return float(2**self.bits - 1) if self.white_dn is None else self.white_dn

    def noise_at(self, iso: float | Tensor) -> Tensor:
        """S and O per R, G, B at each `iso`, (B, 3, 2) float64."""
        measured = self.noise or (NoisePoint(100.0, (self.shot_at_iso100,) * 3, (self.read_at_iso100,) * 3, "law"),)
        values = torch.tensor([[list(p.shot), list(p.read)] for p in measured], dtype=torch.float64)
        powers = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
        return laws.by_gain([p.iso for p in measured], values, iso, powers).transpose(-1, -2)

    def row_noise_at(self, iso: float | Tensor) -> Tensor:
        """Standard deviation of the rows' offsets at each `iso`, (B,) float64."""
        measured = self.row_noise or ((100.0, 0.0),)
        values = torch.tensor([std for _, std in measured], dtype=torch.float64)
        return laws.by_gain([i for i, _ in measured], values, iso, torch.ones((), dtype=torch.float64))

    def black_at(self, iso: float | Tensor, exposure_time_s: float = 0.01) -> Tensor:
        """Black level in DN per site of the top-left 2x2 at each `iso`, (B, 4) float64."""
        if not self.black:
            level = torch.tensor([self.black_level + o for o in self.black_offsets], dtype=torch.float64)
            return level.expand(len(laws.as_batch(iso)), 4)
        return laws.black_by_gain(self.black, iso, exposure_time_s)

    @staticmethod
    def from_profile(profile: CameraProfile, *, iso: float | None = None) -> Sensor:
        """A simulated camera that behaves as a calibrated one.

        `iso` keeps only the noise and black level measured nearest to it; without it all are kept. What was not
        measured is ideal: no noise, no blur, no falloff, the primaries of sRGB. Defects read white.
        """
        noise = profile.noise or (NoisePoint(100.0, (0.0,) * 3, (0.0,) * 3, "none"),)
        return Sensor(
            name=profile.name,
            cfa=profile.cfa,
            bits=max(1, int(profile.white_level)).bit_length(),
            white_dn=profile.white_level,
            black_level=sum(profile.black[0].level_dn) / 4 if profile.black else 0.0,
            color_matrices=(LINEAR_SRGB, LINEAR_SRGB),
            blur_px=0.0,
            vignetting=NO_FALLOFF,
            noise=tuple(noise) if iso is None else laws.nearest_iso(noise, iso),
            black=profile.black if iso is None or not profile.black else laws.nearest_iso(profile.black, iso),
            defects=tuple(Defect(row, column) for row, column in profile.defects),
            shading=profile.shading,
            lights=profile.colors,
            psf=profile.psf,
            source=f"calibration of {profile.name}",
        )


__all__ = ["LINEAR_SRGB", "NO_FALLOFF", "Defect", "DefectKind", "Matrix", "Radial", "Rgb", "Sensor", "SiteShading"]
