import cv2
import numpy as np
import pytest
import torch

from ispkit.core.errors import ParamError
from ispkit.ops import blur, luma


def picture(size=(40, 56), channels=3, batch=1, dtype=torch.float32):
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(3), dtype=dtype)


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 3), (1.0, 3), (2.5, 3), (3.0, 9)])
def test_gaussian_equals_opencv(sigma, radius):
    x = picture()
    taps = 2 * radius + 1
    theirs = cv2.GaussianBlur(x[0].permute(1, 2, 0).numpy(), (taps, taps), sigma, borderType=cv2.BORDER_REFLECT_101)
    ours = blur.gaussian_blur(x, sigma, radius=radius)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 1e-6


def test_box_equals_opencv():
    x = picture(channels=1)
    theirs = cv2.blur(x[0, 0].numpy(), (7, 7), borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(blur.box_filter(x, 3)[0, 0].numpy() - theirs).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (4, 5)])
def test_padding_beyond_the_picture_equals_numpy(size):
    x = picture(size, channels=1)
    theirs = np.pad(x[0, 0].numpy(), ((5, 5), (7, 7)), mode="reflect")
    assert np.array_equal(blur.pad_reflect(x, 5, 7)[0, 0].numpy(), theirs)


def test_gradients_and_batch_of_sigmas():
    sigma = torch.tensor([0.6, 1.7], dtype=torch.float64, requires_grad=True)
    x = picture((7, 8), 2, 2, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, s: blur.gaussian_blur(a, s, radius=4), (x, sigma))
    for i in range(2):
        alone = blur.gaussian_blur(x[i : i + 1], float(sigma[i].detach()), radius=4)
        torch.testing.assert_close(blur.gaussian_blur(x, sigma, radius=4)[i : i + 1], alone)


def test_a_tensor_sigma_needs_a_radius():
    with pytest.raises(ParamError, match="radius"):
        blur.gaussian_blur(picture(), torch.tensor(1.0))


def test_biweight_does_not_depend_on_the_reach():
    like = torch.zeros((), dtype=torch.float64)
    wide, narrow = blur.biweight_kernel(2.4, 6, like), blur.biweight_kernel(2.4, 3, like)
    torch.testing.assert_close(wide[:, 3:-3], narrow)
    assert wide[:, :3].abs().max() == 0


def test_half_precision_and_autocast_keep_their_type():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert blur.gaussian_blur(picture(), 1.0).dtype == torch.float32
    assert blur.gaussian_blur(picture().bfloat16(), 1.0).dtype == torch.bfloat16


def test_luma_split_has_an_exact_inverse():
    rgb = picture(dtype=torch.float64) * 2 - 0.5
    torch.testing.assert_close(luma.merge(*luma.split(rgb)), rgb, rtol=0, atol=1e-15)
    gray = torch.full((1, 3, 2, 2), 0.4, dtype=torch.float64)
    y, chroma = luma.split(gray)
    torch.testing.assert_close(y, gray[:, :1])
    assert chroma.abs().max() < 1e-15
