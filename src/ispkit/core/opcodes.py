"""Corrections that a DNG asks for (OpcodeList1-3): what they say, not how they are applied.

Source: Adobe, Digital Negative Specification 1.7.1, chapter 7 "Opcode List Processing".
Coordinates are pixels of the active area as stored, `(top, left, bottom, right)`, end exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass

Area = tuple[int, int, int, int]


@dataclass(frozen=True)
class Opcode:
    """One correction. `stage` is the list it stands in: 1 as stored, 2 linear mosaic, 3 after demosaic."""

    stage: int


@dataclass(frozen=True)
class BadPixelsConstant(Opcode):
    """FixBadPixelsConstant (4): every photosite that holds `value` (stored DN) is bad."""

    value: int
    phase: int


@dataclass(frozen=True)
class BadPixelsList(Opcode):
    """FixBadPixelsList (5): bad points `(row, column)` and bad rectangles."""

    phase: int
    points: tuple[tuple[int, int], ...]
    rectangles: tuple[Area, ...]


@dataclass(frozen=True)
class GainMap(Opcode):
    """GainMap (9): a coarse grid of gains, interpolated bilinearly over the picture.

    `gains[i][j][p]` stands at relative position `(origin_v + i * spacing_v, origin_h + j * spacing_h)`
    of the *whole* picture (0 = first row or column, 1 = end of the last).
    """

    area: Area
    plane: int
    planes: int
    row_pitch: int
    col_pitch: int
    spacing_v: float
    spacing_h: float
    origin_v: float
    origin_h: float
    gains: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True)
class VignetteRadial(Opcode):
    """FixVignetteRadial (3): gain 1 + k0 r^2 + ... + k4 r^10, r = 1 at the corner farthest from the center."""

    k: tuple[float, float, float, float, float]
    center: tuple[float, float]


@dataclass(frozen=True)
class WarpRectilinear(Opcode):
    """WarpRectilinear (1): radial and tangential distortion, one `(kr0..kr3, kt0, kt1)` per plane.

    Gives for each output position the source position; `center` is relative `(x, y)`.
    """

    planes: tuple[tuple[float, float, float, float, float, float], ...]
    center: tuple[float, float]


@dataclass(frozen=True)
class WarpFisheye(Opcode):
    """WarpFisheye (2): angle polynomial, one `(kr0..kr3)` per plane."""

    planes: tuple[tuple[float, float, float, float], ...]
    center: tuple[float, float]


@dataclass(frozen=True)
class MapValues(Opcode):
    """MapTable (7), MapPolynomial (8): `kind` is "table" or "polynomial", over an area with pitches."""

    kind: str
    area: Area
    plane: int
    planes: int
    row_pitch: int
    col_pitch: int
    coefficients: tuple[float, ...]


@dataclass(frozen=True)
class LineValues(Opcode):
    """DeltaPerRow/Column (10, 11) and ScalePerRow/Column (12, 13)."""

    axis: str
    action: str
    area: Area
    plane: int
    planes: int
    row_pitch: int
    col_pitch: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class TrimBounds(Opcode):
    """TrimBounds (6): keep only this area."""

    area: Area


@dataclass(frozen=True)
class UnknownOpcode(Opcode):
    """An opcode that the toolkit does not apply; `optional` as its flag says."""

    code: int
    optional: bool
