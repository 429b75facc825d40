"""RGB spaces by primaries and white, and Bradford adaptation between whites."""

from __future__ import annotations

import torch
from torch import Tensor

D50_XY = (0.3457, 0.3585)
D65_XY = (0.3127, 0.3290)

# xy of R, G, B, then of white. IEC 61966-2-1, SMPTE EG 432-1, Adobe RGB (1998), ISO 22028-2 (ROMM).
_SPACES = {
    "srgb": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65_XY),
    "display-p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65_XY),
    "adobe-rgb": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65_XY),
    "prophoto-rgb": ((0.734699, 0.265301), (0.159597, 0.840403), (0.036598, 0.000105), D50_XY),
    "xyz": ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), D50_XY),
}
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
COLOR_SPACES = (*_SPACES, "linear-srgb")


def xy_to_xyz(xy: Tensor) -> Tensor:
    """Chromaticity (..., 2) -> XYZ with Y = 1."""
    x, y = xy.unbind(-1)
    return torch.stack([x / y, torch.ones_like(y), (1 - x - y) / y], -1)


def adaptation(source_xy: Tensor, target_xy: Tensor) -> Tensor:
    """Linear Bradford: XYZ under one white -> XYZ under another, (..., 3, 3)."""
    cone = source_xy.new_tensor(_BRADFORD)
    ratio = (cone @ xy_to_xyz(target_xy)[..., None]) / (cone @ xy_to_xyz(source_xy)[..., None])
    matrix: Tensor = torch.linalg.solve(cone, ratio * cone)
    return matrix


def _rgb_to_xyz(space: str) -> Tensor:
    red, green, blue, white = _SPACES["srgb" if space == "linear-srgb" else space]
    if space == "xyz":
        return torch.eye(3, dtype=torch.float64)
    columns = torch.tensor([[x, y, 1 - x - y] for x, y in (red, green, blue)], dtype=torch.float64).T
    white_xyz = xy_to_xyz(torch.tensor(white, dtype=torch.float64))
    scale: Tensor = torch.linalg.solve(columns, white_xyz)
    return columns * scale


def _linear_srgb_to(space: str) -> Tensor:
    white = torch.tensor(_SPACES["srgb" if space == "linear-srgb" else space][3], dtype=torch.float64)
    adapt = adaptation(torch.tensor(D65_XY, dtype=torch.float64), white)
    matrix: Tensor = torch.linalg.solve(_rgb_to_xyz(space), adapt @ _rgb_to_xyz("srgb"))
    return matrix


# computed once here: a cached function would break graphs under torch.compile
_TO_XYZ = {space: _rgb_to_xyz(space) for space in COLOR_SPACES}
_FROM_SRGB = {space: _linear_srgb_to(space) for space in COLOR_SPACES}


def rgb_to_xyz(space: str) -> Tensor:
    """Linear RGB of a space -> XYZ relative to the space's own white, (3, 3) float64."""
    return _TO_XYZ[space]


def linear_srgb_to(space: str) -> Tensor:
    """Linear sRGB -> linear RGB of `space` (XYZ is relative to D50, as in an ICC profile), (3, 3) float64."""
    return _FROM_SRGB[space]


def apply_matrix(rgb: Tensor, matrix: Tensor) -> Tensor:
    """Multiply every pixel of (B, 3, H, W) with a (3, 3) or (B, 3, 3) matrix."""
    batch, _, height, width = rgb.shape
    return (matrix.to(rgb) @ rgb.reshape(batch, 3, -1)).reshape(-1, 3, height, width)
