"""Contrast detection probability against brute force, closed forms and simulated values."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from ispkit.core.errors import ParamError
from ispkit.kpi.contrast_detection import FORMULAS, contrast_detection

# Michelson, ± 50 %, Gaussian patches: simulated with 1500² pairs by another program, scatter 0.005
SNRS = (5, 10, 20, 50, 100)
TABLE = {
    0.05: (0.245, 0.383, 0.537, 0.924, 0.999),
    0.10: (0.385, 0.546, 0.845, 1.000, 1.000),
    0.30: (0.748, 0.977, 1.000, 1.000, 1.000),
}


def patches(contrast: float, snr: float, size: int = 100, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two Gaussian patches with that Michelson contrast around 0.5."""
    g = torch.Generator().manual_seed(seed)
    means = (0.5 * (1 + contrast), 0.5 * (1 - contrast))
    noise = torch.randn(2, size, size, generator=g, dtype=torch.float64)
    return means[0] * (1 + noise[0] / snr), means[1] * (1 + noise[1] / snr)


@pytest.mark.parametrize("contrast", TABLE)
def test_the_published_table(contrast):
    for snr, truth in zip(SNRS, TABLE[contrast], strict=True):
        cdp = contrast_detection(*patches(contrast, snr), contrast=contrast)
        assert cdp.probability == pytest.approx(truth, abs=0.015)
        assert cdp.gaussian == pytest.approx(cdp.probability, abs=0.01)


def brute(a: np.ndarray, b: np.ndarray, formula: str, low: float, high: float) -> float:
    a, b = np.maximum(a, 0)[:, None], np.maximum(b, 0)[None]
    bright, dark = np.maximum(a, b), np.minimum(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = (bright - dark) / (bright + dark) if formula == "michelson" else bright / dark - 1
    return float(((contrast >= low) & (contrast <= high)).mean())


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("tolerance", [0.3, 0.5, 1.0])
def test_sorting_counts_every_pair_as_brute_force_does(formula, tolerance):
    g = np.random.default_rng(1)
    # eighths meet the bounds and each other exactly; some are negative, some 0
    a, b = (np.round(g.normal(mean, 1.0, n) * 8) / 8 for mean, n in ((2.0, 150), (1.5, 210)))
    for open_top in (False, True):
        cdp = contrast_detection(
            torch.from_numpy(a),
            torch.from_numpy(b),
            contrast=0.625,
            tolerance=tolerance,
            formula=formula,
            open_top=open_top,
        )
        low, high = 0.625 * (1 - tolerance), math.inf if open_top else 0.625 * (1 + tolerance)
        assert cdp.probability == pytest.approx(brute(a, b, formula, low, high), abs=1e-12)


def test_the_order_of_the_patches_and_their_exposure_do_not_matter():
    a, b = patches(0.2, 10, size=40)
    one = contrast_detection(a, b, contrast=0.2)
    assert contrast_detection(b, a, contrast=0.2).probability == one.probability
    assert contrast_detection(4 * a, 4 * b, contrast=0.2).probability == one.probability
    assert contrast_detection(a, b, contrast=0.2, open_top=True).probability > one.probability


def test_without_noise_the_contrast_is_there_or_is_not():
    bright, dark = torch.full((5, 5), 0.6), torch.full((7, 3), 0.4)
    assert contrast_detection(bright, dark, contrast=0.2).probability == 1
    assert contrast_detection(bright, dark, contrast=0.2).gaussian == 1
    assert contrast_detection(bright, dark, contrast=0.5, formula="weber").probability == 1
    assert contrast_detection(bright, dark, contrast=0.6).probability == 0
    assert contrast_detection(bright, dark, contrast=0.1).probability == 0
    assert contrast_detection(bright, dark, contrast=0.1, open_top=True).probability == 1
    black = torch.zeros(4, 4)
    assert contrast_detection(black, black, contrast=0.5, tolerance=1.0).probability == 0
    assert contrast_detection(bright, black, contrast=0.9, open_top=True).probability == 1


def test_one_sided_weber_is_a_normal_probability():
    a, b = patches(0.3, 20, size=120, seed=2)
    cdp = contrast_detection(a, b, contrast=0.65 / 0.35 - 1, formula="weber", open_top=True)
    ratio = 1 + 0.5 * (0.65 / 0.35 - 1)
    truth = norm.cdf((0.65 - ratio * 0.35) / math.hypot(0.65 / 20, ratio * 0.35 / 20))
    assert cdp.probability == pytest.approx(truth, abs=0.002)
    result = cdp.as_result("gray/01-02")
    assert result.value("cdp.weber[gray/01-02]") == cdp.probability
    assert result.value("cdp.weber.gain[gray/01-02]") == pytest.approx(1, abs=0.01)


def test_a_million_pixels_need_no_million_squared():
    a, b = patches(0.1, 10, size=1000)
    assert contrast_detection(a, b, contrast=0.1).probability == pytest.approx(0.546, abs=0.015)


def test_misuse_is_refused():
    a, b = patches(0.2, 10, size=8)
    for options, message in [
        ({"contrast": 1.0}, "below 1 for Michelson"),
        ({"contrast": 0.2, "formula": "webber"}, "did you mean 'weber'"),
        ({"contrast": 0.2, "tolerance": 0.0}, "outside"),
    ]:
        with pytest.raises(ParamError, match=message):
            contrast_detection(a, b, **options)
    with pytest.raises(ParamError, match="finite"):
        contrast_detection(a * math.nan, b, contrast=0.2)
