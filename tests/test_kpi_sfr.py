"""Slanted-edge SFR against analytic edges and the published curve of sfrmat5; over- and undershoot; what is refused."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import brentq
from scipy.stats import norm

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.edge_fit import whole_cycles
from ispkit.kpi.edge_profile import edge_profile
from ispkit.kpi.sfr import measure_sfr

DARK, BRIGHT = 51 / 255, 204 / 255  # 4:1 and exact 8-bit codes, so that rounding does not move the sides


def step(distance, sigma, box):
    """A step behind a Gaussian and the pixel's box, whose projection on the normal is two boxes; exact."""
    a, b = box

    def second_integral(t):
        return 0.5 * ((t * t + sigma * sigma) * norm.cdf(t / sigma) + t * sigma * norm.pdf(t / sigma))

    corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    return sum(i * j * second_integral(distance + (i * a + j * b) / 2) for i, j in corners) / (a * b)


def edge(sigma, angle_deg, *, size=(120, 100), bend=0.0, sharpen=0.0, levels=(DARK, BRIGHT)):
    """A rising edge, `bend` px per square row off a line; `sharpen` adds an unsharp mask of sigma 1.5 px."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    y, x = y - (size[0] - 1) / 2, x - (size[1] - 1) / 2 - 0.13
    tangent = math.tan(math.radians(angle_deg))
    slope = tangent + 2 * bend * y
    cosine = 1 / np.hypot(1, slope)
    distance, box = (x - tangent * y - bend * y * y) * cosine, (cosine, np.abs(slope) * cosine)
    height = step(distance, sigma, box)
    if sharpen:
        height = height + sharpen * (height - step(distance, math.hypot(sigma, 1.5), box))
    return levels[0] + (levels[1] - levels[0]) * height


def true_mtf(f, sigma, angle_deg):
    t = math.radians(angle_deg)
    return np.exp(-2 * (np.pi * sigma * f) ** 2) * np.sinc(f * math.cos(t)) * np.sinc(f * math.sin(t))


def true_mtf50(sigma, angle_deg):
    return brentq(lambda f: true_mtf(f, sigma, angle_deg) - 0.5, 1e-3, 1)


def eight_bit(picture):
    return torch.tensor(np.round(picture * 255) / 255)


@pytest.mark.parametrize("angle_deg", [3, 5, 8])
@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.2, 2.0])
def test_mtf50_is_within_1_percent_of_the_analytic_one(sigma, angle_deg):
    picture = eight_bit(edge(sigma, angle_deg))
    turned = [picture, picture.flip(1), picture.T, picture.T.flip(0), picture.flip(0), 1 - picture]
    for turn in turned:
        result = measure_sfr(turn)
        assert result.mtf50 == pytest.approx(true_mtf50(sigma, angle_deg), rel=0.01)
        assert abs(result.angle_deg) == pytest.approx(angle_deg, abs=0.05)
        assert not result.warnings
    assert [measure_sfr(t).orientation for t in turned[:3]] == ["vertical", "vertical", "horizontal"]


def test_the_whole_curve_follows_the_truth_but_for_the_quarter_pixel_bin():
    result = measure_sfr(torch.tensor(edge(0.8, 5, size=(160, 160))))
    f = result.frequency[(result.frequency > 0.02) & (result.frequency < 0.5)]
    mine = np.interp(f, result.frequency, result.curve())
    np.testing.assert_allclose(mine, true_mtf(f, 0.8, 5) * np.sinc(f / 4), atol=1e-3)


def test_the_curve_of_sfrmat5_on_its_own_test_edge(shared):
    # sfrmat5 (C++ edition) on Example_Images/Test_edge1, sampling efficiency 85/85/86/85 %
    picture = torch.tensor(np.array(Image.open(shared / "slanted_edge/Test_edge1.tif"))).permute(2, 0, 1).double() / 255
    result = measure_sfr(picture)
    quoted = {0.0972: 0.8271, 0.2025: 0.6593, 0.2998: 0.4532, 0.4051: 0.1375, 0.4942: 0.0147}
    for turn in (picture, picture.rot90(1, (1, 2)), picture.flip(2)):
        again = measure_sfr(turn)
        for frequency, value in quoted.items():
            assert again.at(frequency) == pytest.approx(value, abs=0.002)
    assert result.mtf50_of("R") == pytest.approx(0.269805, rel=0.005)
    assert result.sampling_efficiency == pytest.approx(0.85, abs=0.012)
    assert result.orientation == "horizontal"
    assert not result.warnings


@pytest.mark.parametrize(("bend", "line_error"), [(3e-4, 0.04), (1e-3, 0.25)])
def test_a_curved_edge_needs_the_polynomial(bend, line_error):
    picture, truth = torch.tensor(edge(0.8, 5, bend=bend)), true_mtf50(0.8, 5)
    assert measure_sfr(picture).mtf50 == pytest.approx(truth, rel=0.01)
    assert measure_sfr(picture, order=1).mtf50 < truth * (1 - line_error)


def test_windows_agree_and_a_flat_one_serves_a_blurred_edge():
    sharp, blurred = torch.tensor(edge(0.8, 5)), torch.tensor(edge(3.0, 5))
    for options in ({"window": "hamming"}, {"alpha": 0.5}, {"order": 1}):
        assert measure_sfr(sharp, **options).mtf50 == pytest.approx(true_mtf50(0.8, 5), rel=0.01)
    error = [abs(measure_sfr(blurred, alpha=a).mtf50 / true_mtf50(3.0, 5) - 1) for a in (0.5, 1.0)]
    assert error[0] < 0.3 * error[1]


def test_color_channels_are_measured_apart():
    planes = [torch.tensor(edge(sigma, 5)) for sigma in (1.2, 0.6, 0.9)]
    result = measure_sfr(torch.stack(planes))
    assert result.channels == ("R", "G", "B", "Y")
    for name, plane in zip("RGB", planes, strict=True):
        assert result.mtf50_of(name) == pytest.approx(measure_sfr(plane).mtf50, rel=1e-6)
    no_blue = measure_sfr(torch.stack([planes[0], planes[1], torch.full_like(planes[2], 0.3)]))
    assert math.isnan(no_blue.mtf50_of("B"))
    assert math.isfinite(no_blue.mtf50)
    assert len(no_blue.as_result().curves) == 3
    shown = result.as_result("edge/1")
    assert shown.value("sfr.mtf50[edge/1]") == result.mtf50
    assert len(shown.curves) == 4


def noisy_mtf50(sigma, noise, seeds):
    clean = edge(sigma, 5)
    shots = [clean + np.random.default_rng(s).normal(0, noise, clean.shape) for s in range(seeds)]
    return [measure_sfr(torch.tensor(s)) for s in shots]


@pytest.mark.parametrize(("sigma", "noise"), [(0.8, 0.005), (0.8, 0.02), (1.2, 0.01)])
def test_noise_leaves_mtf50_unbiased_and_its_spread_is_foretold(sigma, noise):
    results = noisy_mtf50(sigma, noise, 40)
    values, truth = np.array([r.mtf50 for r in results]), true_mtf50(sigma, 5)
    spread = values.std(ddof=1)
    # the stated bound: 1 % up to a signal-to-noise ratio of 30 of the step, besides what 40 seeds leave open
    assert abs(values.mean() / truth - 1) < 0.01 + 3 * spread / truth / math.sqrt(40)
    assert np.mean([r.mtf50_sd for r in results]) == pytest.approx(spread, rel=0.35)
    assert np.mean([r.noise for r in results]) == pytest.approx(noise, rel=0.02)


def words(picture, **options):
    result = measure_sfr(torch.as_tensor(picture), **options)
    return result, " ".join(result.warnings)


def test_what_cannot_be_measured_is_nan_with_the_reason():
    flat = np.full((60, 60), 0.5)
    noise = 0.5 + np.random.default_rng(0).normal(0, 0.05, (60, 60))
    corner = flat.copy()
    corner[:40, :40] = 0.2
    for picture in (flat, noise, corner):
        result, warning = words(picture)
        assert math.isnan(result.mtf50)
        assert "edge not found" in warning
        assert math.isnan(edge_profile(result).overshoot)


@pytest.mark.parametrize(
    ("picture", "word"),
    [
        (edge(0.8, 5, levels=(0.5, 0.6)), "contrast is 9%"),
        (np.clip(edge(0.8, 5, levels=(0.1, 1.2)), 0, 1), "clipped"),
        (edge(0.8, 0.3), "angle is 0.3"),
        (edge(0.8, 15), "angle is 15.0"),
        (edge(0.8, 2.5, size=(20, 60)), "less than one column"),
        (edge(6.0, 5, size=(120, 60)), "too blurred"),
        (edge(0.8, 5, size=(40, 60)) + np.random.default_rng(0).normal(0, 0.1, (40, 60)), "too noisy"),
    ],
)
def test_doubtful_edges_are_named(picture, word):
    result, warning = words(picture)
    assert word in warning
    assert any(word in w for w in result.as_result().warnings)


def test_the_blur_warning_comes_before_1_percent_of_error():
    found = [words(edge(sigma, 5, size=(120, 80))) for sigma in np.arange(1.0, 8.0, 0.5)]
    errors = [r.mtf50 / true_mtf50(s, 5) - 1 for s, (r, _) in zip(np.arange(1.0, 8.0, 0.5), found, strict=True)]
    warned = ["too blurred" in w for _, w in found]
    assert warned == sorted(warned)  # from some blur on
    assert all(w for w, e in zip(warned, errors, strict=True) if abs(e) > 0.012)
    assert not any(w for w, e in zip(warned, errors, strict=True) if abs(e) < 0.008)
    assert 2 <= sum(warned) <= 12


def test_misuse_raises_one_sentence():
    good = torch.tensor(edge(0.8, 5))
    with pytest.raises(ShapeError, match="at least 16x16"):
        measure_sfr(good[:8])
    with pytest.raises(ShapeError, match=r"\(3, H, W\)"):
        measure_sfr(good[None])
    with pytest.raises(ParamError, match=r"order=6 .* outside"):
        measure_sfr(good, order=6)
    with pytest.raises(ParamError, match="no window 'hann'"):
        measure_sfr(good, window="hann")
    with pytest.raises(ParamError, match="finite"):
        measure_sfr(good.clone().index_fill_(0, torch.tensor([3]), math.nan))


def truth_of_profile(sigma, sharpen):
    """Overshoot (%) and width of the ideal profile along the normal, from a fine grid."""
    t = np.linspace(-12, 12, 240001)
    a = math.radians(5)
    box = (math.cos(a), math.sin(a))
    height = step(t, sigma, box) + sharpen * (step(t, sigma, box) - step(t, math.hypot(sigma, 1.5), box))
    up = np.searchsorted(height[: height.argmax() + 1], [0.1, 0.9])
    return 100 * (height.max() - 1), t[up[1]] - t[up[0]]


@pytest.mark.parametrize("sharpen", [0.0, 0.6, 1.5])
def test_overshoot_and_width_of_a_sharpened_edge(sharpen):
    over, width = truth_of_profile(0.8, sharpen)
    picture = edge(0.8, 5, sharpen=sharpen)
    for turn in (picture, 1 - picture, picture.T):
        found = edge_profile(measure_sfr(torch.tensor(turn)))
        assert found.overshoot == pytest.approx(over, abs=0.25)
        assert found.undershoot == pytest.approx(over, abs=0.25)
        assert found.width_10_90 == pytest.approx(width, abs=0.03)
    noisy = picture + np.random.default_rng(0).normal(0, 0.01, picture.shape)
    assert edge_profile(measure_sfr(torch.tensor(noisy))).overshoot == pytest.approx(over, abs=1.0)
    result = found.as_result("a")
    assert result.value("sfr.overshoot[a]") == found.overshoot


def test_over_and_undershoot_are_told_apart():
    over, _ = truth_of_profile(0.8, 1.5)
    for turn in (lambda p: p, lambda p: p.T):
        picture = np.minimum(edge(0.8, 5, sharpen=1.5), BRIGHT + 0.02 * (BRIGHT - DARK))
        found = edge_profile(measure_sfr(torch.tensor(turn(picture))))
        assert found.overshoot == pytest.approx(2, abs=0.1)
        assert found.undershoot == pytest.approx(over, abs=0.25)
        upside_down = edge_profile(measure_sfr(torch.tensor(turn(1 - picture))))
        assert upside_down.undershoot == pytest.approx(2, abs=0.1)
        assert upside_down.overshoot == pytest.approx(over, abs=0.25)


def test_whole_cycles_of_the_sub_pixel_phase_are_measured():
    assert whole_cycles(100, 0.035) == 86  # 3 columns
    assert whole_cycles(100, -0.035) == 86
    assert whole_cycles(20, 0.01) == 20  # less than one column: all that there is
    assert measure_sfr(torch.tensor(edge(0.8, 5))).rows == 114


def test_noise_that_reads_as_overshoot_is_named():
    noisy = edge(0.8, 5) + np.random.default_rng(0).normal(0, 0.05, (120, 100))
    found = edge_profile(measure_sfr(torch.tensor(noisy)))
    assert any("too noisy for over- and undershoot" in w for w in found.as_result().warnings)
