"""A generated scene for demonstrations: ColorChecker, edges, texture, gradients and a bright lamp."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ispkit.charts.colorchecker import colorchecker

_SUPERSAMPLE = 2  # edges are averaged down, as a lens and a pixel would


def studio_scene(height: int = 1024, width: int = 1536, *, seed: int = 0) -> Tensor:
    """Linear sRGB (1, 3, height, width); white paper is about 0.9, the lamp reaches 4.

    Same seed, same picture. `height` and `width` should be at least 256.
    """
    generator = torch.Generator().manual_seed(seed)
    h, w = height * _SUPERSAMPLE, width * _SUPERSAMPLE
    scene = _wall(h, w)
    _place(scene, colorchecker(round(0.36 * h), round(0.46 * w)), 0.07, 0.05)
    _place(scene, siemens_star(round(0.36 * h), 36), 0.07, 0.55)
    _place(scene, slanted_edge(round(0.36 * h), round(0.16 * w), 5.0), 0.07, 0.81)
    _place(scene, dead_leaves(round(0.42 * h), round(0.46 * w), generator), 0.5, 0.05)
    _place(scene, _gradients(round(0.42 * h), round(0.42 * w)), 0.5, 0.55)
    _lamp(scene, 0.71, 0.76, 0.05)
    return torch.nn.functional.avg_pool2d(scene[None], _SUPERSAMPLE)


def siemens_star(size: int, spokes: int) -> Tensor:
    """Black and white spokes (3, size, size), reflectance 0.04 and 0.85."""
    y, x = _centered(size, size)
    white = torch.sin(torch.atan2(y, x) * spokes) > 0
    star = torch.where(white, 0.85, 0.04)
    outside = (y.square() + x.square()).sqrt() > 0.95
    return torch.where(outside, 0.4, star).expand(3, -1, -1)


def slanted_edge(height: int, width: int, angle_deg: float) -> Tensor:
    """An edge of contrast 4:1 (0.6 against 0.15), `angle_deg` from the vertical, (3, height, width)."""
    y = torch.arange(height)[:, None] - height / 2
    x = torch.arange(width)[None] - width / 2
    bright = x > y * math.tan(math.radians(angle_deg))
    return torch.where(bright, 0.6, 0.15).expand(3, -1, -1)


def dead_leaves(height: int, width: int, generator: torch.Generator, discs: int = 4000) -> Tensor:
    """Occluding discs of random color with radius density r^-3, (3, height, width).

    Source: Lee, Mumford, Huang, Occlusion models for natural images, IJCV 2001.
    """
    low, high = 0.006 * height, 0.25 * height
    u = torch.rand(discs, generator=generator)
    radius = (low**-2 + u * (high**-2 - low**-2)) ** -0.5
    center = torch.rand(discs, 2, generator=generator) * torch.tensor([height, width])
    gray = 0.04 + 0.7 * torch.rand(discs, 1, generator=generator) ** 1.5
    tint = 0.7 + 0.6 * torch.rand(discs, 3, generator=generator)
    color = (gray * tint).clamp(0, 0.9)
    leaves = torch.full((3, height, width), 0.2)
    for i in range(discs):
        _disc(leaves, center[i], float(radius[i]), color[i])
    return leaves


def _disc(picture: Tensor, center: Tensor, radius: float, color: Tensor) -> None:
    cy, cx = (float(c) for c in center)
    top, left = max(0, int(cy - radius)), max(0, int(cx - radius))
    window = picture[:, top : int(cy + radius) + 2, left : int(cx + radius) + 2]
    y = torch.arange(window.shape[1])[:, None] + top - cy
    x = torch.arange(window.shape[2])[None] + left - cx
    window[:, y.square() + x.square() <= radius**2] = color[:, None]


def _wall(height: int, width: int) -> Tensor:
    """A gray wall, brighter and a little warmer toward the right."""
    ramp = torch.linspace(0, 1, width)[None].expand(height, -1)
    fall = torch.linspace(1.1, 0.8, height)[:, None]
    base = torch.stack([0.24 + 0.08 * ramp, 0.24 + 0.06 * ramp, 0.24 + 0.02 * ramp])
    return base * fall


def _gradients(height: int, width: int) -> Tensor:
    """A hue circle unrolled over saturation, a gray ramp and gray steps, from top to bottom."""
    x = torch.linspace(0, 1, width)
    hue = torch.stack([0.5 + 0.5 * torch.cos(2 * math.pi * (x - k / 3)) for k in range(3)])
    pale = torch.linspace(0, 1, height)[None, :, None]
    colors = (0.6 * ((1 - pale) * hue[:, None] + pale * 0.5)).clone()
    colors[:, round(0.62 * height) :] = 0.9 * x.square()
    steps = 0.9 * 2.0 ** -(7 - (x * 8).floor().clamp(max=7))
    colors[:, round(0.82 * height) :] = steps
    return colors


def _lamp(scene: Tensor, v: float, u: float, size: float) -> None:
    """Add a warm glow that clips most sensors in its middle."""
    _, height, width = scene.shape
    y = (torch.arange(height)[:, None] - v * height) / height
    x = (torch.arange(width)[None] - u * width) / height
    glow = 4.0 * torch.exp(-0.5 * (y.square() + x.square()) / (size / 2) ** 2)
    scene += glow * torch.tensor([1.0, 0.85, 0.6])[:, None, None]


def _place(scene: Tensor, chart: Tensor, v: float, u: float) -> None:
    top, left = round(v * scene.shape[1]), round(u * scene.shape[2])
    scene[:, top : top + chart.shape[1], left : left + chart.shape[2]] = chart


def _centered(height: int, width: int) -> tuple[Tensor, Tensor]:
    y = torch.linspace(-1, 1, height)[:, None].expand(-1, width)
    x = torch.linspace(-1, 1, width)[None].expand(height, -1)
    return y, x
