"""Losses against closed forms, other implementations in float64, and gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.train.losses import (
    LOSSES,
    DeepIspLoss,
    DeepIspReleasedLoss,
    Restoration,
)
from ispkit.train.perceptual import Perceptual


def pictures(size=24, seed=0, batch=2) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    draw = torch.rand(2, batch, 3, size, size, generator=chance, dtype=torch.float64)
    return draw[0] * 0.9 + 0.05, draw[1] * 0.9 + 0.05


PLAIN = sorted(set(LOSSES) - {"perceptual"})


@pytest.mark.parametrize("name", PLAIN)
def test_loss_is_zero_for_equal_pictures_and_positive_for_others(name):
    a, b = pictures()
    loss = LOSSES[name]()
    assert float(loss(a, a)) == pytest.approx(0, abs=1e-9)
    assert float(loss(a, b)) > 0
    assert loss(a, b).shape == ()


@pytest.mark.parametrize("name", PLAIN)
def test_a_batch_costs_the_mean_of_its_pictures(name):
    a, b = pictures()
    loss = LOSSES[name]()
    single = [float(loss(a[i : i + 1], b[i : i + 1])) for i in range(2)]
    assert float(loss(a, b)) == pytest.approx(np.mean(single), rel=1e-9)


@pytest.mark.parametrize("name", PLAIN)
def test_gradients_are_those_of_differences(name):
    a, b = pictures(size=13, batch=1)
    assert torch.autograd.gradcheck(LOSSES[name](), (a[..., :13, :13].requires_grad_(), b), atol=1e-6, fast_mode=True)


def test_restoration_is_equation_1_in_xyz():
    a, b = pictures()
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    x, y = (np.einsum("ij,bjhw->bihw", matrix, p.numpy() - 0.2) for p in (a, b))
    paper = np.abs(x - y).mean() + np.abs(np.log(np.maximum(x, 1e-3)) - np.log(np.maximum(y, 1e-3))).mean()
    code = np.abs(x - y).mean() + np.abs(np.log(np.maximum(x, 0) + 1e-4) - np.log(np.maximum(y, 0) + 1e-4)).mean()
    assert float(Restoration()(a - 0.2, b - 0.2)) == pytest.approx(paper, rel=1e-3)
    assert float(Restoration(eps=1e-4, released=True)(a - 0.2, b - 0.2)) == pytest.approx(code, rel=1e-3)


def test_restoration_sees_a_stop_of_light_everywhere_alike():
    """|log 2x - log x| = log 2, in the shadows as in the lights, above eps."""
    dark, bright = (torch.full((1, 3, 4, 4), v, dtype=torch.float64) for v in (0.01, 0.4))
    for picture in (dark, bright):
        linear = float((0.5 * picture @ torch.eye(4, dtype=torch.float64)).mean())
        xyz = linear * float(sum((0.9505, 1.0, 1.0891)) / 3)
        assert float(Restoration()(picture, picture / 2)) == pytest.approx(np.log(2) + xyz, rel=1e-3)


def test_deepisp_is_lab_and_structure_by_other_hands():
    """Lab and SSIM of scikit-image; a picture of 20 px has room for one of the five scales."""
    metrics = pytest.importorskip("skimage.metrics")
    from skimage.color import rgb2lab

    a, b = pictures(size=20, batch=1)
    b = 0.7 * a + 0.3 * b
    lab = [rgb2lab(p[0].permute(1, 2, 0).numpy()) / 100 for p in (a, b)]
    distance = np.abs(lab[0] - lab[1]).mean()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    _, similarity = metrics.structural_similarity(lab[0][..., 0], lab[1][..., 0], **options)
    inner = similarity[5:-5, 5:-5].mean()
    assert float(DeepIspLoss(alpha=0.0)(a, b)) == pytest.approx(distance, rel=2e-3)
    assert float(DeepIspLoss(alpha=1.0)(a, b)) == pytest.approx(1 - inner, rel=2e-3)
    assert float(DeepIspLoss()(a, b)) == pytest.approx((distance + 1 - inner) / 2, rel=2e-3)


def test_deepisp_has_as_many_scales_as_fit():
    """170 px have room for all five scales: MS-SSIM with scikit-image's windows and the published exponents."""
    metrics = pytest.importorskip("skimage.metrics")
    from skimage.color import rgb2lab

    small, noise = pictures(12, batch=1)[0], pictures(170, batch=1)[0]
    a = nn.functional.interpolate(small, (170, 170), mode="bicubic").clamp(0.05, 0.95)
    b = (a + 0.1 * (noise - 0.5)).clamp(0, 1)
    x, y = (rgb2lab(p[0].permute(1, 2, 0).numpy())[..., 0] / 100 for p in (a, b))
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    exponents, product = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 1.0
    for scale, exponent in enumerate(exponents):
        if scale:
            x, y = (halved(p) for p in (x, y))
        full = metrics.structural_similarity(x, y, **how)[1]
        means = [ndimage.gaussian_filter(p, 1.5, truncate=3.5) for p in (x, y)]
        light = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
        term = full if scale == 4 else full / light
        product *= term[5:-5, 5:-5].mean() ** (exponent / sum(exponents))
    assert float(DeepIspLoss(alpha=1.0)(a, b)) == pytest.approx(1 - product, rel=2e-3)


