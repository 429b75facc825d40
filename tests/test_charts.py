"""Laws that every chart of the catalog keeps: regions, truth, seeds, markers, and the way back from the truth."""

from __future__ import annotations

import json
from typing import get_args

import cv2
import numpy as np
import pytest
import torch

from ispkit.charts.canvas import MID_GRAY
from ispkit.charts.catalog import CHARTS, build, from_truth, parameters_of, summary
from ispkit.charts.chart import RegionKind
from ispkit.charts.gradients import bilinear
from ispkit.charts.markers import MARKED, chart_of_marker, marker_ids
from ispkit.core.errors import IspkitError, ParamError, ShapeError
from ispkit.ops.encode import srgb_encode

SMALL = {"lab": (800, 1066), "rainbow": (480, 760)}
SIZE = (300, 420)
SEEDED = [name for name in CHARTS if "seed" in parameters_of(name)]
# other settings, so that the way back is not the way of the defaults alone
OTHER = {
    "lab": {"light": "TL84", "sigma_px": 0.8, "seed": 3},
    "slanted_edge": {"angles_deg": [4.0], "directions": ["horizontal"], "sigma_px": 0.5},
    "siemens_star": {"sinusoidal": False, "spokes": 20},
    "zone_plate": {"frequency_max": 0.3},
    "log_frequency": {"contrast": 0.5, "mean": 0.2},
    "dead_leaves": {"seed": 5, "color": True, "r_max": 40.0, "flats": False},
    "colorchecker": {"light": "A", "border": 0.05},
    "gray_steps": {"range_db": 100.0, "steps": 20},
    "flat": {"value": 0.3, "color": [1.0, 0.5, 0.25]},
    "dark": {},
    "psf_noise": {"seed": 2, "cell_px": 3, "rows": 2, "columns": 3},
    "rainbow": {"seed": 1, "light": "D75"},
}


def small(name, **parameters):
    height, width = SMALL.get(name, SIZE)
    return build(name, **({"height": height, "width": width} | parameters))


@pytest.fixture(scope="module")
def made():
    """Each chart once, small, with markers."""
    return {name: small(name, markers=True, **OTHER[name]) for name in CHARTS}


def pixels(chart, box):
    top, left, height, width = (int(v) for v in box)
    assert (top, left, height, width) == tuple(box)
    return chart.picture[:, top : top + height, left : left + width]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_a_linear_picture_of_the_size_asked_for(name, made):
    for chart in (made[name], small(name)):
        assert chart.name == name
        assert chart.picture.dtype == torch.float32
        assert chart.picture.shape == (3, *chart.size)
        assert chart.size == SMALL.get(name, SIZE)
        assert chart.picture.isfinite().all()
        assert chart.picture.min() >= 0
        assert chart.regions
    assert summary(name).endswith((".", ";"))


@pytest.mark.parametrize("name", CHARTS)
def test_regions_lie_inside_and_have_names_of_their_own(name, made):
    chart = made[name]
    names = [region.name for region in chart.regions]
    assert len(set(names)) == len(names)
    for region in chart.regions:
        top, left, height, width = region.box
        assert region.kind in get_args(RegionKind)
        assert min(top, left) >= 0
        assert min(height, width) >= 4
        assert top + height <= chart.size[0]
        assert left + width <= chart.size[1]
        if "center" in region.truth:
            y, x = region.truth["center"]
            assert top < y < top + height
            assert left < x < left + width
        for y, x, side in chart.markers.values():  # with their quiet zone
            zone = side / 6
            apart_y = top >= y + side + zone or top + height <= y - zone
            assert apart_y or left >= x + side + zone or left + width <= x - zone


@pytest.mark.parametrize("name", CHARTS)
def test_uniform_regions_hold_what_their_truth_states(name, made):
    for region in made[name].of_kind("patch", "gray", "flat"):
        stated = torch.tensor(region.truth["linear_srgb"])[:, None, None]
        assert (pixels(made[name], region.box) == stated).all(), region.name


