"""Targets: the restored picture is the truth, the automatic look does what it says, whatever the curve before it."""

from __future__ import annotations

import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import DomainError, ParamError
from ispkit.core.frame import Domain
from ispkit.data.project_pictures import project_pictures
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.data.targets import (
    AutoEnhance,
    auto_enhance,
    finished,
    finished_pictures,
    linear_frame,
    restored,
)
from ispkit.isp.recipe import preset
from ispkit.metrics import METRICS
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.ops.luma import luminance

PICTURES = project_pictures(4, (96, 96), seed=6)


def test_the_restored_picture_is_the_light_behind_the_raw():
    settings = SyntheticSettings(patch=(96, 96), sigma=(0, 0), colors="srgb", turn=False)
    sample = SyntheticPairs(PICTURES, settings).batch(range(4))
    clean = restored(sample.frame)
    assert clean.domain is Domain.LINEAR_RGB
    assert float(METRICS["psnr"](clean.data, sample.restored, data_range=1.0).min()) > 24
    with pytest.raises(DomainError, match="made of RAW"):
        restored(make_frame(Domain.DISPLAY_RGB))
    with pytest.raises(ParamError, match="denoise"):
        restored(sample.frame, denoise=2.0)


def test_denoising_helps_a_noisy_raw():
    settings = SyntheticSettings(patch=(96, 96), sigma=(8, 8), colors="srgb", turn=False)
    sample = SyntheticPairs(PICTURES, settings).batch(range(4))
    rough, quiet = (
        METRICS["psnr"](restored(sample.frame, denoise=d).data, sample.restored, data_range=1.0) for d in (0, 1)
    )
    assert bool((quiet > rough).all())
    assert float((quiet - rough).mean()) > 1.5


def test_auto_enhance_brightens_the_dark_and_does_not_depend_on_exposure():
    linear = srgb_decode(PICTURES["leaves-00"]) * 0.9 + 0.001
    bright, dark = auto_enhance(linear), auto_enhance(linear / 8)
    assert torch.equal(bright, auto_enhance(linear))
    assert torch.allclose(bright, dark, atol=2e-3)
    for shown in (bright, dark):
        assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
        assert float(luminance(shown).quantile(0.995)) > 0.85
    assert auto_enhance(linear / 8).mean() > 2 * srgb_encode(linear / 8).mean()
    gray = linear.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    toned = auto_enhance(gray)
    assert torch.allclose(toned, toned[:, :1].expand_as(toned), atol=1e-5)
    limited = auto_enhance(linear / 8, AutoEnhance(gain=2.0))
    assert limited.mean() < dark.mean()
    with pytest.raises(ParamError, match="share"):
        auto_enhance(linear, AutoEnhance(share=0.5))


def test_each_picture_of_a_batch_is_enhanced_by_itself():
    batch = torch.cat([srgb_decode(p) for p in PICTURES.values()])
    together = auto_enhance(batch)
    for i in range(len(batch)):
        assert torch.allclose(together[i : i + 1], auto_enhance(batch[i : i + 1]), atol=1e-5)


def test_a_recipe_finishes_light():
    linear = srgb_decode(PICTURES["blocks-01"])
    assert torch.allclose(finished(linear_frame(linear), preset("neutral")).data, srgb_encode(linear), atol=1e-6)
    looks = finished_pictures(PICTURES, preset("camera-like"))
    assert list(looks) == list(PICTURES)
    assert not torch.allclose(looks["blocks-01"], PICTURES["blocks-01"], atol=0.02)
    assert torch.equal(finished_pictures(PICTURES)["clouds-02"], auto_enhance(srgb_decode(PICTURES["clouds-02"])))
