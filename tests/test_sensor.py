"""The simulated sensor tells the truth about itself: noise, white, seed; and its scene comes back."""

from __future__ import annotations

import pytest
import torch

from ispkit.charts.colorchecker import LAB_D50, colorchecker, reference_linear_srgb
from ispkit.charts.scene import studio_scene
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.isp.recipe import from_recipe
from ispkit.ops.cfa import planes
from ispkit.sensor.simulate import Sensor, capture

DEVELOP = {
    "version": 1,
    "stages": ["linearize", "lens_shading", "white_balance", {"demosaic": {"method": "bilinear"}}, "color_matrix"],
}


def test_reference_colors_agree_with_colour_science():
    colour = pytest.importorskip("colour")
    chart = colour.CCS_COLOURCHECKERS["ColorChecker24 - After November 2014"]
    for ours, theirs in zip(LAB_D50.values(), chart.data.values(), strict=True):
        lab = colour.XYZ_to_Lab(colour.xyY_to_XYZ(theirs), chart.illuminant)
        assert ours == pytest.approx(tuple(lab), abs=0.01)


@pytest.mark.parametrize("cct", [2856.0, 4500.0, 6504.0])
@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_the_scene_comes_back_through_the_pipeline(cct, cfa):
    """Flat patches, developed by what the file says, are the colors that were put in."""
    scene = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.55, 0.5]]).T[None, :, :, None].repeat_interleave(32, 2)
    scene = scene.expand(1, 3, 64, 64)
    sensor = Sensor(cfa=cfa, shot_at_iso100=1e-9, read_at_iso100=1e-14, bits=16)
    out = from_recipe(DEVELOP)(capture(scene, sensor, cct_k=cct)).data
    for top in (8, 40):
        expected = scene[0, :, top, 0]
        torch.testing.assert_close(out[0, :, top : top + 16, 8:56].mean((-2, -1)), expected, rtol=0.02, atol=0.004)


@pytest.mark.parametrize("iso", [100.0, 1600.0])
def test_noise_variance_is_what_the_file_says(iso):
    sensor = Sensor(vignetting=(0.0,) * 5, bits=16)
    scene = torch.full((1, 3, 256, 256), 0.3)
    frame = capture(scene, sensor, iso=iso, seed=1)
    signal = (frame.data - sensor.black_level) / (sensor.white_level - sensor.black_level)
    shot, read = frame.meta.noise_profile[0, 0].tolist()
    for site in planes(signal)[0]:
        assert float(site.var()) == pytest.approx(shot * float(site.mean()) + read, rel=0.05)


def test_same_seed_same_picture():
    scene = studio_scene(256, 384, seed=4)
    assert torch.equal(scene, studio_scene(256, 384, seed=4))
    a, b, c = (capture(scene, Sensor(), seed=s).data for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_chart_shows_its_colors():
    picture = colorchecker(400, 600)
    for i, expected in enumerate(reference_linear_srgb().float().clamp(min=0)):
        torch.testing.assert_close(picture[:, 50 + 100 * (i // 6), 50 + 100 * (i % 6)], expected)
