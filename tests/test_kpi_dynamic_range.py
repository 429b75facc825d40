"""OECF and dynamic range against curves and noise laws that are known in closed form."""

import math

import numpy as np
import pytest
import torch

from ispkit.core.errors import ParamError
from ispkit.kpi.dynamic_range import SNR_LEVELS, dynamic_range, model_dynamic_range
from ispkit.kpi.noise import patch_noise
from ispkit.kpi.oecf import oecf
from ispkit.ops.encode import srgb_decode, srgb_encode


def steps(count: int = 20, density: float = 0.1) -> torch.Tensor:
    return 10.0 ** (-density * torch.arange(count, dtype=torch.float64)).flip(0)


def test_oecf_finds_srgb_and_linearizes_with_it():
    light = steps()
    curve = oecf(light.tolist(), srgb_encode(light).tolist())
    between = torch.logspace(-1.9, 0, 500, dtype=torch.float64)
    assert float((curve.apply(between) - srgb_encode(between)).abs().max()) < 2e-4
    assert float((curve.linearize(srgb_encode(between)) / between - 1).abs().max()) < 2e-3
    assert float((curve.linearize(curve.apply(between)) / between - 1).abs().max()) < 1e-5
    assert curve.usable_stops == pytest.approx(1.9 / math.log10(2))
    assert 0.4 < curve.gamma < 0.5
    assert not curve.warnings


@pytest.mark.parametrize("gamma", [0.45, 1.0, 1 / 1.8])
def test_gamma_of_a_power_law_is_its_exponent_in_any_unit(gamma):
    light = 250 * steps()  # cd/m²
    curve = oecf(light.flip(0).tolist(), (3 * light**gamma).flip(0).tolist(), least_step=1e-3)
    assert curve.gamma == pytest.approx(gamma)
    assert curve.linearize(torch.tensor(3 * 100.0**gamma)) == pytest.approx(100.0, rel=2e-3)
    dark = torch.tensor([0.0, 1.5 * float(light[0]) ** gamma])  # half the darkest step: a line to the origin
    assert curve.linearize(dark).tolist() == pytest.approx([0.0, float(light[0]) / 2], rel=1e-5)


def test_oecf_of_noisy_steps_is_monotone_and_near_the_truth():
    g = torch.Generator().manual_seed(0)
    light = steps()
    noisy = srgb_encode(light) + 0.004 * torch.randn(20, generator=g, dtype=torch.float64)
    curve = oecf(light.tolist(), noisy.tolist(), sigma=[0.004] * 20)
    assert all(b >= a for a, b in zip(curve.fitted, curve.fitted[1:], strict=False))
    assert float((torch.tensor(curve.fitted) - srgb_encode(light)).abs().max()) < 0.012  # 3 sigma
    exact = oecf(light.tolist(), srgb_encode(light).tolist()).gamma
    assert curve.as_result("gray").value("tone.oecf_gamma[gray]") == pytest.approx(exact, abs=0.01)


def test_oecf_tells_of_clipping_and_of_outputs_that_fall():
    light = steps()
    clipped = oecf(light.tolist(), (4 * light).clamp(max=1).tolist())
    assert clipped.usable_stops == pytest.approx(1.3 / math.log10(2))  # 0.251 is the first that is cut
    assert float(clipped.linearize(torch.tensor(1.0))) == pytest.approx(0.25, rel=0.03)
    wrong = light.clone()
    wrong[10] = 0.9
    assert "falls near gray step" in oecf(light.tolist(), wrong.tolist()).warnings[0]
    flat = oecf(light.tolist(), [0.5] * 20)
    assert "same output" in flat.warnings[-1]
    assert flat.usable_stops == 0
    with pytest.raises(ParamError, match="three exposures or more"):
        oecf([1, 1, 2], [0.1, 0.2, 0.3])
    with pytest.raises(ParamError, match="above 0"):
        oecf([0, 1, 2], [0.1, 0.2, 0.3])


SENSORS = [(2e-3, 1e-5), (1e-4, 1e-7), (0.0, 1e-6), (5e-4, 0.0)]


@pytest.mark.parametrize(("shot", "read"), SENSORS)
def test_closed_form_is_the_root_of_the_snr(shot, read):
    for level in SNR_LEVELS:
        x = 2 ** -model_dynamic_range(shot, read, snr=level)
        assert x / math.sqrt(shot * x + read) == pytest.approx(level, rel=1e-9)


@pytest.mark.parametrize(("shot", "read"), SENSORS)
def test_dynamic_range_of_noise_free_statistics(shot, read):
    light = 30 * 2.0 ** np.arange(-16, 1, 1 / 3)  # the sensor saturates at 30 / 1.6
    mean = 1.6 * light / 30
    sigma = np.sqrt(shot * mean + read)
    result = dynamic_range(light, mean.clip(max=1), sigma)
    truth = [model_dynamic_range(shot, read, snr=level) for level in SNR_LEVELS]
    assert result.stops == pytest.approx(truth, abs=0.01)
    assert result.saturation_exposure == pytest.approx(30 / 1.6)
    assert not result.warnings


