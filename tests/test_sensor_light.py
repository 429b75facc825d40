"""The light level told from noise: the closed form, its tolerance over the paper's ranges, sensors without a law."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.profile import NoisePoint
from ispkit.ops.cfa import cfa_masks
from ispkit.sensor.catalog import LIGHT_LEVELS, load_sensor
from ispkit.sensor.light import blind_light_level, blind_profile, level_of, light_law, noise_variance
from ispkit.sensor.model import Sensor
from ispkit.sensor.simulate import capture

NEXUS = load_sensor("nexus-6p-rear")
LEVELS = (0.001, 0.0015, 0.003, 0.01)  # the ends of 2-20 lux, and 3 and 6 lux


def told(scene, level, *, corrected=True, seed=0):
    """The level found in a shot of the paper's sensor, as a share of the true one."""
    frame = capture(scene, NEXUS, iso=100 / level, space="sensor", seed=seed)
    black = frame.meta.black_level.mean(-1)
    white = NEXUS.white_level - black
    mosaic = (frame.data - 64) / white
    bounds = (-black / white, torch.ones(1)) if corrected else None
    masks = cfa_masks(mosaic.shape, NEXUS.cfa)[None]
    return float(blind_light_level(mosaic, light_law(NEXUS), masks=masks, bounds=bounds)) / level


def blocks(low, high, seed=0):
    """Patches of even light."""
    drawn = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * F.interpolate(drawn, (128, 128))


def test_the_ranges_are_those_of_the_paper():
    assert (min(v.low for v in LIGHT_LEVELS.values()), max(v.high for v in LIGHT_LEVELS.values())) == (0.001, 0.1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("low", "high"), [(0.05, 0.05), (0.3, 0.3), (0.1, 0.5), (0.02, 0.8)])
def test_the_level_is_found_within_a_quarter(level, low, high):
    assert told(blocks(low, high), level) == pytest.approx(1, abs=0.25)


def test_in_good_light_an_even_picture_is_needed():
    for level in (0.03, 0.1):
        assert told(blocks(0.3, 0.3), level) == pytest.approx(1, abs=0.1)
        texture = 0.3 + 0.2 * (torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) - 0.5)
        assert told(texture, level) < 0.6  # known: texture counts as noise


def test_what_is_cut_off_is_put_right():
    assert told(blocks(0.05, 0.3), 0.001, corrected=False) > 1.4
    assert told(blocks(0.05, 0.3), 0.001) == pytest.approx(1, abs=0.2)


def test_the_closed_form_is_the_released_one():
    a, b2, m, l = (torch.tensor(v, dtype=torch.float64) for v in (1.8724e-4, 4.733e-4**2, 0.2, 0.003))  # noqa: E741
    variance = a * m / l + b2 / l**2
    torch.testing.assert_close(level_of(a, b2, m, variance), l)
    released = 2 * b2 / (((a * m).square() + 4 * b2 * variance).sqrt() - a * m)
    torch.testing.assert_close(level_of(a, b2, m, variance), released)
    no_floor = torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(level_of(a, no_floor, m, a * m / l), l)


def test_white_noise_has_its_variance_and_a_plane_none():
    noise = 0.1 * torch.randn(3, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(noise_variance(noise).float(), torch.full((3,), 0.01), rtol=0.03, atol=0)
    rows = torch.arange(64.0)
    curved = (rows[:, None] ** 2 + rows * rows[:, None])[None, None] / 64**2
    assert float(noise_variance(curved)) < 1e-12


def test_the_profile_is_that_of_the_sensor():
    level = torch.tensor([0.003, 0.05], dtype=torch.float64)
    torch.testing.assert_close(blind_profile(level, light_law(NEXUS)), NEXUS.noise_at(100 / level).float())


def test_sensors_without_a_law_say_so():
    for name in ("default", "nexus-6p-rear", "pixel"):
        light_law(load_sensor(name))
    points = [NoisePoint(iso, (s,) * 3, (r,) * 3, "table") for iso, s, r in ((100, 1e-4, 1e-7), (800, 8e-4, 1e-6))]
    with pytest.raises(ParamError, match=r"no linear law of gain: sqrt\(O\) / gain differs by 153%"):
        light_law(Sensor(noise=tuple(points)))
    silent = NoisePoint(100.0, (1e-4,) * 3, (0.0,) * 3, "table")
    with pytest.raises(ParamError, match="without shot or read noise"):
        light_law(replace(NEXUS, noise=(silent,)))
    with pytest.raises(ShapeError, match="too small to tell its noise"):
        blind_light_level(torch.rand(1, 1, 20, 64), light_law(NEXUS), masks=cfa_masks((20, 64), "RGGB")[None])
