"""What flows through the toolkit: `Frame` = pixels + the domain they live in + the camera's facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from ispkit.core.cfa import TRANSPOSED, Cell, moved, moved_cells, site_order
from ispkit.core.errors import DomainError, ShapeError
from ispkit.core.meta import CameraMeta, View

# EXIF orientation -> (transpose first, then flip rows, flip columns) that makes the picture upright.
UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class Domain(Enum):
    """What the numbers of a frame mean."""

    RAW = "raw"  # (B, 1, H, W) stored DN, black level still in
    MOSAIC = "mosaic"  # (B, 1, H, W) linear, black 0, white 1; negatives kept
    CAMERA_RGB = "camera_rgb"  # (B, 3, H, W) linear, the sensor's own primaries
    LINEAR_RGB = "linear_rgb"  # (B, 3, H, W) linear, sRGB primaries, not clipped
    DISPLAY_RGB = "display_rgb"  # (B, 3, H, W) encoded for a display, [0, 1]

    @property
    def channels(self) -> int:
        """1 for a mosaic, 3 for colors."""
        return 1 if self in (Domain.RAW, Domain.MOSAIC) else 3


@dataclass(frozen=True)
class Frame:
    """A batch of pictures, immutable. `crop`, `flip`, `to`, `cat` keep CFA phase and maps right.

    `data` is (B, C, H, W) floating point in the units of `domain`; `meta` describes B frames, or one
    that stands for all.
    """

    data: Tensor
    domain: Domain
    meta: CameraMeta

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[1] != self.domain.channels:
            want = f"(B, {self.domain.channels}, H, W)"
            raise ShapeError(f"a {self.domain.value} frame is {want}, got {tuple(self.data.shape)}")

    @property
    def batch(self) -> int:
        """Number of pictures."""
        return int(self.data.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height, width in pixels."""
        return int(self.data.shape[-2]), int(self.data.shape[-1])

    def with_data(self, data: Tensor, domain: Domain | None = None, **facts: Any) -> Frame:
        """The same frame with other pixels, and other facts where `facts` names fields of the meta."""
        meta = replace(self.meta, **facts) if facts else self.meta
        return Frame(data, domain or self.domain, meta)

    def expect(self, domain: Domain, who: str) -> None:
        """Raise `DomainError` unless the frame is in `domain`; `who` asks."""
        if self.domain is not domain:
            raise DomainError(f"{who!r} reads {domain.value}, got a {self.domain.value} frame")

    def crop(self, y: int, x: int, height: int, width: int) -> Frame:
        """The window whose top-left pixel is `(y, x)`. Raises `ShapeError` if it leaves the frame."""
        h, w = self.size
        if min(y, x) < 0 or min(height, width) < 1 or y + height > h or x + width > w:
            raise ShapeError(f"crop y={y} x={x} {height}x{width} leaves the {h}x{w} frame")
        window = (..., slice(y, y + height), slice(x, x + width))
        noise_map = self.meta.noise_map
        facts: dict[str, Any] = {
            "view": tuple(v.crop(y, x) for v in self.meta.view),
            "noise_map": None if noise_map is None else noise_map[window],
        }
        return self.with_data(self.data[window], **facts, **self._moved_sites((y, x)))

    def flip(self, *, rows: bool = False, columns: bool = False) -> Frame:
        """Mirror the frame; the CFA pattern and every map follow."""
        h, w = self.size
        dims = [d for d, on in ((-2, rows), (-1, columns)) if on]
        views = self.meta.view
        if rows:
            views = tuple(v.mirror(0, h) for v in views)
        if columns:
            views = tuple(v.mirror(1, w) for v in views)
        start = (h - 1 if rows else 0, w - 1 if columns else 0)
        noise_map = self.meta.noise_map
        facts: dict[str, Any] = {"view": views, "noise_map": None if noise_map is None else noise_map.flip(dims)}
        return self.with_data(self.data.flip(dims), **facts, **self._moved_sites(start, (rows, columns)))

    def transpose(self) -> Frame:
        """Swap rows and columns; the CFA pattern, levels and noise map follow.

        The view becomes that of a sensor that is swapped, too. Opcodes are in the coordinates of the sensor as it is
        and cannot follow: a frame that still has any raises `ShapeError`.
        """
        if any(self.meta.opcodes):
            raise ShapeError("a frame whose opcodes are not yet applied cannot be transposed; apply or drop them first")
        noise_map = self.meta.noise_map
        facts: dict[str, Any] = {
            "view": tuple(v.transpose() for v in self.meta.view),
            "noise_map": None if noise_map is None else noise_map.transpose(-1, -2),
        }
        m, index = self.meta, list(TRANSPOSED)
        cell = Cell(m.cfa_cell.size, m.cfa_cell.x, m.cfa_cell.y)
        facts |= {"cfa_pattern": moved(m.cfa_pattern, TRANSPOSED), "cfa_cell": cell}
        facts |= {"black_level": m.black_level[:, index], "white_level": m.white_level[:, index]}
        return self.with_data(self.data.transpose(-1, -2), **facts)

    def upright(self) -> Frame:
        """Apply the EXIF orientation, once: a second call changes nothing. Colors only (no mosaic)."""
        if self.domain.channels == 1:
            raise DomainError(f"orientation is applied to colors, not to a {self.domain.value} frame")
        if len(set(self.meta.orientation)) != 1:
            raise ShapeError("frames of one batch have different orientations; turn them upright one by one")
        transpose, rows, columns = UPRIGHT[self.meta.orientation[0]]
        data = self.data.transpose(-1, -2) if transpose else self.data
        data = data.flip([d for d, on in ((-2, rows), (-1, columns)) if on])
        whole = View((int(data.shape[-2]), int(data.shape[-1])))
        count = self.meta.batch
        return self.with_data(
            data, orientation=(1,) * count, view=(whole,) * count, opcodes=((),) * count, noise_map=None
        )

    def to(self, *args: Any, **kwargs: Any) -> Frame:
        """Move or cast pixels and facts as `Tensor.to` does."""
        return Frame(self.data.to(*args, **kwargs), self.domain, self.meta.map(lambda t: t.to(*args, **kwargs)))

    def select(self, rows: Sequence[int]) -> Frame:
        """Some pictures of the batch, in this order."""
        index = list(rows)
        meta = self.meta if self.meta.batch == 1 and self.batch > 1 else self.meta.select(index)
        return Frame(self.data[index], self.domain, meta)

    def repeat(self, batch: int) -> Frame:
        """A batch of `batch` views on a frame of one picture (no copy)."""
        if self.batch == batch:
            return self
        if self.batch != 1:
            raise ShapeError(f"{batch} settings do not fit a batch of {self.batch} frames; use 1 or {batch} of either")
        return Frame(self.data.expand(batch, -1, -1, -1), self.domain, self.meta.select([0] * batch))

    @staticmethod
    def cat(frames: Sequence[Frame]) -> Frame:
        """One batch from frames of the same size, domain and CFA. Raises `ShapeError`."""
        kinds = {(f.domain, f.size) for f in frames}
        if len(kinds) != 1:
            found = sorted(f"{d.value} {h}x{w}" for d, (h, w) in kinds)
            raise ShapeError(f"only frames of one domain and size can be joined, got {found or 'none'}")
        return Frame(torch.cat([f.data for f in frames]), frames[0].domain, CameraMeta.cat([f.meta for f in frames]))

    def _moved_sites(self, at: tuple[int, int], mirrored: tuple[bool, bool] = (False, False)) -> dict[str, Any]:
        index = list(site_order(*at, *mirrored))
        pattern, cell = moved_cells(self.meta.cfa_pattern, self.meta.cfa_cell, at, mirrored)
        return {
            "cfa_pattern": pattern,
            "cfa_cell": cell,
            "black_level": self.meta.black_level[:, index],
            "white_level": self.meta.white_level[:, index],
        }
