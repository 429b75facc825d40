"""NLPD against an independent numpy implementation of the authors' published algorithm, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from ispkit.metrics import METRICS
from ispkit.metrics.nlpd import nlpd, nlpd_bands
from ispkit.ops.blur import gaussian_blur

SIGMAS = (0.0248, 0.0185, 0.0179, 0.0191, 0.0220, 0.2782)
CROSSES = (  # above, left, right, below
    (0.1011, 0.1493, 0.1460, 0.1015),
    (0.0757, 0.1986, 0.1846, 0.0837),
    (0.0477, 0.2138, 0.2243, 0.0467),
    (0, 0.2503, 0.2616, 0),
    (0, 0.2598, 0.2552, 0),
    (0, 0.2215, 0.0717, 0),
)
KERNEL = np.outer(f := np.array([0.05, 0.25, 0.4, 0.25, 0.05]), f)


def numpy_levels(gray: np.ndarray) -> list[np.ndarray]:
    """As NLP_dist.m says it: imfilter 'symmetric', zeros between the pixels, conv2 'same'."""
    pyramid = []
    for _ in range(5):
        small = ndimage.correlate(gray, KERNEL, mode="reflect")[::2, ::2]
        padded = np.pad(small, 1, mode="edge")
        fine = np.zeros([2 * n for n in padded.shape])
        fine[::2, ::2] = 4 * padded
        fine = ndimage.correlate(fine, KERNEL, mode="constant")
        pyramid.append(gray - fine[2 : 2 + gray.shape[0], 2 : 2 + gray.shape[1]])
        gray = small
    levels = []
    for i, level in enumerate([*pyramid, gray]):
        weights = np.zeros((5, 5))
        weights[1, 2], weights[2, 1], weights[2, 3], weights[3, 2] = CROSSES[i]
        weights[2, 4] = 0.0072 if i == 0 else 0
        levels.append(level / (SIGMAS[i] + signal.convolve2d(np.abs(level), weights, "same")))
    return levels


def numpy_nlpd(a: np.ndarray, b: np.ndarray) -> float:
    gray = [np.einsum("c,chw->hw", [0.299, 0.587, 0.114], p) for p in (a, b)]
    pairs = zip(*(numpy_levels(g) for g in gray), strict=True)
    return float(np.mean([np.sqrt(np.mean((x - y) ** 2)) for x, y in pairs]))


@pytest.mark.parametrize("size", [(64, 96), (77, 51)])
def test_it_is_the_published_distance(size):
    g = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 3, *size, generator=g, dtype=torch.float64) for _ in range(2))
    want = [numpy_nlpd(x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True)]
    assert nlpd(a, b, data_range=1.0).tolist() == pytest.approx(want, rel=1e-12)


def test_zero_only_for_equal_pictures_and_more_for_more_damage():
    g = torch.Generator().manual_seed(0)
    clean = gaussian_blur(torch.rand(1, 3, 64, 64, generator=g), 0.7, radius=3)
    noise = torch.randn(clean.shape, generator=g)
    by_noise = [float(nlpd(clean + s * noise, clean, data_range=1.0)) for s in (0, 0.01, 0.03, 0.1)]
    by_blur = [float(nlpd(gaussian_blur(clean, s, radius=6), clean, data_range=1.0)) for s in (0.5, 1.0, 2.0)]
    assert by_noise[0] == 0
    assert by_noise == sorted(by_noise)
    assert by_noise[1] > 0
    assert by_blur == sorted(by_blur)


def test_the_bands_tell_the_distance():
    g = torch.Generator().manual_seed(3)
    a, b = torch.rand(2, 3, 40, 56, generator=g), torch.rand(2, 3, 40, 56, generator=g)
    roots = [band.square().mean((1, 2, 3)).sqrt() for band in nlpd_bands(a, b)]
    assert torch.allclose(torch.stack(roots).mean(0), nlpd(a, b, data_range=1.0))


def test_gradient():
    g = torch.Generator().manual_seed(2)
    a = torch.rand(1, 3, 7, 5, generator=g, dtype=torch.float64, requires_grad=True)
    b = torch.rand(1, 3, 7, 5, generator=g, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: nlpd(x, b, data_range=1.0), a)
    equal = b.clone().requires_grad_()
    nlpd(equal, b, data_range=1.0).sum().backward()
    assert torch.isfinite(equal.grad).all()


def test_it_is_listed():
    assert METRICS["nlpd"].function is nlpd
