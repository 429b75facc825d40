"""A picture of a chart for the commands: developed if it is RAW, and the chart found in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ispkit.bench.chart_shots import developed
from ispkit.charts.catalog import build, from_truth
from ispkit.charts.chart import Chart
from ispkit.cli.jobs import look
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.io.load import load
from ispkit.isp.recipe import from_recipe
from ispkit.kpi.locate import COLORCHECKER, COLORCHECKER_CENTERS, locate, locate_colorchecker, name_of_chart
from ispkit.kpi.placement import Placement, from_corners, from_regions, identity
from ispkit.report.load import load_srgb

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def load_picture(path: Path, *, preset: str | None, recipe: Path | None, settings: Sequence[str]) -> Tensor:
    """Encoded sRGB (3, H, W) in [0, 1] of a picture file, or of a RAW file through the recipe."""
    if path.suffix.lower() in _PICTURES:
        if preset or recipe or settings:
            raise ParamError(f"{path} is a finished picture; --preset, --recipe and --set are for RAW files")
        return torch.from_numpy(load_srgb(path)).permute(2, 0, 1).contiguous()
    return developed(load(path), from_recipe(look(preset, recipe, settings)))


def find_chart(
    picture: Tensor, chart: str | None, *, corners: str | None, regions: Path | None, source: Path
) -> tuple[Chart, Placement]:
    """The chart and where it lies in the picture: as told, by its markers, by its patches, or pixel for pixel.

    `chart` is a name or the path of a truth file; without it the markers tell which of our charts it is, and a
    picture without markers is searched for a ColorChecker. Raises `FileError` with the picture's name.
    """
    size = int(picture.shape[-2]), int(picture.shape[-1])
    if regions is not None:
        listed, _ = from_regions(regions)
        return Chart("regions", torch.zeros(3, *size), listed, {}), identity(size)
    with _about(source):
        named = chart or name_of_chart(picture)
    known = load_chart(named or "colorchecker")
    with _about(source):
        if corners is not None:
            known, box = _with_corners(known, named)
            return known, from_corners(_points(corners), box, size)
        found, place = _found(picture, known, exact=size == known.size)
    if named is None:
        note = "no marker of our charts is readable; measured as a ColorChecker"
        place = replace(place, warnings=(note, *place.warnings))
    return found, place


@contextmanager
def _about(source: Path) -> Iterator[None]:
    """Put the picture's name before what is wrong with it."""
    try:
        yield
    except (FileError, ShapeError) as error:
        remedy = " (--corners, or --regions)" if "no chart found" in str(error) else ""
        raise type(error)(f"{source}: {error}{remedy}") from error


def _with_corners(chart: Chart, name: str | None) -> tuple[Chart, tuple[float, float, float, float]]:
    """The chart and the rectangle whose corners the user gives: of a ColorChecker the centers of its corner patches."""
    if name in (None, "colorchecker"):
        return Chart("colorchecker", torch.zeros(3, 1, 1), COLORCHECKER, {}), COLORCHECKER_CENTERS
    return chart, (0.0, 0.0, float(chart.size[0]), float(chart.size[1]))


def load_chart(name: str) -> Chart:
    """A chart by name (with markers), or by the truth file that `ispkit chart` wrote."""
    path = Path(name)
    if path.suffix.lower() != ".json":
        return build(name, **({} if name == "lab" else {"markers": True}))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{name}: cannot be read as the truth of a chart ({error})") from error
    return from_truth(content)


def _found(picture: Tensor, chart: Chart, *, exact: bool) -> tuple[Chart, Placement]:
    try:
        return chart, locate(picture, chart)
    except FileError:
        if chart.name == "colorchecker":
            return Chart("colorchecker", torch.zeros(3, 1, 1), COLORCHECKER, {}), locate_colorchecker(picture)
        if exact and not chart.markers:
            return chart, identity((int(picture.shape[-2]), int(picture.shape[-1])))
        raise


def _points(text: str) -> list[tuple[float, float]]:
    try:
        numbers = [tuple(float(v) for v in point.split(",")) for point in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or any(len(p) != 2 for p in numbers):
        raise ParamError(f'--corners {text!r} should be four points such as "10,12 630,15 628,470 8,466"')
    return [(p[0], p[1]) for p in numbers]
