"""Charts of known frequency: Siemens star, zone plate, frequency sweep, hyperbolic wedge.

Sinusoids are sampled at the pixel centers and stay below the Nyquist frequency, so that they stand for the
continuous pattern exactly: their modulation is 1 x (high - low) at every frequency. Only binary patterns, which
have no band limit, are averaged over the pixel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ispkit.charts.canvas import (
    Canvas,
    centered_square,
    check_number,
    check_range,
    check_size,
    check_whole,
    pixel_centers,
)
from ispkit.charts.chart import Chart
from ispkit.core.errors import ParamError

_FINE = 8  # sub-samples a side where a pattern is binary


def siemens_star(
    height: int = 600,
    width: int = 600,
    *,
    spokes: int = 36,
    sinusoidal: bool = True,
    low: float = 0.05,
    high: float = 0.8,
) -> Chart:
    """A star of `spokes` periods a turn; the frequency at radius r is spokes / (2 pi r) cycles per pixel.

    Inside `inner_radius`, where that passes 0.45, and outside `radius` it is gray. Truth of the region (kind
    `star`): spokes, center (row, column), radius, inner_radius, low, high, sinusoidal. Luminance is
    (low + high) / 2 + (high - low) / 2 sin(spokes x angle), angle from the x axis toward the y axis, and the
    sign of the sine if not sinusoidal. As the s-SFR chart of ISO 12233, with our numbers. Raises
    `ParamError`, `ShapeError`.
    """
    check_size("siemens_star", height, width, (32, 32))
    check_range("siemens_star", low, high)
    check_whole("siemens_star.spokes", spokes, 4, 360)
    canvas = Canvas(height, width, (low + high) / 2)
    center, radius, inner = (height / 2, width / 2), 0.48 * min(height, width), spokes / (2 * math.pi * 0.45)
    if inner > 0.8 * radius:
        raise ParamError(f"siemens_star.spokes={spokes} are too fine for {height}x{width}; take fewer, or more pixels")
    y, x = pixel_centers(height, width, center)
    ring = _band((y.square() + x.square()).sqrt(), inner, radius)
    wave = torch.sin(spokes * torch.atan2(y, x)) if sinusoidal else _binary_star(height, width, center, spokes)
    canvas.picture[:] = ((low + high) / 2 + (high - low) / 2 * wave * ring).float()
    shape = {"center": list(center), "radius": radius, "inner_radius": inner}
    truth = {"spokes": spokes, **shape, "low": low, "high": high, "sinusoidal": sinusoidal}
    canvas.add("star", "star", centered_square((0, 0, height, width)), truth)
    own = {"spokes": spokes, "sinusoidal": sinusoidal, "low": low, "high": high}
    return canvas.chart("siemens_star", {"height": height, "width": width} | own)


def zone_plate(
    height: int = 600, width: int = 600, *, frequency_max: float = 0.5, low: float = 0.05, high: float = 0.8
) -> Chart:
    """Achromatic rings, cos(pi frequency_max r^2 / radius): frequency_max r / radius cycles per pixel at r.

    Beyond `radius` the rings fade to gray within 4 %. Truth of the region (kind `zone_plate`): center (row,
    column), radius, frequency_max, low, high. Raises `ParamError`, `ShapeError`.
    """
    check_size("zone_plate", height, width, (32, 32))
    check_range("zone_plate", low, high, frequency_max=(frequency_max, 0.01, 0.5))
    canvas = Canvas(height, width, (low + high) / 2)
    center, radius = (height / 2, width / 2), 0.48 * min(height, width)
    y, x = pixel_centers(height, width, center)
    square = y.square() + x.square()
    fade = ((1.04 * radius - square.sqrt()) / (0.04 * radius)).clamp(0, 1)
    wave = torch.cos(math.pi * frequency_max / radius * square) * fade.square() * (3 - 2 * fade)
    canvas.picture[:] = ((low + high) / 2 + (high - low) / 2 * wave).float()
    truth = {"center": list(center), "radius": radius, "frequency_max": frequency_max, "low": low, "high": high}
    canvas.add("zone_plate", "zone_plate", centered_square((0, 0, height, width)), truth)
    own = {"frequency_max": frequency_max, "low": low, "high": high}
    return canvas.chart("zone_plate", {"height": height, "width": width} | own)


def log_frequency(
    height: int = 400,
    width: int = 900,
    *,
    frequency_low: float = 0.01,
    frequency_high: float = 0.5,
    contrast: float = 0.9,
    contrast_end: float = 0.05,
    mean: float = 0.3,
) -> Chart:
    """A sweep: frequency grows exponentially to the right, contrast falls exponentially downward.

    Truth of the region (kind `wedge`): axis `column`, scale `log`, frequency_low and frequency_high in cycles
    per pixel at the left and right end of the box, `modulation` [top, bottom] (Michelson), mean. Raises
    `ParamError`, `ShapeError`.
    """
    check_size("log_frequency", height, width, (16, 64))
    check_range("log_frequency", frequency_low, frequency_high, frequency_high=(frequency_high, 0.0, 0.5))
    check_number("log_frequency.frequency_low", frequency_low, 1e-4, 0.5)
    for name, value in (("contrast", contrast), ("contrast_end", contrast_end)):
        check_number(f"log_frequency.{name}", value, 1e-3, 1.0)
    check_number("log_frequency.mean", mean, 1e-6, 1e3)
    x = (torch.arange(width, dtype=torch.float64)[None] + 0.5) / width
    y = (torch.arange(height, dtype=torch.float64)[:, None] + 0.5) / height
    octaves = math.log(frequency_high / frequency_low)
    phase = 2 * math.pi * width * frequency_low * torch.expm1(octaves * x) / octaves
    canvas = Canvas(height, width, mean)
    canvas.picture[:] = (mean * (1 + contrast * (contrast_end / contrast) ** y * torch.sin(phase))).float()
    band = {"frequency_low": frequency_low, "frequency_high": frequency_high, "mean": mean}
    truth = {"axis": "column", "scale": "log", **band, "modulation": [contrast, contrast_end]}
    canvas.add("sweep", "wedge", (0, 0, height, width), truth)
    own = {"contrast": contrast, "contrast_end": contrast_end}
    return canvas.chart("log_frequency", {"height": height, "width": width} | band | own)


def hyperbolic_wedge(
    height: int,
    width: int,
    *,
    frequency_low: float = 0.05,
    frequency_high: float = 0.45,
    axis: str = "row",
    low: float = 0.05,
    high: float = 0.8,
) -> Chart:
    """Lines that close up along `axis`, every frequency filling the whole width of the block.

    The frequency across the axis grows linearly from the first row (`axis="row"`) or column to the last;
    lines leave the block at its sides instead of ending, so that no frequency has less room than another.
    Truth of the region (kind `wedge`): axis, scale `linear`, frequency_low, frequency_high, low, high.
    Source: Tseng et al., Hyperparameter optimization in black-box image processing using differentiable
    proxies, 2019, section 6.2.2.
    """
    size = (height, width) if axis == "row" else (width, height)
    y, x = pixel_centers(*size, (0.0, size[1] / 2))
    frequency = frequency_low + (frequency_high - frequency_low) * y / size[0]
    slope = (frequency_high - frequency_low) / size[0] * x.abs()  # frequency along the axis
    fade = ((0.5 - slope) / 0.1).clamp(0, 1)
    wave = torch.cos(2 * math.pi * frequency * x) * fade
    canvas = Canvas(height, width)
    canvas.picture[:] = ((low + high) / 2 + (high - low) / 2 * (wave if axis == "row" else wave.T)).float()
    band = {"frequency_low": frequency_low, "frequency_high": frequency_high, "axis": axis, "low": low, "high": high}
    canvas.add("wedge", "wedge", (0, 0, height, width), {"scale": "linear", **band})
    return canvas.chart("hyperbolic_wedge", {"height": height, "width": width} | band)


def _band(radius: Tensor, inner: float, outer: float) -> Tensor:
    """1 between the radii, 0 elsewhere, antialiased."""
    return (radius - inner + 0.5).clamp(0, 1) * (outer - radius + 0.5).clamp(0, 1)


def _binary_star(height: int, width: int, center: tuple[float, float], spokes: int) -> Tensor:
    """The sign of the sine, averaged over each pixel; row by row to keep memory small."""
    x = (torch.arange(width * _FINE) + 0.5) / _FINE - center[1]
    rows = []
    for row in range(height):
        y = row + (torch.arange(_FINE)[:, None] + 0.5) / _FINE - center[0]
        sign = torch.sin(spokes * torch.atan2(y, x[None])).sign()
        rows.append(sign.reshape(_FINE, width, _FINE).mean((0, 2)))
    return torch.stack(rows).double()
