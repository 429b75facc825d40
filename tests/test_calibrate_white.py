"""The light's white from flat fields: exact where a chart's gray patches are not, and refused where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.calibrate.color import fit_light, measure_lights
from ispkit.calibrate.shading import measure_shading
from ispkit.charts.colorchecker import LAB_D50, reference_linear_srgb
from ispkit.sensor.simulate import Sensor
from test_calibrate_color import relative, shot
from test_calibrate_shading import SHADING, light

LAB = torch.tensor(list(LAB_D50.values()), dtype=torch.float64)
CAMERA = torch.tensor([[0.45, 0.1, 0.02], [0.25, 0.9, 0.1], [0.03, 0.15, 0.6]], dtype=torch.float64)


def test_the_white_of_a_shaded_flat_is_that_of_its_brightest_place():
    sensor = Sensor(vignetting=(0,) * 5, shading=(SHADING,))
    frames = light(sensor, range(4))
    found = measure_shading(frames, cfa="RGGB", cct_k=4000.0, frames=4)
    truth = np.array([frames[0].max(), (frames[1].max() + frames[2].max()) / 2, frames[3].max()])
    unshaded = measure_shading(light(Sensor(vignetting=(0,) * 5), range(4)), cfa="RGGB", cct_k=4000.0, frames=4)
    assert max(found.white) == 1.0
    np.testing.assert_allclose(found.white, unshaded.white, rtol=2e-3)
    np.testing.assert_allclose(np.array(found.white) / found.white[1], truth / truth[1], rtol=0.1)


@pytest.mark.parametrize("tint", [0.99, 1.01])
def test_gray_patches_that_are_not_gray_do_not_move_the_white(tint):
    seen = reference_linear_srgb() @ CAMERA.T
    seen[18:] *= torch.tensor([tint, 1.0, 2 - tint])  # as spectra of real gray patches do
    white = CAMERA.sum(1) / CAMERA.sum(1).max()
    by_flat = fit_light(seen, LAB, light="x", cct_k=5000.0, white=tuple(white.tolist()))
    by_chart = fit_light(seen, LAB, light="x", cct_k=5000.0)
    np.testing.assert_allclose(by_flat.color.neutral, white, rtol=1e-12)
    assert float((relative(by_chart.color.neutral) / relative(white) - 1).abs().max()) > 0.005
    assert not by_flat.warnings


@pytest.mark.parametrize(("off", "taken"), [(0.02, True), (0.05, False)])
def test_a_flats_white_is_taken_within_three_percent_of_the_charts(off, taken):
    white = CAMERA.sum(1) * torch.tensor([1 + off, 1.0, 1.0])
    white = tuple((white / white.max()).tolist())
    found = fit_light(reference_linear_srgb() @ CAMERA.T, LAB, light="x", cct_k=5000.0, white=white)
    expected = white if taken else CAMERA.sum(1)
    np.testing.assert_allclose(relative(found.color.neutral), relative(expected), rtol=1e-3)
    assert bool(found.warnings) != taken


def test_the_flat_of_another_lamp_is_named_and_not_used():
    chart = shot(5000.0)
    alone = measure_lights([chart])[0]
    other = measure_lights([chart], white=(0.9, 1.0, 0.3))[0]
    assert other.color.neutral == pytest.approx(alone.color.neutral, rel=1e-9)
    assert "take both under the same lamp" in other.warnings[0]
