"""Gray charts: steps for the OECF and the dynamic range, a flat field, a dark field."""

from __future__ import annotations

import math

import torch

from ispkit.charts.canvas import MID_GRAY, Canvas, IntBox, cells, check_number, check_range, check_size, check_whole
from ispkit.charts.chart import Chart
from ispkit.core.errors import ParamError


def gray_steps(
    height: int = 600,
    width: int = 900,
    *,
    steps: int = 24,
    low: float = 0.002,
    high: float = 1.0,
    range_db: float | None = None,
) -> Chart:
    """Gray patches in equal logarithmic steps from `low` to `high`, in reading order, darkest first.

    `range_db` makes a transmissive chart: `high` = low * 10^(range_db / 20), beyond 1 (100 dB: 200). Truth
    of each region (kind `gray`): linear_srgb, index, density = -log10 of the value. ISO 14524 charts
    have 12 to 20 patches. Raises `ParamError`, `ShapeError`.
    """
    check_size("gray_steps", height, width, (48, 48))
    if range_db is not None:
        check_number("gray_steps.range_db", range_db, 1.0, 160.0)
        high = low * 10 ** (range_db / 20)
    check_range("gray_steps", low, high)
    if low <= 0:
        raise ParamError("gray_steps.low=0 has no logarithm; take 0.0001 or more")
    check_whole("gray_steps.steps", steps, 2, 100)
    columns = max(1, min(steps, round(math.sqrt(steps * width / height))))
    rows = math.ceil(steps / columns)
    grid = cells((0, 0, height, width), rows, columns, gap=0.14)
    if min(min(box[2:]) for box in grid) < 8:
        raise ParamError(f"gray_steps: {steps} patches do not fit {height}x{width}; take fewer, or a larger picture")
    canvas = Canvas(height, width)
    add_steps(canvas, grid[:steps], low=low, high=high)
    own = {"steps": steps, "low": low, "high": high if range_db is None else 1.0, "range_db": range_db}
    return canvas.chart("gray_steps", {"height": height, "width": width} | own)


def add_steps(canvas: Canvas, boxes: list[IntBox], *, low: float, high: float, prefix: str = "gray") -> None:
    """Paint gray patches in equal logarithmic steps into these boxes."""
    for i, box in enumerate(boxes):
        value = low * (high / low) ** (i / (len(boxes) - 1))
        truth = {"index": i, "density": -math.log10(value)}
        canvas.patch(f"{prefix}/{i:02d}", "gray", box, [value] * 3, truth)


def flat(
    height: int = 600, width: int = 900, *, value: float = 0.5, color: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> Chart:
    """A flat field: `value` times `color` (linear sRGB) everywhere; one region of kind `flat`."""
    check_size("flat", height, width, (16, 16))
    check_number("flat.value", value, 0.0, 1e6)
    if len(color) != 3:
        raise ParamError(f"flat.color={list(color)} must be three numbers, red, green and blue")
    for part in color:
        check_number("flat.color", part, 0.0, 1e3)
    canvas = Canvas(height, width)
    canvas.picture[:] = (value * torch.tensor(color, dtype=torch.float64)).float()[:, None, None]
    truth = {"linear_srgb": canvas.picture[:, 0, 0].tolist()}
    canvas.add("flat", "flat", (0, 0, height, width), truth)
    return canvas.chart("flat", {"height": height, "width": width, "value": value, "color": list(color)})


def dark(height: int = 600, width: int = 900) -> Chart:
    """No light at all: a lens cap; one region of kind `flat`."""
    check_size("dark", height, width, (16, 16))
    canvas = Canvas(height, width, 0.0)
    canvas.add("dark", "flat", (0, 0, height, width), {"linear_srgb": [0.0, 0.0, 0.0]})
    return canvas.chart("dark", {"height": height, "width": width})


def contrast_pairs(height: int, width: int, *, contrasts: tuple[float, ...], mean: float = MID_GRAY) -> Chart:
    """Pairs of patches side by side, mean (1 + C) over mean (1 - C), for contrast detection (IEEE P2020).

    Truth of each region (kind `gray`): linear_srgb, pair, contrast_michelson = C, contrast_weber = L_max / L_min - 1.
    """
    canvas = Canvas(height, width, mean)
    for i, (box, c) in enumerate(zip(cells((0, 0, height, width), 1, len(contrasts), 0.16), contrasts, strict=True)):
        truth = {"pair": i, "contrast_michelson": c, "contrast_weber": (1 + c) / (1 - c) - 1}
        top, left, tall, wide = box
        half = tall // 2
        canvas.patch(f"contrast/{i}/high", "gray", (top, left, half, wide), [mean * (1 + c)] * 3, truth)
        canvas.patch(f"contrast/{i}/low", "gray", (top + half, left, tall - half, wide), [mean * (1 - c)] * 3, truth)
    own = {"contrasts": list(contrasts), "mean": mean}
    return canvas.chart("contrast_pairs", {"height": height, "width": width} | own)
