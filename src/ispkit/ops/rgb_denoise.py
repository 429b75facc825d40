"""Denoising of linear RGB: luma and chroma with their own strengths, in units of the picture's noise."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ispkit.ops import guided, luma, nlm
from ispkit.ops.blur import biweight_kernel, box_kernel
from ispkit.ops.values import is_zero, per_image

Method = Literal["guided", "bilateral", "nlm"]
NOMINAL_PROFILE = (4e-4, 4e-6)
"""(S, O) taken where a frame does not know its noise: sigma = 0.009 at mid gray, 0.002 at black"""
UNIT = {"guided": (1.0, 2.0), "bilateral": (1.5, 2.0), "nlm": (1.4, 2.0)}
"""what strength 1 of luma, of chroma means in standard deviations of the noise: near the best PSNR"""
MAX_RADIUS = 8
"""px; a window whose radius is a tensor is computed this wide"""


def noise_units(rgb: Tensor, profile: Tensor, gain: Tensor | None = None) -> Tensor:
    """The integral of dx / sqrt(S x + O) from 0: a picture whose noise has standard deviation 1 everywhere.

    Args:
        rgb: (B, 3, H, W) linear with noise of variance g S x + g^2 O.
        profile: (1 or B, 3, 2) S and O per channel; (0, 0) in all three means unknown: `NOMINAL_PROFILE`.
        gain: (1 or B, 1, H, W) g; None means 1.
    """
    profile = profile.to(rgb)
    known = (profile != 0).any(dim=-1).any(dim=-1).reshape(-1, 1, 1)
    profile = torch.where(known, profile, profile.new_tensor(NOMINAL_PROFILE))
    slope, offset = profile[..., 0, None, None], profile[..., 1, None, None].clamp(min=1e-10)
    if gain is not None:
        slope, offset = slope * gain, offset * gain.square()
    return 2 * rgb / ((slope * rgb.clamp(min=0) + offset).sqrt() + offset.sqrt())


def denoise(
    rgb: Tensor,
    guide: Tensor,
    strengths: tuple[float | Tensor, float | Tensor],
    *,
    method: Method = "guided",
    radius: float | Tensor = 3.0,
    patch_radius: int = 1,
) -> Tensor:
    """Smooth luma and chroma, keeping what stands out of the noise. Strength 0 leaves a part as it is.

    Args:
        rgb: (B, 3, H, W) linear.
        guide: the same in units of its noise, by `noise_units`; decides what is an edge.
        strengths: of luma and of chroma; about 1 for the noise that the guide assumes; scalars or (B,).
        method: "guided" (a self-guided filter), "bilateral", or "nlm" (non-local means).
        radius: of the window, px; scalar or (B,), at most `MAX_RADIUS`.
        patch_radius: of "nlm".
    """
    parts = luma.split(rgb)
    active = [i for i, s in enumerate(strengths) if not is_zero(s)]
    if not active:
        return rgb
    groups = [(parts[i], per_image(strengths[i], rgb) * UNIT[method][i]) for i in active]
    reach = MAX_RADIUS if isinstance(radius, Tensor) else math.ceil(radius)
    if method == "guided":
        means = _guided(groups, guide, biweight_kernel(radius, reach, guide))
    else:
        scale, size = (1.0, patch_radius) if method == "nlm" else (2.0, 0)
        falloffs = [(image, nlm.falloff_of(s, rgb) / scale) for image, s in groups]
        means = nlm.shift_means(falloffs, guide, window=nlm.disk_window(radius, reach), patch=box_kernel(size, guide))
    change = [torch.zeros_like(part) for part in parts]
    for i, mean in zip(active, means, strict=True):
        change[i] = mean - parts[i]
    return rgb + luma.merge(change[0], change[1])


def _guided(groups: list[tuple[Tensor, Tensor]], guide: Tensor, kernel: Tensor) -> list[Tensor]:
    variance = guided.local_variance(guide, kernel)
    return [guided.self_guided(image, variance, kernel, epsilon=s.square()) for image, s in groups]
