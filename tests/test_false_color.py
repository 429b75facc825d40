"""False-color suppression: the median itself, what it leaves alone, and that it helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.isp.stages.demosaic import FalseColor
from ispkit.ops.cfa import mosaic
from ispkit.ops.demosaic import demosaic
from ispkit.ops.false_color import median3x3, suppress_false_color


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(9, 11), (8, 2), (3, 3), (1, 4)])
def test_median_equals_scipy(size):
    image = noise(2, 3, *size)
    expected = median_filter(image.numpy(), size=(1, 1, 3, 3), mode="mirror")
    np.testing.assert_array_equal(median3x3(image).numpy(), expected)


def test_green_grays_and_single_colors_stay():
    image = noise(2, 3, 12, 14)
    assert torch.equal(suppress_false_color(image, 1.0)[:, 1], image[:, 1])
    gray = image[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(suppress_false_color(gray, 1.0, passes=3), gray)
    colored = gray + torch.tensor([0.2, 0.0, -0.1]).double().reshape(1, 3, 1, 1)
    torch.testing.assert_close(suppress_false_color(colored, 0.7), colored, rtol=0, atol=1e-15)


def test_one_wrong_pixel_disappears():
    image = torch.full((1, 3, 7, 7), 0.5)
    image[0, 0, 3, 3] = 0.9
    assert torch.equal(suppress_false_color(image, 1.0), torch.full((1, 3, 7, 7), 0.5))
    half = suppress_false_color(image, 0.5)[0, 0, 3, 3]
    torch.testing.assert_close(half, torch.tensor(0.7))


def test_off_is_the_same_tensor():
    image = noise(1, 3, 5, 5)
    assert suppress_false_color(image, 0.0) is image
    assert torch.equal(suppress_false_color(image, torch.tensor(0.0)), image)


def test_settings_in_a_batch_equal_a_loop():
    image, strength, passes = noise(1, 3, 9, 9).expand(3, -1, -1, -1), torch.tensor([0.2, 1.0, 0.6]), [1, 4, 2]
    found = suppress_false_color(image, strength, passes=torch.tensor(passes, dtype=torch.float32))
    for i in range(3):
        one = suppress_false_color(image[:1], float(strength[i]), passes=passes[i])
        torch.testing.assert_close(found[i : i + 1], one, rtol=0, atol=1e-7)


def test_gradcheck():
    image, strength = noise(2, 3, 5, 6).requires_grad_(), torch.tensor([0.4, 0.8]).double().requires_grad_()
    assert torch.autograd.gradcheck(suppress_false_color, (image, strength))


def test_false_colors_at_gray_edges_shrink():
    """A gray checkerboard of 5 px squares, demosaiced with a linear method: 3/5 of the color's energy is left."""
    y, x = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    board = (0.2 + 0.6 * ((y // 5 + x // 5) % 2)).float().expand(1, 3, 60, 60)
    rgb = demosaic(mosaic(board, "RGGB"), "RGGB", "malvar2004")
    clean = suppress_false_color(rgb, 1.0, passes=2)
    before, after = (float((p[:, 0::2] - p[:, 1:2]).square().mean()) for p in (rgb, clean))
    assert after < 0.6 * before
    assert float((clean - board).square().mean()) < 0.9 * float((rgb - board).square().mean())


def test_stage_support_is_enough():
    frame, stage, knobs = make_frame(Domain.CAMERA_RGB, size=(40, 40), batch=1), FalseColor(), {"passes": 3.0}
    frame = frame.with_data(frame.data + noise(1, 3, 40, 40).float() * 0.2)
    knobs |= {"strength": 1.0}
    halo = stage.support(knobs, frame.size)
    tile = stage(frame.crop(10 - halo, 12 - halo, 8 + 2 * halo, 8 + 2 * halo), knobs).data
    assert torch.equal(tile[..., halo:-halo, halo:-halo], stage(frame, knobs).data[..., 10:18, 12:20])
    assert torch.equal(stage(frame).data, frame.data)
