"""The U-Nets of CameraNet: Restore-Net and Enhance-Net, and the one- and three-stage nets built of the same blocks.

Liang, Cai, Cao, Zhang, "CameraNet: A Two-Stage Framework for Effective Camera ISP Learning", IEEE Trans. Image
Processing 30, 2021, section III-C and fig. 4; layers as in the authors' TensorFlow code. Preset "paper" has the global
block in both nets, scale and shift, which alone fits the paper's 26.53 million parameters; "released" has none in
Restore-Net and starts the transposed convolutions near zero. The paper's 3306.69 GFLOPs at 4032x3024 are the count of
TensorFlow's profiler (`nets.count`): 3305.8 with the noise map and 3024 rows rounded up to 3040 as the net needs. For
3024 rows alone it is 3286, and 3305 where the head of one of the nets is 3x3 (`head=3`); which the authors counted is
not known. "small": about 0.1 million parameters a net.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.nets.layers import Conv, at_least, chosen, expect, expect_pooled, mean_of, start, start_linear, unpacked
from ispkit.nets.picture_net import PictureNet

SLOPE = 0.2
_PER_BLOCK = 3


@dataclass(frozen=True)
class CameraUNetShape:
    """Sizes of a `CameraUNet`. Raises `ParamError`."""

    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    """features a level, finest first"""
    rates: tuple[int, ...] = (1, 1, 1, 1, 1)
    """dilation a level"""
    residual: bool = False
    """whether a block adds the output of its first convolution to that of its last"""
    pooled: bool = True
    """whether the mean over the whole picture scales and shifts the lowest level"""
    convs: int = 3
    """3x3 convolutions a level, in blocks of at most three: 6 for one stage, 2 for three stages (section IV-B)"""
    head: int = 1
    """size of the last convolution"""
    grow_std: float | None = None
    """spread of the transposed convolutions' first weights, none beyond twice as much; None: as the others"""

    def __post_init__(self) -> None:
        at_least("CameraUNet", 1, **{f"channels[{i}]": c for i, c in enumerate(self.channels)})
        at_least("CameraUNet", 1, **{f"rates[{i}]": r for i, r in enumerate(self.rates)})
        at_least("CameraUNet", 2, convs=self.convs, levels=len(self.channels))
        if len(self.rates) != len(self.channels):
            raise ParamError(f"CameraUNet: {len(self.rates)} rates must be as many as the {len(self.channels)} levels")
        if self.head not in (1, 3):
            raise ParamError(f"CameraUNet: head={self.head} must be 1 or 3")


_PAPER = CameraUNetShape()
_RELEASED = replace(_PAPER, grow_std=0.001)
_SMALL = replace(_PAPER, channels=(8, 12, 16, 24, 32))
_ENHANCE = (1, 2, 2, 4, 8)
RESTORE_PRESETS = {"paper": _PAPER, "released": replace(_RELEASED, pooled=False), "small": _SMALL}
ENHANCE_PRESETS = {
    name: replace(shape, rates=_ENHANCE, residual=True)
    for name, shape in {"paper": _PAPER, "released": _RELEASED, "small": _SMALL}.items()
}


