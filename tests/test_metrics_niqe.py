"""NIQE against published values, against its definition written with numpy and scipy, and its own fit."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate
from scipy.special import gamma

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.metrics.niqe import NiqeModel, _features, niqe


def scene(seed: int, size=(288, 384)) -> torch.Tensor:
    """A (1, 3, H, W) picture in [0, 1] with smooth parts, edges and texture."""
    g = torch.Generator().manual_seed(seed)
    parts = [
        torch.nn.functional.interpolate(torch.rand(1, 3, n, n, generator=g), size=size, mode=mode)
        for n, mode in ((5, "bilinear"), (24, "nearest"), (90, "bicubic"))
    ]
    return (0.5 * parts[0] + 0.3 * parts[1] + 0.2 * parts[2]).clamp(0, 1)


def codes(path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].double()


# Values of MMagic's test of its NIQE (tests/test_evaluation/test_metrics/test_niqe.py), "aligned to MATLAB" with
# the authors' parameters, on baboon.png = Set14's first picture: gray, blue plane, BT.601 studio luma, and
# the last two after 6 pixels were cut off each side.
PUBLISHED = {"gray": 5.73154, "blue": 5.62525, "y": 5.72957, "blue, cut": 5.82981, "y, cut": 6.10074}


def test_published_values_of_baboon(shared):
    model = NiqeModel.load(shared / "iqa_params" / "niqe_pris_params.npz")
    rgb = codes(shared / "set14" / "img_001_SRF_2_HR.png")
    studio = (rgb * rgb.new_tensor([65.481, 128.553, 24.966]).reshape(3, 1, 1) / 255).sum(1, keepdim=True) + 16
    inputs = {"gray": rgb, "blue": rgb[:, 2:], "y": studio}
    inputs |= {f"{k}, cut": inputs[k][..., 6:-6, 6:-6] for k in ("blue", "y")}
    ours = {k: float(niqe(v, data_range=255.0, model=model)) for k, v in inputs.items()}
    assert ours == pytest.approx(PUBLISHED, abs=2e-5)


def test_blur_and_noise_score_worse_than_the_photographs(shared):
    model = NiqeModel.load(shared / "iqa_params" / "niqe_pris_params.npz")
    rgb = codes(shared / "kodak24" / "kodim05.png")
    noisy = (rgb + 25 * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    blurred = torch.nn.functional.avg_pool2d(rgb, 5, 1, 2)
    clean, *worse = (float(niqe(p, data_range=255.0, model=model)) for p in (rgb, noisy, blurred))
    assert 1.5 < clean < 4
    assert min(worse) > 1.5 * clean


def aggd(block: np.ndarray) -> tuple[float, float, float]:
    grid = np.arange(0.2, 10.001, 0.001)
    curve = gamma(2 / grid) ** 2 / (gamma(1 / grid) * gamma(3 / grid))
    left, right = (np.sqrt(np.mean(block[side] ** 2)) for side in (block < 0, block > 0))
    r = np.mean(np.abs(block)) ** 2 / np.mean(block**2)
    ratio = left / right
    alpha = grid[np.argmin((curve - r * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2) ** 2)]
    scale = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
    return alpha, left * scale, right * scale


def block_features(block: np.ndarray) -> list[float]:
    alpha, left, right = aggd(block)
    row = [alpha, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        alpha, left, right = aggd(block * np.roll(block, shift, (0, 1)))
        row += [alpha, (right - left) * gamma(2 / alpha) / gamma(1 / alpha), left, right]
    return row


def independent_features(gray: np.ndarray) -> np.ndarray:
    """The paper's 36 features of every 96x96 block, block by block."""
    x = np.arange(7) - 3
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    columns = []
    for side in (96, 48):
        mean = correlate(gray, window, mode="nearest")
        deviation = np.sqrt(np.abs(correlate(gray**2, window, mode="nearest") - mean**2))
        coefficients = (gray - mean) / (deviation + 1)
        places = np.ndindex(gray.shape[0] // side, gray.shape[1] // side)
        columns.append(
            [block_features(coefficients[i * side : (i + 1) * side, j * side : (j + 1) * side]) for i, j in places]
        )
        d = np.abs(np.arange(8) - 3.5) / 2  # bicubic, a = -0.5, stretched twofold
        cubic = np.where(d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2)
        wide = np.pad(gray, 3, mode="symmetric")
        gray = np.lib.stride_tricks.sliding_window_view(wide, (8, 8))[::2, ::2] @ cubic @ cubic / cubic.sum() ** 2
    return np.hstack(columns)


def test_features_equal_the_definition_block_by_block():
    gray = (scene(3)[0].mean(0).double() * 255).round()
    features, sharpness = _features(gray)
    np.testing.assert_allclose(features.numpy(), independent_features(gray.numpy()), rtol=1e-6, atol=1e-9)
    assert sharpness.shape == (12,)


def test_distance_equals_the_definition():
    model = NiqeModel.fit([scene(s) for s in range(6)], data_range=1.0)
    picture = scene(9)
    gray = (picture[0].double() * torch.tensor([0.299, 0.587, 0.114]).double()[:, None, None]).sum(0) * 255
    rows = independent_features(gray.round().numpy())
    gap = model.mean.numpy() - rows.mean(0)
    inverse = np.linalg.pinv((model.covariance.numpy() + np.cov(rows, rowvar=False)) / 2)
    assert float(niqe(picture, data_range=1.0, model=model)) == pytest.approx(np.sqrt(gap @ inverse @ gap), rel=1e-3)


def test_own_fit_takes_sharp_blocks_and_survives_the_file(tmp_path):
    half_flat = scene(1)
    half_flat[..., 192:] = 0.4
    pictures = [scene(0), half_flat]
    model = NiqeModel.fit(iter(pictures), data_range=1.0)
    rows = []
    for p in pictures:
        features, sharpness = _features(
            (p[0].double() * torch.tensor([0.299, 0.587, 0.114]).double()[:, None, None]).sum(0).mul(255).round()
        )
        rows.append(features[sharpness > 0.75 * sharpness.max()].numpy())
    np.testing.assert_allclose(model.mean.numpy(), np.concatenate(rows).mean(0), rtol=1e-9)
    np.testing.assert_allclose(
        model.covariance.numpy(), np.cov(np.concatenate(rows), rowvar=False), rtol=1e-9, atol=1e-12
    )
    assert len(rows[1]) < 9
    model.save(tmp_path / "own.npz")
    again = NiqeModel.load(tmp_path / "own.npz")
    assert torch.equal(again.mean, model.mean)
    assert torch.equal(again.covariance, model.covariance)


def test_wrong_files_and_sizes_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(FileError, match=r"no such file; NIQE needs niqe_pris_params\.npz"):
        NiqeModel.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "small.npz", mu_pris_param=np.zeros((1, 5)), cov_pris_param=np.zeros((5, 5)))
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text.npz", "small.npz", "other.npz", "array.npy"):
        with pytest.raises(FileError, match=name):
            NiqeModel.load(tmp_path / name)
    with pytest.raises(ParamError, match="no pictures"):
        NiqeModel.fit([], data_range=1.0)
    model = NiqeModel(torch.zeros(36).double(), torch.eye(36).double())
    with pytest.raises(ShapeError, match="95x200"):
        niqe(torch.rand(1, 3, 95, 200), data_range=1.0, model=model)
    assert bool(torch.isnan(niqe(torch.full((1, 3, 192, 192), 0.5), data_range=1.0, model=model)).all())
