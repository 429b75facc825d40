"""Color moiré of constructed chroma, and of demosaiced zone plates whose order is known."""

import math

import numpy as np
import pytest
import torch

from ispkit.charts.frequency import zone_plate
from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.moire import BANDS, measure_moire, zone_plate_frequency
from ispkit.metrics.color import srgb_to_lab
from ispkit.ops.cfa import mosaic
from ispkit.ops.demosaic import demosaic

SIZE = (240, 240)
WHERE = {"center": (120.0, 120.0), "radius": 116.0, "frequency_max": 0.5}


def painted(color, low, high):
    """Gray 0.4, but `color` where the frequency lies in [low, high)."""
    frequency = zone_plate_frequency(SIZE, **WHERE)
    inside = (frequency >= low) & (frequency < high)
    picture = torch.full((3, *SIZE), 0.4, dtype=torch.float64)
    return torch.where(inside, torch.tensor(color, dtype=torch.float64)[:, None, None], picture), frequency


def chroma_of(color):
    lab = srgb_to_lab(torch.tensor(color, dtype=torch.float64).reshape(1, 3, 1, 1), linear=True)
    return math.hypot(lab[0, 1].item(), lab[0, 2].item())


def test_chroma_that_was_painted_into_known_bands_comes_back():
    color = (0.45, 0.38, 0.42)
    result = measure_moire(*painted(color, 0.30, 0.40))
    assert result.peak == pytest.approx(chroma_of(color), rel=1e-9)
    assert 0.30 < result.peak_frequency < 0.40
    assert result.integral == pytest.approx(chroma_of(color) * 0.1 / 0.5, rel=1e-9)
    assert result.gray_chroma == pytest.approx(0, abs=1e-9)
    assert np.count_nonzero(result.chroma > 1e-9) == 4
    below = measure_moire(*painted(color, 0.10, 0.20))
    assert below.integral == pytest.approx(0, abs=1e-9)
    assert below.peak == pytest.approx(chroma_of(color), rel=1e-9)
    shown = result.as_result("plate")
    assert shown.value("moire.peak[plate]") == result.peak
    assert len(shown.curves[0].x) == BANDS


def test_a_cast_and_noise_of_gray_do_not_count():
    picture, frequency = painted((0.4, 0.4, 0.4), 0, 0)
    cast = torch.tensor([1.03, 1.0, 0.95], dtype=torch.float64)[:, None, None]
    result = measure_moire(picture * cast, frequency)
    assert result.gray_chroma > 2
    assert abs(result.peak) < 1e-9
    noise = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.01
    gray = torch.full((3, 80, 80), 0.4, dtype=torch.float64) + noise[:, :80, :80].flip(1)
    noisy = measure_moire(picture + noise, frequency, linear_gray=gray)
    assert noisy.gray_chroma > 1
    assert abs(noisy.integral) < 0.05
    assert abs(noisy.peak) < 0.3


def shot(method, noise=0.0):
    chart = zone_plate(*SIZE)
    truth = chart.of_kind("zone_plate")[0].truth
    picture = chart.picture.double()[None]
    picture = picture + noise * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1)).double()
    if method:
        picture = demosaic(mosaic(picture, "RGGB"), "RGGB", method)
    where = {k: truth[k] for k in ("radius", "frequency_max")} | {"center": tuple(truth["center"])}
    gray = picture[0, :, :12, :12]  # beyond the plate
    return measure_moire(picture[0], zone_plate_frequency(SIZE, **where), linear_gray=gray)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_demosaicing_makes_moire_and_better_methods_less(noise):
    none, bilinear, adaptive = (shot(m, noise) for m in ("", "bilinear", "menon2007"))
    # noise has more chroma in dark rings than in gray: that much is left where there is no moiré
    assert abs(none.peak) < (3 if noise else 1e-6)
    assert abs(none.integral) < (0.5 if noise else 1e-6)
    assert bilinear.integral > 5 * adaptive.integral > 5
    assert bilinear.peak_frequency > 0.25


def test_what_cannot_be_seen_is_named():
    picture = torch.full((3, *SIZE), 0.4)
    half = zone_plate_frequency(SIZE, center=(120, 120), radius=116, frequency_max=0.3)
    result = measure_moire(picture, half)
    assert "reaches only 0.3" in result.as_result("a").warnings[0]
    tinted = measure_moire(picture * torch.tensor([1.3, 1.0, 0.7])[:, None, None], half)
    assert any("white balance is off" in w for w in tinted.warnings)
    nothing = measure_moire(picture, torch.full(SIZE, math.inf), linear_gray=picture)
    assert math.isnan(nothing.peak)
    assert math.isnan(nothing.integral)


def test_misuse_raises_one_sentence():
    picture, frequency = torch.full((3, *SIZE), 0.4), zone_plate_frequency(SIZE, **WHERE)
    with pytest.raises(ShapeError, match="needs color"):
        measure_moire(picture[0], frequency)
    with pytest.raises(ShapeError, match="differ in size"):
        measure_moire(picture, frequency[:100])
    with pytest.raises(ParamError, match="no plain gray"):
        measure_moire(picture, frequency.clamp(min=0.2))
