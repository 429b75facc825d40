"""Highlights: clipped neutrals stay neutral, estimates find what was cut, unclipped pixels stay."""

from __future__ import annotations

import pytest
import torch

from conftest import make_frame
from ispkit.core.frame import Domain
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.stages.highlights import Highlights
from ispkit.isp.stages.white_balance import WhiteBalance
from ispkit.isp.tiled import render_tiled
from ispkit.ops.cfa import mosaic
from stage_laws import batch_equals_loop, gradients_are_right, tile_equals_whole

GAINS = (2.0, 1.0, 1.6)
ESTIMATES = ("blend", "reconstruct")


def balanced(rgb, cfa="RGGB", clip=True):
    """A white-balanced mosaic of balanced colors `rgb` (1, 3, H, W) from a sensor that clips at 1."""
    gains = torch.tensor(GAINS).reshape(1, 3, 1, 1)
    sensor = rgb / gains
    sensor = sensor.clamp(max=1) if clip else sensor
    frame = make_frame(Domain.MOSAIC, rgb.shape[-2:], batch=1, cfa=cfa)
    return frame.with_data(mosaic(sensor * gains, cfa), wb_gains=torch.tensor([GAINS]))


def glow(color=(1.0, 1.0, 1.0), peak=1.9, size=(64, 96)):
    """A bright soft spot of one color over a dim ground."""
    y, x = torch.meshgrid(torch.arange(size[0]) - 30.3, torch.arange(size[1]) - 50.7, indexing="ij")
    spot = peak * torch.exp(-(y.square() + x.square()) / (2 * 14.0**2)) + 0.1
    return spot * torch.tensor(color).reshape(1, 3, 1, 1)


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_clipped_white_is_neutral(cfa):
    frame = balanced(torch.full((1, 3, 12, 12), 5.0), cfa)
    assert frame.data.amax() == 2
    torch.testing.assert_close(Highlights()(frame).data, torch.ones(1, 1, 12, 12))
    half = Highlights()(frame, {"threshold": 0.9}).data
    torch.testing.assert_close(half, torch.full((1, 1, 12, 12), 0.9))
    for mode in ESTIMATES:
        out = Highlights()(frame, {"mode": mode}).data
        torch.testing.assert_close(out, torch.full_like(out, 2.0), rtol=1e-4, atol=0)


def test_clip_follows_the_white_balance_stage():
    frame = make_frame(Domain.MOSAIC, batch=1).with_data(torch.ones(1, 1, 16, 24))
    out = Highlights()(WhiteBalance()(frame))
    torch.testing.assert_close(out.data, torch.ones(1, 1, 16, 24))


@pytest.mark.parametrize("mode", ESTIMATES)
def test_what_is_not_clipped_stays(mode):
    frame = balanced(glow(peak=0.6))
    assert torch.equal(Highlights()(frame, {"mode": mode}).data, frame.data)
    bright = balanced(glow())
    unclipped = bright.data < 0.95 * mosaic(torch.tensor(GAINS).reshape(1, 3, 1, 1).expand(1, 3, 64, 96), "RGGB")
    out = Highlights()(bright, {"mode": mode}).data
    assert torch.equal(out[unclipped], bright.data[unclipped])
    assert (out >= bright.data).all()


@pytest.mark.parametrize("mode", ESTIMATES)
def test_a_neutral_glow_is_rebuilt_from_the_colors_that_survive(mode):
    truth = mosaic(glow(), "RGGB")
    frame = balanced(glow())
    before = (frame.data - truth).abs().amax()
    error = (Highlights()(frame, {"mode": mode}).data - truth).abs()
    assert before > 0.9
    assert error.amax() < 0.12
    assert error.mean() < 0.1 * (frame.data - truth).abs().mean()


def test_reconstruct_keeps_the_color_of_a_glow():
    color = (1.0, 0.7, 0.5)  # green clips at 1, red at 2: red survives
    truth, frame = mosaic(glow(color), "RGGB"), balanced(glow(color))
    errors = {m: (Highlights()(frame, {"mode": m}).data - truth).abs().mean() for m in ESTIMATES}
    cut = (frame.data - truth).abs().mean()
    assert errors["reconstruct"] < 0.35 * cut
    assert errors["reconstruct"] < 0.35 * errors["blend"]


def test_shading_moves_the_clip_point():
    gain = torch.linspace(1, 2, 96).expand(1, 1, 64, 96)
    frame = balanced(glow(peak=0.85))
    bright = frame.with_data(frame.data * gain, noise_map=gain)
    assert bright.data.amax() > 1
    assert torch.equal(Highlights()(bright, {"mode": "blend"}).data, bright.data)


def test_tiles_share_the_whole_picture_s_colors():
    frame = balanced(glow((1.0, 0.7, 0.5)))
    pipeline = Pipeline({"highlights": Highlights()}, {"highlights.mode": "reconstruct"})
    torch.testing.assert_close(render_tiled(pipeline, frame, tile=32).data, pipeline(frame).data, atol=2e-6, rtol=0)


def test_moved_mosaics_give_moved_estimates():
    frame = balanced(glow((1.0, 0.7, 0.5)))
    whole = Highlights()(frame, {"mode": "blend"}).data
    moved = Highlights()(frame.crop(1, 1, 63, 95), {"mode": "blend"}).data
    torch.testing.assert_close(moved[..., 1:, 1:], whole[..., 2:, 2:])


def test_stage_laws():
    batch_equals_loop(Highlights(), {"mode": ["clip", "blend", "reconstruct"], "threshold": [0.7, 0.5, 0.6]})
    tile_equals_whole(Highlights(), {"mode": "blend", "threshold": 0.6})


@pytest.mark.parametrize("mode", ["clip", *ESTIMATES])
def test_gradients(mode, monkeypatch):
    def small(*args, **kwargs):
        return balanced(glow()[..., 16:34, 40:60])

    monkeypatch.setattr("stage_laws.make_frame", small)
    gradients_are_right(Highlights(), {"mode": mode, "threshold": 0.93}, size=(18, 20))