class CameraUNet(PictureNet):
    """A picture in a U-Net of five levels at half size (B, inputs, H, W) -> (B, 3, scale H, scale W), not clipped.

    4 or 5 inputs are the planes R, G, G, B of a mosaic, black 0 and white 1, and a noise map (`scale` 2, as
    Restore-Net); 3 are a picture, which is folded to 12 planes of half size (`scale` 1, as Enhance-Net). Range in and
    out: that of the pictures it is trained on. A level has three 3x3 convolutions, the second with the level's
    dilation, the last without activation before the residual is added; leaky ReLU 0.2; 3x3 maximum of stride 2 whose
    window begins at the pixel itself; 2x2 transposed convolutions without bias.

    The global block takes the mean of the lowest level's first convolution: feature (i, j) of `pool` belongs to the
    `pool_stride` pixels from `pool_stride` (i, j) on.
    """

    def __init__(self, inputs: int = 4, shape: CameraUNetShape | None = None) -> None:
        super().__init__()
        if inputs not in (3, 4, 5):
            raise ParamError(f"CameraUNet: inputs={inputs} must be 3 (a picture), 4 (planes) or 5 (planes, noise map)")
        self.shape = shape = shape or _PAPER
        self.inputs, self.fold = inputs, 2 if inputs == 3 else 1
        self.scale = 2 // self.fold
        channels = shape.channels
        into = [12 if inputs == 3 else inputs, *channels[:-1]]
        self.down = nn.ModuleList(
            _Level(i, o, _rates(shape, level), residual=shape.residual)
            for level, (i, o) in enumerate(zip(into, channels, strict=True))
        )
        self.grow = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, 2, bias=False) for i, o in pairwise(channels))
        self.up = nn.ModuleList(
            _Level(2 * c, c, _rates(shape, level, up=True), residual=shape.residual, last=level == 0)
            for level, c in enumerate(channels[:-1])
        )
        self.head = Conv(channels[0], 12, shape.head)
        if shape.pooled:
            self.world = nn.Sequential(
                nn.Linear(channels[-1], 2 * channels[-1]),
                nn.LeakyReLU(SLOPE),
                nn.Linear(2 * channels[-1], 2 * channels[-1]),
            )
        self.multiple = self.fold * 2 ** (len(channels) - 1)
        self.pool_stride = self.multiple if shape.pooled else 0
        self.halo = self.fold * _reach(shape)
        self._start()

    def _start(self) -> None:
        start(self, slope=SLOPE)
        start_linear(self.head, 0.1)
        if self.shape.residual:
            # sums of equals would double the signal's power in each block
            for level in (*self.down, *self.up):
                for block in cast(_Level, level).blocks:
                    start_linear(cast(list[Conv], block)[-1], 0.1)
        if self.shape.grow_std is not None:
            std = self.shape.grow_std
            for weight in self.grow.parameters():
                nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)  # as TensorFlow cuts
        if self.shape.pooled:
            # scale 1, shift 0, nearly: the papers do not say, and zeros would cut the lowest level off
            last = cast(nn.Linear, self.world[-1])
            nn.init.normal_(last.weight, std=0.01 / self.shape.channels[-1] ** 0.5)
            nn.init.ones_(last.bias[: self.shape.channels[-1]])

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; `pooled` is (B, features of the lowest level), the mean of `pool`. Raises `ShapeError`."""
        expect(self, x)
        x, skips = self._descend(x)
        bottom = cast(_Level, self.down[-1])
        first = bottom.first(x)
        if self.shape.pooled:
            pooled = mean_of(first) if pooled is None else pooled
            expect_pooled(self, pooled, first, self.shape.channels[-1])
            scale, shift = self.world(pooled)[..., None, None].chunk(2, 1)
            x = F.leaky_relu(bottom.rest(first) * scale + shift, SLOPE)
        else:
            x = bottom.rest(first)
        for grow, block, skip in zip(reversed(self.grow), reversed(self.up), reversed(skips), strict=True):
            x = block(torch.cat([skip, grow(x)], 1))
        return unpacked(self.head(x))

    def pool(self, x: Tensor) -> Tensor:
        """The lowest level's first features (B, C, H / pool_stride, W / pool_stride)."""
        expect(self, x)
        return cast(_Level, self.down[-1]).first(self._descend(x)[0])

    def _descend(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What enters the lowest level, and the features of those above, finest first."""
        x, skips = F.pixel_unshuffle(x, self.fold), []
        for level in list(self.down)[:-1]:
            skips.append(level(x))
            # in even sides the window of TensorFlow's SAME begins at pixel 2 i and is cut at the far edge
            x = F.max_pool2d(skips[-1], 3, 2, ceil_mode=True)
        return x, skips


class _Level(nn.Module):
    """The blocks of one level, a list of dilations each: (B, before, h, w) -> (B, after, h, w)."""

    def __init__(self, before: int, after: int, rates: list[list[int]], *, residual: bool, last: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(Conv(before if a == b == 0 else after, after, rate=r) for b, r in enumerate(block))
            for a, block in enumerate(rates)
        )
        self.residual, self.last = residual, last

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.first(x))

    def first(self, x: Tensor) -> Tensor:
        """The first convolution and its activation."""
        return F.leaky_relu(self._convs(0)[0](x), SLOPE)

    def rest(self, first: Tensor) -> Tensor:
        """What follows `first`."""
        x = self._finish(0, first)
        for block in range(1, len(self.blocks)):
            x = self._finish(block, F.leaky_relu(self._convs(block)[0](x), SLOPE))
        return x

    def _finish(self, block: int, first: Tensor) -> Tensor:
        *inner, final = self._convs(block)[1:]
        x = first
        for conv in inner:
            x = F.leaky_relu(conv(x), SLOPE)
        x = final(x) + first if self.residual else final(x)
        return x if self.last and block == len(self.blocks) - 1 else F.leaky_relu(x, SLOPE)

    def _convs(self, block: int) -> list[Conv]:
        return list(cast(Iterable[Conv], self.blocks[block]))


def restore_net(preset: str = "paper", *, inputs: int = 4, **changes: object) -> CameraUNet:
    """Restore-Net: planes of a mosaic -> a linear picture; `changes` are fields of `CameraUNetShape`."""
    return CameraUNet(inputs, chosen(RESTORE_PRESETS, preset, **changes))


def enhance_net(preset: str = "paper", **changes: object) -> CameraUNet:
    """Enhance-Net: a picture -> the finished picture, same size; `changes` are fields of `CameraUNetShape`."""
    return CameraUNet(3, chosen(ENHANCE_PRESETS, preset, **changes))


def one_stage_net(preset: str = "paper", *, inputs: int = 4, **changes: object) -> CameraUNet:
    """One U-Net for both tasks: planes of a mosaic -> the finished picture, twice the convolutions a level.

    The paper asks for as many parameters as both nets have (here 25.05 of 26.53 million; small: 0.20 of 0.20) and does
    not say whose dilations; it has Enhance-Net's, which reach further.
    """
    return CameraUNet(inputs, chosen(ENHANCE_PRESETS, preset, convs=6, **changes))


def three_stage_nets(preset: str = "paper", **changes: object) -> tuple[CameraUNet, CameraUNet, CameraUNet]:
    """Demosaicing (planes -> picture), denoising and white balance (picture -> picture), enhancement.

    Two convolutions a level instead of three: 28.01 million parameters, 26.53 in two stages.
    """
    denoise = CameraUNet(3, chosen(RESTORE_PRESETS, preset, convs=2, **changes))
    return CameraUNet(4, denoise.shape), denoise, enhance_net(preset, convs=2, **changes)


def block_sizes(convs: int) -> list[int]:
    """Convolutions of each block of a level: threes, and no block of one.

    >>> block_sizes(3), block_sizes(6), block_sizes(2), block_sizes(4)
    ([3], [3, 3], [2], [2, 2])
    """
    blocks = -(-convs // _PER_BLOCK)
    return [convs // blocks + (i < convs % blocks) for i in range(blocks)]


def _rates(shape: CameraUNetShape, level: int, *, up: bool = False) -> list[list[int]]:
    """Dilations of a level's blocks: the first convolution has none, nor has a third of the way up or of the bottom."""
    rate = shape.rates[level]
    third = 1 if up or level == len(shape.channels) - 1 else rate
    return [[1, rate, third][:size] for size in block_sizes(shape.convs)]


def _reach(shape: CameraUNetShape) -> int:
    """Cells of the finest level to each side that an output, or a feature of the lowest level, depends on."""
    levels = len(shape.channels)
    total = shape.head // 2
    for level in range(levels):
        ways = (False,) if level == levels - 1 else (False, True)
        total += 2**level * sum(sum(block) for up in ways for block in _rates(shape, level, up=up))
        if level < levels - 1:
            # one neighbor in the maximum, and the cell of the level below reaches past this one
            total += 2 * 2**level
    return total
