"""The laboratory on one page: everything a KPI page needs from a single shot."""

from __future__ import annotations

from dataclasses import replace

from ispkit.charts.canvas import Canvas, IntBox, Place, cells, centered_square, check_size, check_whole
from ispkit.charts.chart import Chart
from ispkit.charts.checker import colorchecker_chart
from ispkit.charts.edges import slanted_square
from ispkit.charts.frequency import log_frequency, siemens_star, zone_plate
from ispkit.charts.gradients import add_gradient
from ispkit.charts.gray import add_steps, contrast_pairs
from ispkit.charts.leaves import dead_leaves
from ispkit.charts.lights import REFERENCE
from ispkit.charts.markers import OFFSET, draw_markers

DESIGN = (1200, 1600)
LEAST = (800, 1066)
CONTRASTS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6)
# top, left, height, width of the parts in pixels of the design size
_SQUARES = {
    "top-left": (44, 184, 212, 212),
    "top-right": (44, 1204, 212, 212),
    "bottom-left": (944, 184, 212, 212),
    "bottom-right": (944, 1204, 212, 212),
    "center": (440, 640, 320, 320),
}
_GRAYS = (44, 420, 212, 760)
_CONTRASTS = (944, 420, 212, 760)
_CHECKER = (290, 44, 360, 550)
_STAR = (672, 44, 250, 250)
_ZONE = (672, 334, 250, 250)
_SWEEP = (290, 620, 120, 360)
_FINE_LEAVES = (290, 1006, 636, 550)
_GRADIENT = (796, 620, 126, 360)
# bare background: beside the corners, along the borders, beside the center
_FLATS = (
    (4, 200, 32, 160), (4, 720, 32, 160), (4, 1240, 32, 160),
    (1164, 200, 32, 160), (1164, 720, 32, 160), (1164, 1240, 32, 160),
    (200, 4, 160, 32), (520, 4, 160, 32), (840, 4, 160, 32),
    (200, 1564, 160, 32), (520, 1564, 160, 32), (840, 1564, 160, 32),
    (520, 600, 160, 32), (520, 968, 160, 32),
)  # fmt: skip


def lab(
    height: int = 1200,
    width: int = 1600,
    *,
    seed: int = 0,
    light: str = REFERENCE,
    r_min: float = 2.0,
    sigma_px: float = 0.0,
) -> Chart:
    """One composite chart: edges, star, zone plate, texture, colors, grays, shading, markers.

    Slanted squares in the center and the four corners give an edge of each direction (`sigma_px` blurs them in
    closed form); the background is the gray (0.2) of the flats and the mean of the texture, whose radii go from
    `r_min` px to a quarter of its width. `light` is that of the ColorChecker. Markers 0 to 3 are always there.
    800 x 1066 at least. Raises `ParamError`, `ShapeError`.
    """
    check_size("lab", height, width, LEAST)
    check_whole("lab.seed", seed, 0, 2**63 - 1)
    canvas = Canvas(height, width)
    at = canvas.scaled(DESIGN)
    for name, box in _SQUARES.items():
        y, x, side, _ = centered_square(at(box))
        canvas.place(slanted_square(side, sigma_px=sigma_px, name=name), y, x)
    _place_steps(canvas, at)
    for box, build in (
        (_CONTRASTS, lambda h, w: contrast_pairs(h, w, contrasts=CONTRASTS)),
        (_CHECKER, lambda h, w: colorchecker_chart(h, w, light=light)),
        (_STAR, siemens_star),
        (_ZONE, zone_plate),
        (_SWEEP, log_frequency),
    ):
        y, x, tall, wide = at(box)
        canvas.place(build(tall, wide), y, x)
    _place_leaves(canvas, at(_FINE_LEAVES), seed, r_min)
    add_gradient(canvas, "gradient/gray", "gradient", at(_GRADIENT), ([0.002] * 3, [0.9] * 3) * 2)
    for i, box in enumerate(_FLATS):
        canvas.add(f"flat/shading/{i:02d}", "flat", at(box), {"linear_srgb": canvas.picture[:, 0, 0].tolist()})
    markers = draw_markers(canvas, "lab", round(0.11 * min(height, 0.75 * width)), OFFSET)
    own = {"seed": seed, "light": light, "r_min": r_min, "sigma_px": sigma_px}
    return replace(canvas.chart("lab", {"height": height, "width": width} | own), markers=markers)


def _place_steps(canvas: Canvas, at: Place) -> None:
    """Two rows of twelve; the lower runs back, so that neighbors differ little."""
    grid = cells(at(_GRAYS), 2, 12, 0.1)
    add_steps(canvas, grid[:12] + grid[:11:-1], low=0.002, high=0.95)


def _place_leaves(canvas: Canvas, box: IntBox, seed: int, r_min: float) -> None:
    """The texture above, a flat strip of its mean below it."""
    top, left, tall, wide = box
    texture = min(wide, round(0.86 * tall))
    panel = dead_leaves(texture, wide, seed=seed, r_min=r_min, r_max=wide / 4, flats=False)
    canvas.place(panel, top, left)
    strip = (top + texture + 6, left + 6, tall - texture - 12, wide - 12)
    shown = [float(v) for v in canvas.crop(strip)[:, 0, 0]]
    canvas.add("flat/dead_leaves", "flat", strip, {"linear_srgb": shown})
