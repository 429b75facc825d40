"""The rainbow chart: what a black-box ISP is imitated and tuned on.

After Tseng et al., Hyperparameter optimization in black-box image processing using differentiable proxies, ACM
TOG 2019, section 6.2.2, which says what the chart holds and why; layout, colors and sizes are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.charts.canvas import Canvas, Place, check_number, check_size, check_whole, pixel_centers
from ispkit.charts.chart import Chart
from ispkit.charts.colorchecker import LAB_D50
from ispkit.charts.frequency import hyperbolic_wedge
from ispkit.charts.gradients import add_gradient, bilinear, corners_within
from ispkit.charts.leaves import Leaves, paint, power_law_radii
from ispkit.charts.lights import REFERENCE, PatchColors, patch_colors, patch_truth
from ispkit.ops.lab import lab_to_linear_srgb, lab_to_xyz

DESIGN = (1080, 1920)
_CENTER = (700, 960)  # of both rainbows, row and column in design pixels
_OUTER, _INNER = (462.0, 580.0), (330.0, 448.0)
_GRAYS = 13
_ELLIPSES = (724, 96, 264, 1728)
# CIE L*a*b* D50: corners of the background
_SKY = ((30, -6, -22), (62, 22, 28), (24, 14, -20), (66, -4, 30))
# and of the gradients; skin along the line from ColorChecker's dark skin to its light skin and beyond (our choice)
_SKIN = (
    ((84, 7, 13), (76, 13, 17), (78, 10, 20), (68, 17, 20)),
    ((66, 18, 19), (58, 18, 24), (60, 15, 17), (49, 17, 22)),
    ((46, 15, 19), (38, 14, 17), (40, 13, 14), (24, 9, 10)),
)
_SIMILAR = (
    ((70, -8, -18), (56, -2, -30), (62, -12, -22), (46, 4, -36)),
    ((62, -24, 34), (48, -22, 22), (54, -14, 28), (36, -16, 16)),
    ((90, 0, 0), (56, 0, 0), (42, 0, 0), (8, 0, 0)),
)
_SKIN_BOXES = tuple((104 + 202 * i, 112, 184, 244) for i in range(3))
_SIMILAR_BOXES = tuple((104 + 202 * i, 1564, 184, 244) for i in range(3))
_WEDGES = ((104, 384, 120, 168), (104, 1368, 120, 168))
_BORDERS = {
    "top": (4, 4, 84, 1912), "bottom": (1000, 4, 76, 1912), "left": (4, 4, 1072, 92), "right": (4, 1832, 1072, 84),
}  # fmt: skip


def rainbow(height: int = 1080, width: int = 1920, *, seed: int = 0, light: str = REFERENCE) -> Chart:
    """Ellipses of growing contrast, wedges, half rings of colors and grays, smooth gradients.

    Kinds of regions: `ellipses` (truth: seed, mean, r_min, r_max, contrast at both ends of the axis), `wedge`
    (as `hyperbolic_wedge`), `patch` (the 18 chromatic ColorChecker patches by hue, as `colorchecker_chart`) and
    `gray` (both with the sector's corners as `points`, row and column), `skin` and `gradient` (corners, space).
    `light` lights the patches. 360 x 640 at least. Raises `ParamError`, `ShapeError`.
    """
    check_size("rainbow", height, width, (360, 640))
    check_whole("rainbow.seed", seed, 0, 2**63 - 1)
    colors = patch_colors(light)
    canvas = Canvas(height, width)
    at = canvas.scaled(DESIGN)
    _background(canvas, at)
    scale = min(height / DESIGN[0], width / DESIGN[1])
    center = (float(round(_CENTER[0] * height / DESIGN[0])), width / 2)
    _colors(canvas, center, scale, colors)
    _grays(canvas, center, scale)
    _wedges(canvas, at, center, scale)
    for kind, boxes, corners in (("skin", _SKIN_BOXES, _SKIN), ("gradient", _SIMILAR_BOXES, _SIMILAR)):
        for i, (box, corner) in enumerate(zip(boxes, corners, strict=True)):
            add_gradient(canvas, f"{kind}/{i}", kind, at(box), _linear(corner))  # type: ignore[arg-type]
    box = at(_ELLIPSES)
    canvas.place(ellipses(box[2], box[3], seed=seed, r_min=max(2.0, 4 * scale), r_max=120 * scale), box[0], box[1])
    own = {"seed": seed, "light": light}
    return canvas.chart("rainbow", {"height": height, "width": width} | own)


def ellipses(
    height: int,
    width: int,
    *,
    seed: int,
    r_min: float = 4.0,
    r_max: float = 120.0,
    mean: float = 0.22,
    contrast: tuple[float, float] = (0.08, 0.95),
) -> Chart:
    """Occluding ellipses of random color, whose contrast grows from left to right.

    The long axis has the density r^-3. Around `mean`, each channel stays within mean (1 ± c), where c grows
    exponentially from contrast[0] to contrast[1] with the column of the ellipse's center.
    """
    check_number("ellipses.r_max", r_max, r_min, 1e4)
    random = np.random.default_rng(seed)

    def batches() -> Iterator[Leaves]:
        while True:
            yield _ellipses((height, width), (r_min, r_max), mean, contrast, random)

    canvas = Canvas(height, width, mean)
    canvas.picture[:] = paint((height, width), batches(), mean)
    drawn = {"seed": seed, "r_min": r_min, "r_max": r_max, "mean": mean, "contrast": list(contrast)}
    canvas.add("ellipses", "ellipses", (0, 0, height, width), drawn | {"axis": "column"})
    return canvas.chart("ellipses", {"height": height, "width": width} | drawn)


def _ellipses(
    size: tuple[int, int], radii: tuple[float, float], mean: float, contrast: tuple[float, float], random: Any
) -> Leaves:
    count = 1024
    radius = power_law_radii(random.random(count), *radii)
    y, x = (random.uniform(-radii[1], extent + radii[1], count) for extent in size)
    reach = contrast[0] * (contrast[1] / contrast[0]) ** np.clip(x / size[1], 0, 1)
    spread = 0.4 * random.uniform(-1, 1, (count, 1)) + 0.6 * random.uniform(-1, 1, (count, 3))
    aspect = np.maximum(random.uniform(0.12, 1.0, count), 1.0 / radius)  # no thinner than 2 px
    color = mean * (1 + reach[:, None] * spread)
    return Leaves(y, x, radius, color, np.minimum(aspect, 0.999), random.uniform(0, math.pi, count))


def _background(canvas: Canvas, at: Place) -> None:
    height, width = canvas.picture.shape[-2:]
    corners = _linear(_SKY)
    canvas.picture[:] = bilinear(height, width, corners)
    for name, box in _BORDERS.items():
        part = at(box)
        truth = {"corners": corners_within((0, 0, height, width), part, corners), "space": "srgb"}
        canvas.add(f"gradient/border/{name}", "gradient", part, truth)


def _colors(canvas: Canvas, center: tuple[float, float], scale: float, colors: PatchColors) -> None:
    """The outer rainbow: chromatic patches in the order of their hue, magenta at the left."""
    names = list(LAB_D50)
    hue = [(math.atan2(b, a) + 0.6) % (2 * math.pi) for _, a, b in list(LAB_D50.values())[:18]]
    order = sorted(range(18), key=hue.__getitem__)
    shown = colors.linear_srgb[order].clamp(min=0).float()
    for i, region in enumerate(_half_ring(canvas, center, (_OUTER[0] * scale, _OUTER[1] * scale), shown)):
        truth = {"linear_srgb": shown[i].tolist(), **patch_truth(colors, order[i]), **region[1]}
        canvas.add(f"rainbow/{names[order[i]]}", "patch", region[0], truth)


def _grays(canvas: Canvas, center: tuple[float, float], scale: float) -> None:
    """The inner rainbow: grays in equal steps of lightness."""
    lab = torch.zeros(_GRAYS, 3, dtype=torch.float64)
    lab[:, 0] = torch.linspace(8, 96, _GRAYS, dtype=torch.float64)
    value = lab_to_xyz(lab, torch.ones(3))[:, 1]
    shown = value[:, None].repeat(1, 3).float()
    for i, region in enumerate(_half_ring(canvas, center, (_INNER[0] * scale, _INNER[1] * scale), shown)):
        density = -math.log10(float(value[i]))
        truth = {"linear_srgb": shown[i].tolist(), "index": i, "density": density, **region[1]}
        canvas.add(f"gray/{i:02d}", "gray", region[0], truth)


def _half_ring(
    canvas: Canvas, center: tuple[float, float], radii: tuple[float, float], colors: Tensor
) -> list[tuple[list[float], dict[str, Any]]]:
    """Paint touching sectors above the center from the left; a square and the corners of each."""
    height, width = canvas.picture.shape[-2:]
    y, x = pixel_centers(height, width, center)
    radius, turn = (y.square() + x.square()).sqrt(), torch.atan2(-y, -x)  # 0 left, pi/2 up, pi right
    step = math.pi / len(colors)
    border = (turn / step).round().clamp(1, len(colors) - 1)
    share = (radius * torch.sin(turn - border * step) + 0.5).clamp(0, 1).float()  # of the sector after the border
    after = border.long()
    paint_ = colors[after - 1].permute(2, 0, 1) * (1 - share) + colors[after].permute(2, 0, 1) * share
    ring = ((radius - radii[0] + 0.5).clamp(0, 1) * (radii[1] - radius + 0.5).clamp(0, 1) * (y < 0)).float()
    canvas.picture[:] = canvas.picture * (1 - ring) + paint_ * ring
    return [_sector(center, radii, i * step, step) for i in range(len(colors))]


def _sector(
    center: tuple[float, float], radii: tuple[float, float], start: float, step: float
) -> tuple[list[float], dict[str, Any]]:
    """An upright square inside a sector, and the sector's four corners."""
    middle = (radii[0] + radii[1]) / 2
    half = 0.9 * min((radii[1] - radii[0]) / 2, middle * math.sin(step / 2)) / math.sqrt(2)

    def point(radius: float, turn: float) -> list[float]:
        return [center[0] - radius * math.sin(turn), center[1] - radius * math.cos(turn)]

    y, x = point(middle, start + step / 2)
    side = math.floor(2 * half)
    corners = [point(r, t) for r, t in zip((*radii, *radii[::-1]), (start,) * 2 + (start + step,) * 2, strict=True)]
    return [float(round(y - side / 2)), float(round(x - side / 2)), float(side), float(side)], {"points": corners}


def _wedges(canvas: Canvas, at: Place, center: tuple[float, float], scale: float) -> None:
    """Two under the rainbows, two in the upper corners; one of each axis."""
    side, gap = round(204 * scale), round(10 * scale)
    top = int(center[0]) - side
    inner = ((top, int(center[1]) - gap - side, side, side), (top, int(center[1]) + gap, side, side))
    for i, (box, axis) in enumerate(zip((*inner, *map(at, _WEDGES)), ("row", "column") * 2, strict=True)):
        y, x, tall, wide = box
        canvas.place(hyperbolic_wedge(tall, wide, axis=axis), y, x, prefix=f"{i}/")


def _linear(corners: Sequence[Sequence[float]]) -> list[list[float]]:
    colors: list[list[float]] = lab_to_linear_srgb(torch.tensor(corners, dtype=torch.float64)).clamp(0, 1).tolist()
    return colors
