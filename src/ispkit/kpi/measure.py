"""All KPIs that a chart allows, group by group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from ispkit.charts.chart import Chart
from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.kpi import groups
from ispkit.kpi.placement import Placement
from ispkit.kpi.result import Result
from ispkit.kpi.view import ChartView, Settings

GROUPS: dict[str, Callable[[ChartView], Result]] = {
    "sfr": groups.sharpness,
    "star": groups.siemens_star,
    "texture": groups.texture,
    "color": groups.color,
    "wb": groups.white_balance,
    "noise": groups.noise,
    "tone": groups.tone,
    "cdp": groups.contrast,
    "shading": groups.shading_of_flats,
    "moire": groups.moire,
    "zipper": groups.zipper,
    "scielab": groups.seen_from_afar,
}
"""name -> function; each gives an empty result where the chart has no regions for it"""


def measure_groups(
    encoded: Tensor, chart: Chart, place: Placement, *, settings: Settings | None = None
) -> dict[str, Result]:
    """Every group that gave a number, in the order of `GROUPS`, from a picture (3, H, W) of encoded sRGB in [0, 1].

    Raises `ParamError` for an unknown group, and if the chart allows none of those wanted.
    """
    settings = settings or Settings()
    wanted = settings.groups or tuple(GROUPS)
    for name in wanted:
        if name not in GROUPS:
            raise ParamError(f"no group of KPIs {name!r}; {nearest(name, GROUPS)}")
    view = ChartView(encoded, chart, place, settings)
    if settings.linearize == "chart":
        _ = view.fitted  # raises where the chart has no gray steps
    measured = {name: _measured(name, view) for name in GROUPS if name in wanted}
    found = {name: result for name, result in measured.items() if result.kpis or result.warnings}
    if not found:
        kinds = ", ".join(sorted({r.kind for r in chart.regions})) or "none"
        raise ParamError(f"chart {chart.name!r} (regions: {kinds}) shows nothing for {', '.join(wanted)}")
    first = next(iter(found))
    found[first] = replace(found[first], warnings=(*place.warnings, *found[first].warnings))
    return found


def _measured(name: str, view: ChartView) -> Result:
    """One group; what cannot be measured at all (its regions are out of the picture, or tiny) becomes a warning."""
    try:
        return GROUPS[name](view)
    except (ShapeError, ParamError) as error:
        return Result(warnings=(f"{name}: {error}",))


def measure(encoded: Tensor, chart: Chart, place: Placement, *, settings: Settings | None = None) -> Result:
    """The same as one result."""
    return Result.join(measure_groups(encoded, chart, place, settings=settings).values())