def halved(plane: np.ndarray) -> np.ndarray:
    """2x2 means; an odd side has a row of zeros before it."""
    padded = np.pad(plane, [(side % 2, side % 2) for side in plane.shape])
    height, width = (side // 2 * 2 for side in padded.shape)
    return padded[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def test_the_color_term_may_weigh_as_in_the_released_code():
    a, b = pictures()
    plain = float(DeepIspLoss(alpha=0.0)(a, b))
    assert float(DeepIspLoss(alpha=0.0, lab_scale=1.0)(a, b)) == pytest.approx(100 * plain)
    assert float(DeepIspLoss(alpha=1.0, lab_scale=1.0)(a, b)) == float(DeepIspLoss(alpha=1.0)(a, b))


def test_deepisp_pulls_back_what_left_the_range():
    """Above 1 and below 0 the gradient still points home; the released loss is blind there."""
    target = torch.full((1, 3, 16, 16), 0.5)
    for value, sign in ((1.4, 1.0), (-0.3, -1.0)):
        made = torch.full_like(target, value).requires_grad_()
        DeepIspLoss()(made, target).backward()
        assert torch.equal(made.grad.sum((0, 2, 3)).sign(), torch.full((3,), sign))
        blind = torch.full_like(target, value).requires_grad_()
        DeepIspReleasedLoss(alpha=0.0)(blind, target).backward()
        assert not blind.grad.any()


def released_by_hand(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Color distance and structure of (H, W, 3) encoded sRGB, as the authors' loss reads: L of 0 to 100 throughout."""
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    labs = []
    for picture in (a, b):
        xyz = 100 * np.clip(picture, 0, 1) @ np.array(matrix).T / [95.047, 100.0, 108.883]
        fx, fy, fz = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
        labs.append(np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], -1))
    kernel = ndimage.gaussian_filter(np.eye(3)[1][:, None] * np.eye(3)[1], 2.0)
    structure, (x, y) = 0.0, (lab[..., 0] for lab in labs)
    for _ in range(2):
        found = []
        for i in range(0, x.shape[0] // 5 * 5, 5):
            for j in range(0, x.shape[1] // 5 * 5, 5):
                u, v = x[i : i + 5, j : j + 5], y[i : i + 5, j : j + 5]
                s = (2 * u.mean() * v.mean() + 0.01**2) / (u.mean() ** 2 + v.mean() ** 2 + 0.01**2)
                s *= (2 * u.std() * v.std() + 0.03**2) / (u.var() + v.var() + 0.03**2)
                found.append((1 - s) / 2)
        structure += np.mean(found)
        x, y = (ndimage.convolve(p, kernel, mode="constant")[::2, ::2] for p in (x, y))
    return float(np.abs(labs[0] - labs[1]).mean()), float(structure)


@pytest.mark.parametrize("size", [9, 23, 24])
def test_the_released_loss_by_other_hands(size):
    a, b = pictures(size=size, batch=1)
    b = 0.7 * a + 0.3 * b
    color, structure = released_by_hand(*(p[0].permute(1, 2, 0).numpy() for p in (a, b)))
    assert color > 1  # of 100
    for alpha, expected in ((0.0, color), (1.0, structure), (0.5, (color + structure) / 2)):
        assert float(DeepIspReleasedLoss(alpha)(a, b)) == pytest.approx(expected, rel=1e-3)
        single = DeepIspReleasedLoss(alpha)(a.float(), b.float())
        assert float(single) == pytest.approx(expected, rel=1e-3)
    flat = torch.full((1, 3, size, size), 0.7)
    assert float(DeepIspReleasedLoss(1.0)(flat, flat + 1e-5)) < 1e-4  # rounding is no structure


def test_released_structure_does_not_see_a_mirrored_patch():
    """The product of standard deviations stands for the covariance, so 5x5 patches turned over cost nothing there."""
    flat = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).repeat(1, 1, 3, 3)
    fine, coarse = flat, flat.flip(-1).flip(-2)
    from ispkit.train.losses import _patches_differ

    assert float(_patches_differ(fine, coarse)) == pytest.approx(0, abs=1e-12)


def test_laws_are_named():
    a, b = pictures(size=8)
    with pytest.raises(ShapeError, match="at least 11"):
        DeepIspLoss()(a, b)
    with pytest.raises(ShapeError, match="at least 9"):
        DeepIspReleasedLoss()(a, b)
    with pytest.raises(ParamError, match="lab_scale"):
        DeepIspLoss(lab_scale=0.0)
    with pytest.raises(ParamError, match="alpha"):
        DeepIspLoss(alpha=2.0)
    with pytest.raises(ParamError, match="eps"):
        Restoration(eps=0.0)
    with pytest.raises(ParamError, match="vgg19"):
        Perceptual("x.pth", backbone="vgg91")


def test_perceptual_compares_features_of_the_users_weights(tmp_path):
    """VGG-16 cut at the named layers by hand gives the same number; the weights are random, the arithmetic is not."""
    from ispkit.metrics.backbones import backbone

    torch.manual_seed(0)
    net = backbone("vgg16")
    file = tmp_path / "vgg16.pth"
    torch.save({f"features.{k}": v for k, v in net.state_dict().items()} | {"classifier.0.bias": torch.zeros(1)}, file)
    a, b = (p.float() for p in pictures(size=32, batch=1))
    loss = Perceptual(str(file), backbone="vgg16")
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = sum(
        nn.functional.mse_loss(net[: i + 1]((a - mean) / std), net[: i + 1]((b - mean) / std)) for i in (8, 29)
    )
    assert float(loss(a, b).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(loss(a, a)) == 0
    with pytest.raises(FileError, match="vgg19"):
        Perceptual(str(file))(a, b)
