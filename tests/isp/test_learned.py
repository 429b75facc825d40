"""Learned ISPs: adapters in their units, any mosaic, tiles that equal the whole, files that are safe."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from conftest import make_frame
from ispkit.core.errors import DomainError, FileError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.isp.catalog import open_isp
from ispkit.isp.learned import catalog
from ispkit.isp.learned.adapters import BilinearAdapter, PackedAdapter, PictureAdapter, from_xyz, to_xyz
from ispkit.isp.learned.develop import develop_learned
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.isp.learned.tiles import Execution
from ispkit.isp.learned.weights import Card, load_learned, save_learned
from ispkit.nets.picture_net import PictureNet
from ispkit.ops.encode import srgb_encode

TINY = {part: {"channels": [2] * 5} for part in ("restore", "enhance")}
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")


class Pooled(PictureNet):
    """A stand-in with strides, reflections and a look at the whole picture, once a 4x4 cell without padding."""

    def __init__(self, inputs=3, scale=1):
        super().__init__()
        self.inputs, self.scale, self.multiple, self.halo, self.pool_stride = inputs, scale, 2, 12, 4
        self.first = nn.Conv2d(inputs, 8, 3, padding=1, padding_mode="reflect")
        self.look = nn.Conv2d(8, 8, 5, stride=4)
        self.last = nn.Conv2d(8, 3 * scale**2, 3, padding=1, padding_mode="reflect")

    def pool(self, x):
        return self.look(self.first(x)).relu()

    def forward(self, x, pooled=None):
        seen = self.pool(x).mean((-2, -1)) if pooled is None else pooled
        small = F.avg_pool2d(self.first(x), 2)
        y = F.interpolate(small, scale_factor=2, mode="nearest") + seen[..., None, None]
        return F.pixel_shuffle(self.last(torch.tanh(y)), self.scale)


class Identity(PictureNet):
    """A stand-in that gives its first colors back; weights, so that it has a dtype."""

    def __init__(self, inputs=3, scale=1):
        super().__init__()
        self.inputs, self.scale = inputs, scale
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, x, pooled=None):
        if self.scale == 1:
            return x * self.unit
        colors = torch.cat([x[:, :1], x[:, 1:3].mean(1, keepdim=True), x[:, 3:4]], 1)
        return F.interpolate(colors * self.unit, scale_factor=2, mode="nearest")


def packed(net=None, **options) -> LearnedISP:
    adapter = PackedAdapter(**options)
    return LearnedISP({"isp": Part(net or Identity(adapter.channels, 2), adapter)}).eval()


def two_parts(seed=0) -> LearnedISP:
    torch.manual_seed(seed)
    restore = Part(Pooled(4, 2), PackedAdapter(writes=Domain.LINEAR_RGB, space="xyz"))
    return LearnedISP({"restore": restore, "enhance": Part(Pooled(), PictureAdapter(curve="srgb"))}).eval()


@pytest.mark.parametrize("cfa", PHASES)
def test_each_color_comes_from_its_own_sites(cfa):
    frame = make_frame(Domain.RAW, (17, 23), batch=1, cfa=cfa)
    lit = dict(zip("RGB", (0.2, 0.5, 0.8), strict=True))
    level = torch.tensor([lit[c] for c in cfa]).reshape(1, 1, 2, 2).repeat(1, 1, 9, 12)[..., :17, :23]
    frame = frame.with_data(level * (1023 - 64) + 64)
    want = torch.tensor([0.2, 0.5, 0.8]).reshape(1, 3, 1, 1).expand(1, 3, 17, 23)
    torch.testing.assert_close(packed()(frame).data, want, atol=1e-6, rtol=0)
    bilinear = LearnedISP({"isp": Part(Identity(), BilinearAdapter())}).eval()
    torch.testing.assert_close(bilinear(frame).data, srgb_encode(want), atol=1e-6, rtol=0)


def test_bilinear_input_is_centered_and_the_picture_comes_back():
    frame = make_frame(Domain.MOSAIC, (8, 8), batch=2)
    part = Part(Identity(), BilinearAdapter(writes=Domain.LINEAR_RGB, encode=False))
    x = part.prepared(frame)
    assert torch.equal(x[:, 0, ::2, ::2], frame.data[:, 0, ::2, ::2] - 0.5)
    assert part(frame).domain is Domain.LINEAR_RGB
    torch.testing.assert_close(part(frame).data, x + 0.5)


def test_xyz_of_white_and_its_way_back():
    white = to_xyz(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([0.95046, 1.0, 1.08906]), atol=1e-4, rtol=0)
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(from_xyz(to_xyz(x)), x)


def test_enhance_input_as_in_the_paper_and_as_released():
    x = torch.tensor([-0.2, 0.0, 0.25, 1.5]).reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
    paper, released = PictureAdapter(curve="srgb"), PictureAdapter(curve="power", space="xyz")
    torch.testing.assert_close(paper.enter(x)[0, 0, 0], torch.tensor([0.0, 0.0, 0.53710, 1.0]), atol=1e-4, rtol=0)
    light = np.maximum([-0.2, 0.0, 0.25, 1.5], 0)  # no upper end: Z of white is 1.089
    for channel, of_white in enumerate((0.9504559, 1.0, 1.0890578)):
        want = torch.tensor(np.maximum(light * of_white, 1e-4) ** (1 / 2.2), dtype=torch.float32)
        torch.testing.assert_close(released.enter(x)[0, channel, 0], want, atol=1e-5, rtol=1e-4)


def test_what_the_parts_of_catalog_isps_read_and_mean():
    """Numbers that go in and come out: XYZ -> linear RGB, the curve before Enhance-Net, none for DeepISP-LL."""
    gray, white = torch.full((1, 3, 2, 2), 0.25), torch.tensor([0.9504559, 1.0, 1.0890578]).reshape(1, 3, 1, 1)
    for preset, first in (("paper", 0.537099), ("released", (0.25 * 0.9504559) ** (1 / 2.2))):
        restore, enhance = catalog.build("cameranet", preset=preset, **TINY).named_parts.values()
        torch.testing.assert_close(restore.adapter.leave(white), torch.ones(1, 3, 1, 1), atol=1e-4, rtol=0)
        green = restore.adapter.leave(torch.tensor([0.3575761, 0.7151522, 0.1191920]).reshape(1, 3, 1, 1))
        torch.testing.assert_close(green.flatten(), torch.tensor([0.0, 1.0, 0.0]), atol=1e-4, rtol=0)
        assert float(enhance.adapter.enter(gray)[0, 0, 0, 0]) == pytest.approx(first, abs=1e-4)
        assert torch.equal(enhance.adapter.leave(gray), gray)
    low, full = (catalog.build(n, preset="small").named_parts["isp"].adapter for n in ("deepisp-ll", "deepisp"))
    assert float(low.enter(gray)[0, 0, 0, 0]) == pytest.approx(-0.25)
    assert float(full.enter(gray)[0, 0, 0, 0]) == pytest.approx(0.537099 - 0.5, abs=1e-5)
    assert torch.equal(low.leave(gray), gray + 0.5)
    assert (low.writes, full.writes) == (Domain.LINEAR_RGB, Domain.DISPLAY_RGB)


def test_noise_map_and_exposure_follow_the_facts():
    frame = make_frame(Domain.MOSAIC, (8, 12), batch=2, noise_profile=[(4e-3, 1e-4)], baseline_exposure=2.0)
    plain = PackedAdapter(noise_map=True).gather(frame)
    assert plain.shape == (2, 5, 4, 6)
    torch.testing.assert_close(plain[:, 4], torch.full((2, 4, 6), 4.1e-3))
    lit = PackedAdapter(noise_map=True, exposure="baseline").gather(frame)
    torch.testing.assert_close(lit[:, :4], (plain[:, :4] * 4).clamp(max=1))
    torch.testing.assert_close(lit[:, 4], torch.full((2, 4, 6), 4 * 4e-3 + 16 * 1e-4))
    shaded = frame.with_data(frame.data, noise_map=torch.full((2, 1, 8, 12), 3.0))
    torch.testing.assert_close(
        PackedAdapter(noise_map=True).gather(shaded)[:, 4], torch.full((2, 4, 6), 3 * 4e-3 + 9 * 1e-4)
    )


def test_the_contract_of_an_isp():
    isp = two_parts()
    assert (isp.reads, isp.writes, len(isp.space)) == (Domain.RAW, Domain.DISPLAY_RGB, 0)
    frame = make_frame(Domain.RAW, (15, 22))
    isp.requires_grad_(False)
    steps = dict(isp.steps(frame))
    assert [f.domain for f in steps.values()] == [Domain.LINEAR_RGB, Domain.DISPLAY_RGB]
    assert float(steps["restore"].meta.noise_profile.abs().max()) == 0
    alone = isp(steps["restore"])
    assert torch.equal(alone.data, isp(frame).data)
    assert alone.data.shape == (2, 3, 15, 22)
    assert 0 <= float(alone.data.min()) <= float(alone.data.max()) <= 1
    with pytest.raises(ParamError, match="no parameter"):
        isp(frame, {"a.b": 1.0})
    with pytest.raises(DomainError, match="no part reads"):
        isp(make_frame(Domain.CAMERA_RGB))
    with pytest.raises(DomainError, match="writes display_rgb but"):
        LearnedISP({"a": Part(Identity(), PictureAdapter()), "b": Part(Identity(), PictureAdapter())})
    with pytest.raises(ShapeError, match="reads 3 channels"):
        Part(Identity(), PackedAdapter())


def test_training_keeps_what_lies_outside_and_gradients_reach_every_weight():
    isp = two_parts().train()
    with torch.no_grad():
        isp.parts["enhance"].net.last.bias.fill_(2.0)
    out = isp(make_frame(Domain.RAW, (16, 24)))
    assert float(out.data.detach().max()) > 1
    out.data.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in isp.parameters())


@pytest.mark.parametrize(("cfa", "size"), list(zip(PHASES, [(64, 96), (77, 101), (90, 67), (61, 131)], strict=True)))
def test_tiles_are_the_whole_picture(cfa, size):
    isp, frame = two_parts(), make_frame(Domain.RAW, size, cfa=cfa)
    whole = isp.render(frame, Execution(tile="whole")).data
    assert torch.equal(whole, isp(frame).data)
    for tile in (16, 40):
        torch.testing.assert_close(isp.render(frame, Execution(tile=tile)).data, whole, atol=2e-6, rtol=0)


NETS = {
    "deepisp": {"depth": 3, "width": 8},
    "cameranet": {
        "restore": {"channels": [4, 6, 8], "rates": [1, 1, 1]},
        "enhance": {"channels": [4, 6, 8], "rates": [1, 2, 3]},
    },
    "cameranet-three-stage": {},
    "sid-unet": {"channels": [4, 4, 6]},
    "deepcamera": {"width": 6},
    "srgan-can-one-stage": {"restore": {"width": 8}, "enhance": {"width": 8, "rates": [1, 2]}},
    "l3": {"levels": 4},
    "nafnet": {"width": 4, "down": [1], "middle": 1, "up": [1]},
}


@pytest.mark.parametrize(("name", "cfa"), list(zip(NETS, PHASES * 2, strict=True)))
def test_tiles_of_every_net_are_the_whole_picture(name, cfa):
    torch.manual_seed(0)
    isp = catalog.build(name, preset="small", **NETS[name]).eval().requires_grad_(False).double()
    frame = make_frame(Domain.RAW, (37, 1201) if cfa in ("RGGB", "GBRG") else (911, 41), batch=1, cfa=cfa)
    frame = frame.to(torch.float64)
    whole = isp.render(frame, Execution(tile="whole")).data
    assert float(whole.std()) > 0
    torch.testing.assert_close(isp.render(frame, Execution(tile=48)).data, whole, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", catalog.names())
def test_every_name_keeps_the_contract_and_comes_back_from_its_file(name, tmp_path):
    pytest.importorskip("safetensors")
    torch.manual_seed(0)
    isp = catalog.build(name, preset="small").eval().requires_grad_(False)
    frame = make_frame(isp.reads, (65, 98), batch=1, cfa="GRBG")
    out = isp(frame)
    assert (out.domain, out.size) == (isp.writes, frame.size)
    assert bool(out.data.isfinite().all())
    save_learned(tmp_path / "a.safetensors", isp, Card(name, {"preset": "small"}))
    assert torch.equal(load_learned(tmp_path / "a.safetensors")[0](frame).data, out.data)


def test_large_pictures_go_in_tiles_by_themselves(monkeypatch):
    isp, frame = two_parts().requires_grad_(False), make_frame(Domain.RAW, (64, 96))
    before = isp(frame).data
    monkeypatch.setattr("ispkit.isp.learned.learned_isp.WHOLE_PIXELS", 100)
    monkeypatch.setattr("ispkit.isp.learned.tiles.Execution.tile", 16)
    torch.testing.assert_close(isp(frame).data, before, atol=2e-6, rtol=0)


def test_a_crop_is_a_window_of_the_picture():
    frame = make_frame(Domain.RAW, (90, 121), batch=1, cfa="GBRG", orientation=6)
    for isp in (two_parts(), packed(halo_net())):
        whole = develop_learned(frame, isp)
        part = develop_learned(frame, isp, crop=(31, 40, 20, 33))
        assert part.shape == (33, 20, 3)
        assert abs(part.astype(int) - whole[40:73, 31:51]).max() <= 1


def halo_net():
    """Without a look at the whole picture."""
    torch.manual_seed(1)
    net = Pooled(4, 2)
    net.pool_stride = 0
    net.pool = lambda x: torch.zeros(len(x), 8, 1, 1)
    return net


def test_half_precision_is_refused_on_a_cpu():
    with pytest.raises(ParamError, match="needs a GPU"):
        two_parts().render(make_frame(Domain.RAW), Execution(half="bf16"))
    with pytest.raises(ParamError, match="unknown"):
        Execution(half="int4")


@pytest.fixture
def stand_in(monkeypatch):
    def stand_in(seed: int = 0) -> LearnedISP:
        return two_parts(seed).train()

    monkeypatch.setattr(catalog, "BUILDERS", {**catalog.BUILDERS, "stand-in": stand_in})


def test_a_file_gives_the_same_isp_and_its_card(tmp_path, stand_in):
    pytest.importorskip("safetensors")
    isp, path = catalog.build("stand-in", seed=3), tmp_path / "a.safetensors"
    card = Card("stand-in", {"seed": 1}, metrics={"psnr": 30.5}, data={"train": ["a", "b"]}, notes="a test")
    save_learned(path, isp, card)
    again, told = load_learned(path)
    assert told == card
    frame = make_frame(Domain.RAW)
    assert torch.equal(again(frame).data, isp.eval()(frame).data)
    assert torch.equal(open_isp(path)(frame).data, again(frame).data)


def test_a_wrong_file_is_one_clear_line(tmp_path, stand_in):
    safetensors = pytest.importorskip("safetensors.torch")
    path, isp = tmp_path / "a.safetensors", catalog.build("stand-in")
    save_learned(path, isp, Card("stand-in"))
    whole = path.read_bytes()
    wrong = {"cut": whole[: len(whole) // 2], "empty": b"", "noise": b"PK\x03\x04" + whole[:200]}
    for what, content in wrong.items():
        (tmp_path / what).write_bytes(content)
        with pytest.raises(FileError, match="damaged"):
            load_learned(tmp_path / what)
    with pytest.raises(FileError, match="no such file"):
        load_learned(tmp_path / "missing")
    tensors = dict(isp.state_dict())
    safetensors.save_file(tensors, tmp_path / "bare")
    with pytest.raises(FileError, match="without a card"):
        load_learned(tmp_path / "bare")
    for change, message in (
        ({"name": "nonsense"}, "cannot be built"),
        ({"options": {"depth": 3}}, "no option 'depth'"),
        ({"format": 9}, "format 9"),
        ({"more": 1}, "format 1"),
    ):
        text = json.dumps({"format": 1, "name": "stand-in", **change})
        safetensors.save_file(tensors, tmp_path / "b", metadata={"ispkit_learned_isp": text})
        with pytest.raises(FileError, match=message):
            load_learned(tmp_path / "b")
    tensors.popitem()
    safetensors.save_file(tensors, tmp_path / "c", metadata={"ispkit_learned_isp": '{"format": 1, "name": "stand-in"}'})
    with pytest.raises(FileError, match="do not fit"):
        load_learned(tmp_path / "c")


@pytest.mark.parametrize("name", catalog.names())
def test_options_are_told_as_they_are_taken(name):
    told = catalog.options_of(name)
    assert "small" in told["preset"].split("|")
    for option, text in told.items():
        first, _, field = option.partition(".")
        value = {field: yaml.safe_load(text)} if field else yaml.safe_load(text.split("|")[0])
        wrong = {first: {field: object()} if field else object()}
        with pytest.raises(ParamError, match=f"^{name}: .*{field or first}="):
            catalog.build(name, preset="small", **wrong) if first != "preset" else catalog.build(name, **wrong)
        if text.isdecimal() and int(text) < 8:
            catalog.build(name, **{"preset": "small", first: value})


def test_misspelt_names_are_told():
    with pytest.raises(ParamError, match=r"^deepisp: width=7.5 should be a whole number"):
        catalog.build("deepisp", width=7.5)
    with pytest.raises(ParamError, match=r"^deepisp: no option 'exposur'; did you mean 'exposure'"):
        catalog.build("deepisp", exposur="none")
    with pytest.raises(ParamError, match="no learned ISP"):
        catalog.build("camranet")
    with pytest.raises(ParamError, match="exposure='auto'"):
        PackedAdapter(exposure="auto")
