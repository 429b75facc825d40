"""PSNR, SSIM, MS-SSIM and GMSD against other implementations and by hand."""

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as other_ms_ssim
from pytorch_msssim import ssim as other_ssim
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ispkit.metrics.fidelity import ms_ssim, psnr, ssim
from ispkit.metrics.perceptual import gmsd


@pytest.fixture(scope="module", params=[(161, 170), (176, 211)], ids=str)
def pair(request) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(request.param[0])
    coarse = torch.rand(2, 3, 12, 12, generator=g, dtype=torch.float64)
    a = torch.nn.functional.interpolate(coarse, size=request.param, mode="bicubic").clamp(0, 1)
    noise = torch.randn(a.shape, generator=g, dtype=torch.float64)
    return (a + noise * torch.tensor([0.02, 0.15]).reshape(2, 1, 1, 1)).clamp(0, 1), a


def test_psnr_by_hand_and_scikit_image(pair):
    zeros = torch.zeros(1, 1, 4, 4)
    assert float(psnr(zeros + 25.5, zeros, data_range=255.0)) == pytest.approx(20.0)
    a, b = pair
    truth = [peak_signal_noise_ratio(b[i].numpy(), a[i].numpy(), data_range=1.0) for i in range(2)]
    torch.testing.assert_close(psnr(a, b, data_range=1.0), torch.tensor(truth, dtype=torch.float64))


def test_ssim_equals_pytorch_msssim_and_scikit_image(pair):
    a, b = pair
    ours = ssim(a, b, data_range=1.0)
    theirs = other_ssim(a, b, data_range=1.0, size_average=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)  # their window is float32
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    for i in range(2):
        truth = structural_similarity(a[i].numpy(), b[i].numpy(), channel_axis=0, **options)
        assert float(ours[i]) == pytest.approx(truth, abs=1e-12)


def test_ms_ssim_equals_pytorch_msssim(pair):
    a, b = pair
    theirs = other_ms_ssim(a, b, data_range=1.0, size_average=False)
    torch.testing.assert_close(ms_ssim(a, b, data_range=1.0), theirs, rtol=1e-5, atol=0)


def test_ssim_of_opposites_is_negative_and_their_ms_ssim_zero():
    stripes = (torch.arange(176) % 2).double().expand(1, 1, 176, 176)
    assert float(ssim(stripes, 1 - stripes, data_range=1.0)) < -0.9
    assert float(ms_ssim(stripes, 1 - stripes, data_range=1.0)) == 0.0


def independent_gmsd(a: np.ndarray, b: np.ndarray) -> float:
    """The steps of the paper on (H, W) gray pictures in [0, 255], with scipy."""
    prewitt = np.array([[1, 0, -1]] * 3) / 3
    mean = np.ones((2, 2)) / 4

    def gradient(y):
        y = convolve2d(np.pad(y, ((0, 1), (0, 1))), mean, mode="valid")[::2, ::2]
        return np.hypot(convolve2d(y, prewitt, mode="same"), convolve2d(y, prewitt.T, mode="same"))

    m1, m2 = gradient(a), gradient(b)
    return float(np.std((2 * m1 * m2 + 170) / (m1**2 + m2**2 + 170), ddof=1))


def test_gmsd_equals_the_steps_of_the_paper(pair):
    a, b = (p.numpy() * 255 for p in pair)
    weights = np.array([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    truth = [independent_gmsd((a[i] * weights).sum(0), (b[i] * weights).sum(0)) for i in range(2)]
    torch.testing.assert_close(gmsd(*pair, data_range=1.0), torch.tensor(truth, dtype=torch.float64))
    assert truth[1] > truth[0] > 0.001
