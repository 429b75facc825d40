"""`CameraProfile`: what a calibration knows of a camera; names and directions follow the DNG specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ispkit.core.cfa import CfaPattern

Rgb = tuple[float, float, float]
Sites = tuple[float, float, float, float]
Matrix = tuple[Rgb, Rgb, Rgb]
Plane = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class BlackPoint:
    """Black level at one setting."""

    iso: float
    exposure_time_s: float
    level_dn: Sites
    """per site of the top-left 2x2, row by row"""
    noise_dn: Sites
    """standard deviation in time per site; zeros if unknown"""


@dataclass(frozen=True)
class NoisePoint:
    """variance = shot x + read of the signal x in [0, 1] (black to white level), per R, G, B."""

    iso: float
    shot: Rgb
    read: Rgb
    """0 if the shots could not tell it"""
    method: str
    """"flat_pairs" (photon transfer) or "single_image" (Foi et al. 2008)"""


@dataclass(frozen=True)
class ShadingMap:
    """Gains that make a flat field flat under one light; 1 at the brightest place of each plane."""

    cct_k: float
    """of the light; 0 if unknown"""
    gains: tuple[Plane, Plane, Plane, Plane]
    """one plane a 2x2 site (row by row), each a mesh of rows x columns whose corner nodes are the corners of the
    active area"""
    radial: tuple[float, float, float, float, float]
    """FixVignetteRadial of the green sites: gain 1 + k0 r^2 + ... + k4 r^10, r = 1 in the farthest corner"""
    center: tuple[float, float]
    """row and column of the radial model's center, in units of height and width"""


@dataclass(frozen=True)
class LightColor:
    """The camera's colors under one light."""

    name: str
    """"D65", "A", "TL84", ... or the file's name"""
    cct_k: float
    neutral: Rgb
    """the light's white in sensor RGB, largest 1 (as AsShotNeutral), from flats of this light if there were any"""
    forward_matrix: Matrix
    """white-balanced sensor RGB -> XYZ D50; sends (1, 1, 1) to D50 exactly"""
    color_matrix: Matrix
    """XYZ under this light -> sensor RGB"""
    ccm: Matrix
    """white-balanced sensor RGB -> linear sRGB; rows sum to 1"""
    delta_e00_mean: float
    """of the 24 patches after the matrix; 0 if unknown, as of an imported tuning file"""
    delta_e00_max: float


@dataclass(frozen=True)
class PsfGrid:
    """Point spread functions over the picture, in sensor pixels of the full resolution."""

    kernels: Mapping[str, tuple[tuple[Plane, ...], ...]]
    """"R", "G", "B" -> rows x columns of odd square kernels that sum to 1, over equal cells of the active area"""


@dataclass(frozen=True)
class CameraProfile:
    """A calibrated camera. Parts that were not measured are empty tuples or None."""

    name: str
    cfa: CfaPattern
    size: tuple[int, int]
    """height and width of the active area"""
    white_level: float
    black: tuple[BlackPoint, ...] = ()
    noise: tuple[NoisePoint, ...] = ()
    defects: tuple[tuple[int, int], ...] = ()
    """row, column in the active area"""
    shading: tuple[ShadingMap, ...] = ()
    colors: tuple[LightColor, ...] = ()
    psf: PsfGrid | None = None
    made: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """where it comes from: files, date, versions"""
