"""Edges, stars, zone plates, wedges and sweeps against closed forms and measured spectra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from ispkit.charts.catalog import build
from ispkit.charts.edges import coverage, edge_mtf, edge_mtf50
from ispkit.charts.frequency import hyperbolic_wedge


def distances(size, angle, fine=1):
    """Distance of (sub)pixel centers from an upright edge through the middle."""
    at = (torch.arange(size * fine, dtype=torch.float64) + 0.5) / fine - size / 2
    return at[None] * math.cos(angle) - at[:, None] * math.sin(angle)


@pytest.mark.parametrize("angle_deg", [0.0, 3.0, 5.0, 8.0, 45.0])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5])
def test_an_edge_is_the_pixel_integral_of_its_profile(angle_deg, sigma):
    angle = math.radians(angle_deg)
    fine = 64
    d = distances(12, angle, fine)
    profile = 0.5 * torch.special.erfc(-d / (sigma * math.sqrt(2))) if sigma else (d > 0).double() + 0.5 * (d == 0)
    sampled = profile.reshape(12, fine, 12, fine).mean((1, 3))
    error = (coverage(distances(12, angle), angle, sigma) - sampled).abs().max()
    assert error < (2e-5 if sigma else 1.0 / fine)  # a sharp edge is only as exact as its sub-samples


@pytest.mark.parametrize("angle_deg", [3.0, 5.0, 8.0, 30.0])
def test_a_row_of_a_sharp_edge_holds_the_exact_area(angle_deg):
    angle = math.radians(angle_deg)
    rows = coverage(distances(40, angle), angle).sum(1)
    y = torch.arange(40, dtype=torch.float64) + 0.5 - 20
    assert torch.allclose(rows, 20 - y * math.tan(angle), atol=1e-9)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.2])
def test_the_mtf_of_the_pixels_is_the_stated_one(sigma):
    """At the slope 1/8 eight rows interleave to an edge profile sampled eight times as finely."""
    angle = math.atan(1 / 8)
    y = torch.arange(8, dtype=torch.float64)[:, None]
    x = torch.arange(-40, 41, dtype=torch.float64)[None]
    d = ((x - y / 8) * math.cos(angle)).flatten()
    order = d.argsort()
    lsf = coverage(d[order], angle, sigma).diff()
    middle, step = (d[order][1:] + d[order][:-1]) / 2, math.cos(angle) / 8
    f = torch.linspace(0.02, 0.6, 20, dtype=torch.float64)
    waves = torch.exp(-2j * math.pi * f[:, None] * middle)
    measured = (waves * lsf).sum(1).abs() / torch.sinc(f * step)
    assert torch.allclose(measured, edge_mtf(f, sigma, math.degrees(angle)), atol=3e-4)


@pytest.mark.parametrize(("sigma", "truth"), [(0.5, 0.3231), (0.8, 0.2201), (1.2, 0.1518), (2.0, 0.0927)])
def test_mtf50_is_the_known_one(sigma, truth):
    assert edge_mtf50(sigma, 5.0) == pytest.approx(truth, abs=5.1e-5)


@pytest.mark.parametrize("name", ["slanted_edge", "lab"])
def test_edge_regions_hold_the_edge_they_state(name):
    chart = build(name)
    for region in chart.of_kind("edge"):
        top, left, height, width = (int(v) for v in region.box)
        shown = chart.picture[0, top : top + height, left : left + width].double()
        truth = region.truth
        y, x = (
            torch.arange(n, dtype=torch.float64) + 0.5 + at - c
            for n, at, c in zip((height, width), (top, left), truth["center"], strict=True)
        )
        angle = math.radians(truth["angle_deg"])
        across = x[None] * math.cos(angle) - y[:, None] * math.sin(angle)
        if truth["direction"] == "horizontal":
            across = y[:, None] * math.cos(angle) - x[None] * math.sin(angle)
        low, high = truth["low"], truth["high"]
        assert torch.allclose(shown, low + (high - low) * coverage(across, angle), atol=1e-6), region.name
        assert high / low == pytest.approx(truth["contrast"]) == 4.0


def circle(picture, center, radius, count):
    turn = 2 * math.pi * np.arange(count) / count
    rows, columns = center[0] - 0.5 + radius * np.sin(turn), center[1] - 0.5 + radius * np.cos(turn)
    return map_coordinates(picture, [rows, columns], order=3)


@pytest.mark.parametrize("sinusoidal", [True, False])
def test_a_star_has_its_spokes_at_full_contrast(sinusoidal):
    chart = build("siemens_star", height=400, width=400, spokes=24, sinusoidal=sinusoidal)
    (region,) = chart.of_kind("star")
    truth = region.truth
    picture = chart.picture[1].double().numpy()
    for radius in (0.5 * truth["radius"], 0.9 * truth["radius"]):
        spectrum = np.abs(np.fft.rfft(circle(picture, truth["center"], radius, 4096))) / 2048
        assert spectrum[1:].argmax() + 1 == truth["spokes"] == 24
        amplitude = (truth["high"] - truth["low"]) / 2 * (1 if sinusoidal else 4 / math.pi)
        assert spectrum[24] == pytest.approx(amplitude, rel=0.01 if sinusoidal else 0.02)
    gray = (truth["high"] + truth["low"]) / 2
    assert picture[195:205, 195:205] == pytest.approx(gray)


def peak_frequency(line):
    """Of a windowed line, by the peak of a finely padded spectrum."""
    spectrum = np.abs(np.fft.rfft((line - line.mean()) * np.hanning(len(line)), 1 << 14))
    return spectrum.argmax() / (1 << 14)


@pytest.mark.parametrize("frequency_max", [0.3, 0.5])
def test_a_zone_plate_has_the_frequency_it_states(frequency_max):
    chart = build("zone_plate", height=500, width=500, frequency_max=frequency_max)
    (region,) = chart.of_kind("zone_plate")
    truth, picture = region.truth, chart.picture[1].double().numpy()
    cy, cx = (int(c) for c in truth["center"])
    for r in (60, 120, 180):
        stated = truth["frequency_max"] * r / truth["radius"]
        assert peak_frequency(picture[cy, cx + r - 24 : cx + r + 24]) == pytest.approx(stated, abs=0.004)
        assert peak_frequency(picture[cy - r - 24 : cy - r + 24, cx]) == pytest.approx(stated, abs=0.004)
    assert torch.equal(chart.picture[0], chart.picture[2])
    assert picture.min() >= truth["low"] - 1e-6
    assert picture.max() <= truth["high"] + 1e-6


def test_a_sweep_has_the_frequency_and_contrast_it_states():
    chart = build("log_frequency", height=200, width=1200)
    (region,) = chart.regions
    truth, picture = region.truth, chart.picture[1].double().numpy()
    ratio = truth["frequency_high"] / truth["frequency_low"]
    for x in (500, 800, 1000):
        stated = truth["frequency_low"] * ratio ** (x / 1200)
        assert peak_frequency(picture[3, x - 40 : x + 40]) == pytest.approx(stated, rel=0.03)
    for row in (0, 100, 199):
        stated = truth["modulation"][0] * (truth["modulation"][1] / truth["modulation"][0]) ** ((row + 0.5) / 200)
        high, low = picture[row].max(), picture[row].min()
        assert (high - low) / (high + low) == pytest.approx(stated, rel=0.01)


@pytest.mark.parametrize("axis", ["row", "column"])
def test_a_wedge_fills_its_width_with_each_frequency(axis):
    panel = hyperbolic_wedge(300, 300, axis=axis)
    (region,) = panel.regions
    picture = panel.picture[0].double().numpy()
    lines = picture if axis == "row" else picture.T
    low, high = region.truth["frequency_low"], region.truth["frequency_high"]
    for y in (40, 150, 280):
        stated = low + (high - low) * (y + 0.5) / 300
        for part in (slice(0, 100), slice(100, 200), slice(200, 300)):
            assert peak_frequency(lines[y, part]) == pytest.approx(stated, abs=0.004)
