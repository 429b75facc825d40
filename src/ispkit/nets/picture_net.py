"""What running, tiling, training and exporting must know of a network that makes pictures."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class PictureNet(nn.Module):
    """A picture in, a picture out; statistics of the whole picture enter by one door, `pooled`.

    `forward(x, pooled)` takes (B, inputs, H, W) with sides in multiples of `multiple` and gives
    (B, 3, scale H, scale W). A net that looks at the whole picture (`pool_stride` > 0) computes the mean of `pool(x)`
    over height and width itself unless `pooled` brings it, which is how a picture is rendered in tiles: feature
    (i, j) of `pool(x)` belongs to the pixels from (i, j) x `pool_stride` on, and the features of a tile that starts at
    a multiple of both strides are those of the whole picture where the tile reaches `halo` pixels further.
    """

    inputs: int
    """channels that it reads"""
    scale: int = 1
    """pixels of its output for one of its input, along a side: 2 for the packed sites of a mosaic"""
    multiple: int = 1
    """what height and width of its input must be multiples of"""
    halo: int = 0
    """input pixels to each side that an output pixel, or a feature of `pool`, depends on"""
    pool_stride: int = 0
    """input pixels a feature of `pool`; 0: the net has no statistics of the whole picture"""
    outputs: ClassVar[int] = 3
    stages: ClassVar[tuple[str, ...]] = ()
    """names of submodules that can be trained alone"""

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; `pooled` is (B, C), the mean of `pool` over the whole picture. Raises `ShapeError`."""
        raise NotImplementedError

    def pool(self, x: Tensor) -> Tensor:
        """Features (B, C, h, w) whose mean over the whole picture the net needs; only where `pool_stride` > 0."""
        raise NotImplementedError
