"""Slanted edges with an exact profile: a straight edge, a Gaussian blur, integrated over square pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from scipy.optimize import brentq
from torch import Tensor

from ispkit.charts.canvas import Canvas, IntBox, cells, check_number, check_range, check_size, inset, pixel_centers
from ispkit.charts.chart import Chart
from ispkit.core.errors import ParamError, nearest

Direction = Literal["vertical", "horizontal"]
DIRECTIONS: tuple[Direction, ...] = ("vertical", "horizontal")


def slanted_edge(
    height: int = 600,
    width: int = 900,
    *,
    angles_deg: Sequence[float] = (3.0, 5.0, 8.0),
    directions: Sequence[Direction] = DIRECTIONS,
    sigma_px: float = 0.0,
    low: float = 0.15,
    high: float = 0.6,
) -> Chart:
    """Edges in a grid: a row a direction, a column an angle; contrast 4:1 unless told otherwise.

    `vertical`: the edge is x = x0 + (y - y0) tan(angle), the brighter side right. `horizontal`: y = y0 +
    (x - x0) tan(angle), the brighter side below. `sigma_px` blurs by a Gaussian in closed form. Truth of
    each region (kind `edge`): angle_deg, direction, low, high, contrast, sigma_px, center, and `mtf50` in
    cycles per pixel across the edge, pixel box included. Raises `ParamError`, `ShapeError`.
    """
    check_size("slanted_edge", height, width, (48, 48))
    check_range("slanted_edge", low, high, sigma_px=(sigma_px, 0.0, 20.0))
    for angle in angles_deg:
        check_number("slanted_edge.angles_deg", angle, -45.0, 45.0)
    for direction in directions:
        if direction not in DIRECTIONS:
            raise ParamError(f"slanted_edge.directions: no direction {direction!r}; {nearest(direction, DIRECTIONS)}")
    if not angles_deg or not directions:
        raise ParamError("slanted_edge needs at least one angle and one direction")
    canvas = Canvas(height, width, (low + high) / 2)
    grid = cells((0, 0, height, width), len(directions), len(angles_deg), gap=0.04)
    if min(min(box[2:]) for box in grid) < 24:
        raise ParamError("slanted_edge: an edge has less than 24 pixels of room; take fewer edges or a larger picture")
    jobs = [(d, float(a)) for d in directions for a in angles_deg]
    for i, (box, (direction, angle)) in enumerate(zip(grid, jobs, strict=True)):
        truth = edge_truth(angle, direction, sigma_px=sigma_px, low=low, high=high)
        canvas.crop(box)[:] = _edge(box, direction, angle, sigma_px) * (high - low) + low
        center = [box[0] + box[2] / 2, box[1] + box[3] / 2]
        canvas.add(f"edge/{i:02d}/{direction}", "edge", inset(box, 0.08, 4), truth | {"center": center})
    own = {"angles_deg": [float(a) for a in angles_deg], "directions": list(directions)}
    levels = {"sigma_px": sigma_px, "low": low, "high": high}
    return canvas.chart("slanted_edge", {"height": height, "width": width} | own | levels)


def slanted_square(size: int, *, angle_deg: float = 5.0, sigma_px: float = 0.0, name: str = "square") -> Chart:
    """A dark square, turned, on a bright ground (0.15, 0.6): an edge of each direction, `size` pixels a side.

    The regions `edge/NAME/vertical` and `edge/NAME/horizontal` hold its right and its lower side.
    """
    low, high, half = 0.15, 0.6, 0.3 * size
    canvas = Canvas(size, size, high)
    y, x = pixel_centers(size, size, (size / 2, size / 2))
    angle = math.radians(angle_deg)
    across, along = x * math.cos(angle) - y * math.sin(angle), y * math.cos(angle) + x * math.sin(angle)
    # outside any side; exact but in the pixels of the four corners, which no region holds
    sides = torch.stack([coverage(d - half, angle, sigma_px) for d in (across, -across, along, -along)])
    canvas.picture[:] = low + (high - low) * sides.amax(0).float()
    reach, length = 0.17 * size, 0.36 * size
    for direction, sign in zip(DIRECTIONS, (1.0, -1.0), strict=True):
        vertical = direction == "vertical"
        middle = [size / 2 - half * math.sin(angle), size / 2 + half * math.cos(angle)]
        middle = middle if vertical else [size / 2 + half * math.cos(angle), size / 2 + half * math.sin(angle)]
        extent = (length, 2 * reach) if vertical else (2 * reach, length)
        box = [round(m - e / 2) for m, e in zip(middle, extent, strict=True)] + [round(e) for e in extent]
        truth = edge_truth(sign * angle_deg, direction, sigma_px=sigma_px, low=low, high=high)
        canvas.add(f"edge/{name}/{direction}", "edge", box, truth | {"center": middle})
    return canvas.chart("slanted_square", {"size": size, "angle_deg": angle_deg, "sigma_px": sigma_px, "name": name})


def edge_truth(angle_deg: float, direction: Direction, *, sigma_px: float, low: float, high: float) -> dict[str, Any]:
    """What a region of kind `edge` states."""
    return {
        "angle_deg": angle_deg,
        "direction": direction,
        "low": low,
        "high": high,
        "contrast": high / low if low > 0 else None,
        "sigma_px": sigma_px,
        "mtf50": edge_mtf50(sigma_px, angle_deg),
    }


def coverage(distance: Tensor, angle_rad: float, sigma_px: float = 0.0) -> Tensor:
    """How much of each pixel lies beyond a straight edge, in [0, 1].

    `distance` is that of the pixel's center from the edge in pixels, positive beyond it; `angle_rad` is the
    edge's angle to a pixel axis. A pixel seen along the edge's normal is the convolution of boxes of width
    |cos| and |sin|, so its integral is a second difference of the twice integrated (blurred) step. Exact.
    """
    a, b = sorted((abs(math.cos(angle_rad)), abs(math.sin(angle_rad))), reverse=True)
    d = distance.double().clamp(-9 * sigma_px - 2, 9 * sigma_px + 2)  # beyond it is 0 or 1
    if b < 1e-6:
        return (_ramp(d + a / 2, sigma_px) - _ramp(d - a / 2, sigma_px)).div(a).clamp(0, 1)
    p, q = (a + b) / 2, (a - b) / 2
    parts = [_parabola(d + t, sigma_px) for t in (p, q, -q, -p)]
    return (parts[0] - parts[1] - parts[2] + parts[3]).div(a * b).clamp(0, 1)


def edge_mtf(frequency: Tensor, sigma_px: float, angle_deg: float) -> Tensor:
    """MTF of such an edge: exp(-2 pi^2 sigma^2 f^2) sinc(f cos) sinc(f sin), f in cycles per pixel across it."""
    angle = math.radians(angle_deg)
    box = torch.sinc(frequency * math.cos(angle)) * torch.sinc(frequency * math.sin(angle))
    return torch.exp(-2 * (math.pi * sigma_px * frequency) ** 2) * box


def edge_mtf50(sigma_px: float, angle_deg: float) -> float:
    """The frequency in cycles per pixel at which `edge_mtf` is one half.

    >>> round(edge_mtf50(0.5, 5.0), 3)
    0.323
    """

    def over_half(f: float) -> float:
        return float(edge_mtf(torch.tensor(f, dtype=torch.float64), sigma_px, angle_deg)) - 0.5

    return float(brentq(over_half, 0.0, 0.9, xtol=1e-12))


def _edge(box: IntBox, direction: Direction, angle_deg: float, sigma_px: float) -> Tensor:
    angle = math.radians(angle_deg)
    y, x = pixel_centers(box[2], box[3], (box[2] / 2, box[3] / 2))
    across = x * math.cos(angle) - y * math.sin(angle)
    if direction == "horizontal":
        across = y * math.cos(angle) - x * math.sin(angle)
    return coverage(across, angle, sigma_px).float()


def _ramp(x: Tensor, sigma: float) -> Tensor:
    """The Gaussian-blurred step integrated once."""
    if sigma == 0:
        return x.clamp(min=0)
    return x * _step(x, sigma) + sigma * _bell(x, sigma)


def _parabola(x: Tensor, sigma: float) -> Tensor:
    """The Gaussian-blurred step integrated twice."""
    if sigma == 0:
        return 0.5 * x.clamp(min=0).square()
    return 0.5 * ((x.square() + sigma**2) * _step(x, sigma) + sigma * x * _bell(x, sigma))


def _step(x: Tensor, sigma: float) -> Tensor:
    step: Tensor = 0.5 * torch.special.erfc(-x / (sigma * math.sqrt(2)))
    return step


def _bell(x: Tensor, sigma: float) -> Tensor:
    return torch.exp(-0.5 * (x / sigma).square()) / math.sqrt(2 * math.pi)
