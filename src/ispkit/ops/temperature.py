"""Correlated color temperature and tint of a white, after Robertson (1968) as the DNG SDK uses it.

Table: isotemperature lines of Wyszecki and Stiles, Color Science (1982), p. 228, with the known
misprint at 325 mired corrected (u = 0.24792).
"""

from __future__ import annotations

import torch
from torch import Tensor

# mired, u, v, slope of the isotemperature line in CIE 1960 uv
_LINES = (
    (0, 0.18006, 0.26352, -0.24341), (10, 0.18066, 0.26589, -0.25479), (20, 0.18133, 0.26846, -0.26876),
    (30, 0.18208, 0.27119, -0.28539), (40, 0.18293, 0.27407, -0.30470), (50, 0.18388, 0.27709, -0.32675),
    (60, 0.18494, 0.28021, -0.35156), (70, 0.18611, 0.28342, -0.37915), (80, 0.18740, 0.28668, -0.40955),
    (90, 0.18880, 0.28997, -0.44278), (100, 0.19032, 0.29326, -0.47888), (125, 0.19462, 0.30141, -0.58204),
    (150, 0.19962, 0.30921, -0.70471), (175, 0.20525, 0.31647, -0.84901), (200, 0.21142, 0.32312, -1.0182),
    (225, 0.21807, 0.32909, -1.2168), (250, 0.22511, 0.33439, -1.4512), (275, 0.23247, 0.33904, -1.7298),
    (300, 0.24010, 0.34308, -2.0637), (325, 0.24792, 0.34655, -2.4681), (350, 0.25591, 0.34951, -2.9641),
    (375, 0.26400, 0.35200, -3.5814), (400, 0.27218, 0.35407, -4.3633), (425, 0.28039, 0.35577, -5.3762),
    (450, 0.28863, 0.35714, -6.7262), (475, 0.29685, 0.35823, -8.5955), (500, 0.30505, 0.35907, -11.324),
    (525, 0.31320, 0.35968, -15.628), (550, 0.32129, 0.36011, -23.325), (575, 0.32931, 0.36038, -40.770),
    (600, 0.33724, 0.36051, -116.45),
)  # fmt: skip
_TINT_SCALE = -3000.0  # DNG tint units per unit of uv; positive tint is magenta light corrected


def xy_to_uv(xy: Tensor) -> Tensor:
    """CIE 1931 xy (..., 2) -> CIE 1960 uv."""
    x, y = xy.unbind(-1)
    return torch.stack([2 * x, 3 * y], -1) / (1.5 - x + 6 * y)[..., None]


def uv_to_xy(uv: Tensor) -> Tensor:
    """CIE 1960 uv (..., 2) -> CIE 1931 xy."""
    u, v = uv.unbind(-1)
    return torch.stack([1.5 * u, v], -1) / (u - 4 * v + 2)[..., None]


def xy_to_cct(xy: Tensor) -> tuple[Tensor, Tensor]:
    """White xy (..., 2) -> CCT in kelvin and DNG tint, both (...).

    >>> cct, tint = xy_to_cct(torch.tensor([0.31271, 0.32902]))
    >>> round(float(cct), -1), round(float(tint))
    (6500.0, 10)
    """
    lines = xy.new_tensor(_LINES)
    mired, u, v, slope = lines.unbind(-1)
    norm = (1 + slope.square()).sqrt()
    point = xy_to_uv(xy)
    above = ((point[..., 1:] - v) - slope * (point[..., :1] - u)) / norm  # signed distance to each line
    below = above[..., 1:] <= 0
    last = len(_LINES) - 2
    i = torch.where(below.any(-1), below.to(torch.uint8).argmax(-1), last) + 1
    far = (-torch.gather(above, -1, i[..., None])[..., 0]).clamp(min=0)
    near = torch.gather(above, -1, (i - 1)[..., None])[..., 0]
    f = torch.where(i == 1, 0.0, far / (near + far).clamp(min=1e-12))
    cct = 1e6 / (mired[i - 1] * f + mired[i] * (1 - f)).clamp(min=1.0)
    base = torch.stack([u, v], -1)
    on_locus = base[i - 1] * f[..., None] + base[i] * (1 - f)[..., None]
    tint = ((point - on_locus) * _direction(slope, norm, i, f)).sum(-1) * _TINT_SCALE
    return cct, tint


def cct_to_xy(cct_k: Tensor, tint: Tensor) -> Tensor:
    """CCT in kelvin (1667 and up) and DNG tint -> white xy (..., 2); differentiable in both."""
    lines = cct_k.new_tensor(_LINES)
    mired, u, v, slope = (c.contiguous() for c in lines.unbind(-1))
    wanted = 1e6 / cct_k
    i = torch.searchsorted(mired, wanted.detach().contiguous(), right=True).clamp(1, len(_LINES) - 1)
    f = (mired[i] - wanted) / (mired[i] - mired[i - 1])
    base = torch.stack([u, v], -1)
    on_locus = base[i - 1] * f[..., None] + base[i] * (1 - f)[..., None]
    norm = (1 + slope.square()).sqrt()
    return uv_to_xy(on_locus + _direction(slope, norm, i, f) * (tint / _TINT_SCALE)[..., None])


def _direction(slope: Tensor, norm: Tensor, i: Tensor, f: Tensor) -> Tensor:
    """Unit vector along the isotemperature line between lines i-1 and i."""
    unit = torch.stack([1 / norm, slope / norm], -1)
    mixed = unit[i - 1] * f[..., None] + unit[i] * (1 - f)[..., None]
    unit_mixed: Tensor = mixed / mixed.norm(dim=-1, keepdim=True)
    return unit_mixed
