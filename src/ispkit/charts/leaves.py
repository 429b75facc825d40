"""Dead leaves and its kin: shapes that hide each other, painted front to back until nothing is bare."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.charts.canvas import MID_GRAY, Canvas, check_number, check_size, check_whole
from ispkit.charts.chart import Chart
from ispkit.core.errors import ParamError

Array = NDArray[np.float64]
_BARE = 2e-3  # what of the ground may shine through where antialiased borders meet
_BATCH = 2048


@dataclass(frozen=True)
class Leaves:
    """Shapes in order from the front; arrays of one length, `color` (N, 3)."""

    y: Array
    x: Array
    radius: Array
    """of the long axis"""
    color: Array
    aspect: Array
    """short axis over long axis, in (0, 1]"""
    turn: Array
    """direction of the long axis in radians, from the x axis toward the y axis"""


def dead_leaves(
    height: int = 1024,
    width: int = 1280,
    *,
    seed: int = 0,
    r_min: float = 3.0,
    r_max: float = 250.0,
    mean: float = MID_GRAY,
    contrast: float = 4.0,
    color: bool = False,
    flats: bool = True,
) -> Chart:
    """Occluding discs of radius density r^-3 in [r_min, r_max], with a flat strip of the same mean.

    Gray levels are uniform in linear light, `contrast` from the darkest to the brightest around `mean`;
    `color` lets the channels differ. The texture fills the left four fifths (all if not `flats`): the default
    is 1024 x 1024. Truth of the region `dead_leaves`: seed, r_min, r_max, mean, low, high, color. Same seed,
    same chart. Source: Lee, Mumford, Huang, Occlusion models for natural images, IJCV 2001; ISO/TS 19567-2.
    Raises `ParamError`, `ShapeError`.
    """
    check_size("dead_leaves", height, width, (32, 48))
    strip = width // 5 if flats else 0
    texture = leaves_texture(
        height, width - strip, seed=seed, r_min=r_min, r_max=r_max, mean=mean, contrast=contrast, color=color
    )
    canvas = Canvas(height, width, mean)
    canvas.picture[:, :, : width - strip] = texture
    low, high = _levels(mean, contrast)
    drawn = {"seed": seed, "r_min": r_min, "r_max": r_max, "mean": mean}
    truth = drawn | {"low": low, "high": high, "contrast": contrast, "color": color}
    edge = 4 if flats else 0
    canvas.add("dead_leaves", "dead_leaves", (edge, edge, height - 2 * edge, width - strip - 2 * edge), truth)
    if flats:
        shown = canvas.picture[:, 0, -1].tolist()
        edge = max(4, strip // 16)
        box = (edge, width - strip + edge, height - 2 * edge, strip - 2 * edge)
        canvas.add("flat/dead_leaves", "flat", box, {"linear_srgb": shown})
    own = drawn | {"contrast": contrast, "color": color, "flats": flats}
    return canvas.chart("dead_leaves", {"height": height, "width": width} | own)


def leaves_texture(height: int, width: int, *, seed: int, **knobs: Any) -> Tensor:
    """The bare texture of `dead_leaves`, linear (3, height, width); `knobs` as there."""
    r_min, r_max = knobs.get("r_min", 3.0), knobs.get("r_max", 250.0)
    mean, contrast, colored = knobs.get("mean", MID_GRAY), knobs.get("contrast", 4.0), knobs.get("color", False)
    check_whole("dead_leaves.seed", seed, 0, 2**63 - 1)
    check_number("dead_leaves.r_min", r_min, 0.5, 1e4)
    check_number("dead_leaves.r_max", r_max, r_min, 1e4)
    check_number("dead_leaves.mean", mean, 1e-6, 1e3)
    check_number("dead_leaves.contrast", contrast, 1.0, 1000.0)
    if not isinstance(colored, bool):
        raise ParamError(f"dead_leaves.color={colored!r} must be true or false")
    random = np.random.default_rng(seed)
    low, high = _levels(mean, contrast)

    def batches() -> Iterator[Leaves]:
        while True:
            yield _discs((height, width), (r_min, r_max), (low, high), colored, random)

    return paint((height, width), batches(), mean)


def power_law_radii(uniform: Array, r_min: float, r_max: float) -> Array:
    """Radii of density proportional to r^-3 from uniform numbers in [0, 1), by the inverse distribution.

    >>> power_law_radii(np.array([0.0, 0.75]), 1.0, 1e9).round(6).tolist()
    [1.0, 2.0]
    """
    ends: Array = (r_min**-2 - uniform * (r_min**-2 - r_max**-2)) ** -0.5
    return ends


def paint(size: tuple[int, int], batches: Iterator[Leaves], ground: float) -> Tensor:
    """Put shapes behind those that are there already until nothing is bare, (3, H, W) float32.

    From the front backward the picture is finished, and exactly distributed, when it is covered (Kendall and
    Thönnes, Perfect simulation in stochastic geometry, 1999). Borders are antialiased over one pixel.
    """
    height, width = size
    picture = np.zeros((height, width, 3), np.float32)
    bare = np.ones((height, width), np.float32)
    for _ in range(2000):
        leaves = next(batches)
        for i in _visible(bare, leaves):
            _put(picture, bare, leaves, int(i))
        if bare.max() < _BARE:
            break
    picture += (bare * ground)[..., None]
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


def _levels(mean: float, contrast: float) -> tuple[float, float]:
    return 2 * mean / (1 + contrast), 2 * mean * contrast / (1 + contrast)


def _discs(
    size: tuple[int, int], radii: tuple[float, float], levels: tuple[float, float], colored: bool, random: Any
) -> Leaves:
    """Discs that may hit the picture: centers uniform in it and `r_max` around it."""
    radius = power_law_radii(random.random(_BATCH), *radii)
    y, x = (random.uniform(-radii[1], extent + radii[1], _BATCH) for extent in size)
    gray = random.uniform(*levels, (_BATCH, 1)).repeat(3, axis=1)
    if colored:
        gray = 0.5 * gray + 0.5 * random.uniform(*levels, (_BATCH, 3))
    hit = (y > -radius) & (y < size[0] + radius) & (x > -radius) & (x < size[1] + radius)
    ones = np.ones(int(hit.sum()))
    return Leaves(y[hit], x[hit], radius[hit], gray[hit], ones, 0 * ones)


def _visible(bare: NDArray[np.float32], leaves: Leaves) -> NDArray[np.intp]:
    """The shapes whose bounding square still has a bare pixel, by an integral image of them."""
    height, width = bare.shape
    table = np.zeros((height + 1, width + 1), np.int64)
    table[1:, 1:] = (bare >= _BARE).cumsum(0).cumsum(1)
    reach = leaves.radius + 1
    top, bottom = (np.clip(np.floor(leaves.y + s * reach), 0, height).astype(np.intp) for s in (-1, 1))
    left, right = (np.clip(np.floor(leaves.x + s * reach), 0, width).astype(np.intp) for s in (-1, 1))
    count = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return np.flatnonzero(count)


def _put(picture: NDArray[np.float32], bare: NDArray[np.float32], leaves: Leaves, i: int) -> None:
    """One shape behind everything painted so far."""
    cy, cx, r = float(leaves.y[i]), float(leaves.x[i]), float(leaves.radius[i])
    top, left = max(0, math.floor(cy - r - 1)), max(0, math.floor(cx - r - 1))
    window = np.s_[top : max(0, math.ceil(cy + r + 1)), left : max(0, math.ceil(cx + r + 1))]
    under = bare[window]
    if not under.size:
        return
    y = np.arange(top, top + under.shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - cy)
    x = np.arange(left, left + under.shape[1], dtype=np.float32)[None] + np.float32(0.5 - cx)
    cover = np.clip(_depth(y, x, r, float(leaves.aspect[i]), float(leaves.turn[i])) + 0.5, 0, 1) * under
    picture[window] += cover[..., None] * leaves.color[i].astype(np.float32)
    under -= cover


def _depth(y: Any, x: Any, radius: float, aspect: float, turn: float) -> Any:
    """Distance of points to the border, positive inside; exact for a disc, of first order for an ellipse."""
    if aspect == 1:
        return radius - np.sqrt(y * y + x * x)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    a, b = radius, radius * aspect
    q = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2)
    return np.where(slope > 0, (1 - q) * q / np.maximum(slope, 1e-12), b)