def test_dynamic_range_of_simulated_patches():
    shot, read = 1e-3, 4e-6
    light = 2.0 ** np.arange(-11, 1.01, 0.5)
    g = torch.Generator().manual_seed(1)
    measured = []
    for x in light:
        noise = math.sqrt(shot * x + read) * torch.randn(100, 100, generator=g, dtype=torch.float64)
        measured.append(patch_noise((x + noise).clamp(max=1.0), limits=None))
    result = dynamic_range(light, [m.mean[0] for m in measured], [m.sigma[0] for m in measured])
    truth = [model_dynamic_range(shot, read, snr=level) for level in SNR_LEVELS]
    # an SNR near 1 from 10^4 pixels scatters by 1.2 %, the SNR grows nearly as the light there
    assert result.stops == pytest.approx(truth, abs=0.06)
    named = result.as_result("gray")
    assert named.value("tone.dynamic_range[gray]") == result.stops[0]
    assert named.value("tone.dynamic_range.snr10[gray]") == result.stops[3]


def test_encoded_steps_are_referred_to_the_scene():
    shot, read = 1e-3, 4e-6
    light = torch.tensor(2.0 ** np.arange(-11, 1.01, 1 / 3))
    slope = (srgb_encode(light * 1.001) - srgb_encode(light / 1.001)) / (light * 0.002)
    sigma = (slope.clamp(min=1e-3) * torch.sqrt(shot * light + read)).tolist()
    result = dynamic_range(light.tolist(), srgb_encode(light).tolist(), sigma, linear=False)
    cut = float(srgb_decode(torch.tensor(0.95, dtype=torch.float64)))  # L_sat is where the output reaches 95 %
    truth = [model_dynamic_range(shot, read, snr=level, saturation=cut) for level in SNR_LEVELS]
    assert result.stops == pytest.approx(truth, abs=0.05)
    twice = [v for v in light.tolist() for _ in range(2)]
    both = dynamic_range(twice, srgb_encode(torch.tensor(twice)).tolist(), np.repeat(sigma, 2), linear=False)
    assert both.stops == pytest.approx(result.stops, abs=1e-6)
    same = dynamic_range([0.2] * 4, [0.5] * 4, [0.01] * 4, linear=False)
    assert math.isnan(same.stops[0])


def test_short_scales_are_prolonged_or_told():
    shot, read = 1e-3, 4e-6
    light = 2.0 ** np.arange(-4, 0.4, 1 / 3)
    mean, sigma = light.clip(max=1), np.sqrt(shot * light + read)
    prolonged = dynamic_range(30 * light, mean, sigma)
    assert prolonged.stops[0] == pytest.approx(model_dynamic_range(shot, read), abs=0.05)
    assert "prolonged by the noise law" in prolonged.warnings[0]
    bound = dynamic_range(light, mean, sigma, linear=False)
    assert "lower bound" in bound.warnings[0]
    assert bound.stops[0] < 4.1
    noisy = dynamic_range(light, mean, 3 * mean)
    assert all(math.isnan(s) for s in noisy.stops)
    assert "no gray step reaches" in noisy.warnings[0]
    unsaturated = dynamic_range(light / 4, srgb_encode(torch.tensor(light / 4)).tolist(), sigma, linear=False)
    assert "no gray step is saturated" in unsaturated.warnings[0]
    burnt = dynamic_range([1, 2, 3, 4], [1, 1, 1, 1], [0.1] * 4)
    assert "below saturation" in burnt.warnings[-1]
    with pytest.raises(ParamError, match="three gray steps"):
        dynamic_range([1, 2], [0.1, 0.2], [0.1, 0.1])
    silent = dynamic_range(light, mean, [0.0] * len(light))
    assert all(math.isnan(s) for s in silent.stops)
    with pytest.raises(ParamError, match="above 0"):
        dynamic_range([0, 2, 3], [0.1, 0.2, 0.3], [0.1, 0.1, 0.1])
    with pytest.raises(ParamError, match="one above"):
        model_dynamic_range(0, 0)


def test_a_flat_shoulder_does_not_hide_the_range():
    exposure = [2.0**-i for i in range(12, -1, -1)]
    mean = [min(e, 0.9) ** 0.45 for e in exposure]
    mean[-2:] = [mean[-2], mean[-2]]  # the tone curve tells the two brightest steps no more apart
    result = dynamic_range(exposure, mean, [0.01] * 13, linear=False)
    plain = dynamic_range(exposure[:-1], mean[:-1], [0.01] * 12, linear=False)
    assert not math.isnan(result.stops[0])
    assert result.stops[0] == pytest.approx(plain.stops[0], abs=1.1)
