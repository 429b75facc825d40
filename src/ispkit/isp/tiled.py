"""Render a picture of any size in bounded memory: tile by tile, with seams that do not show.

A tile is computed with a halo as wide as the sum of its stages' `support` and starts at a multiple of
all their `align`s, so every pixel sees the neighbors it would see in the whole picture. Stages that
need statistics of the whole picture are measured first, one pass over the tiles for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import lcm

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Frame
from ispkit.core.param import Value, Values
from ispkit.isp.pipeline import Pipeline

TILE = 1024
"""edge of a tile, px: the smallest for which work that is done once a tile (matrices, maps) hardly counts"""

Settings = Mapping[str, Mapping[str, Value]]
Codes = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Span:
    """One axis of a tile: pixels [start, stop) are wanted, [low, high) are computed."""

    start: int
    stop: int
    low: int
    high: int


def spans(length: int, tile: int, halo: int, align: int) -> list[Span]:
    """Cut an axis of `length` pixels into tiles of `tile` rounded up to `align`, the halo included apart.

    >>> spans(10, 4, 1, 2)[1]
    Span(start=4, stop=8, low=2, high=10)
    """
    step = -(-tile // align) * align
    cuts = [(start, min(start + step, length)) for start in range(0, length, step)]
    return [
        Span(a, b, max(0, (a - halo) // align * align), min(length, -(-(b + halo) // align) * align)) for a, b in cuts
    ]


@torch.no_grad()
def render_tiles(
    pipeline: Pipeline, frame: Frame, values: Values | None = None, *, tile: int = TILE
) -> Iterator[tuple[int, int, Frame]]:
    """Yield `(y, x, rendered tile)`, tiles row by row; together they are `pipeline(frame, values)`.

    Equal to the whole picture up to the rounding of float32 sums. Raises what the pipeline raises, and
    `ShapeError` if a stage changes the size of the picture.
    """
    measured = statistics(pipeline, frame, values, tile=tile)
    names, settings = pipeline.entered_at(frame), pipeline.settings(values)
    yield from _Chain(pipeline, names, settings, measured).tiles(frame, tile)


@torch.no_grad()
def statistics(
    pipeline: Pipeline, frame: Frame, values: Values | None = None, *, tile: int = TILE
) -> dict[str, Tensor]:
    """Sums over the whole picture for each stage that uses them now; one pass over the tiles for each."""
    if tile < 1:
        raise ParamError(f"tile={tile} must be at least 1 (unit: px)")
    names, settings = pipeline.entered_at(frame), pipeline.settings(values)
    measured: dict[str, Tensor] = {}
    for i, name in enumerate(names):
        stage = pipeline.stages[name]
        if stage.uses_statistics(settings[name]):
            before = _Chain(pipeline, names[:i], settings, measured)
            measured[name] = _total(stage.measure(part, settings[name]) for _, _, part in before.tiles(frame, tile))
    return measured


@torch.no_grad()
def render_tiled(pipeline: Pipeline, frame: Frame, values: Values | None = None, *, tile: int = TILE) -> Frame:
    """`pipeline(frame, values)`, computed in tiles: the output and one tile's temporaries are all it holds."""
    data: Tensor | None = None
    noise_map: Tensor | None = None
    for y, x, part in render_tiles(pipeline, frame, values, tile=tile):
        if data is None:
            first = part
            data = part.data.new_empty(*part.data.shape[:2], *frame.size)
            noise_map = _like_map(part, frame.size)
        h, w = part.size
        data[..., y : y + h, x : x + w] = part.data
        if noise_map is not None and part.meta.noise_map is not None:
            noise_map[..., y : y + h, x : x + w] = part.meta.noise_map
    if data is None:
        raise ShapeError(f"a frame of {frame.size[0]}x{frame.size[1]} pixels has nothing to render")
    return Frame(data, first.domain, replace(first.meta, noise_map=noise_map))


def render_codes(
    pipeline: Pipeline, frame: Frame, values: Values | None = None, *, bits: int = 8, tile: int = TILE
) -> Codes:
    """Render one frame to integers, (H, W, 3) uint8 or uint16: code = round(x (2^bits - 1)), x in [0, 1].

    Besides the frame it holds the integers and one tile's temporaries.
    """
    out: Codes | None = None
    for y, x, part in render_tiles(pipeline, frame, values, tile=tile):
        if part.batch != 1:
            raise ShapeError(f"codes are made of one frame, got a batch of {part.batch}; render them one by one")
        block = codes(part.data[0], bits)
        if out is None:
            out = np.empty((*frame.size, block.shape[-1]), block.dtype)
        out[y : y + block.shape[0], x : x + block.shape[1]] = block
    if out is None:
        raise ShapeError(f"a frame of {frame.size[0]}x{frame.size[1]} pixels has nothing to render")
    return out


def codes(data: Tensor, bits: int = 8) -> Codes:
    """Encoded pixels (C, H, W) in [0, 1] as integers (H, W, C); values outside saturate."""
    if bits not in (8, 16):
        raise ParamError(f"bits={bits} is not a picture's depth; use 8 or 16")
    top = 2**bits - 1
    scaled = (data.detach().clamp(0.0, 1.0) * top).round_().permute(1, 2, 0).contiguous().cpu()
    pixels: NDArray[np.float32] = scaled.numpy()
    return pixels.astype(np.uint8) if bits == 8 else pixels.astype(np.uint16)


@dataclass(frozen=True)
class _Chain:
    """Some stages of a pipeline with their knobs and the statistics measured so far."""

    pipeline: Pipeline
    names: list[str]
    settings: Settings
    measured: Mapping[str, Tensor]

    def tiles(self, frame: Frame, tile: int) -> Iterator[tuple[int, int, Frame]]:
        stages = [self.pipeline.stages[n] for n in self.names]
        align = lcm(2, *(s.align for s in stages))
        halo = sum(s.support_for(frame, self.settings[n], frame.size) for n, s in zip(self.names, stages, strict=True))
        columns = spans(frame.size[1], tile, halo, align)
        for row in spans(frame.size[0], tile, halo, align):
            for column in columns:
                yield row.start, column.start, self._tile(frame, row, column)

    def _tile(self, frame: Frame, row: Span, column: Span) -> Frame:
        part = frame.crop(row.low, column.low, row.high - row.low, column.high - column.low)
        size = part.size
        for name in self.names:
            part = self.pipeline.stages[name](part, self.settings[name], self.measured.get(name))
            if part.size != size:
                raise ShapeError(f"stage {name!r} changes the picture's size; render it whole, without tiles")
        wanted = (row.stop - row.start, column.stop - column.start)
        return part.crop(row.start - row.low, column.start - column.low, *wanted)


def _total(parts: Iterator[Tensor]) -> Tensor:
    """Sums over tiles, added in double precision."""
    first = next(parts)
    total = first.double()
    for part in parts:
        total = total + part.double()
    return total.to(first.dtype)


def _like_map(part: Frame, size: tuple[int, int]) -> Tensor | None:
    known = part.meta.noise_map
    return None if known is None else known.new_empty(*known.shape[:2], *size)
