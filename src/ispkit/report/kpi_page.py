"""The page of `ispkit kpi`: what was measured, where in the picture, with plots and crops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.charts.chart import Chart, Region
from ispkit.kpi.patches import picture_patches
from ispkit.kpi.placement import Placement
from ispkit.kpi.result import Curve, Kpi, Result, folded
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.report.page import Section, image, row, warnings, write_report
from ispkit.report.page import table as html_table
from ispkit.report.plots import curves as draw_curves

_ARROWS = {"higher": "↑", "lower": "↓", "zero": "→ 0", "one": "→ 1", "none": ""}
_GROUPS = {
    "sfr": "Sharpness",
    "star": "Siemens star",
    "texture": "Texture",
    "color": "Color",
    "wb": "White balance",
    "noise": "Noise",
    "tone": "Tone and dynamic range",
    "cdp": "Contrast detection",
    "shading": "Shading",
    "moire": "Color moiré",
    "zipper": "Zipper",
    "scielab": "S-CIELAB",
}
_KIND_COLORS = {
    "edge": (229, 57, 53), "patch": (67, 160, 71), "gray": (142, 142, 142), "flat": (30, 136, 229),
    "dead_leaves": (251, 140, 0), "zone_plate": (142, 36, 170), "star": (0, 172, 193),
}  # fmt: skip


def write_kpi_page(
    path: str | Path, picture: Tensor, chart: Chart, place: Placement, groups: Mapping[str, Result], *, source: str
) -> None:
    """Write the page of one picture (3, H, W), encoded sRGB, and what `measure_groups` gave. Raises `FileError`."""
    sections = [
        Section("At a glance", headline(groups)),
        Section("The chart in the picture", _overview(picture, chart, place)),
        *kpi_sections(groups),
        *([Section("Patches", swatches(picture, chart, place))] if chart.of_kind("patch") else []),
        Section("Crops, 400 %", crops(picture, chart, place)),
    ]
    notes = folded(w for result in groups.values() for w in result.warnings)
    if notes:
        sections.insert(0, Section("Read this first", warnings(notes)))
    height, width = picture.shape[-2:]
    write_report(path, f"KPIs of {source}", f"chart '{chart.name}', {width} × {height} pixels", sections)


def kpi_sections(groups: Mapping[str, Result]) -> list[Section]:
    """Tables and plots, one section a group of KPIs that gave anything."""
    return [
        Section(_GROUPS.get(group, group), kpi_table(result.kpis) + row(*plots(result.curves)))
        for group, result in groups.items()
        if result.kpis or result.curves
    ]


def kpi_table(kpis: Sequence[Kpi]) -> str:
    """A line a KPI: value, unit, direction and meaning; KPIs of several regions as a second table, a line a region."""
    regions = dict.fromkeys(k.region for k in kpis if k.region)
    single = [k for k in kpis if not k.region or len(regions) == 1]
    several = [k for k in kpis if k not in single]
    return html_table([_line(k) for k in single]) + _by_region(several)


def headline(groups: Mapping[str, Result]) -> str:
    """The first KPI of every group: the page in one table."""
    return html_table([_line(result.kpis[0]) for result in groups.values() if result.kpis])


def _line(k: Kpi) -> dict[str, object]:
    facts = {"KPI": k.name, "where": k.region, "value": k.value, "unit": k.unit}
    return facts | {"better": _ARROWS[k.better], "what it is": k.doc}


def _by_region(kpis: Sequence[Kpi]) -> str:
    names = list(dict.fromkeys(k.name for k in kpis))
    values = {(k.region, k.name): k.value for k in kpis}
    heads = {k.name: f"{k.name} {k.unit} {_ARROWS[k.better]}".strip() for k in kpis}
    regions = dict.fromkeys(k.region for k in kpis)
    return html_table([{"where": r} | {heads[n]: values.get((r, n), math.nan) for n in names} for r in regions])


def eight_bit(picture: Tensor) -> NDArray[np.uint8]:
    """Encoded (3, H, W) in [0, 1] as (H, W, 3) codes."""
    codes: NDArray[np.uint8] = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
    return codes


def crops(picture: Tensor, chart: Chart, place: Placement, side: int = 60) -> str:
    """The middle of the regions that show artifacts best, each pixel four times as large."""
    shown: list[Region] = []
    for kind in ("edge", "dead_leaves", "star", "zone_plate", "patch", "ellipses", "wedge"):
        shown += [r for r in chart.regions if r.kind == kind][: 2 if kind == "edge" else 1]
    return row(*(_crop(eight_bit(picture), region, place, side) for region in shown))


def swatches(picture: Tensor, chart: Chart, place: Placement) -> str:
    """The color patches as they came out; inside each, what they are, as bright as the picture."""
    regions = [r for r in chart.of_kind("patch") if "linear_srgb" in r.truth]
    if not regions:
        return ""
    seen = picture_patches(picture, place, regions).mean
    true = torch.tensor([r.truth["linear_srgb"] for r in regions], dtype=torch.float64)
    gain = srgb_decode(seen).nansum() / true.sum().clamp(min=1e-9)
    shown = srgb_encode(true * gain)
    cells = "".join(
        f'<div class="swatch" style="background:{_css(outer)}" title="{escape(region.name)}">'
        f'<i style="background:{_css(inner)}"></i></div>'
        for region, outer, inner in zip(regions, seen, shown, strict=True)
    )
    return (
        f'<div class="swatches">{cells}</div><p>Around: the picture. Inside: the chart, as bright as the picture.</p>'
    )


def _css(encoded: Tensor) -> str:
    red, green, blue = (round(255 * v) for v in encoded.nan_to_num().clamp(0, 1).tolist())
    return f"rgb({red},{green},{blue})"


def _crop(codes: NDArray[np.uint8], region: Region, place: Placement, side: int) -> str:
    top, left, height, width = place.box(region)
    y, x = top + max(0, (height - side) // 2), left + max(0, (width - side) // 2)
    part = np.ascontiguousarray(codes[y : y + min(side, height), x : x + min(side, width)])
    if part.size == 0:
        return ""
    return image(part, region.name, width=4 * part.shape[1], pixelated=True)


def _overview(picture: Tensor, chart: Chart, place: Placement) -> str:
    import cv2

    codes = eight_bit(picture)
    scale = min(1.0, 1100 / codes.shape[1])
    small = cv2.resize(codes, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for region in chart.regions:
        corners = np.round(np.asarray(place.polygon(region)) * scale).astype(np.int32)
        cv2.polylines(small, [corners], isClosed=True, color=_KIND_COLORS.get(region.kind, (200, 200, 0)), thickness=1)
    kinds = ", ".join(sorted({r.kind for r in chart.regions}))
    return image(small, f"regions that were measured: {kinds}")


def plots(lines: Sequence[Curve]) -> list[str]:
    """One figure for all curves of the same plot; a wide range of positive x is drawn logarithmically."""
    names = dict.fromkeys(c.plot for c in lines)
    drawn = []
    for name in names:
        same = [c for c in lines if c.plot == name and len(c.x)]
        if same:
            wide = all(min(c.x) > 0 and max(c.x) > 50 * min(c.x) and "cy/px" not in c.x_label for c in same)
            drawn.append(draw_curves(same, log_x=wide))
    return drawn
