"""Siemens star: a modulation written into every ring comes back; a blurred chart has the blur's MTF."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ispkit.charts.frequency import siemens_star
from ispkit.core.errors import ParamError
from ispkit.kpi.star import measure_star

SPOKES, SIZE = 36, 300
CONTRAST = 0.75 / 0.85


def mtf_of(sigma, f):
    return np.exp(-2 * (np.pi * sigma * f) ** 2)


def mtf50_of(sigma):
    return math.sqrt(math.log(2) / 2) / math.pi / sigma


def written(sigma, center=(150.0, 150.0), modulation=0.6):
    """A star whose rings have the modulation of a Gaussian of `sigma` at their frequency, exactly."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    r = np.hypot(y - center[0], x - center[1])
    wave = np.sin(SPOKES * np.arctan2(y - center[0], x - center[1]))
    return 0.4 * (1 + modulation * mtf_of(sigma, SPOKES / (2 * np.pi * np.maximum(r, 1))) * wave)


def star(picture, **options):
    options = {"spokes": SPOKES, "radius": 140.0, "modulation": 0.6} | options
    return measure_star(torch.tensor(picture), **options)


@pytest.mark.parametrize("sigma", [0.7, 1.2, 2.0])
@pytest.mark.parametrize("segments", [1, 8])
def test_written_modulation_comes_back(sigma, segments):
    result = star(written(sigma), segments=segments)
    inside = result.frequency < 0.4
    np.testing.assert_allclose(result.mtf[inside], mtf_of(sigma, result.frequency[inside]), atol=0.01)
    assert result.mtf50 == pytest.approx(mtf50_of(sigma), rel=0.01)
    assert result.segments.shape == (segments, len(result.frequency))
    assert not result.warnings
    color = star(np.stack([written(sigma)] * 3), segments=segments)
    assert color.mtf50 == pytest.approx(result.mtf50, rel=1e-9)
    assert result.as_result("s").value("star.mtf50[s]") == result.mtf50


def test_the_center_is_found():
    result = star(written(1.2, center=(151.3, 148.9)), center=(150.0, 150.0), radius=135.0)
    assert result.center == pytest.approx((151.3, 148.9), abs=0.05)
    assert result.mtf50 == pytest.approx(mtf50_of(1.2), rel=0.01)


@pytest.mark.parametrize("sinusoidal", [True, False])
def test_a_blurred_chart_has_the_mtf_of_the_blur(sinusoidal):
    chart = siemens_star(SIZE, SIZE, spokes=SPOKES, sinusoidal=sinusoidal)
    truth = chart.of_kind("star")[0].truth
    picture = gaussian_filter(chart.picture[1].double().numpy(), 0.9, truncate=6)
    modulation = CONTRAST * (1 if sinusoidal else 4 / math.pi)
    known = {"center": tuple(truth["center"]), "radius": truth["radius"], "inner_radius": truth["inner_radius"] + 2}
    result = star(picture, modulation=modulation, **known)
    truths = mtf_of(0.9, result.frequency)
    if not sinusoidal:  # the chart is averaged over its pixels; the mean over directions of the box is about this
        truths = truths * np.sinc(result.frequency)
        assert result.mtf50 < mtf50_of(0.9)
    else:
        assert result.mtf50 == pytest.approx(mtf50_of(0.9), rel=0.02)
    inside = result.frequency < 0.3
    np.testing.assert_allclose(result.mtf[inside], truths[inside], atol=0.03)


def test_without_a_known_modulation_it_is_extrapolated():
    for sigma in (0.7, 1.2, 2.0):
        assert star(written(sigma), modulation=None).mtf50 == pytest.approx(mtf50_of(sigma), rel=0.01)


def test_noise_leaves_the_mtf_unbiased():
    values, floors = [], []
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(0, 0.03, (SIZE, SIZE))
        result = star(written(1.2) + noise)
        values.append(result.mtf50)
        floors.append(result.mtf[result.frequency > 0.42].mean())
    assert np.mean(values) == pytest.approx(mtf50_of(1.2), rel=0.01)
    assert np.std(values) < 0.02 * mtf50_of(1.2)
    assert np.mean(floors) < 0.06  # where the truth is below 0.01


def test_segments_show_a_directional_blur():
    sharp = siemens_star(SIZE, SIZE, spokes=SPOKES).picture[1].double().numpy()
    picture = gaussian_filter(sharp, (0.5, 1.6), truncate=6)  # along x: it blurs spokes that stand upright
    result = star(picture, segments=8, modulation=CONTRAST, inner_radius=30)
    at = [np.interp(0.15, result.frequency, s) for s in result.segments]
    # the segments next to the x axis hold spokes along x, which vary along y and stay sharp
    assert min(at[0], at[3], at[4], at[7]) > 1.5 * max(at[1], at[2], at[5], at[6])


def test_what_is_no_star_is_named():
    random = np.random.default_rng(0)
    for picture in (np.full((SIZE, SIZE), 0.5), 0.5 + random.normal(0, 0.02, (SIZE, SIZE)), written(1.2)[::-1, :150]):
        for modulation in (0.6, None):
            result = star(np.ascontiguousarray(picture), radius=60.0, spokes=20, modulation=modulation)
            assert math.isnan(result.mtf50)
            assert "no star found" in result.as_result().warnings[0]
    far = star(written(1.2, center=(153.2, 150.0)), center=(150.0, 150.0), radius=135.0)
    assert any("center lies" in w for w in far.warnings)
    sharp = star(written(0.2))
    assert any("stays above 0.5" in w for w in sharp.warnings)
    assert math.isnan(sharp.mtf50)


def test_misuse_raises_one_sentence():
    for options, words in (
        ({"spokes": 2}, "at least 4"),
        ({"radius": 15.0}, "leaves no rings"),
        ({"segments": 20}, "segments=20"),
        ({"modulation": 2.0}, "modulation=2"),
    ):
        with pytest.raises(ParamError, match=words):
            star(written(1.0), **options)
