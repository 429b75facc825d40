"""`ispkit kpi`: image-quality numbers from a shot of a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ispkit.cli.guards import check_outputs, refuse_overwriting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ispkit.kpi.result import Result


def kpi(
    source: Annotated[Path, typer.Argument(metavar="PICTURE|RAW", help="A PNG, JPEG, TIFF, or RAW file of a chart.")],
    chart: Annotated[
        str | None,
        typer.Option(
            "--chart", "-c", metavar="NAME|TRUTH.json", help="Its name, or what `chart` wrote; else by markers."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="PAGE.html", help="Write the page.")] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="KPI.json", help="Write the numbers as JSON.")] = None,
    corners: Annotated[
        str | None,
        typer.Option(
            "--corners",
            metavar="X,Y X,Y X,Y X,Y",
            help="The chart's corners clockwise from the top left; of a ColorChecker the corner patches' centers.",
        ),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option("--regions", metavar="FILE.json", help="Regions in the picture, instead of a chart.")
    ] = None,
    groups: Annotated[str | None, typer.Option("--groups", metavar="NAME,...", help="Only sfr, color, ...")] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", "-r", help="YAML recipe for a RAW file.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", "-p", help="Preset for a RAW file; neutral.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="STAGE.KNOB=VALUE", help="Turn a knob; repeatable.")
    ] = None,
    px_per_degree: Annotated[
        float, typer.Option("--px-per-degree", help="Viewing distance of acutance, visual noise and S-CIELAB.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Measure sharpness, texture, color, noise, tone and more on a shot of a chart whose truth is known.

    Our charts carry markers and are found by themselves, a 24-patch ColorChecker too; else give --corners.
    A RAW file is developed first. The page holds tables, plots and crops in one file and loads nothing.

    Example: a simulated shot, with the page.

    ispkit chart lab -o charts/ --raw --iso 400 && ispkit kpi charts/lab.dng -o kpi.html

    Example: the colors of a photograph of a ColorChecker, for a program.

    ispkit kpi photo.jpg --chart colorchecker --groups color,wb --json
    """
    from ispkit.cli import chart_picture
    from ispkit.kpi.measure import measure_groups
    from ispkit.kpi.view import Settings

    for output in (out, save):
        refuse_overwriting(output, source, recipe, regions, Path(chart) if chart else None)
    check_outputs(out, save)
    picture = chart_picture.load_picture(source, preset=preset, recipe=recipe, settings=settings or [])
    truth, place = chart_picture.find_chart(picture, chart, corners=corners, regions=regions, source=source)
    wanted = tuple(name.strip() for name in groups.split(",")) if groups else None
    measured = measure_groups(picture, truth, place, settings=Settings(px_per_degree=px_per_degree, groups=wanted))
    summary = {"source": str(source), "chart": truth.name, "groups": {n: r.as_json() for n, r in measured.items()}}
    if save is not None:
        from ispkit.io.atomic import write_bytes

        write_bytes(save, (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())
    if out is not None:
        from ispkit.report.kpi_page import write_kpi_page

        write_kpi_page(out, picture, truth, place, measured, source=source.name)
    if as_json:
        print(json.dumps(summary | {"page": str(out) if out else None}, indent=2, ensure_ascii=False))
    else:
        _print(measured, out, save)


def _print(measured: Mapping[str, Result], *written: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from ispkit.kpi.result import folded
    from ispkit.report.page import cell

    table = Table("KPI", "where", box=None, header_style="bold")
    for heading, side in (("value", "right"), ("unit", "left"), ("better", "left")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for result in measured.values():
        for k in result.kpis:
            table.add_row(k.name, k.region, cell(k.value), k.unit, k.better if k.better != "none" else "")
    console = Console()
    console.print(table)
    for warning in folded(w for result in measured.values() for w in result.warnings):
        console.print(f"note: {warning}", markup=False, highlight=False, style="yellow")
    for path in written:
        if path is not None:
            console.print(f"Written: {path}", markup=False, highlight=False)