@pytest.mark.parametrize("name", ["lab", "rainbow"])
def test_gradients_hold_what_their_truth_states(name, made):
    found = made[name].of_kind("gradient", "skin")
    assert found
    clear = [r for r in found if "border" not in r.name]
    for region in clear:
        shown = pixels(made[name], region.box)
        assert torch.allclose(shown, bilinear(*shown.shape[-2:], region.truth["corners"]), atol=1e-6)


def test_the_border_of_the_rainbow_is_a_part_of_one_gradient():
    chart = small("rainbow")
    borders = [r for r in chart.regions if "border" in r.name]
    assert len(borders) == 4
    for region in borders:
        shown = pixels(chart, region.box)
        assert torch.allclose(shown, bilinear(*shown.shape[-2:], region.truth["corners"]), atol=1e-6)


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_rebuilt_from_its_written_truth(name, made):
    written = json.loads(json.dumps(made[name].truth(), allow_nan=False))
    again = from_truth(written)
    assert torch.equal(again.picture, made[name].picture)
    assert json.loads(json.dumps(again.truth())) == written
    plain = small(name, **OTHER[name])
    assert torch.equal(from_truth(plain.truth()).picture, plain.picture)


@pytest.mark.parametrize("name", SEEDED)
def test_the_seed_is_all_the_chance(name):
    first, again, other = (small(name, seed=seed).picture for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", CHARTS)
def test_markers_tell_which_chart_it_is_and_where(name, made):
    chart = made[name]
    shown = (srgb_encode(chart.picture.clamp(0, 1))[1].numpy() * 255).round().astype(np.uint8)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(shown)
    assert ids is not None
    found = {int(i): c[0] + 0.5 for i, c in zip(ids.ravel(), corners, strict=True)}  # pixel (0, 0) covers [0, 1)
    assert set(found) == set(marker_ids(name)) == set(chart.markers)
    assert {chart_of_marker(i) for i in found} == {name}
    for identity, (top, left, side) in chart.markers.items():
        truth = [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]
        assert np.abs(found[identity] - truth).max() <= 1.0
    order = [chart.markers[i] for i in marker_ids(name)]  # clockwise from the top left
    assert order[0][0] == order[1][0] < order[2][0] == order[3][0]
    assert order[0][1] == order[3][1] < order[1][1] == order[2][1]


def test_every_chart_has_its_own_markers():
    assert set(MARKED) == set(CHARTS)
    ids = [i for name in MARKED for i in marker_ids(name)]
    assert sorted(ids) == list(range(48))
    with pytest.raises(KeyError):
        chart_of_marker(48)


def test_the_lab_holds_all_that_a_page_needs():
    for size in ((800, 1066), (1080, 1920)):
        chart = build("lab", height=size[0], width=size[1])
        places = {r.name.split("/")[1] for r in chart.of_kind("edge")}
        assert places == {"center", "top-left", "top-right", "bottom-left", "bottom-right"}
        assert {r.truth["direction"] for r in chart.of_kind("edge")} == {"vertical", "horizontal"}
        assert len(chart.of_kind("edge")) == 10
        assert len(chart.of_kind("patch")) == 24
        assert len([r for r in chart.of_kind("gray") if r.name.startswith("gray/")]) == 24
        for kind in ("star", "zone_plate", "wedge", "dead_leaves", "gradient"):
            assert len(chart.of_kind(kind)) == 1, kind
        (leaves,) = chart.of_kind("dead_leaves")
        flats = chart.of_kind("flat")
        assert leaves.truth["mean"] == MID_GRAY
        assert all(r.truth["linear_srgb"] == pytest.approx([MID_GRAY] * 3) for r in flats)
        assert "flat/dead_leaves" in {r.name for r in flats}
        y = [r.box[0] + r.box[2] / 2 for r in flats]
        x = [r.box[1] + r.box[3] / 2 for r in flats]
        assert min(y) < 0.05 * size[0]
        assert max(y) > 0.95 * size[0]
        assert min(x) < 0.05 * size[1]
        assert max(x) > 0.95 * size[1]


def test_gray_steps_are_equal_ratios_even_beyond_white():
    for parameters, ends in (({}, (0.002, 1.0)), ({"range_db": 100.0}, (0.002, 200.0))):
        values = [r.truth["linear_srgb"][0] for r in build("gray_steps", **parameters).regions]
        assert len(values) == 24
        assert (values[0], values[-1]) == pytest.approx(ends)
        ratios = np.array(values[1:]) / np.array(values[:-1])
        assert ratios == pytest.approx(ratios[0], rel=1e-5)


def test_contrast_pairs_have_the_contrast_they_state():
    pairs = [r for r in build("lab").regions if r.name.startswith("contrast/")]
    assert len(pairs) == 12
    for high, low in zip(pairs[::2], pairs[1::2], strict=True):
        a, b = high.truth["linear_srgb"][0], low.truth["linear_srgb"][0]
        assert (a - b) / (a + b) == pytest.approx(high.truth["contrast_michelson"], abs=1e-6)
        assert a / b - 1 == pytest.approx(low.truth["contrast_weber"], abs=1e-6)


def test_psf_noise_is_fair_and_white():
    chart = build("psf_noise", height=500, width=700, cell_px=2)
    blocks = [pixels(chart, r.box)[0][::2, ::2] > 0.4 for r in chart.of_kind("noise")]
    assert len(blocks) == 24
    bits = torch.cat([b.flatten() for b in blocks]).double()
    assert abs(float(bits.mean()) - 0.5) < 4 * 0.5 / len(bits) ** 0.5
    neighbors = torch.cat([(b[:, 1:] == b[:, :-1]).flatten() for b in blocks]).double()
    assert abs(float(neighbors.mean()) - 0.5) < 4 * 0.5 / len(neighbors) ** 0.5
    shown = pixels(chart, chart.regions[0].box)
    assert torch.equal(shown[:, ::2, ::2], shown[:, 1::2, 1::2])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("slanted_egde", {}, "did you mean 'slanted_edge'?"),
        ("slanted_edge", {"angle_deg": 5}, "did you mean 'angles_deg'?"),
        ("slanted_edge", {"angles_deg": [60.0]}, r"\[-45, 45\]"),
        ("slanted_edge", {"low": 0.7}, "exchange them"),
        ("slanted_edge", {"height": 60, "width": 60}, "24 pixels of room"),
        ("lab", {"height": 500}, r"lab.height=500 must be a whole number in \[800, 16384\]"),
        ("lab", {"light": "D64"}, "no light 'D64'"),
        ("dead_leaves", {"r_min": 9.0, "r_max": 5.0}, "dead_leaves.r_max"),
        ("dead_leaves", {"seed": 0.5}, "whole number"),
        ("siemens_star", {"spokes": 300, "height": 100}, "too fine"),
        ("siemens_star", {"markers": "yes"}, "true or false"),
        ("gray_steps", {"low": 0.0}, "logarithm"),
        ("gray_steps", {"steps": 100, "height": 48, "width": 48}, "do not fit"),
        ("flat", {"color": [1.0]}, "three numbers"),
        ("flat", {"value": float("nan")}, "flat.value"),
        ("flat", {"markers": True, "height": 100}, "flat.height=100"),
        ("rainbow", {"markers": True, "height": 400, "width": 800}, "the markers take 120 pixels of 400x800"),
        ("psf_noise", {"cell_px": 40}, "less than 8 cells"),
    ],
)
def test_bad_parameters_are_told_in_one_line(name, parameters, message):
    with pytest.raises((ParamError, ShapeError), match=message):
        build(name, **parameters)


@pytest.mark.parametrize(
    "content", [{}, {"version": 1, "chart": "flat"}, {"version": 2, "chart": "flat", "parameters": {}}]
)
def test_what_is_no_truth_is_refused(content):
    with pytest.raises(IspkitError, match="not the truth of a chart"):
        from_truth(content)
