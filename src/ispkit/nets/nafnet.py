"""A modern small baseline: NAFNet, blocks of gates instead of activations, on the planes of a mosaic or on a picture.

Chen, Chu, Zhang, Sun, "Simple Baselines for Image Restoration", ECCV 2022, section 4 and fig. 3c. Preset "paper" has
the widths and blocks of the authors' net for SIDD (width 32). Its channel attention takes means over the whole picture
in every block, which differ between crops and pictures (Chu et al., "Improving Image Restoration by Revisiting Global
Information Aggregation", ECCV 2022) and cannot be had in tiles. Here the mean is over a window of `2 radius + 1`
cells, in training as in use: 7 cells in "small", the cell alone in "paper", whose 36 blocks would otherwise reach past
any tile. The parameters are the same. "small": 0.16 million.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.nets.layers import Conv, at_least, expect, start_linear, unpacked
from ispkit.nets.picture_net import PictureNet
from ispkit.ops.blur import pad_reflect

_EPS = 1e-6


@dataclass(frozen=True)
class NafShape:
    """Sizes of a `NafNet`. Raises `ParamError`."""

    width: int = 32
    """features at the finest level; twice as many at each next"""
    down: tuple[int, ...] = (2, 2, 4, 8)
    """blocks a level on the way down"""
    middle: int = 12
    up: tuple[int, ...] = (2, 2, 2, 2)
    """blocks a level on the way up, finest first"""
    radius: int = 0
    """of the window whose mean the channel attention sees, in cells of the level"""

    def __post_init__(self) -> None:
        at_least("NafNet", 1, width=self.width, levels=len(self.down))
        at_least("NafNet", 0, middle=self.middle, radius=self.radius)
        if len(self.down) != len(self.up):
            raise ParamError(f"NafNet: {len(self.down)} levels down must be as many as the {len(self.up)} up")


PRESETS = {"paper": NafShape(), "small": NafShape(width=24, down=(1, 1), middle=1, up=(1, 1), radius=3)}


class NafNet(PictureNet):
    """Planes R, G, G, B (B, 4 or 5, H, W), black 0 and white 1 -> a picture (B, 3, 2H, 2W), not clipped.

    The fifth input is a noise map. What it makes is added to the colors of each 2x2 cell (R, mean G, B). With 3 inputs
    it reads a picture and makes one of the same size (`scale` 1), as the authors' net does.
    """

    def __init__(self, inputs: int = 4, shape: NafShape | None = None) -> None:
        super().__init__()
        if inputs not in (3, 4, 5):
            raise ParamError(f"NafNet: inputs={inputs} must be 3 (a picture), 4 (planes) or 5 (planes, noise map)")
        self.inputs, self.shape = inputs, shape or PRESETS["paper"]
        self.scale = 1 if inputs == 3 else 2
        shape, levels = self.shape, len(self.shape.down)
        widths = [shape.width * 2**i for i in range(levels + 1)]
        self.first, self.last = Conv(inputs, widths[0]), Conv(widths[0], 3 * self.scale**2)
        self.down = nn.ModuleList(_row(w, n, shape.radius) for w, n in zip(widths, shape.down, strict=False))
        self.shrink = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, 2) for w in widths[:-1])
        self.middle = _row(widths[-1], shape.middle, shape.radius)
        self.grow = nn.ModuleList(nn.Conv2d(2 * w, 4 * w, 1, bias=False) for w in widths[:-1])
        self.up = nn.ModuleList(_row(w, n, shape.radius) for w, n in zip(widths, shape.up, strict=False))
        self.multiple = 2**levels
        self.halo = _reach(shape)
        start_linear(self.last, 0.1)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        base, x, skips = x if self.scale == 1 else _cell_colors(x), self.first(x), []
        for row, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(row(x))
            x = shrink(skips[-1])
        x = self.middle(x)
        for grow, row, skip in zip(reversed(self.grow), reversed(self.up), reversed(skips), strict=True):
            x = row(F.pixel_shuffle(grow(x), 2) + skip)
        made = self.last(x)
        return (made if self.scale == 1 else unpacked(made)) + base


class NafBlock(nn.Module):
    """Depthwise convolution, gate and channel attention, then a gated 1x1 layer: (B, C, h, w) -> the same shape."""

    def __init__(self, width: int, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.norms = nn.ModuleList(_ChannelNorm(width) for _ in range(2))
        self.widen, self.look = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, 2 * width, 3, groups=2 * width)
        self.attend, self.mix = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.gate_in, self.gate_out = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        # as the authors: each block starts as the identity
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, width, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        y = _gate(self.look(pad_reflect(self.widen(self.norms[0](x)), 1)))
        x = x + self.beta * self.mix(y * self.attend(self._near_mean(y)))
        z: Tensor = self.gate_out(_gate(self.gate_in(self.norms[1](x))))
        return x + self.gamma * z

    def _near_mean(self, y: Tensor) -> Tensor:
        if not self.radius:
            return y
        size = 2 * self.radius + 1
        rows = F.avg_pool2d(pad_reflect(y, self.radius), (size, 1), 1)
        return F.avg_pool2d(rows, (1, size), 1)


class _ChannelNorm(nn.Module):
    """Layer normalization over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean(1, keepdim=True)
        spread = (centered.square().mean(1, keepdim=True) + _EPS).sqrt()
        return centered / spread * self.weight[:, None, None] + self.bias[:, None, None]


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a * b


def _row(width: int, blocks: int, radius: int) -> nn.Sequential:
    return nn.Sequential(*(NafBlock(width, radius) for _ in range(blocks)))


def _cell_colors(planes: Tensor) -> Tensor:
    """R, mean G, B of each cell, at the size of the mosaic."""
    colors = torch.cat([planes[:, :1], planes[:, 1:3].mean(1, keepdim=True), planes[:, 3:4]], 1)
    return F.interpolate(colors, scale_factor=2.0)


def _reach(shape: NafShape) -> int:
    """Cells to each side: of the blocks, of the first and last convolution, and of cells that are coarser."""
    levels = len(shape.down)
    cells = sum((a + b) << i for i, (a, b) in enumerate(zip(shape.down, shape.up, strict=True)))
    return (1 + shape.radius) * (cells + (shape.middle << levels)) + 2 + (1 << levels) - 1
