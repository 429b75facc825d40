"""CIE L*a*b* (CIE 15) to and from XYZ, and to and from linear sRGB under D50."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.color_spaces import D50_XY, linear_srgb_to, xy_to_xyz

_DELTA = 6 / 29  # CIE 15: below DELTA^3 the cube root becomes a straight line
_D50 = xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64))


def xyz_to_lab(xyz: Tensor, white: Tensor) -> Tensor:
    """XYZ -> CIELAB, channels on axis 1 of (B, 3, ...), L* in [0, 100]; differentiable.

    `white` (3,) is in the units of `xyz`.
    """
    t = xyz / _beside(white, xyz)
    root = t.clamp(min=_DELTA**3) ** (1 / 3)
    x, y, z = torch.where(t > _DELTA**3, root, t / (3 * _DELTA**2) + 4 / 29).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_xyz(lab: Tensor, white: Tensor) -> Tensor:
    """CIELAB -> XYZ in the units of `white` (3,), channels on axis 1 of (B, 3, ...)."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    return torch.where(f > _DELTA, f**3, 3 * _DELTA**2 * (f - 4 / 29)) * _beside(white, lab)


def linear_srgb_to_lab(linear: Tensor) -> Tensor:
    """Linear sRGB (N, 3) -> CIELAB under D50 (Bradford from D65), (N, 3) float64."""
    return xyz_to_lab(linear.double() @ linear_srgb_to("xyz").T, _D50)


def lab_to_linear_srgb(lab: Tensor) -> Tensor:
    """CIELAB under D50 (N, 3) -> linear sRGB (Bradford to D65), (N, 3) float64; can be negative."""
    linear: Tensor = torch.linalg.solve(linear_srgb_to("xyz"), lab_to_xyz(lab.double(), _D50).T).T
    return linear


def _beside(white: Tensor, picture: Tensor) -> Tensor:
    return white.to(picture).reshape(3, *[1] * (picture.ndim - 2))
