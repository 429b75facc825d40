"""`ProxyISP`: the teacher's contract, the mosaic's phase, gradients, files."""

import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import DomainError, FileError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.isp.proxy import ProxyISP, load_proxy, save_proxy, sites
from ispkit.nets.unet import ProxyUNet

SPACE = ParamSpace(
    {
        "a.gain": Param(default=1.0, low=0.5, high=2.0, scale="log"),
        "a.offset": Param(default=0.0, low=-0.1, high=0.1),
        "a.mode": Choice(default="y", options=("x", "y", "z")),
    }
)


class Teacher:
    """Only what a proxy asks of its teacher."""

    def __init__(self, reads=Domain.DISPLAY_RGB, writes=Domain.DISPLAY_RGB, space=SPACE):
        self.reads, self.writes, self.space = reads, writes, space

    def __call__(self, frame, values=None):
        raise NotImplementedError


def trained(teacher, *, residual=True, seed=0) -> ProxyISP:
    torch.manual_seed(seed)
    pixels = 4 if teacher.reads.channels == 1 else 3
    net = ProxyUNet(teacher.space.dim, pixels=pixels, channels=(4, 6), residual=residual)
    torch.nn.init.normal_(net.last.weight, std=0.2)
    return ProxyISP(teacher, net).eval()


@pytest.mark.parametrize("reads", [Domain.RAW, Domain.MOSAIC, Domain.DISPLAY_RGB])
def test_keeps_the_contract_for_any_size(reads):
    proxy = trained(Teacher(reads))
    frame = make_frame(reads, (17, 22), batch=1)
    with torch.no_grad():
        out = proxy(frame, {"a.gain": torch.tensor([0.6, 1.0, 1.8])})
    assert out.domain is Domain.DISPLAY_RGB
    assert out.data.shape == (3, 3, 17, 22)
    assert out.meta.batch == 3
    assert 0 <= float(out.data.min()) <= float(out.data.max()) <= 1
    assert not torch.equal(out.data[0], out.data[2])


@pytest.mark.parametrize(("y", "x"), [(0, 1), (1, 0), (1, 1)])
def test_the_phase_of_the_mosaic_does_not_matter(y, x):
    proxy = trained(Teacher(Domain.RAW))
    frame = make_frame(Domain.RAW, (64, 64), batch=1)
    moved = frame.crop(y, x, 56, 56)
    assert moved.meta.cfa != "RGGB"
    assert sites(moved)[1] == (y, x)
    whole, part = proxy(frame).data[..., y : y + 56, x : x + 56], proxy(moved).data
    torch.testing.assert_close(whole[..., 20:-20, 20:-20], part[..., 20:-20, 20:-20])


def test_levels_are_taken_off():
    planes, _ = sites(make_frame(Domain.RAW, (8, 8), batch=1, black_level=64.0))
    lit, _ = sites(make_frame(Domain.MOSAIC, (8, 8), batch=1))
    torch.testing.assert_close(planes, lit, atol=1e-6, rtol=0)


def test_gradients_reach_numbers_and_relaxed_choices():
    proxy = trained(Teacher())
    values = {
        "a.gain": torch.tensor(1.2, requires_grad=True),
        "a.offset": torch.tensor([0.0, 0.05], requires_grad=True),
        "a.mode": torch.tensor(1.3, requires_grad=True),
    }
    proxy.train()(make_frame(Domain.DISPLAY_RGB, batch=1), values).data.square().sum().backward()
    assert all(float(v.grad.abs().sum()) > 0 for v in values.values())


def test_units_agree_with_the_space():
    proxy = trained(Teacher())
    values = {"a.gain": 0.7, "a.offset": torch.tensor([0.02, -0.1]), "a.mode": "z"}
    torch.testing.assert_close(proxy.units(values), SPACE.to_vector(values))
    assert torch.equal(proxy.units({"a.mode": torch.tensor(2.0)}), proxy.units({"a.mode": "z"}))


def test_misuse_is_named():
    proxy = trained(Teacher())
    frame = make_frame(Domain.DISPLAY_RGB)
    with pytest.raises(ParamError, match=r"a\.gain"):
        proxy(frame, {"a.gian": 1.0})
    with pytest.raises(ParamError, match="outside"):
        proxy(frame, {"a.gain": 3.0})
    with pytest.raises(DomainError, match="reads display_rgb"):
        proxy(make_frame(Domain.RAW))
    with pytest.raises(ShapeError, match="3 settings"):
        proxy(frame, {"a.gain": torch.ones(3)})
    with pytest.raises(DomainError, match="linear_rgb"):
        ProxyISP(Teacher(writes=Domain.LINEAR_RGB), proxy.net)
    with pytest.raises(ShapeError, match="4 channels"):
        ProxyISP(Teacher(reads=Domain.RAW), proxy.net)


def test_a_file_gives_the_same_proxy_and_is_checked(tmp_path):
    teacher = Teacher(Domain.RAW)
    proxy, path = trained(teacher), tmp_path / "a.pt"
    save_proxy(path, proxy, psnr=31.0)
    frame = make_frame(Domain.RAW)
    assert torch.equal(load_proxy(path, teacher)(frame).data, proxy(frame).data)
    other = ParamSpace({**SPACE, "a.offset": Param(default=0.0, low=-0.2, high=0.1)})
    with pytest.raises(FileError, match="knobs"):
        load_proxy(path, Teacher(Domain.RAW, space=other))
    with pytest.raises(FileError, match="domain"):
        load_proxy(path, Teacher())
    (tmp_path / "b.pt").write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match="not a proxy"):
        load_proxy(tmp_path / "b.pt", teacher)
