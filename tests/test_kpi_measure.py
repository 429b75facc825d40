"""All KPIs of one chart shot: the numbers of a known camera, wherever the chart lies, and what is refused."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from ispkit.charts.catalog import build
from ispkit.charts.chart import Chart, Region
from ispkit.core.errors import ParamError
from ispkit.kpi.locate import locate
from ispkit.kpi.measure import GROUPS, measure, measure_groups
from ispkit.kpi.placement import Placement, identity
from ispkit.kpi.view import ChartView, Settings
from ispkit.ops.encode import srgb_encode

SIGMA = 0.8


@pytest.fixture(scope="module")
def chart() -> Chart:
    return build("lab", height=900, width=1200, sigma_px=SIGMA)


@pytest.fixture(scope="module")
def perfect(chart) -> torch.Tensor:
    return srgb_encode(chart.picture)


@pytest.fixture(scope="module")
def result(chart, perfect):
    return measure(perfect, chart, locate(perfect, chart))


def test_the_chart_itself_has_perfect_numbers(result):
    assert result.value("sfr.mtf50") == pytest.approx(0.2201, rel=0.01)  # KPI of a Gaussian of 0.8 px and a pixel box
    assert result.value("color.delta_e00.mean") < 0.02
    assert result.value("color.saturation") == pytest.approx(1, abs=1e-3)
    assert result.value("wb.angular_error_deg") < 0.01
    assert result.value("texture.acutance_cross[dead_leaves]") == pytest.approx(1, abs=0.01)
    assert result.value("shading.corner") == pytest.approx(1, abs=1e-3)
    assert result.value("cdp.michelson") == pytest.approx(1)
    assert result.value("zipper.share[patches]") < 1
    assert result.value("scielab.mean[patches]") < 0.2


def test_every_group_of_the_lab_gives_a_number(chart, perfect):
    groups = measure_groups(perfect, chart, locate(perfect, chart))
    assert list(groups) == list(GROUPS)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_an_upside_down_shot_gives_the_same_texture_and_sharpness(chart, perfect, turns):
    turned = torch.rot90(perfect, turns, (1, 2)).contiguous()
    found = measure(turned, chart, locate(turned, chart), settings=Settings(groups=("sfr", "texture")))
    assert found.value("texture.acutance_cross[dead_leaves]") == pytest.approx(1, abs=0.01)
    assert found.value("sfr.mtf50") == pytest.approx(0.2201, rel=0.01)


def test_a_tilted_shot_gives_the_same_colors(chart, perfect):
    corners = np.float32([[0, 0], [1200, 0], [1200, 900], [0, 900]])
    seen = np.float32([[60, 40], [1290, 20], [1310, 1010], [30, 980]])
    matrix = cv2.getPerspectiveTransform(corners, seen)
    light = chart.picture.permute(1, 2, 0).numpy()
    shot = cv2.warpPerspective(light, matrix, (1360, 1040), flags=cv2.INTER_CUBIC, borderValue=(0.2, 0.2, 0.2))
    encoded = srgb_encode(torch.from_numpy(shot).permute(2, 0, 1))
    place = locate(encoded, chart)
    assert place.error_px < 0.2
    found = measure(encoded, chart, place, settings=Settings(groups=("color", "wb")))
    assert found.value("color.delta_e00.mean") < 0.05
    assert found.value("wb.angular_error_deg") < 0.05


@pytest.mark.parametrize("exponent", [1.0, 1.6])
def test_a_tone_curve_is_undone_by_the_gray_steps(chart, perfect, exponent):
    curved = perfect**exponent
    place = locate(curved, chart)
    by_chart = measure(curved, chart, place, settings=Settings(groups=("sfr", "cdp")))
    assert by_chart.value("sfr.mtf50") == pytest.approx(0.2201, rel=0.015)
    assert by_chart.value("cdp.michelson.gain[0.2]") == pytest.approx(1, abs=0.03)
    as_srgb = measure(curved, chart, place, settings=Settings(groups=("cdp",), linearize="srgb"))
    assert as_srgb.value("cdp.michelson.gain[0.2]") == pytest.approx(exponent, abs=0.12)


def test_noise_is_seen_by_the_numbers_that_stand_for_it(chart, perfect):
    noisy = perfect + 0.03 * torch.randn(perfect.shape, generator=torch.Generator().manual_seed(0))
    place = locate(noisy.clamp(0, 1), chart)
    settings = Settings(groups=("noise", "cdp", "color"))
    quiet, loud = (measure(p.clamp(0, 1), chart, place, settings=settings) for p in (perfect, noisy))
    assert loud.value("noise.visual_noise[flat/dead_leaves]") > 20 * quiet.value("noise.visual_noise[flat/dead_leaves]")
    assert loud.value("cdp.michelson[0.05]") < 0.7 < quiet.value("cdp.michelson[0.05]")
    assert loud.value("color.delta_e00.mean") < 0.3  # means of patches average it out


def test_the_shot_of_a_dark_chart_lifts_no_exception(chart):
    black = torch.zeros(3, 900, 1200)
    groups = measure_groups(black, chart, identity((900, 1200)), settings=Settings(groups=("sfr", "color", "noise")))
    assert any(result.warnings for result in groups.values())
    assert all(math.isnan(k.value) for k in groups["sfr"].kpis if k.name == "sfr.mtf50")


def covered(picture: torch.Tensor, top: int, left: int, height: int, width: int) -> torch.Tensor:
    hidden = picture.clone()
    hidden[:, top : top + height, left : left + width] = 0.02
    return hidden


def test_covered_gray_steps_do_not_spoil_sharpness(chart, perfect):
    some = covered(perfect, 30, 500, 160, 120)  # the bright steps of the second row, too
    found = measure_groups(some, chart, locate(some, chart), settings=Settings(groups=("sfr", "texture", "tone")))
    assert found["sfr"].value("sfr.mtf50") == pytest.approx(0.2201, rel=0.02)
    assert any("do not brighten" in w for w in found["tone"].warnings)
    assert not found["tone"].kpis


def test_covered_patches_are_named(chart, perfect):
    patch = next(r for r in chart.regions if r.name == "colorchecker/yellow")
    some = covered(perfect, *(round(v) for v in patch.box))
    found = measure_groups(some, chart, locate(some, chart), settings=Settings(groups=("color",)))
    assert any("nothing like the chart's color" in w and "yellow" in w for w in found["color"].warnings)


def test_covered_flats_give_no_shading(chart, perfect):
    some = covered(perfect, 380, 0, 160, 40)
    found = measure_groups(some, chart, locate(some, chart), settings=Settings(groups=("shading", "wb")))
    assert any("covered, or unevenly lit" in w for w in found["shading"].warnings)
    assert not found["shading"].kpis


def test_a_region_too_small_to_measure_leaves_the_others_alone(chart):
    small = torch.nn.functional.interpolate(chart.picture[None], size=(450, 600), mode="area")[0]
    encoded = srgb_encode(small)
    found = measure_groups(encoded, chart, locate(encoded, chart))
    assert found["color"].value("color.delta_e00.mean") < 0.2
    assert found["sfr"].value("sfr.mtf50") > 0.2
    assert any(w.startswith("dead_leaves: ") or w.startswith("edge/") for r in found.values() for w in r.warnings)


def test_a_chart_that_is_mostly_out_of_the_picture_is_measured_where_it_is_seen(chart, perfect):
    part = perfect[:, :, 700:]  # the color patches are cut off
    place = Placement(((1.0, 0.0, -700.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), (900, 500))
    found = measure_groups(part, chart, place)
    assert found["sfr"].value("sfr.mtf50") == pytest.approx(0.2201, rel=0.02)
    assert "color" not in found or not found["color"].kpis


def test_a_tone_curve_from_a_chart_without_gray_steps_is_refused():
    edges = build("slanted_edge", height=200, width=300)
    with pytest.raises(ParamError, match="fewer than 6 gray steps"):
        measure(srgb_encode(edges.picture), edges, identity((200, 300)), settings=Settings(linearize="chart"))


def test_regions_of_the_user_are_enough_for_sharpness(perfect, chart):
    edge = next(r for r in chart.regions if r.kind == "edge")
    own = Chart("regions", torch.zeros(3, 900, 1200), (Region("mine", "edge", edge.box),), {})
    found = measure_groups(perfect, own, identity((900, 1200)))
    assert list(found) == ["sfr"]
    assert found["sfr"].value("sfr.mtf50[mine]") == pytest.approx(0.2201, rel=0.015)


def test_unknown_and_impossible_groups_are_named(chart, perfect):
    place = identity((900, 1200))
    with pytest.raises(ParamError, match="did you mean 'color'"):
        measure_groups(perfect, chart, place, settings=Settings(groups=("colour",)))
    flat = build("flat", height=64, width=64)
    with pytest.raises(ParamError, match="shows nothing for sfr"):
        measure_groups(torch.full((3, 64, 64), 0.5), flat, identity((64, 64)), settings=Settings(groups=("sfr",)))
    with pytest.raises(ParamError, match="px_per_degree"):
        Settings(px_per_degree=0)


def test_the_reference_is_laid_where_the_chart_lies(chart, perfect):
    view = ChartView(perfect, chart, identity((900, 1200)), Settings())
    region = next(r for r in chart.regions if r.kind == "star")
    assert torch.allclose(view.reference(region), view.crop(chart.picture.double(), region), atol=0.02)
