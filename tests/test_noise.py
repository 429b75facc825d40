"""The noise law: its values, how stages carry it, its estimate, and the transform that removes it."""

from __future__ import annotations

import pytest
import torch

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.ops import anscombe, noise
from ispkit.ops.cfa import spread_channels

LEVELS = [(1e-2, 1e-4), (4e-3, 2e-5), (1e-3, 1e-6), (0.0, 1e-4)]


def poisson_gaussian(clean, shot, read, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.poisson(clean / shot, generator=g) * shot if shot else clean
    return x + read**0.5 * torch.randn(clean.shape, generator=g, dtype=clean.dtype)


def test_variance_of_a_mosaic_and_of_colors():
    profile = torch.tensor([[[0.02, 0.001], [0.01, 0.002], [0.04, 0.003]]])
    mosaic = torch.tensor([[0.5, 0.25], [-0.1, 0.1]])[None, None]
    told = noise.variance(mosaic, profile, cfa="GRBG")
    torch.testing.assert_close(told, torch.tensor([[0.007, 0.006], [0.003, 0.003]])[None, None])
    gain = torch.full((1, 1, 2, 2), 2.0)
    told = noise.variance(mosaic, profile, cfa="GRBG", noise_map=gain)
    torch.testing.assert_close(told[0, 0, 0], torch.tensor([2 * 0.005 + 4 * 0.002, 2 * 0.005 + 4 * 0.001]))
    rgb = noise.variance(torch.ones(1, 3, 1, 1), profile)
    torch.testing.assert_close(rgb.flatten(), torch.tensor([0.021, 0.012, 0.043]))


@pytest.mark.parametrize(("shot", "read"), LEVELS)
def test_simulated_variance_is_the_law(shot, read):
    clean = torch.full((1, 1, 400, 500), 0.3)
    measured = poisson_gaussian(clean, shot, read).var()
    told = noise.variance(clean, torch.tensor([[[shot, read]] * 3]), cfa="RGGB")[0, 0, 0, 0]
    assert measured == pytest.approx(float(told), rel=0.015)  # 5 sigma of 200,000 samples


@pytest.mark.parametrize(("shot", "read"), LEVELS)
def test_stabilised_noise_has_unit_variance_and_its_mean_comes_back(shot, read):
    s, o = torch.tensor(shot, dtype=torch.float64), torch.tensor(read, dtype=torch.float64)
    for signal in (0.05, 0.2, 0.8):
        clean = torch.full((300_000,), signal, dtype=torch.float64)
        z = anscombe.forward(poisson_gaussian(clean, shot, read), s, o)
        assert z.std() == pytest.approx(1, abs=0.02)
        spread = (shot * signal + read) ** 0.5
        unbiased = float(anscombe.inverse_unbiased(z.mean(), s, o))
        assert unbiased == pytest.approx(signal, abs=0.01 * spread)
    if shot:  # the plain inverse is low by about S / 4
        low = signal - float(anscombe.inverse_algebraic(z.mean(), s, o))
        assert low == pytest.approx(shot / 4, abs=4 * spread / len(clean) ** 0.5)


def test_plain_inverse_is_the_inverse_in_single_precision_too():
    x = torch.linspace(-0.001, 1, 500)
    for shot, read in LEVELS:
        s, o = torch.tensor(shot), torch.tensor(read)
        torch.testing.assert_close(anscombe.inverse_algebraic(anscombe.forward(x, s, o), s, o), x, atol=2e-6, rtol=1e-5)


def test_closed_form_is_near_the_exact_unbiased_inverse():
    """Pure Poisson: the mean of the transform, summed exactly, must map back to the mean."""
    one, zero = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    counts = torch.arange(0, 80, dtype=torch.float64)
    for mean in (0.1, 0.5, 1.0, 3.0, 10.0, 30.0):
        weights = torch.exp(counts * torch.tensor(mean).log() - mean - torch.lgamma(counts + 1))
        z = (weights * anscombe.forward(counts, one, zero)).sum()
        assert float(anscombe.inverse_unbiased(z, one, zero)) == pytest.approx(mean, abs=0.02)


def test_transform_gradients():
    x = torch.linspace(0.01, 0.9, 7, dtype=torch.float64, requires_grad=True)
    s = torch.tensor(3e-3, dtype=torch.float64, requires_grad=True)
    o = torch.tensor(2e-5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(anscombe.forward, (x, s, o), atol=1e-4, rtol=1e-3, eps=1e-8)
    z = anscombe.forward(x, s, o).detach().requires_grad_()
    assert torch.autograd.gradcheck(anscombe.inverse_unbiased, (z, s, o), atol=1e-4, rtol=1e-3, eps=1e-8)


@pytest.mark.parametrize(("shot", "read"), LEVELS)
def test_noise_is_estimated_from_a_smooth_picture(shot, read):
    ramp = torch.linspace(0.01, 0.9, 1024).expand(1, 1, 768, 1024)
    s, o = noise.fit_profile(noise.noise_histogram(poisson_gaussian(ramp, shot, read)))[0].tolist()
    for signal in (0.1, 0.5, 0.9):
        assert s * signal + o == pytest.approx(shot * signal + read, rel=0.1)


def test_histograms_of_tiles_add_up():
    x = poisson_gaussian(make_frame(Domain.MOSAIC, (96, 130), batch=2).data, 1e-3, 1e-6)
    parts = [x[..., y : y + 48, c : c + 64] for y in (0, 48) for c in (0, 64, 128)]
    torch.testing.assert_close(sum(map(noise.noise_histogram, parts)), noise.noise_histogram(x))
    assert noise.fit_profile(noise.noise_histogram(x[..., :8, :8])).abs().max() == 0


def test_gains_are_undone_before_estimating():
    gains = torch.tensor([[2.0, 1.0, 1.5]])
    clean = make_frame(Domain.MOSAIC, (64, 64), batch=1).data
    balanced = clean * spread_channels(gains, "GBRG", clean.shape) * 1.25
    back = noise.normalized_to_sensor(balanced, gains, "GBRG", torch.full_like(clean, 1.25))
    torch.testing.assert_close(back, clean)


def test_estimate_on_natural_pictures(shared):
    """Within a factor of two in sigma on textured pictures; textures count as noise where nothing is flat."""
    import numpy as np
    from PIL import Image

    shot, read = 4e-3, 2e-5
    ratios = []
    for name in ("kodim03", "kodim07", "kodim13", "kodim23"):
        rgb = np.asarray(Image.open(shared / "kodak24" / f"{name}.png"), np.float32)
        clean = torch.from_numpy((rgb[..., 1] / 255) ** 2.2)[None, None]
        s, o = noise.fit_profile(noise.noise_histogram(poisson_gaussian(clean, shot, read)))[0].tolist()
        ratios.append(((s * 0.2 + o) / (shot * 0.2 + read)) ** 0.5)
    assert all(0.9 < r < 2.0 for r in ratios), ratios
    assert sorted(ratios)[1] < 1.15, ratios
