from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.isp.stages.local_tone import LocalLaplacian
from ispkit.ops import local_laplacian, pyramid
from stage_laws import batch_equals_loop, compiles_and_survives_autocast, gradients_are_right, tile_equals_whole


def log_picture(size=(64, 64), seed=0):
    """Patches several stops apart with texture, in stops below white."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.nn.functional.interpolate(-7 * torch.rand(1, 1, 4, 4, generator=g), size=size, mode="nearest")
    return (coarse + 0.3 * torch.randn(1, 1, *size, generator=g)).double()


def slow_local_laplacian(image, alpha, beta, sigma, levels):
    """Paris et al. 2011, algorithm 1: a whole pyramid for every coefficient, with OpenCV's pyramids."""

    def pyramids(x):
        means = [x]
        for _ in range(levels):
            means.append(cv2.pyrDown(means[-1]))
        bands = [m - cv2.pyrUp(n, dstsize=m.shape[::-1]) for m, n in pairwise(means)]
        return means, bands

    def remap(g):
        d, small = image - g, local_laplacian.SMALLEST
        gain = ((d**2 + small**2) / (sigma**2 + small**2)) ** ((alpha - 1) / 2)
        beyond = g + np.sign(d) * (beta * (np.abs(d) - sigma) + sigma)
        return np.where(np.abs(d) <= sigma, g + d * gain, beyond)

    means, bands = pyramids(image)
    out = [np.zeros_like(b) for b in bands]
    for level, mean in enumerate(means[:-1]):
        for y, x in np.ndindex(mean.shape):
            out[level][y, x] = pyramids(remap(mean[y, x]))[1][level][y, x]
    result = local_laplacian.PIVOT + beta * (means[-1] - local_laplacian.PIVOT)
    for band in reversed(out):
        result = band + cv2.pyrUp(result, dstsize=band.shape[::-1])
    return result


@pytest.mark.parametrize(
    ("alpha", "beta", "sigma", "share"),
    [
        (0.5, 1.0, 1.3, 0.1),
        (0.25, 1.0, 1.3, 0.13),
        (2.0, 1.0, 1.3, 0.04),
        (1.0, 0.3, 1.3, 0.001),
        (0.5, 0.5, 0.5, 0.02),
    ],
)
def test_fast_equals_exact(alpha, beta, sigma, share):
    """The discrete references miss at most this share of the mean change (they weaken small details)."""
    x = log_picture((48, 48))
    exact = slow_local_laplacian(x[0, 0].numpy(), alpha, beta, sigma, 2)
    change = local_laplacian.local_laplacian(x, alpha=alpha, beta=beta, sigma=sigma, levels=2)
    inside = np.s_[12:-12, 12:-12]
    error = np.abs((x + change)[0, 0].numpy() - exact)[inside]
    assert error.mean() <= share * np.abs(exact - x[0, 0].numpy())[inside].mean()


def test_more_references_converge_to_exact(monkeypatch):
    x = log_picture((32, 32))
    exact = slow_local_laplacian(x[0, 0].numpy(), 0.5, 0.7, 1.3, 1)
    errors = []
    for spacing in (0.25, 0.125, 0.0625):
        monkeypatch.setattr(local_laplacian, "SPACING", spacing)
        ours = (x + local_laplacian.local_laplacian(x, alpha=0.5, beta=0.7, sigma=1.3, levels=1))[0, 0].numpy()
        errors.append(np.abs(ours - exact)[6:-6, 6:-6].max())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 2e-3


@pytest.mark.parametrize("size", [(33, 46), (7, 5), (2, 1)])
def test_pyramid_equals_opencv_and_collapses(size):
    x = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if min(size) > 2:
        assert np.abs(pyramid.reduce(x)[0, 0].numpy() - cv2.pyrDown(x[0, 0].numpy())).max() < 1e-12
    coarse = x[0, 0].numpy()
    theirs = cv2.pyrUp(coarse)
    ours = pyramid.expand(x, (2 * size[0], 2 * size[1]))[0, 0].numpy()
    assert np.abs(ours - theirs)[2:-2, 2:-2].max(initial=0) < 1e-12
    torch.testing.assert_close(pyramid.collapse(pyramid.laplacian_pyramid(x, 4)), x)


def test_neutral_is_identity():
    frame = make_frame(Domain.LINEAR_RGB)
    assert LocalLaplacian()(frame).data is frame.data
    assert LocalLaplacian().support({"alpha": 1.0, "beta": 1.0, "levels": "4"}, frame.size) == 0
    one = torch.tensor(1.0)
    assert torch.equal(LocalLaplacian()(frame, {"alpha": one, "beta": one}).data, frame.data)


def test_edges_stay_and_details_scale_with_alpha():
    columns = torch.arange(128, dtype=torch.float64)
    edge = torch.where(columns < 64, -6.0, -2.0).expand(1, 1, 64, 128).contiguous()
    texture = 0.15 * torch.sin(columns * 2 * torch.pi / 6)
    before = [local_detail(edge + texture)]
    for alpha in (0.4, 0.7, 1.5, 2.5):
        out = edge + local_laplacian.local_laplacian(edge, alpha=alpha, beta=1.0, sigma=1.0, levels=3)
        step = out[..., 96:].mean() - out[..., :32].mean()
        assert abs(step - 4.0) < 1e-6
        assert (out - edge).abs().max() < 0.25
        rich = edge + texture
        out = rich + local_laplacian.local_laplacian(rich, alpha=alpha, beta=1.0, sigma=1.0, levels=3)
        before.append(local_detail(out))
    plain, *scaled = before
    assert scaled == sorted(scaled, reverse=True)
    assert scaled[0] > 1.5 * plain
    assert scaled[1] > plain > scaled[2]
    assert scaled[3] < 0.6 * plain


def local_detail(picture):
    return float(picture[..., 20:44].std())


def test_beta_scales_plateaus_around_mid_gray():
    linear = torch.full((1, 3, 64, 128), 0.02, dtype=torch.float64)
    linear[..., 64:] = 0.9
    for beta in (0.0, 0.5, 1.4):
        out = local_laplacian.tone_map(linear, alpha=1.0, beta=beta, levels=2)
        for column, value in ((8, 0.02), (120, 0.9)):
            toe, gray = local_laplacian.TOE, 0.18
            expected = value * ((gray + toe) / (value + toe)) ** (1 - beta)
            torch.testing.assert_close(out[..., column], torch.full_like(out[..., column], expected))


def test_colors_keep_their_ratios():
    data = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.01
    out = local_laplacian.tone_map(data, alpha=0.5, beta=0.6, sigma=1.0, levels=3)
    torch.testing.assert_close(out / out.sum(1, keepdim=True), data / data.sum(1, keepdim=True))


def test_laws():
    on = {"alpha": 0.6, "beta": 0.7, "sigma": 0.8, "levels": "2"}
    tile_equals_whole(LocalLaplacian(), on, size=(160, 192), atol=1e-5)
    tile_equals_whole(LocalLaplacian(), on | {"levels": "4"}, size=(224, 256), atol=1e-5)
    gradients_are_right(LocalLaplacian(), on)
    compiles_and_survives_autocast(LocalLaplacian(), on, fullgraph=False)
    settings = {"alpha": [0.5, 1.0, 2.0], "beta": [1.0, 1.0, 0.3], "sigma": [0.5, 1.3, 4.0], "levels": ["2", "5", "3"]}
    batch_equals_loop(LocalLaplacian(), settings)
