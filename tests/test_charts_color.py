"""Patches under lights against colour-science and the maker's values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from ispkit.charts.catalog import build
from ispkit.charts.colorchecker import LAB_D50, reference_linear_srgb
from ispkit.charts.lights import light_names, patch_colors
from ispkit.ops.color_spaces import D50_XY, xy_to_xyz
from ispkit.ops.lab import lab_to_linear_srgb, lab_to_xyz, linear_srgb_to_lab, xyz_to_lab

NAMES = {"TL84": "FL11", "F2": "FL2", "F7": "FL7", "F11": "FL11", "F12": "FL12"}
LIGHTS = [name for name in light_names() if name != "reference"]


@pytest.fixture(scope="module")
def colour():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("colour")


@pytest.mark.parametrize("light", LIGHTS)
def test_the_table_is_what_colour_science_computes(light, colour):
    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    spectra = list(colour.SDS_COLOURCHECKERS["BabelColor Average"].values())
    power = colour.SDS_ILLUMINANTS[NAMES.get(light, light)]
    colors = patch_colors(light)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        white = colour.XYZ_to_xy(colour.sd_to_XYZ(power, observer))
        xyz = np.array([colour.sd_to_XYZ(spectra[i], observer, power) / 100 for i in range(0, 24, 5)])
        to_d65 = colour.chromatic_adaptation(
            xyz, colour.xy_to_XYZ(white), colour.xy_to_XYZ([0.3127, 0.3290]), transform="Bradford"
        )
        srgb = colour.RGB_COLOURSPACES["sRGB"]
        linear = to_d65 @ np.linalg.inv(colour.normalised_primary_matrix(srgb.primaries, [0.3127, 0.3290])).T
    assert colors.white_xy == pytest.approx(white, abs=1e-6)
    assert np.abs(colors.xyz[::5].numpy() - xyz).max() < 1e-6
    assert np.abs(colors.linear_srgb[::5].numpy() - linear).max() < 5e-6


def test_the_spectra_agree_with_the_maker_under_d50(colour):
    lab = linear_srgb_to_lab(patch_colors("D50").linear_srgb).numpy()
    difference = colour.delta_E(lab, np.array(list(LAB_D50.values())), method="CIE 2000")
    assert difference.mean() < 0.85
    assert difference.max() < 1.6


@pytest.mark.parametrize("light", LIGHTS)
def test_neutral_patches_stay_neutral_under_every_light(light):
    lab = linear_srgb_to_lab(patch_colors(light).linear_srgb)[19:23]
    assert torch.hypot(lab[:, 1], lab[:, 2]).max() < 1.6  # the ink itself is not quite neutral


def test_lab_goes_there_and_back():
    lab = torch.tensor(list(LAB_D50.values()), dtype=torch.float64)
    assert torch.allclose(linear_srgb_to_lab(lab_to_linear_srgb(lab)), lab, atol=1e-9)
    assert torch.allclose(lab_to_linear_srgb(lab), reference_linear_srgb(), atol=1e-9)


def test_lab_is_that_of_colour_science_and_keeps_its_gradient(colour):
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(200, 3, generator=generator, dtype=torch.float64) ** 4  # many below the straight line's end
    white = xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64))
    lab = xyz_to_lab(xyz, white)
    np.testing.assert_allclose(lab, colour.XYZ_to_Lab(xyz.numpy(), np.array(D50_XY)), atol=1e-9)
    np.testing.assert_allclose(lab_to_xyz(lab, white), xyz, atol=1e-12)
    planes = xyz.T.reshape(1, 3, 10, 20)
    torch.testing.assert_close(xyz_to_lab(planes, white)[0].flatten(1).T, lab)
    torch.testing.assert_close(lab_to_xyz(xyz_to_lab(planes, white), white), planes)
    few = torch.cat([xyz[:4], torch.zeros(1, 3, dtype=torch.float64)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: xyz_to_lab(x, white), few)
    assert torch.autograd.gradcheck(lambda x: lab_to_xyz(x, white), lab[:4].clone().requires_grad_())


@pytest.mark.parametrize("light", ["reference", "A", "TL84"])
def test_the_chart_shows_the_patches_and_says_where_it_cannot(light):
    chart = build("colorchecker", light=light)
    assert [r.truth["name"] for r in chart.regions] == list(LAB_D50)
    for region in chart.regions:
        shown = linear_srgb_to_lab(torch.tensor([region.truth["linear_srgb"]]))[0]
        assert shown.tolist() == pytest.approx(region.truth["lab_d50"], abs=2e-4)
        if light == "reference" and region.truth["in_gamut"]:
            assert region.truth["lab_d50"] == pytest.approx(region.truth["lab_reference"], abs=1e-6)
    outside = [r.truth["name"] for r in chart.regions if not r.truth["in_gamut"]]
    assert outside == (["yellow"] if light == "TL84" else ["cyan"])
    assert all(min(r.truth["linear_srgb"]) == 0 for r in chart.regions if not r.truth["in_gamut"])


def test_the_rainbow_holds_every_chromatic_patch_in_its_sector():
    chart = build("rainbow", height=540, width=960, light="D65")
    patches = chart.of_kind("patch")
    assert {r.truth["name"] for r in patches} == set(list(LAB_D50)[:18])
    for region in (*patches, *chart.of_kind("gray")):
        top, left, height, width = region.box
        corners = np.array(region.truth["points"])
        after = np.roll(corners, -1, axis=0)
        for y in (top, top + height):
            for x in (left, left + width):  # a corner of the box lies on one side of all four sides of the sector
                side = (after[:, 1] - corners[:, 1]) * (y - corners[:, 0]) - (after[:, 0] - corners[:, 0]) * (
                    x - corners[:, 1]
                )
                assert (side > 0).all() or (side < 0).all(), region.name
