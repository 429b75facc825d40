import math

import cv2
import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.isp.stages.sharpen import Sharpen
from ispkit.ops.sharpen import unsharp_mask
from stage_laws import batch_equals_loop, compiles_and_survives_autocast, gradients_are_right, tile_equals_whole

ON = {"amount": 1.5, "sigma": 1.2, "threshold": 0.001, "halo_limit": 0.1}


def reference(rgb, amount, sigma, threshold, halo_limit):
    """The documented formula in NumPy with OpenCV's blur."""
    luma = rgb @ np.array([0.2126, 0.7152, 0.0722])
    mean = cv2.GaussianBlur(luma, (7, 7), sigma, borderType=cv2.BORDER_REFLECT_101)
    detail = luma - mean
    detail = np.sign(detail) * np.maximum(np.abs(detail) - threshold, 0)
    limit = halo_limit * np.maximum(mean, 0)
    return rgb + np.clip(amount * detail, -limit, limit)[..., None]


@pytest.mark.parametrize("change", [{}, {"sigma": 3.0}, {"threshold": 0.0}, {"halo_limit": 1.0}])
def test_formula(change):
    frame = make_frame(Domain.LINEAR_RGB, (40, 56), batch=1)
    data = frame.data + 0.05 * torch.randn(frame.data.shape, generator=torch.Generator().manual_seed(0))
    rgb = data[0].permute(1, 2, 0).double().numpy()
    ours = Sharpen()(frame.with_data(data), ON | change).data[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - reference(rgb, **(ON | change))).max() < 1e-5


def test_off_is_identity():
    frame = make_frame(Domain.LINEAR_RGB)
    assert Sharpen()(frame).data is frame.data
    assert Sharpen().support({"amount": 0.0}, frame.size) == 0
    for values in ({"amount": torch.tensor([0.0, 0.0])}, {"amount": 2.0, "halo_limit": 0.0}):
        assert torch.equal(Sharpen()(frame, values).data, frame.data)


def test_step_edge_overshoot_is_limited_and_gray_stays_gray():
    x = torch.full((1, 3, 16, 32), 0.1)
    x[..., 16:] = 0.4
    free = unsharp_mask(x, 3.0, sigma=1.0, halo_limit=1e9)
    held = unsharp_mask(x, 3.0, sigma=1.0, halo_limit=0.2)
    center = 1 / sum(math.exp(-0.5 * k * k) for k in range(-3, 4))
    assert free.max() == pytest.approx(0.4 + 3.0 * 0.3 * (1 - center) / 2, abs=1e-6)
    assert 0.4 < held.max() <= 0.4 * 1.2 + 1e-6
    assert held.min() >= 0.1 - 0.2 * 0.4
    assert (held - held.mean(dim=1, keepdim=True)).abs().max() < 1e-6


def test_threshold_leaves_flat_noise_alone():
    x = 0.3 + 0.002 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert unsharp_mask(x, 2.0).std() > 1.3 * x.std()
    torch.testing.assert_close(unsharp_mask(x, 2.0, threshold=0.02), x, atol=1e-7, rtol=0)


def test_laws():
    batch_equals_loop(Sharpen(), {"amount": [0.0, 1.0, 2.0], "sigma": [0.5, 1.0, 3.0], "halo_limit": [0.1, 0.5, 0.05]})
    tile_equals_whole(Sharpen(), ON)
    compiles_and_survives_autocast(Sharpen(), ON)
    gradients_are_right(Sharpen(), ON | {"amount": 3.0, "halo_limit": 0.02})
