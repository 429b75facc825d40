"""Pictures of any size through a network, tile by tile: seams do not show, means of the whole picture are exact.

The net's own halo is computed around each tile, so that its reflections happen at the true edges alone. Where a net
looks at the whole picture, the features behind that look are first summed over the tiles in float64, each feature once,
and their mean is then given to every tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import lcm
from typing import Literal

import torch
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError
from ispkit.isp.learned.part import Runner
from ispkit.isp.tiled import TILE, Span, spans
from ispkit.nets.picture_net import PictureNet

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """How nets are run: nothing here changes what a picture is, but for the rounding of half precision."""

    tile: int | Literal["auto", "whole"] = "auto"
    """edge of a tile in px of the picture; "auto": 1024, or four times the net's halo, where half of the work
    is overlap; "whole": no tiles"""
    half: Literal["bf16", "fp16"] | None = None
    """half precision by autocast, on a GPU alone"""
    channels_last: bool = False
    """weights and pictures in the memory order that tensor cores read"""
    compile: bool = False
    """torch.compile each net; the first picture pays for it"""

    def __post_init__(self) -> None:
        if self.tile not in ("auto", "whole") and not (isinstance(self.tile, int) and self.tile > 0):
            raise ParamError(f"tile={self.tile!r} must be a number of px from 1 on, 'auto' or 'whole'")
        if self.half is not None and self.half not in _HALF:
            raise ParamError(f"half={self.half!r} is unknown; use bf16, fp16, or None for float32")

    def runner(self, isp: nn.Module) -> Runner:
        """A function that applies the nets of `isp` so. Raises `ParamError` for half precision on a CPU."""
        device = next(isp.parameters()).device
        if self.half is not None and device.type == "cpu":
            raise ParamError(f"half={self.half!r} needs a GPU: CPUs convolve half precision far slower; leave it out")
        if self.channels_last:
            isp.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        compiled: dict[PictureNet, _Net] = {}

        def run(net: PictureNet, x: Tensor) -> Tensor:
            if net not in compiled:
                compiled[net] = _Net(net, self)
            return compiled[net].picture(x)

        return run


class _Net:
    """A net under an execution."""

    def __init__(self, net: PictureNet, execution: Execution) -> None:
        self.net, self.how = net, execution
        self.make = torch.compile(net) if execution.compile else net

    def picture(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, scale h, scale w) in the dtype of x."""
        if self.how.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with self._precision(x):
            grid = [] if self.how.tile == "whole" else list(_grid(self.net, x, self.how.tile))
            if len(grid) > 1:
                return self._in_tiles(x, grid)
            whole: Tensor = self.make(x)
            return whole.to(x.dtype)

    def _in_tiles(self, x: Tensor, grid: list[tuple[Span, Span]]) -> Tensor:
        net, scale = self.net, self.net.scale
        pooled = _mean_of_features(net, x, grid) if net.pool_stride else None
        out = x.new_empty(x.shape[0], net.outputs, x.shape[-2] * scale, x.shape[-1] * scale)
        for row, column in grid:
            part = _window(x, row, column)
            made = self.make(part) if pooled is None else self.make(part, pooled)
            if made.shape[-2:] != (part.shape[-2] * scale, part.shape[-1] * scale):
                law = f"{scale} times the sides of its input {tuple(part.shape)}"
                raise ShapeError(f"{type(net).__name__} gave {tuple(made.shape)}, it should be {law}")
            y, x0 = (row.start - row.low) * scale, (column.start - column.low) * scale
            height, width = (row.stop - row.start) * scale, (column.stop - column.start) * scale
            place = (..., slice(row.start * scale, row.stop * scale), slice(column.start * scale, column.stop * scale))
            out[place] = made[..., y : y + height, x0 : x0 + width]
        return out

    def _precision(self, x: Tensor) -> AbstractContextManager[object]:
        if self.how.half is None:
            return nullcontext()
        return torch.autocast(x.device.type, _HALF[self.how.half])


def _grid(net: PictureNet, x: Tensor, tile: int | str) -> Iterator[tuple[Span, Span]]:
    """The tiles, row by row; they begin where the net's strides do."""
    align = lcm(net.multiple, net.pool_stride or 1)
    edge = -(-tile // net.scale) if isinstance(tile, int) else max(TILE // net.scale, 4 * net.halo)
    columns = spans(x.shape[-1], edge, net.halo, align)
    for row in spans(x.shape[-2], edge, net.halo, align):
        for column in columns:
            yield row, column


def _mean_of_features(net: PictureNet, x: Tensor, grid: list[tuple[Span, Span]]) -> Tensor:
    """The mean of `net.pool` over the whole picture, (B, C), summed in float64; one feature counts once."""
    total: Tensor | None = None
    count, stride = 0, net.pool_stride
    for row, column in grid:
        features = net.pool(_window(x, row, column))
        own = features[..., _own(row, stride), _own(column, stride)]
        count += own.shape[-2] * own.shape[-1]
        part = own.sum((-2, -1), dtype=torch.float64)
        total = part if total is None else total + part
    if total is None or not count:
        raise ShapeError(f"{tuple(x.shape)}: too small a picture for {type(net).__name__}, it gives no features")
    return (total / count).to(x.dtype)


def _own(span: Span, stride: int) -> slice:
    """The features of a computed stretch that belong to its own pixels; fewer at an edge that they do not fill."""
    return slice((span.start - span.low) // stride, -(-(span.stop - span.low) // stride))


def _window(x: Tensor, row: Span, column: Span) -> Tensor:
    return x[..., row.low : row.high, column.low : column.high]
