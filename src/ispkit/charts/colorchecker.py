"""The 24-patch ColorChecker: names, reference colors, and a picture of it.

Source: X-Rite, "New color specifications for ColorChecker SG and Classic Charts" (charts made after
November 2014), CIE L*a*b* under D50 for the 2-degree observer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.color_spaces import D50_XY, xy_to_xyz
from ispkit.ops.lab import lab_to_linear_srgb, lab_to_xyz

LAB_D50: dict[str, tuple[float, float, float]] = {
    "dark skin": (37.54, 14.37, 14.92),
    "light skin": (64.66, 19.27, 17.50),
    "blue sky": (49.32, -3.82, -22.54),
    "foliage": (43.46, -12.74, 22.72),
    "blue flower": (54.94, 9.61, -24.79),
    "bluish green": (70.48, -32.26, -0.37),
    "orange": (62.73, 35.83, 56.50),
    "purplish blue": (39.43, 10.75, -45.17),
    "moderate red": (50.57, 48.64, 16.67),
    "purple": (30.10, 22.54, -20.87),
    "yellow green": (71.77, -24.13, 58.19),
    "orange yellow": (71.51, 18.24, 67.37),
    "blue": (28.37, 15.42, -49.80),
    "green": (54.38, -39.72, 32.27),
    "red": (42.43, 51.05, 28.62),
    "yellow": (81.80, 2.67, 80.41),
    "magenta": (50.63, 51.28, -14.12),
    "cyan": (49.57, -29.71, -28.32),
    "white 9.5": (95.19, -1.03, 2.93),
    "neutral 8": (81.29, -0.57, 0.44),
    "neutral 6.5": (66.89, -0.75, -0.06),
    "neutral 5": (50.76, -0.13, 0.14),
    "neutral 3.5": (35.63, -0.46, -0.48),
    "black 2": (20.64, 0.07, -0.46),
}
ROWS, COLUMNS = 4, 6
_GAP = 0.12  # share of a cell that is black border, on each side


def reference_xyz() -> Tensor:
    """XYZ (24, 3) under D50, Y of a perfect diffuser = 1, in float64."""
    return lab_to_xyz(_reference_lab(), xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64)))


def reference_linear_srgb() -> Tensor:
    """Linear sRGB (24, 3), D50 adapted to D65 by Bradford; cyan is negative in red."""
    return lab_to_linear_srgb(_reference_lab())


def _reference_lab() -> Tensor:
    return torch.tensor(list(LAB_D50.values()), dtype=torch.float64)


def colorchecker(height: int, width: int) -> Tensor:
    """The chart as linear sRGB (3, height, width), at least 0: patches on a black frame."""
    colors = reference_linear_srgb().float().clamp(min=0).T.reshape(3, ROWS, COLUMNS)
    v = (torch.arange(height) + 0.5) / height * ROWS
    u = (torch.arange(width) + 0.5) / width * COLUMNS
    patches = colors[:, v.long()][:, :, u.long()]
    inside = _inside(v)[:, None] & _inside(u)[None]
    return torch.where(inside, patches, torch.full_like(patches, 0.03))


def _inside(cells: Tensor) -> Tensor:
    within = cells - cells.floor()
    return (within > _GAP) & (within < 1 - _GAP)
