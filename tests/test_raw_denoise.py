"""RAW denoising: identity when off, unbiased, its promise on flat fields, its gain on pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.stages.raw_denoise import RawDenoise
from ispkit.isp.tiled import render_tiled
from ispkit.ops import noise, raw_denoise
from ispkit.ops.cfa import mosaic, spread_channels
from stage_laws import batch_equals_loop, gradients_are_right, tile_equals_whole
from test_noise import poisson_gaussian

FULL = {"luma": 1.0, "chroma": 1.0}


def flat_frame(shot=4e-3, read=2e-5, size=(320, 320), levels=(0.2, 0.4, 0.3), profile=True, cfa="RGGB"):
    clean = spread_channels(torch.tensor([levels]), cfa, size)
    known = [(shot, read)] if profile else [(0.0, 0.0)]
    frame = make_frame(Domain.MOSAIC, size, batch=1, cfa=cfa, noise_profile=known)
    return frame.with_data(poisson_gaussian(clean, shot, read)), clean


def site_variances(x):
    return torch.nn.functional.pixel_unshuffle(x, 2).var(dim=(-2, -1))[0]


def test_zero_strength_is_the_frame_itself_and_a_zero_tensor_its_pixels():
    frame = make_frame(Domain.MOSAIC)
    assert RawDenoise()(frame) is frame
    off = torch.zeros(2)
    assert torch.equal(RawDenoise()(frame, {"luma": off, "chroma": off}).data, frame.data)


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
@pytest.mark.parametrize("knobs", [FULL, {"luma": 0.5, "chroma": 1.0}, {"luma": 0.0, "chroma": 1.0}])
def test_flat_fields_keep_their_mean_and_the_noise_that_the_profile_tells(cfa, knobs):
    frame, clean = flat_frame(cfa=cfa)
    out = RawDenoise()(frame, knobs)
    told = noise.variance(clean, out.meta.noise_profile, cfa=cfa)[0, 0, :2, :2].flatten()
    torch.testing.assert_close(site_variances(out.data), told, rtol=0.12, atol=0)
    error = (torch.nn.functional.avg_pool2d(out.data - clean, 320)).abs()
    assert error < 4 * float(frame.meta.noise_profile[0, 0, 0] * 0.3) ** 0.5 / 320


@pytest.mark.parametrize("threshold", [0.8, 1.0, 1.3, 1.6, 2.5])
def test_what_remains_of_flat_noise_is_as_fitted(threshold):
    frame, clean = flat_frame(size=(640, 640))
    out = RawDenoise()(frame, FULL | {"threshold": threshold})
    left = float((out.data - clean).var() / (frame.data - clean).var())
    assert left == pytest.approx(float(raw_denoise.flat_variance_factor(1.0, 1.0, threshold)), rel=0.15)


def test_shaded_noise_is_removed_by_its_own_law():
    frame, clean = flat_frame()
    gain = torch.linspace(1, 3, 320).expand(1, 1, 320, 320)
    shaded = frame.with_data(frame.data * gain, noise_map=gain)
    out, plain = RawDenoise()(shaded, FULL), RawDenoise()(frame, FULL)
    ratio = ((out.data / gain - clean).var() / (plain.data - clean).var()).item()
    assert ratio == pytest.approx(1, abs=0.1)


def test_unknown_noise_is_estimated_whole_and_tiled():
    frame, clean = flat_frame(profile=False, size=(320, 448))
    ramp = torch.linspace(0.2, 1.5, 448)
    frame = frame.with_data(poisson_gaussian(clean * ramp, 4e-3, 2e-5))
    out = RawDenoise()(frame, FULL)
    assert (out.data - clean * ramp).var() < 0.06 * (frame.data - clean * ramp).var()
    pipeline = Pipeline({"raw_denoise": RawDenoise()}, {"raw_denoise.luma": 1.0, "raw_denoise.chroma": 1.0})
    tiled = render_tiled(pipeline, frame, tile=160)
    torch.testing.assert_close(tiled.data, out.data, atol=2e-6, rtol=0)


def test_moving_and_mirroring_the_mosaic_moves_and_mirrors_the_result():
    frame = make_frame(Domain.MOSAIC, (140, 150), batch=1)
    frame = frame.with_data(poisson_gaussian(frame.data, 2e-3, 1e-5))
    whole = RawDenoise()(frame, FULL).data
    m = raw_denoise.REACH
    moved = RawDenoise()(frame.crop(1, 1, 139, 149), FULL).data
    torch.testing.assert_close(moved[..., m:-m, m:-m], whole[..., m + 1 : -m, m + 1 : -m], atol=2e-6, rtol=0)
    mirrored = RawDenoise()(frame.flip(columns=True), FULL).data.flip(-1)
    torch.testing.assert_close(mirrored, whole, atol=2e-6, rtol=0)


def test_stage_laws():
    batch_equals_loop(RawDenoise(), {"luma": [0.0, 0.7], "chroma": [1.0, 0.4], "threshold": [1.0, 1.5]})
    tile_equals_whole(RawDenoise(), FULL, (192, 224), atol=2e-6)


def test_gradients():
    gradients_are_right(RawDenoise(), {"luma": 0.6, "chroma": 0.8})


def psnr(a, b):
    return float(-10 * torch.log10((a - b).square().mean()))


def test_texture_is_not_lost():
    """A sinusoid of 8 px period, eight times as strong as the noise, keeps 97 % of its amplitude."""
    y, x = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    clean = (0.3 + 0.1 * torch.sin(x * 0.785) * torch.cos(y * 0.5))[None, None]
    frame = make_frame(Domain.MOSAIC, (192, 192), batch=1, noise_profile=[(5e-4, 1e-6)]).with_data(clean)
    out = RawDenoise()(frame, FULL).data
    assert psnr(out, clean) > 45
    noisy = frame.with_data(poisson_gaussian(clean, 5e-4, 1e-6))
    assert psnr(RawDenoise()(noisy, FULL).data, clean) > psnr(noisy.data, clean) + 2


def kodak(shared, name):
    from PIL import Image

    rgb = torch.from_numpy(np.asarray(Image.open(shared / "kodak24" / f"{name}.png"), np.float32) / 255)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4).permute(2, 0, 1)[None]
    return linear[..., 128:384, 128:512] * torch.tensor([0.5, 1.0, 0.65]).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(("shot", "read", "gain"), [(1e-3, 1e-6, 1.5), (4e-3, 2e-5, 3.0), (1.5e-2, 2e-4, 4.5)])
def test_kodak_gains(shared, shot, read, gain):
    """Mean PSNR (square root of the mosaic, so that shadows count) rises at least by `gain` dB."""
    gains = []
    for name in ("kodim01", "kodim05", "kodim23"):
        clean = mosaic(kodak(shared, name), "RGGB")
        frame = make_frame(Domain.MOSAIC, (256, 384), batch=1, noise_profile=[(shot, read)])
        frame = frame.with_data(poisson_gaussian(clean, shot, read))
        out = RawDenoise()(frame, FULL).data
        before, after = (psnr(v.clamp(min=0).sqrt(), clean.sqrt()) for v in (frame.data, out))
        gains.append(after - before)
    assert min(gains) > 0
    assert sum(gains) / len(gains) > gain
