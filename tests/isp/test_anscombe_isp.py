"""The learned ISP `anscombe`: its planes, noise of every kind, any filter array, tiles, export."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import make_frame
from ispkit.core.cfa import Cell
from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.isp.learned import catalog
from ispkit.isp.learned.anscombe_adapter import AnscombeAdapter, color_masks, light_level_of
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.isp.learned.tiles import Execution
from ispkit.isp.recipe import preset
from ispkit.nets.picture_net import PictureNet
from ispkit.ops import anscombe
from ispkit.ops.cfa import cfa_masks
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.light import light_law
from ispkit.sensor.simulate import capture

TINY = {"preset": "small", "width": 2, "iterations": 1}
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")


class Known(PictureNet):
    """A stand-in that spreads the mosaic to all colors."""

    inputs = 8

    def __init__(self):
        super().__init__()
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, x, pooled=None):
        return x[:, :1].expand(-1, 3, -1, -1) * self.unit


def known(**options) -> LearnedISP:
    return LearnedISP({"isp": Part(Known(), AnscombeAdapter(**options))}).eval()


def tiny(seed=0, **options) -> LearnedISP:
    torch.manual_seed(seed)
    return catalog.build("anscombe", **(TINY | options)).eval().requires_grad_(False)


@pytest.mark.parametrize("cfa", PHASES)
def test_planes_say_what_each_photosite_measured(cfa):
    facts = {"noise_profile": [(4e-3, 1e-4), (2e-3, 2e-5), (3e-3, 5e-5)], "neutral": (0.5, 1.0, 0.8)}
    frame = make_frame(Domain.RAW, (9, 12), cfa=cfa, **facts)
    mosaic = (frame.data - 64) / (1023 - 64)
    x = AnscombeAdapter().gather(frame)
    masks = cfa_masks((9, 12), cfa)[None]
    assert torch.equal(x[:, 1:4], masks.expand(2, -1, -1, -1))
    for c, (gain, (shot, read)) in enumerate(zip((2.0, 1.0, 1.25), facts["noise_profile"], strict=True)):
        own = (masks[:, c : c + 1] > 0).expand_as(mosaic)
        torch.testing.assert_close(x[:, :1][own], (mosaic[own] * gain).clamp(max=1))
        torch.testing.assert_close(x[:, 4:5][own], torch.full_like(mosaic[own], gain * shot))
        torch.testing.assert_close(x[:, 5:6][own], torch.full_like(mosaic[own], gain**2 * read))
    stable = anscombe.forward(x[:, :1], x[:, 4:5], x[:, 5:6])
    assert float(x[:, 6].abs().max()) == 0  # no value below black
    torch.testing.assert_close(x[:, 7], stable.amax((-2, -1), keepdim=True)[:, 0].expand(-1, 9, 12))


def test_exposure_shading_and_white_balance_done_before_are_followed():
    facts = {"noise_profile": [(4e-3, 1e-4)], "neutral": (0.5, 1.0, 0.8), "baseline_exposure": 2.0}
    frame = make_frame(Domain.MOSAIC, (8, 12), batch=1, **facts)
    plain = AnscombeAdapter(balance=False).gather(frame)
    torch.testing.assert_close(plain[:, 4:6, 0, 0], torch.tensor([[4e-3, 1e-4]]))
    lit = AnscombeAdapter(balance=False, exposure="baseline").gather(frame)
    torch.testing.assert_close(lit[:, :1], (plain[:, :1] * 4).clamp(max=1))
    torch.testing.assert_close(lit[:, 4:6, 0, 0], torch.tensor([[4 * 4e-3, 16 * 1e-4]]))
    shaded = frame.with_data(frame.data, noise_map=torch.full((1, 1, 8, 12), 3.0))
    gained = AnscombeAdapter(balance=False).gather(shaded)
    torch.testing.assert_close(gained[:, 4:6, 0, 0], torch.tensor([[3 * 4e-3, 9 * 1e-4]]))
    balanced = preset("neutral").stages["white_balance"](frame, {"mode": "as_shot", "red_trim": 1.0, "blue_trim": 1.0})
    torch.testing.assert_close(
        AnscombeAdapter().gather(balanced)[:, :6], AnscombeAdapter().gather(frame)[:, :6], atol=1e-5, rtol=1e-4
    )


def test_the_curve_goes_on_straight_while_a_net_learns():
    adapter = AnscombeAdapter()
    x = torch.linspace(-0.5, 1.5, 41).reshape(1, 1, 1, 41).expand(1, 3, -1, -1).clone().requires_grad_()
    out = adapter.leave(x)
    inside = (x >= 0) & (x <= 1)
    assert torch.equal(out[inside], srgb_encode(x)[inside])
    out.sum().backward()
    assert float(x.grad.min()) > 0.3
    assert torch.equal(AnscombeAdapter(curve="none").leave(x), x)
    assert torch.equal(AnscombeAdapter(writes=Domain.LINEAR_RGB).leave(x), x)


def test_the_frame_s_own_colors_are_those_of_the_classical_pipeline():
    """A gray mosaic of a sensor of its own colors: linear colors equal those of the stages."""
    sensor = load_sensor("default")
    scene = torch.tensor([0.3, 0.2, 0.1]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16)
    frame = capture(scene, replace(sensor, vignetting=(0.0,) * 5, blur_px=0.0), cct_k=4000.0, draw="none")
    pipeline = preset("neutral")
    camera = dict(pipeline.steps(frame))["demosaic"]  # balanced sensor colors
    isp = known(colors="matrix", writes=Domain.LINEAR_RGB)
    made = isp.parts["isp"].adapter.place(camera.data, frame)
    want = dict(pipeline.steps(frame))["color_matrix"]
    torch.testing.assert_close(made.data, want.data, atol=2e-4, rtol=2e-3)
    shown = known(colors="matrix").parts["isp"].adapter.place(camera.data, frame)
    torch.testing.assert_close(srgb_decode(shown.data.clamp(0, 1)), want.data.clamp(0, 1), atol=2e-4, rtol=2e-3)


def test_noise_of_every_kind():
    frame = make_frame(Domain.RAW, (32, 40), noise_profile=[(0.0, 0.0)])
    with pytest.raises(ShapeError, match=r"no noise profile.*noise='iso'"):
        tiny()(frame)
    quiet = AnscombeAdapter(noise="none").gather(frame)
    assert float(quiet[:, 4:6].abs().max()) == 0
    scaled = anscombe.forward(quiet[:, :1], quiet[:, 4:5], quiet[:, 5:6]) / quiet[:, 7:]
    torch.testing.assert_close(scaled, quiet[:, :1] / quiet[:, :1].amax((-2, -1), keepdim=True))
    assert bool(tiny(noise="none")(frame).data.isfinite().all())
    assert bool(tiny(stabilize=False)(frame).data.isfinite().all())  # reads no profile
    by_iso = AnscombeAdapter(noise="iso", sensor="sony-a7s2", balance=False).gather(frame)  # ISO 800
    want = load_sensor("sony-a7s2").noise_at(800.0)[0, 0].float()
    torch.testing.assert_close(by_iso[:, 4:6, 0, 0], want.expand(2, -1))
    unknown = frame.with_data(frame.data, iso=torch.zeros(2))
    with pytest.raises(ShapeError, match="does not know its ISO"):
        AnscombeAdapter(noise="iso", sensor="sony-a7s2").gather(unknown)
    for noise in ("iso", "blind"):
        with pytest.raises(ParamError, match=f"noise='{noise}' needs a sensor"):
            AnscombeAdapter(noise=noise)
    with pytest.raises(ParamError, match="no linear law"):
        AnscombeAdapter(noise="blind", sensor="sony-a7s2")
    for wrong in ({"noise": "blnd"}, {"colors": "nett"}, {"curve": "sRGB"}):
        with pytest.raises(ParamError, match="is unknown"):
            AnscombeAdapter(**wrong)


def test_blind_noise_is_that_of_the_light_whatever_was_done_to_the_pixels():
    sensor = load_sensor("nexus-6p-rear")
    scene = F.interpolate(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), (256, 256)) * 0.2 + 0.2
    frame = capture(scene, sensor, iso=torch.tensor([3000.0, 20000.0]), space="sensor", seed=1)
    adapter = AnscombeAdapter(noise="blind", sensor="nexus-6p-rear", balance=False)
    blind, told = adapter.gather(frame), AnscombeAdapter(balance=False).gather(frame)
    torch.testing.assert_close(blind[:, 4:6, 0, 0], told[:, 4:6, 0, 0], rtol=0.25, atol=0)
    linear, gains = frame.with_data((frame.data - 64) / (1023 - 64), Domain.MOSAIC), torch.tensor([[2.0, 1.0, 1.5]])
    spread = (color_masks(linear) * gains[..., None, None]).sum(1, keepdim=True)
    lit = linear.with_data(linear.data * spread, wb_gains=gains.expand(2, 3), neutral=1 / gains.expand(2, 3))
    law = light_law(sensor)
    torch.testing.assert_close(light_level_of(lit, law), light_level_of(linear, law), rtol=1e-4, atol=0)
    torch.testing.assert_close(adapter.gather(lit)[:, 4:5], blind[:, 4:5] * spread, rtol=1e-4, atol=0)
    torch.testing.assert_close(adapter.gather(lit)[:, 5:6], blind[:, 5:6] * spread.square(), rtol=1e-4, atol=0)


def quad(size=(21, 26), batch=1, word="RGGB") -> Frame:
    """A mosaic of a Quad Bayer array whose value tells its color."""
    frame = make_frame(Domain.MOSAIC, size, batch=batch, cfa=word, cfa_cell=Cell(2), neutral=(1.0, 1.0, 1.0))
    level = (color_masks(frame) * torch.tensor([0.2, 0.5, 0.8]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    return frame.with_data(level.expand(batch, -1, -1, -1).clone())


def test_quad_bayer_masks():
    masks = color_masks(quad((4, 4), word="GBRG"))[0]
    want = ["GGBB", "GGBB", "RRGG", "RRGG"]
    assert ["".join("RGB"[int(c)] for c in row) for row in masks.argmax(0)] == want


def test_geometry_of_a_quad_bayer_frame_keeps_each_color():
    frame = quad()
    lit = torch.tensor([0.2, 0.5, 0.8])
    moves = [lambda f: f.flip(rows=True), lambda f: f.flip(columns=True), lambda f: f.transpose()]
    moves += [lambda f, y=y, x=x: f.crop(y, x, f.size[0] - y - 1, f.size[1] - x - 2) for y in range(5) for x in (0, 3)]
    for first in moves:
        for second in moves:
            moved = second(first(frame))
            told = (color_masks(moved) * lit.reshape(1, 3, 1, 1)).sum(1, keepdim=True)
            torch.testing.assert_close(moved.data, told)
    with pytest.raises(ShapeError, match="one CFA"):
        Frame.cat([frame, frame.crop(0, 0, 21, 26).flip(rows=True)])


def test_stages_that_know_bayer_alone_refuse_quad_bayer():
    frame = quad((32, 40))
    for isp in (preset("neutral"), catalog.build("nafnet", preset="small"), catalog.build("deepisp", preset="small")):
        with pytest.raises(DomainError, match=r"Quad Bayer.*'anscombe'"):
            isp(frame)


@pytest.mark.parametrize(("cfa", "cell"), [(w, c) for w in PHASES for c in (1, 2)])
def test_tiles_of_any_array_are_the_whole_picture(cfa, cell):
    isp = tiny().double()
    frame = make_frame(Domain.RAW, (45, 301), batch=1, cfa=cfa, cfa_cell=Cell(cell)).to(torch.float64)
    whole = isp.render(frame, Execution(tile="whole")).data
    assert float(whole.std()) > 0
    torch.testing.assert_close(isp.render(frame, Execution(tile=24)).data, whole, atol=1e-9, rtol=0)


@pytest.mark.parametrize("cell", [1, 2])
def test_a_flat_picture_does_not_depend_on_the_array(cell):
    """Measured colors are kept wherever they were measured: by a silent prior, in any phase."""
    isp = tiny(curve="none", balance=False)
    net = isp.parts["isp"].net
    for prior in net.priors:
        nn.init.zeros_(prior.last.weight)
    for word in PHASES:
        frame = quad((16, 20), word=word) if cell == 2 else make_frame(Domain.MOSAIC, (16, 20), batch=1, cfa=word)
        masks = color_masks(frame)
        got = (isp(frame).data * masks).sum(1, keepdim=True)
        torch.testing.assert_close(got, frame.data + 2e-3 / 4, atol=1e-5, rtol=0)


def test_it_learns_on_frames():
    """Gradients come back through matrix, curve and planes."""
    isp = tiny(colors="matrix").train().requires_grad_(True)
    isp(make_frame(Domain.RAW, (16, 24))).data.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in isp.parameters())


@pytest.mark.slow
def test_the_exported_graph_is_the_isp(tmp_path):
    pytest.importorskip("onnx", reason="needs onnx")
    ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    from ispkit.isp.learned.onnx_export import export_onnx, inputs_of

    isp, path = tiny(first="stride", noise_channel="variance", iterations=2), tmp_path / "isp.onnx"
    made = export_onnx(path, isp)
    assert (made.channels, made.multiple, made.writes) == (8, isp.parts["isp"].net.multiple, "display_rgb")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size, cell in (((64, 88), 1), ((101, 64), 2)):
        frame = make_frame(Domain.RAW, size, batch=1, cfa="GBRG", cfa_cell=Cell(cell))
        got = torch.from_numpy(session.run(None, {"x": inputs_of(isp, frame).numpy()})[0])
        torch.testing.assert_close(got[..., : size[0], : size[1]], isp(frame).data, atol=1e-4, rtol=0)
