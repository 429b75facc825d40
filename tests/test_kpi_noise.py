"""Noise of patches and series against the noise that was put in."""

import math

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.noise import frame_noise, noise_model_check, patch_noise, remove_gradient


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope(height: int, width: int) -> torch.Tensor:
    y, x = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in (height, width))
    y = y[:, None]
    return 0.03 * x + 0.05 * y - 0.04 * x * y - 0.06 * (x * x + y * y)


def test_patch_noise_is_what_was_put_in_whatever_the_gradient():
    sigmas = torch.tensor([0.01, 0.02, 0.005], dtype=torch.float64)
    noise = white(3, 200, 200) * sigmas[:, None, None]
    flat, sloped = patch_noise(0.5 + noise), patch_noise(0.5 + noise + slope(200, 200))
    assert flat.channels == ("R", "G", "B", "Y")
    luminance = math.sqrt(sum((w * s) ** 2 for w, s in zip((0.2126, 0.7152, 0.0722), sigmas.tolist(), strict=True)))
    truth = [*sigmas.tolist(), luminance]
    # a standard deviation from N pixels scatters by 1 / sqrt(2 N), 0.35 % here: four of those
    assert flat.sigma == pytest.approx(truth, rel=0.014)
    assert sloped.sigma == pytest.approx(flat.sigma, rel=1e-6)  # the gradient is gone exactly
    assert min(sloped.gradient) > 0.2
    assert patch_noise(0.5 + noise[0]).snr_db[0] == pytest.approx(20 * math.log10(50), abs=0.13)
    result = sloped.as_result("gray/03")
    assert result.value("noise.snr_db.g[gray/03]") == pytest.approx(sloped.snr_db[1])
    assert result.value("noise.snr_db[gray/03]") == pytest.approx(sloped.snr_db[3])


def test_the_variance_is_unbiased_on_small_patches():
    estimates = [patch_noise(white(6, 6, seed=s), limits=None).sigma[0] ** 2 for s in range(4000)]
    # mean of 4000 variances of 30 degrees of freedom: standard error sqrt(2 / 30 / 4000) = 0.4 %
    assert sum(estimates) / 4000 == pytest.approx(1.0, abs=0.016)


def test_a_constant_patch_has_no_noise_and_no_number():
    noise = patch_noise(torch.full((3, 16, 16), 0.3))
    assert noise.sigma == (0.0,) * 4
    assert noise.snr[0] == math.inf
    result = noise.as_result("gray/01")
    assert math.isnan(result.value("noise.snr_db[gray/01]"))
    assert "no SNR" in result.warnings[0]


def test_cut_noise_and_useless_patches_are_told():
    dark = (0.005 + 0.02 * white(64, 64)).clamp(min=0)
    assert "black" in patch_noise(dark).warnings[0]
    assert "white" in patch_noise((0.99 + 0.02 * white(64, 64)).clamp(max=1)).warnings[0]
    assert not patch_noise(dark, limits=None).warnings
    with pytest.raises(ShapeError, match="at least 4 x 4"):
        patch_noise(torch.zeros(3, 2, 20))


def test_the_fit_is_a_projection():
    planes = slope(20, 30)[None]
    assert float(remove_gradient(planes)[0].abs().max()) < 1e-12
    left, gradient = remove_gradient(white(2, 20, 30))
    torch.testing.assert_close(remove_gradient(left)[0], left)
    assert float(gradient.mean((1, 2)).abs().max()) < 1e-12


@pytest.mark.parametrize(("temporal", "fixed"), [(0.02, 0.01), (0.01, 0.03), (0.02, 0.0)])
def test_series_split_into_temporal_and_fixed_noise(temporal, fixed):
    pattern = fixed * white(150, 150, seed=1)
    flicker = 0.02 * white(8, 1, 1, seed=2)
    frames = 0.5 + slope(150, 150) + pattern + temporal * white(8, 150, 150, seed=3) + flicker
    noise = frame_noise(frames)
    assert noise.temporal == pytest.approx(temporal, rel=0.01)
    assert noise.fixed_pattern == pytest.approx(fixed, rel=0.02, abs=0.002)
    assert noise.total == pytest.approx(math.hypot(temporal, fixed), rel=0.01)
    assert noise.as_result().value("noise.temporal.snr_db") == pytest.approx(
        20 * math.log10(noise.mean / noise.temporal)
    )


def test_few_frames_are_told_and_one_is_refused():
    assert "3 frames are few" in frame_noise(0.5 + 0.01 * white(3, 40, 40)).warnings[0]
    with pytest.raises(ShapeError, match="N of 2 or more"):
        frame_noise(white(1, 40, 40))


def test_the_noise_law_comes_back_from_patches():
    shot, read = 2e-3, 1e-5
    means = [0.002, 0.01, 0.03, 0.08, 0.2, 0.4, 0.7]
    exact = noise_model_check(means, [shot * m + read for m in means], profile=(shot, read))
    assert (exact.shot, exact.read, exact.ratio) == pytest.approx((shot, read, 1.0))
    measured = [
        patch_noise(m + math.sqrt(shot * m + read) * white(150, 150, seed=i), limits=None) for i, m in enumerate(means)
    ]
    noisy = noise_model_check(
        [p.mean[0] for p in measured], [p.sigma[0] ** 2 for p in measured], profile=(2 * shot, 2 * read)
    )
    assert noisy.shot == pytest.approx(shot, rel=0.03)
    assert noisy.read == pytest.approx(read, rel=0.1)
    assert noisy.ratio == pytest.approx(0.5, rel=0.02)
    result = noisy.as_result("G")
    assert result.value("noise.model_ratio[G]") == noisy.ratio
    assert [c.label for c in result.curves] == ["measured G", "fit G", "profile G"]
    with pytest.raises(ParamError, match="two patches or more"):
        noise_model_check([0.1], [0.1])
    with pytest.raises(ParamError, match="variance above 0"):
        noise_model_check([0.1, 0.2], [0.1, 0.0])
