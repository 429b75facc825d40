"""White-balance error: of gray patches in a finished picture, and of a camera neutral estimated on RAW."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.color import lab_of_linear_srgb
from ispkit.kpi.result import Kpi, Result
from ispkit.ops.color_spaces import D65_XY, rgb_to_xyz
from ispkit.ops.temperature import xy_to_cct

_OFF_LOCUS = 150.0  # DNG tint units beyond which a color temperature says nothing
_LOCUS_K = (1700.0, 25_000.0)
_CLIPPED = 0.99


@dataclass(frozen=True)
class GrayBalance:
    """How far gray patches are from gray."""

    angular_error_deg: float
    """between the sum of the patches and the sum of their references, in linear sRGB"""
    patch_error_deg: tuple[float, ...]
    delta_c: float
    """mean chroma error in a*b* (D50), at the picture's own exposure"""
    cct_k: float
    """of the light in which the reference would look like the picture; 6504 K if it is right; NaN off the locus"""
    mired: float
    """shift from D65; positive is too warm (yellow)"""
    tint: float
    """DNG tint units away from D65's; positive is too magenta"""
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """The numbers."""
        angle = "angle between gray patches and true gray, linear sRGB"
        return Result(
            (
                Kpi("wb.angular_error_deg", self.angular_error_deg, "deg", "lower", region, angle),
                Kpi("wb.delta_c", self.delta_c, "", "lower", region, "chroma error of the gray patches in a*b*"),
                Kpi("wb.mired", self.mired, "mired", "zero", region, "shift along the daylight locus; + is too warm"),
                Kpi("wb.tint", self.tint, "", "zero", region, "shift across the locus, DNG units; + is too magenta"),
            ),
            warnings=self.warnings,
        )


@dataclass(frozen=True)
class NeutralError:
    """How far an estimated camera neutral is from the true one."""

    recovery_deg: float
    """angle between the two neutrals (the usual "angular error")"""
    reproduction_deg: float
    """angle between gray and a gray patch balanced with the estimate (Finlayson & Zakizadeh 2014)"""

    def as_result(self, region: str = "") -> Result:
        """The numbers."""
        recovery = "angle between estimated and true neutral, sensor RGB"
        reproduction = "angle of a gray patch balanced with the estimate (Finlayson & Zakizadeh 2014)"
        return Result(
            (
                Kpi("wb.neutral_error_deg", self.recovery_deg, "deg", "lower", region, recovery),
                Kpi("wb.reproduction_error_deg", self.reproduction_deg, "deg", "lower", region, reproduction),
            )
        )


def gray_balance(linear_rgb: Tensor, reference: Tensor | None = None) -> GrayBalance:
    """Measure gray patches, (N, 3) or (3,) means in linear sRGB; clipped ones (0.99 and above) are left out.

    `reference`, of the same shape, is what the patches would be in a perfect picture up to exposure (real
    gray patches are not exactly neutral); without it, exact gray. Brighter patches count more, as they do
    for the eye. Raises `ShapeError` or `ParamError`.
    """
    rgb = _rows(linear_rgb)
    true = torch.ones_like(rgb) if reference is None else _rows(reference)
    if rgb.ndim != 2 or rgb.shape[1] != 3 or true.shape != rgb.shape:
        raise ShapeError(f"gray patches and reference must both be (N, 3), got {tuple(rgb.shape)}, {tuple(true.shape)}")
    usable = (rgb < _CLIPPED).all(1) & (rgb > 0).all(1)
    warnings = [] if bool(usable.all()) else [f"{int((~usable).sum())} of {len(rgb)} gray patches are clipped or black"]
    if not bool(usable.any()):
        nan = math.nan
        return GrayBalance(nan, (nan,) * len(rgb), nan, nan, nan, nan, (*warnings, "no gray patch is left to measure"))
    each = torch.where(usable, _angle_deg(rgb, true), math.nan)
    # scaled to the picture's exposure, the reference takes part as the patch that should have come out
    rgb, true = rgb[usable], true[usable] * (rgb[usable].sum(1) / true[usable].sum(1))[:, None]
    shift = lab_of_linear_srgb(rgb)[:, 1:] - lab_of_linear_srgb(true)[:, 1:]
    cct_k, mired, tint, off = _light(rgb.sum(0) / true.sum(0))
    return GrayBalance(
        angular_error_deg=float(_angle_deg(rgb.sum(0), true.sum(0))),
        patch_error_deg=tuple(each.tolist()),
        delta_c=float(shift.norm(dim=1).mean()),
        cct_k=cct_k,
        mired=mired,
        tint=tint,
        warnings=(*warnings, *off),
    )


def neutral_error(estimate: Sequence[float], truth: Sequence[float]) -> NeutralError:
    """Compare two camera neutrals (sensor RGB of white, any scale), e.g. AsShotNeutral and the truth."""
    a, b = (torch.tensor(list(v), dtype=torch.float64) for v in (estimate, truth))
    if a.shape != (3,) or b.shape != (3,) or not bool((a > 0).all() and (b > 0).all()):
        raise ParamError(f"a neutral is three positive numbers, got {tuple(estimate)} and {tuple(truth)}")
    return NeutralError(float(_angle_deg(a, b)), float(_angle_deg(b / a, torch.ones(3, dtype=torch.float64))))


def _rows(patches: Tensor) -> Tensor:
    rows = patches.detach().cpu().double()
    return rows[None] if rows.ndim == 1 else rows


def _angle_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angle along the last axis; by atan2, since acos loses half the digits near 0."""
    cross = torch.linalg.cross(a, b).norm(dim=-1)
    angle: Tensor = torch.rad2deg(torch.atan2(cross, (a * b).sum(-1)))
    return angle


def _light(cast: Tensor) -> tuple[float, float, float, list[str]]:
    """CCT, mired and tint away from D65 of the color `cast`, (3,) linear sRGB; a complaint if off the locus."""
    xyz = rgb_to_xyz("srgb") @ cast
    (cct, home), (tint, home_tint) = (v.tolist() for v in xy_to_cct(torch.stack([xyz[:2] / xyz.sum(), _d65()])))
    tint = home_tint - tint  # the DNG's tint is the magenta that corrects a light: positive for a greenish one
    if abs(tint) > _OFF_LOCUS or not _LOCUS_K[0] < cct < _LOCUS_K[1]:
        return math.nan, math.nan, tint, ["the gray patches are far off the daylight locus: no color temperature"]
    return cct, 1e6 / cct - 1e6 / home, tint, []


def _d65() -> Tensor:
    return torch.tensor(D65_XY, dtype=torch.float64)
