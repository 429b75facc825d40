"""Black boxes of our own process: callables, the tone mapper, LibRaw, BM3D."""

from __future__ import annotations

import importlib

import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import BlackBoxError, MissingExtraError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.isp.external.bm3d import Bm3dISP, estimate_sigma
from ispkit.isp.external.function import FunctionISP
from ispkit.isp.external.libraw import LibRawISP
from ispkit.isp.external.tone_mapper import local_laplacian_isp
from ispkit.isp.recipe import preset

SPACE = ParamSpace({"x.gain": Param(default=1.0, low=0.0, high=2.0), "x.mode": Choice(default="a", options=("a", "b"))})


def box(function) -> FunctionISP:
    return FunctionISP(function, SPACE, Domain.DISPLAY_RGB, Domain.DISPLAY_RGB)


def test_a_callable_sees_plain_values_and_one_frame_at_a_time():
    seen = []

    def render(frame, values):
        seen.append((frame.batch, dict(values)))
        return frame.with_data(frame.data * values["x.gain"])

    frame = make_frame(Domain.DISPLAY_RGB)
    out = box(render)(frame, {"x.gain": torch.tensor([0.5, 1.0]), "x.mode": torch.tensor([1, 0])})
    assert torch.equal(out.data, frame.data * torch.tensor([0.5, 1.0])[:, None, None, None])
    assert seen == [(1, {"x.gain": 0.5, "x.mode": "b"}), (1, {"x.gain": 1.0, "x.mode": "a"})]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda f, v: 1 / 0, "raised ZeroDivisionError"),
        (lambda f, v: f.data * float("nan"), "no finite numbers"),
        (lambda f, v: f.data[..., :-1], r"gave \(1, 3, 16, 23\)"),
        (lambda f, v: None, "gave NoneType"),
        (lambda f, v: f.with_data(f.data, Domain.LINEAR_RGB), "linear_rgb"),
    ],
)
def test_what_a_callable_does_wrong_is_a_black_box_error(function, reason):
    with pytest.raises(BlackBoxError, match=reason):
        box(function)(make_frame(Domain.DISPLAY_RGB))


def test_the_tone_mapper_is_identity_at_its_defaults_and_compresses_by_beta():
    frame = make_frame(Domain.DISPLAY_RGB, (48, 64))
    isp = local_laplacian_isp()
    assert torch.allclose(isp(frame).data, frame.data, atol=1e-5)
    flat = isp(frame, {"local_laplacian.beta": 0.3}).data
    assert float(flat.std()) < 0.95 * float(frame.data.std())


def raw(cfa="RGGB") -> Frame:
    return make_frame(Domain.RAW, (48, 64), batch=1, cfa=cfa)


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_libraw_lies_where_our_own_picture_lies(cfa):
    frame = raw(cfa)
    difference = LibRawISP()(frame).data - preset("neutral")(frame).data.clamp(0, 1)
    assert float(difference[..., 4:-4, 4:-4].abs().mean()) < 0.045


def test_every_libraw_knob_acts_and_repeats_are_equal():
    frame, isp = raw(), LibRawISP()
    g = torch.Generator().manual_seed(0)
    frame = frame.with_data((frame.data + 60 * torch.randn(frame.data.shape, generator=g)).clamp(0, 1023))
    before = isp(frame).data
    assert torch.equal(isp(frame).data, before)
    needs = {"demosaic.dcb_passes": {"demosaic.method": "DCB"}, "exposure.preserve_highlights": {"exposure.shift": 4.0}}
    for name, knob in isp.space.items():
        base = needs.get(name, {})
        others = knob.options if isinstance(knob, Choice) else (knob.low, knob.high)
        start = isp(frame, base).data if base else before
        change = max(float((isp(frame, base | {name: value}).data - start).abs().max()) for value in others)
        assert change > 1e-3, name


def test_libraw_refuses_what_is_too_small_for_it():
    with pytest.raises(BlackBoxError, match="LibRaw"):
        LibRawISP()(make_frame(Domain.RAW, (8, 8), batch=1))


def test_the_noise_estimate_is_right_for_white_noise():
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 0.05
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 256, 256)
    assert estimate_sigma(ramp + noise) == pytest.approx(0.05, rel=0.02)


def test_bm3d_takes_noise_away_and_repeats_are_equal():
    pytest.importorskip("bm3d")
    clean = make_frame(Domain.DISPLAY_RGB, (64, 64), batch=1)
    noise = torch.randn(clean.data.shape, generator=torch.Generator().manual_seed(0)) * 0.08
    noisy = clean.with_data((clean.data + noise).clamp(0, 1))
    isp = Bm3dISP()
    assert isp.space.dim == 11
    out = isp(noisy)
    assert float((out.data - clean.data).square().mean()) < 0.25 * float((noisy.data - clean.data).square().mean())
    assert torch.equal(isp(noisy).data, out.data)


@pytest.mark.slow
def test_every_bm3d_knob_acts():
    pytest.importorskip("bm3d")
    frame = make_frame(Domain.DISPLAY_RGB, (64, 64), batch=1)
    noise = torch.randn(frame.data.shape, generator=torch.Generator().manual_seed(0)) * 0.08
    frame, isp = frame.with_data((frame.data + noise).clamp(0, 1)), Bm3dISP()
    before = isp(frame).data
    for name, knob in isp.space.items():
        others = knob.options if isinstance(knob, Choice) else (knob.low, knob.high)
        change = max(float((isp(frame, {name: value}).data - before).abs().max()) for value in others)
        assert change > 1e-4, name


def test_bm3d_says_what_to_install(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"non-commercial.*pip install bm3d"):
        Bm3dISP()


def test_meta_follows_a_batch_of_settings():
    one = make_frame(Domain.DISPLAY_RGB, batch=1)
    out = box(lambda f, v: f.data)(one, {"x.gain": torch.tensor([0.5, 1.0, 2.0])})
    assert (out.batch, out.meta.batch) == (3, 3)
    assert isinstance(out.meta, CameraMeta)
