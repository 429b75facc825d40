"""`Canvas`: where a chart is painted; boxes in whole pixels, and the regions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ispkit.charts.chart import Chart, Region, RegionKind
from ispkit.core.errors import ParamError, ShapeError

IntBox = tuple[int, int, int, int]
"""top, left, height, width in whole pixels"""
Place = Callable[[Sequence[int]], IntBox]
"""a box of the design -> that of the canvas"""
MID_GRAY = 0.2
"""background of our charts, linear: about sRGB code 124, so that neither shot noise nor clipping rules"""


class Canvas:
    """A linear picture under the brush, and the regions made so far."""

    def __init__(self, height: int, width: int, background: float = MID_GRAY) -> None:
        self.picture = torch.full((3, height, width), background)
        self.regions: list[Region] = []

    def scaled(self, design: tuple[int, int]) -> Place:
        """Where boxes of a design of (height, width) lie here; neighbors stay neighbors.

        >>> Canvas(100, 300).scaled((200, 300))((20, 30, 50, 60))
        (10, 30, 25, 60)
        """
        sy, sx = (n / d for n, d in zip(self.picture.shape[-2:], design, strict=True))

        def at(box: Sequence[int]) -> IntBox:
            top, left, tall, wide = box
            y, x = round(top * sy), round(left * sx)
            return y, x, round((top + tall) * sy) - y, round((left + wide) * sx) - x

        return at

    def fill(self, box: IntBox, color: float | Sequence[float]) -> None:
        """Paint a box with a gray or a linear sRGB color."""
        rgb = [float(color)] * 3 if isinstance(color, int | float) else list(color)
        self.crop(box)[:] = torch.tensor(rgb)[:, None, None]

    def crop(self, box: IntBox) -> Tensor:
        """A view of the pixels of a box, (3, height, width)."""
        top, left, height, width = box
        return self.picture[:, top : top + height, left : left + width]

    def patch(self, name: str, kind: RegionKind, box: IntBox, color: Sequence[float], truth: Mapping[str, Any]) -> None:
        """Paint a uniform patch of `color`; its region keeps clear of the border."""
        self.fill(box, color)
        shown = self.crop(box)[:, 0, 0].tolist()  # float32, as the picture holds it
        self.add(name, kind, inset(box), {"linear_srgb": shown} | dict(truth))

    def add(self, name: str, kind: RegionKind, box: Sequence[float], truth: Mapping[str, Any]) -> None:
        """Write a region down."""
        top, left, height, width = (float(v) for v in box)
        self.regions.append(Region(name, kind, (top, left, height, width), dict(truth)))

    def place(self, panel: Chart, top: int, left: int, prefix: str = "") -> None:
        """Put a whole chart here; its regions and their coordinates move along."""
        height, width = panel.size
        self.picture[:, top : top + height, left : left + width] = panel.picture
        for region in panel.regions:
            y, x, h, w = region.box
            truth = moved(region.truth, top, left)
            self.regions.append(Region(prefix + region.name, region.kind, (y + top, x + left, h, w), truth))

    def chart(self, name: str, parameters: Mapping[str, Any]) -> Chart:
        """What has been painted, as a chart without markers."""
        return Chart(name, self.picture, tuple(self.regions), dict(parameters))


def moved(truth: Mapping[str, Any], top: float, left: float) -> dict[str, Any]:
    """The truth of a region after its chart moved: "center" and "points" move along."""
    out = dict(truth)
    if "center" in out:
        out["center"] = [out["center"][0] + top, out["center"][1] + left]
    if "points" in out:
        out["points"] = [[y + top, x + left] for y, x in out["points"]]
    return out


def inset(box: IntBox, share: float = 0.12, least: int = 2) -> IntBox:
    """The box without a border of `share` of its short side, at least `least` pixels."""
    top, left, height, width = box
    margin = max(least, math.ceil(share * min(height, width)))
    margin = min(margin, (min(height, width) - 1) // 2)
    return top + margin, left + margin, height - 2 * margin, width - 2 * margin


def cells(box: IntBox, rows: int, columns: int, gap: float = 0.0) -> list[IntBox]:
    """A grid of boxes in reading order; `gap` is the share of a cell left free between."""
    top, left, height, width = box
    margin = round(0.5 * gap * min(height / rows, width / columns))
    y = [top + round(i * height / rows) for i in range(rows + 1)]
    x = [left + round(j * width / columns) for j in range(columns + 1)]
    return [
        (y[i] + margin, x[j] + margin, y[i + 1] - y[i] - 2 * margin, x[j + 1] - x[j] - 2 * margin)
        for i in range(rows)
        for j in range(columns)
    ]


def centered_square(box: IntBox) -> IntBox:
    """The largest square in the middle of a box."""
    top, left, height, width = box
    side = min(height, width)
    return top + (height - side) // 2, left + (width - side) // 2, side, side


def pixel_centers(height: int, width: int, center: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Rows (H, 1) and columns (1, W) of the pixel centers relative to `center`, float64."""
    y = torch.arange(height, dtype=torch.float64)[:, None] + 0.5 - center[0]
    x = torch.arange(width, dtype=torch.float64)[None] + 0.5 - center[1]
    return y, x


def check_size(chart: str, height: int, width: int, least: tuple[int, int]) -> None:
    """Raise `ShapeError` unless both are whole numbers, at least `least` and at most 16384."""
    for name, value, low in (("height", height, least[0]), ("width", width, least[1])):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 16384:
            raise ShapeError(f"{chart}.{name}={value!r} must be a whole number in [{low}, 16384] (unit: px)")


def check_range(chart: str, low: float, high: float, **others: tuple[float, float, float]) -> None:
    """Raise `ParamError` unless 0 <= low < high, and each `name=(value, least, most)` fits."""
    for name, value in (("low", low), ("high", high)):
        check_number(f"{chart}.{name}", value, 0.0, 1e6)
    if not low < high:
        raise ParamError(f"{chart}.low={low} must be below {chart}.high={high}; exchange them")
    for name, (value, least, most) in others.items():
        check_number(f"{chart}.{name}", value, least, most)


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Raise `ParamError` unless `value` is a finite number in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ParamError(f"{name}={value!r} must be a number in [{least:g}, {most:g}]")


def check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Raise `ParamError` unless `value` is a whole number in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ParamError(f"{name}={value!r} must be a whole number in [{least}, {most}]")
