"""Color differences in CIELAB: ΔE*ab (1976) and ΔE00 (2000)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ispkit.metrics.base import check_pair, full_precision, per_picture_mean, safe_sqrt
from ispkit.ops.color_spaces import apply_matrix, rgb_to_xyz
from ispkit.ops.encode import srgb_decode
from ispkit.ops.lab import xyz_to_lab


@full_precision
def delta_e00(picture: Tensor, reference: Tensor, *, data_range: float, linear: bool = False) -> Tensor:
    """Mean ΔE00 over the pixels, (B, 3, H, W) sRGB -> (B,), [0, inf), lower is better.

    CIEDE2000 with kL = kC = kH = 1; white is D65. `linear=True` says that the pixels are linear sRGB
    instead of encoded. `delta_e00_map` gives the value of every pixel.
    """
    return per_picture_mean(delta_e00_map(picture, reference, data_range=data_range, linear=linear))


@full_precision
def delta_e00_map(picture: Tensor, reference: Tensor, *, data_range: float, linear: bool = False) -> Tensor:
    """ΔE00 of every pixel, (B, 3, H, W) sRGB -> (B, H, W)."""
    a, b = check_pair(picture, reference, data_range, channels=3)
    return ciede2000(srgb_to_lab(a, linear=linear), srgb_to_lab(b, linear=linear))


@full_precision
def delta_e76(picture: Tensor, reference: Tensor, *, data_range: float, linear: bool = False) -> Tensor:
    """Mean ΔE*ab (CIE 1976) over the pixels, (B, 3, H, W) sRGB -> (B,), lower is better."""
    a, b = check_pair(picture, reference, data_range, channels=3)
    return per_picture_mean(cie1976(srgb_to_lab(a, linear=linear), srgb_to_lab(b, linear=linear)))


def srgb_to_lab(rgb: Tensor, *, linear: bool = False) -> Tensor:
    """CIELAB of sRGB in [0, 1] under D65, (B, 3, H, W) -> (B, 3, H, W), L* in [0, 100].

    `linear`: the pixels are not encoded. The white is the sum of the primaries, so neutral pixels have a* = b* = 0.
    """
    matrix = rgb_to_xyz("srgb")
    return xyz_to_lab(apply_matrix(rgb if linear else srgb_decode(rgb), matrix), matrix.sum(1))


def cie1976(lab: Tensor, other: Tensor, dim: int = 1) -> Tensor:
    """ΔE*ab: the Euclidean distance in CIELAB, L*, a*, b* along `dim`, which vanishes."""
    return safe_sqrt((lab - other).square().sum(dim))


def ciede2000(lab: Tensor, other: Tensor, *, dim: int = 1, weights: tuple[float, float, float] = (1, 1, 1)) -> Tensor:
    """ΔE00 of Lab colors, L*, a*, b* along `dim`, which vanishes; differentiable, symmetric.

    `weights` are kL, kC, kH. Sharma, Wu, Dalal 2005, "The CIEDE2000 color-difference formula:
    implementation notes, supplementary test data, and mathematical observations". The formula itself
    jumps where two hues are 180 degrees apart.
    """
    l1, a1, b1 = lab.unbind(dim)
    l2, a2, b2 = other.unbind(dim)
    stretch = 1.5 - 0.5 * _chroma_weight((_hypot(a1, b1) + _hypot(a2, b2)) / 2)
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = _hypot(a1, b1), _hypot(a2, b2)
    hue_gap, hue = _hues(_hue(a1, b1), _hue(a2, b2), (c1 == 0) | (c2 == 0))
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2

    s_l = 1 + 0.015 * (lightness - 50).square() / torch.sqrt(20 + (lightness - 50).square())
    s_h = 1 + 0.015 * chroma * _hue_weight(hue)
    d_l = (l2 - l1) / (weights[0] * s_l)
    d_c = (c2 - c1) / (weights[1] * (1 + 0.045 * chroma))
    d_h = 2 * safe_sqrt(c1 * c2) * torch.sin(hue_gap / 2) / (weights[2] * s_h)
    blue = torch.exp(-((torch.rad2deg(hue) - 275) / 25).square())
    rotation = -torch.sin(math.radians(60) * blue) * 2 * _chroma_weight(chroma)
    total = d_l.square() + d_c.square() + d_h.square() + rotation * d_c * d_h
    return safe_sqrt(total.clamp(min=0))


def _chroma_weight(chroma: Tensor) -> Tensor:
    """sqrt(C^7 / (C^7 + 25^7)), 0 at gray to 1, without overflow, with a finite gradient."""
    power = (chroma / 25) ** 7
    return safe_sqrt(power / (power + 1))


def _hypot(a: Tensor, b: Tensor) -> Tensor:
    return safe_sqrt(a.square() + b.square())


def _hue(a: Tensor, b: Tensor) -> Tensor:
    """Hue angle in [0, 2 pi); 0 for gray."""
    gray = (a == 0) & (b == 0)
    return torch.remainder(torch.atan2(b, torch.where(gray, 1.0, a)), 2 * math.pi)


def _hues(h1: Tensor, h2: Tensor, gray: Tensor) -> tuple[Tensor, Tensor]:
    """Signed gap in [-pi, pi] and mean hue; where one color is gray, 0 and the sum."""
    gap, total = h2 - h1, h1 + h2
    far = gap.abs() > math.pi
    wrapped = torch.where(far, gap - 2 * math.pi * gap.sign(), gap)
    turn = 2 * math.pi * (1 - 2 * (total >= 2 * math.pi).to(total))
    mean = torch.where(far, total + turn, total) / 2
    return torch.where(gray, 0.0, wrapped), torch.where(gray, total, mean)


def _hue_weight(hue: Tensor) -> Tensor:
    """The factor T."""
    return (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )
