"""Pictures that the toolkit makes itself, for use where no data is at hand: textures, edges, gradients, chart parts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ispkit.charts.leaves import leaves_texture
from ispkit.charts.rainbow import ellipses
from ispkit.charts.scene import studio_scene
from ispkit.core.errors import ParamError
from ispkit.ops.encode import srgb_encode

Size = tuple[int, int]
_LEAST = 64
_STUDIO_LEAST = 256
_SUPERSAMPLE = 2  # edges are averaged down, as a lens and a pixel would


def project_pictures(count: int, size: Size = (256, 256), *, seed: int = 0) -> dict[str, Tensor]:
    """`count` pictures (1, 3, height, width), encoded sRGB in [0, 1]; the kinds of `KINDS` in turn.

    They have the edges, the fine texture and the wide range of brightness of photographs, and fill no other claim: what
    is tuned on them should be proven on real ones. Same seed, same pictures; a longer set begins with a shorter one.
    """
    if count < 1 or min(size) < _LEAST:
        raise ParamError(f"project_pictures: {count} pictures of {size[0]}x{size[1]}; at least 1 of {_LEAST}x{_LEAST}")
    kinds = list(KINDS)
    made = {}
    for i in range(count):
        kind = kinds[i % len(kinds)]
        chance = torch.Generator().manual_seed((seed * 1_000_003 + i) % 2**63)
        linear = KINDS[kind](size, chance)
        made[f"{kind}-{i:02d}"] = srgb_encode(linear.clamp(0, 1)).clamp(0, 1)[None].float()
    return made


def _leaves(size: Size, chance: torch.Generator) -> Tensor:
    """Occluding discs of random color under uneven light."""
    drawn = leaves_texture(
        *_finer(size), seed=_draw(chance), r_min=3.0, r_max=min(size) * 0.6, contrast=30.0, color=True
    )
    return _lit(_averaged(drawn), chance)


def _cells(size: Size, chance: torch.Generator) -> Tensor:
    """Ellipses whose contrast grows from left to right."""
    chart = ellipses(*_finer(size), seed=_draw(chance), r_min=4.0, r_max=min(size) * 0.5, mean=0.25)
    return _lit(_averaged(chart.picture), chance)


def _studio(size: Size, chance: torch.Generator) -> Tensor:
    """A part of the studio scene: color chart, star, edges, leaves, gradients, a lamp."""
    height, width = (max(_STUDIO_LEAST, 2 * side) for side in size)
    whole = studio_scene(height, width, seed=_draw(chance))[0]
    y, x = (
        int(torch.randint(have - want + 1, (), generator=chance))
        for have, want in zip((height, width), size, strict=True)
    )
    return whole[:, y : y + size[0], x : x + size[1]]


def _clouds(size: Size, chance: torch.Generator) -> Tensor:
    """Noise with the 1/f amplitude of photographs, colors that go together, and a horizon of hard edges."""
    height, width = size
    fine = torch.fft.rfftfreq(width)[None].square() + torch.fft.fftfreq(height)[:, None].square()
    amplitude = fine.clamp(min=1 / max(size) ** 2).sqrt() ** -1.1
    noise = torch.randn(3, height, width, generator=chance)
    spectrum = torch.fft.rfft2(noise) * amplitude
    planes = torch.fft.irfft2(spectrum, s=size)
    planes = planes / planes.std((1, 2), keepdim=True)
    shared = torch.tensor([[1.0, 0.25, 0.1], [1.0, -0.05, -0.2], [1.0, -0.25, 0.25]])
    mixed = torch.einsum("ij,jhw->ihw", shared, planes)
    return _lit(0.2 * torch.exp(0.55 * mixed), chance)


def _blocks(size: Size, chance: torch.Generator) -> Tensor:
    """Buildings: turned rectangles of even or striped color before a sky that fades."""
    height, width = _finer(size)
    sky = torch.linspace(0.75, 0.3, height)[None, :, None] * torch.tensor([0.75, 0.9, 1.1])[:, None, None]
    picture = sky.expand(3, height, width).clone()
    y, x = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
    for _ in range(24):
        turn, top, left, tall, wide, period = (float(v) for v in torch.rand(6, generator=chance))
        angle = (turn - 0.5) * 0.6
        v = (y - (top - 0.3) * height) * math.cos(angle) - (x - (left - 0.5) * width) * math.sin(angle)
        u = (y - (top - 0.3) * height) * math.sin(angle) + (x - (left - 0.5) * width) * math.cos(angle)
        inside = (v.abs() < (0.05 + 0.3 * tall) * height) & (u.abs() < (0.03 + 0.15 * wide) * width)
        gray = 0.03 + 0.6 * torch.rand((), generator=chance)
        color = gray * (0.75 + 0.5 * torch.rand(3, generator=chance))
        stripes = 1 - 0.6 * (torch.sin(u * 2 * math.pi / (5 + 20 * period)) > 0.3).float()
        picture = torch.where(inside, color[:, None, None] * (stripes if period > 0.4 else 1.0), picture)
    return _averaged(picture)


KINDS: dict[str, Callable[[Size, torch.Generator], Tensor]] = {
    "leaves": _leaves,
    "blocks": _blocks,
    "clouds": _clouds,
    "studio": _studio,
    "cells": _cells,
}
"""name -> linear sRGB (3, H, W)"""


def _lit(linear: Tensor, chance: torch.Generator) -> Tensor:
    """Under light that falls off to one side by about two stops."""
    height, width = linear.shape[-2:]
    angle = 2 * math.pi * float(torch.rand((), generator=chance))
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    return linear * torch.exp2(math.cos(angle) * y + math.sin(angle) * x)


def _finer(size: Size) -> Size:
    return size[0] * _SUPERSAMPLE, size[1] * _SUPERSAMPLE


def _averaged(linear: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(linear[None], _SUPERSAMPLE)[0]


def _draw(chance: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=chance))
