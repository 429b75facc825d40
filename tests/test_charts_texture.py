"""Dead leaves and ellipses: the law of the radii, the mean, the spectrum, what is hidden."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from ispkit.charts.catalog import build
from ispkit.charts.leaves import Leaves, leaves_texture, paint, power_law_radii
from ispkit.charts.rainbow import ellipses


def test_radii_have_a_density_of_the_power_minus_three():
    r_min, r_max = 3.0, 250.0
    radii = power_law_radii(np.random.default_rng(0).random(20000), r_min, r_max)
    assert r_min <= radii.min() < radii.max() <= r_max

    def integral(r):  # of r^-3 from r_min
        return (r_min**-2 - r**-2) / (r_min**-2 - r_max**-2)

    assert kstest(radii, integral).pvalue > 0.05


def test_the_mean_is_the_flat_patches_value():
    means = [float(leaves_texture(96, 96, seed=seed, r_min=1.5, r_max=12.0).mean()) for seed in range(24)]
    assert np.mean(means) == pytest.approx(0.2, abs=4 * np.std(means) / 24**0.5)
    assert np.std(means) / 24**0.5 < 0.002


def test_gray_levels_stay_within_the_contrast_and_channels_agree():
    texture = leaves_texture(128, 160, seed=1, r_min=2.0, r_max=30.0, mean=0.25, contrast=3.0)
    assert texture.shape == (3, 128, 160)
    assert torch.equal(texture[0], texture[2])
    assert float(texture.min()) >= 0.125 - 1e-4
    assert float(texture.max()) <= 0.375 + 1e-3
    assert float(texture.max() - texture.min()) > 0.2
    colored = leaves_texture(128, 160, seed=1, r_min=2.0, r_max=30.0, color=True)
    assert float((colored[0] - colored[2]).abs().mean()) > 0.01


def slope(picture, low=0.02, high=0.2):
    """Of the radial power spectrum in log-log, Hann window."""
    size = picture.shape[0]
    window = np.hanning(size)
    power = np.abs(np.fft.fft2((picture - picture.mean()) * window[:, None] * window)) ** 2
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    ring = np.digitize(f, np.geomspace(low, high, 9))
    points = [(np.log(f[ring == k]).mean(), np.log(power[ring == k].mean())) for k in range(1, 9)]
    return np.polyfit(*np.array(points).T, 1)[0]


def test_the_spectrum_falls_with_the_square_of_the_frequency():
    slopes = [slope(leaves_texture(512, 512, seed=s, r_min=2.0, r_max=120.0)[0].double().numpy()) for s in range(3)]
    assert np.mean(slopes) == pytest.approx(-2.0, abs=0.25)


def one(y, x, radius, color, aspect=1.0, turn=0.0):
    return [np.array([float(v)]) for v in (y, x, radius)] + [np.array([color]), np.array([aspect]), np.array([turn])]


def stack(*shapes):
    return Leaves(*(np.concatenate(column) for column in zip(*shapes, strict=True)))


def test_the_first_shape_lies_in_front_and_nothing_stays_bare():
    front, behind = one(20, 20, 8, [0.9] * 3), one(20, 24, 8, [0.1] * 3)
    cover = stack(one(20, 20, 500, [0.4] * 3))
    picture = paint((40, 44), iter([stack(front, behind), cover]), ground=1000.0)
    assert picture[0, 20, 26] == pytest.approx(0.9)  # where both lie
    assert picture[0, 20, 30] == pytest.approx(0.1)
    assert picture[0, 2, 2] == pytest.approx(0.4)
    assert picture.max() < 0.91


@pytest.mark.parametrize(("aspect", "turn"), [(1.0, 0.0), (0.4, 0.6), (0.2, 2.0)])
def test_shapes_have_their_area_and_direction(aspect, turn):
    shape = stack(one(60.3, 58.6, 40.0, [1.0] * 3, aspect, turn))
    blank = stack(one(60, 60, 999, [0.0] * 3))
    picture = paint((120, 120), iter([shape, blank]), ground=0.0)[0].double().numpy()
    assert picture.sum() == pytest.approx(np.pi * 40.0**2 * aspect, rel=0.005)
    y, x = np.mgrid[:120, :120] + 0.5
    dy, dx = y - (picture * y).sum() / picture.sum(), x - (picture * x).sum() / picture.sum()
    if aspect < 1:
        xx, yy, xy = ((picture * m).sum() for m in (dx * dx, dy * dy, dx * dy))
        axis = 0.5 * np.arctan2(2 * xy, xx - yy)
        assert np.cos(2 * (axis - turn)) == pytest.approx(1.0, abs=1e-3)


def test_ellipses_gain_contrast_from_left_to_right():
    panel = ellipses(96, 480, seed=0, r_min=2.0, r_max=20.0)
    spread = [float(panel.picture[1, :, x : x + 96].std()) for x in range(0, 480, 96)]
    assert spread == sorted(spread)
    assert spread[-1] > 4 * spread[0]
    (region,) = panel.regions
    assert region.truth["contrast"] == [0.08, 0.95]


@pytest.mark.slow
def test_the_texture_of_a_megapixel_takes_seconds():
    chart = build("dead_leaves")
    (region,) = chart.of_kind("dead_leaves")
    assert region.truth["r_max"] == 250.0
    assert chart.size == (1024, 1280)
    assert slope(chart.picture[0, :, :1024].double().numpy(), 0.01, 0.1) == pytest.approx(-1.93, abs=0.25)
