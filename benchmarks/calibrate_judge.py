"""How far chart colors are from what they should be, the same for every tool."""

from __future__ import annotations

import torch
from scipy.optimize import minimize_scalar

from ispkit.metrics.color import ciede2000
from ispkit.ops.color_spaces import D50_XY, linear_srgb_to, xy_to_xyz
from ispkit.ops.lab import xyz_to_lab

_WHITE = xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64))
_TO_XYZ = linear_srgb_to("xyz").double()


def mean_delta_e(linear: torch.Tensor, reference: torch.Tensor) -> float:
    """Mean CIEDE2000 under D50 of linear sRGB colors (N, 3) against their reference, at the best exposure."""
    target = xyz_to_lab(reference @ _TO_XYZ.T, _WHITE)
    start = float(reference.sum() / linear.sum())

    def error(scale: float) -> float:
        return float(ciede2000(xyz_to_lab(scale * linear @ _TO_XYZ.T, _WHITE), target).mean())

    found = minimize_scalar(error, bounds=(0.7 * start, 1.4 * start), method="bounded", options={"xatol": 1e-5 * start})
    return float(found.fun)
