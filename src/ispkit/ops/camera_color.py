"""Sensor RGB to XYZ and sRGB, as chapter 6 of the DNG specification 1.7.1 says.

Matrices come in pairs (B, 2, 3, 3) for two calibration illuminants of CCT (B, 2) and are interpolated
linearly in reciprocal temperature. `neutral` is the scene's white in sensor RGB.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ispkit.ops.color_spaces import D50_XY, adaptation, linear_srgb_to, xy_to_xyz
from ispkit.ops.temperature import xy_to_cct

_STEPS = 8
_FIRST_MIRED = 200.0
_MIREDS = (10.0, 600.0)  # 100000 K to 1667 K


def interpolate_by_cct(pair: Tensor, illuminant_cct_k: Tensor, cct_k: Tensor) -> Tensor:
    """The matrix (B, 3, 3) for a scene of `cct_k` (B,); the nearer one outside the two illuminants."""
    inverse = 1 / illuminant_cct_k.clamp(min=1.0)
    span = inverse[:, 0] - inverse[:, 1]
    same = span.abs() < 1e-9
    weight = ((1 / cct_k - inverse[:, 1]) / torch.where(same, torch.ones_like(span), span)).clamp(0, 1)
    weight = torch.where(same, torch.ones_like(weight), weight)[:, None, None]
    return weight * pair[:, 0] + (1 - weight) * pair[:, 1]


def neutral_to_xy(neutral: Tensor, color_matrices: Tensor, illuminant_cct_k: Tensor) -> Tensor:
    """Chromaticity (B, 2) of the light whose white reads `neutral` (B, 3).

    The light's temperature selects the matrix that tells the light's temperature: a root in reciprocal
    temperature, found by secants, which need far fewer steps than the specification's plain iteration.
    """

    def seen(mired: Tensor) -> tuple[Tensor, Tensor]:
        matrix = interpolate_by_cct(color_matrices, illuminant_cct_k, 1e6 / mired)
        xyz = torch.linalg.solve(matrix, neutral[..., None])[..., 0].clamp(min=1e-6)
        # a neutral that the camera cannot see would leave the diagram; stay on plausible whites
        xy = (xyz[:, :2] / xyz.sum(-1, keepdim=True)).clamp(0.1, 0.7)
        return xy, 1e6 / xy_to_cct(xy)[0] - mired

    old = torch.full_like(neutral[:, 0], _FIRST_MIRED)
    xy, old_gap = seen(old)
    new = (old + old_gap).clamp(*_MIREDS)
    for _ in range(_STEPS):
        xy, gap = seen(new)
        slope = (gap - old_gap) / torch.where(new == old, torch.ones_like(new), new - old)
        slope = torch.where(slope.abs() < 1e-6, -torch.ones_like(slope), slope)
        old, old_gap, new = new, gap, (new - gap / slope).clamp(*_MIREDS)
    return xy


def xy_to_neutral(xy: Tensor, color_matrices: Tensor, illuminant_cct_k: Tensor) -> Tensor:
    """Sensor RGB (B, 3), largest 1, of a light of chromaticity `xy` (B, 2)."""
    matrix = interpolate_by_cct(color_matrices, illuminant_cct_k, xy_to_cct(xy)[0])
    white = (matrix @ xy_to_xyz(xy)[..., None])[..., 0].clamp(min=1e-4)
    return white / white.amax(-1, keepdim=True)


def camera_to_xyz_d50(
    neutral: Tensor, color_matrices: Tensor, forward_matrices: Tensor, illuminant_cct_k: Tensor
) -> Tensor:
    """Sensor RGB (not white-balanced) -> XYZ under D50, (B, 3, 3); `neutral` goes to Y = 1.

    Uses the forward matrices where the camera has them, else inverts the color matrix and adapts the
    scene's white to D50.
    """
    xy = neutral_to_xy(neutral, color_matrices, illuminant_cct_k)
    cct = xy_to_cct(xy)[0]
    inverse = torch.linalg.inv(interpolate_by_cct(color_matrices, illuminant_cct_k, cct))
    by_color = adaptation(xy, xy.new_tensor(D50_XY).expand_as(xy)) @ inverse
    by_forward = interpolate_by_cct(forward_matrices, illuminant_cct_k, cct) / neutral[:, None, :]
    has_forward = (forward_matrices.abs().sum((-1, -2)) > 0).all(-1)
    matrix = torch.where(has_forward[:, None, None], by_forward, by_color)
    # as the SDK normalizes forward matrices: the neutral becomes exactly the white of the target
    white = xy_to_xyz(xy.new_tensor(D50_XY))[:, None]
    return matrix * (white / (matrix @ neutral[..., None]))


def camera_to_linear_srgb(
    neutral: Tensor, wb_gains: Tensor, color_matrices: Tensor, forward_matrices: Tensor, illuminant_cct_k: Tensor
) -> Tensor:
    """Sensor RGB after `wb_gains` -> linear sRGB, (B, 3, 3); a scaled `neutral` goes to gray.

    White after gains of smallest 1 becomes (1, 1, 1); larger gains stay visible as exposure.
    """
    to_xyz = camera_to_xyz_d50(neutral, color_matrices, forward_matrices, illuminant_cct_k)
    to_srgb: Tensor = torch.linalg.inv(linear_srgb_to("xyz")).to(to_xyz) @ to_xyz
    return to_srgb / wb_gains[:, None, :] * wb_gains.amin(-1)[:, None, None]


def off_diagonal(shares: Sequence[Tensor]) -> Tensor:
    """A matrix (..., 3, 3) from its six off-diagonal entries, row by row; rows sum to 1, so gray stays gray."""
    rg, rb, gr, gb, br, bg = shares
    rows = [
        torch.stack([1 - rg - rb, rg, rb], -1),
        torch.stack([gr, 1 - gr - gb, gb], -1),
        torch.stack([br, bg, 1 - br - bg], -1),
    ]
    return torch.stack(rows, -2)
