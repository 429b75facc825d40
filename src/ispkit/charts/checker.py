"""The ColorChecker as a chart with truth: 24 patches under any light, black frame, gray border."""

from __future__ import annotations

from ispkit.charts.canvas import Canvas, cells, check_number, check_size
from ispkit.charts.chart import Chart
from ispkit.charts.colorchecker import COLUMNS, LAB_D50, ROWS
from ispkit.charts.lights import REFERENCE, patch_colors, patch_truth

FRAME = 0.012
"""linear value of the black frame, well below the black patch (0.03)"""


def colorchecker_chart(
    height: int = 640, width: int = 960, *, light: str = REFERENCE, frame: float = 0.02, border: float = 0.0
) -> Chart:
    """Four rows of six patches on black.

    `light`: `reference` (the maker's L*a*b* under D50) or a name of `lights.light_names()`, from spectra.
    `frame` and `border` are shares of the height: black around the patches, gray (0.2) around that. Colors
    are adapted to D65 and clipped at 0. Truth of each region (kind `patch`): linear_srgb and the facts of
    `lights.patch_truth`. Raises `ParamError`, `ShapeError`.
    """
    check_size("colorchecker", height, width, (64, 96))
    check_number("colorchecker.frame", frame, 0.0, 0.2)
    check_number("colorchecker.border", border, 0.0, 0.2)
    colors = patch_colors(light)
    canvas = Canvas(height, width)
    outer, inner = round(border * height), round((border + frame) * height)
    canvas.fill((outer, outer, height - 2 * outer, width - 2 * outer), FRAME)
    grid = cells((inner, inner, height - 2 * inner, width - 2 * inner), ROWS, COLUMNS, gap=0.16)
    for i, (name, box) in enumerate(zip(LAB_D50, grid, strict=True)):
        shown = colors.linear_srgb[i].clamp(min=0).tolist()
        canvas.patch(f"colorchecker/{name}", "patch", box, shown, patch_truth(colors, i))
    own = {"light": light, "frame": frame, "border": border}
    return canvas.chart("colorchecker", {"height": height, "width": width} | own)
