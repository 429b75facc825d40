"""The engine keeps ISP and head to their contracts: the same alone and in a batch, upright, in the right order."""

from __future__ import annotations

import pytest
import torch
from serve_stand_ins import Corner, Halves, SlowISP, Tint

from conftest import make_frame
from ispkit.core.errors import DomainError, FileError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.data.demo import write_demo_raws
from ispkit.io.load import load
from ispkit.isp.catalog import open_isp
from ispkit.isp.develop import develop_frame
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.onnx_export import export_onnx
from ispkit.isp.recipe import preset
from ispkit.serve import engine as engine_module
from ispkit.serve.answers import picture_bytes, seen_data
from ispkit.serve.dark import Darkness
from ispkit.serve.engine import Engine, Job
from ispkit.serve.onnx_isp import OnnxISP
from ispkit.serve.reading import display_frame


def raws(count=3, **facts):
    return [make_frame(Domain.RAW, (24, 32), batch=1, seed=i, **facts) for i in range(count)]


def learned():
    torch.manual_seed(0)
    return build("deepisp", preset="small", depth=2, width=8, high=2).eval()


@pytest.mark.parametrize("isp", ["neutral", "camera-like", "learned"])
def test_a_batch_is_what_its_frames_are_alone(isp):
    engine = Engine(learned() if isp == "learned" else open_isp(isp), Tint())
    jobs = [Job(frame, picture=True) for frame in raws()]
    assert len({engine.kind(job) for job in jobs}) == 1
    for one, made in zip((engine([job])[0] for job in jobs), engine(jobs), strict=True):
        assert abs(one.codes.astype(int) - made.codes).max() <= 1
        assert [name for name, _ in one.seen.classes] == [name for name, _ in made.seen.classes]
        assert (one.batch, made.batch) == (1, 3)


def test_pictures_are_those_of_render_and_upright(tmp_path):
    raw = load(write_demo_raws(tmp_path, height=64, width=96)[0])
    turned = raw.with_data(raw.data, orientation=(6,))
    (made,) = Engine(open_isp("camera-like"))([Job(turned, picture=True)])
    assert made.size == (96, 64)
    assert abs(made.codes.astype(int) - develop_frame(turned, preset("camera-like"))).max() <= 1


def test_frames_that_differ_do_not_share_a_batch():
    engine = Engine(open_isp("neutral"))
    base, *others = (
        Job(frame)
        for frame in (
            *raws(1),
            make_frame(Domain.RAW, (26, 32), batch=1),
            *raws(1, cfa="BGGR"),
            *raws(1, orientation=3),
            make_frame(Domain.MOSAIC, (24, 32), batch=1),
        )
    )
    assert all(engine.kind(base) != engine.kind(other) for other in others)


def test_large_frames_go_alone_and_in_tiles(monkeypatch):
    engine, (frame,) = Engine(open_isp("neutral"), batch=8), raws(1)
    (whole,) = engine([Job(frame, picture=True)])
    assert engine.most(Job(frame)) == 8
    monkeypatch.setattr(engine_module, "BATCH_PIXELS", 24 * 32 - 1)
    assert engine.most(Job(frame)) == 1
    (tiled,) = engine([Job(frame, picture=True)])
    assert (whole.codes == tiled.codes).all()


def test_frames_find_their_way():
    picture = display_frame(torch.full((1, 3, 8, 8), 0.5))
    both, isp, head = Engine(SlowISP(), Tint()), Engine(SlowISP()), Engine(head=Tint())
    for engine in (both, head):
        engine.check(picture)
        assert engine([Job(picture)])[0].isp_s < 0.1  # an ISP of RAW would wait for ever
    for engine, frame, message in ((isp, picture, "needs a head"), (head, raws(1)[0], "head alone")):
        with pytest.raises(DomainError, match=message):
            engine.check(frame)
    with pytest.raises(ParamError, match="nothing to serve"):
        Engine()
    with pytest.raises(DomainError, match="ends with a linear_rgb"):
        Engine(build("deepisp-ll", preset="small"))


def test_what_is_seen_as_plain_data():
    picture = display_frame(torch.tensor([0.9, 0.1, 0.1]).reshape(1, 3, 1, 1).expand(1, 3, 8, 10))
    made = [Engine(head=head)([Job(picture, picture=True)])[0] for head in (Tint(), Corner(), Halves())]
    classes = seen_data(made[0], Tint())["classes"]
    assert classes[0] == {"name": "red", "probability": pytest.approx(1.0, abs=1e-4)}
    assert seen_data(made[1], Corner())["boxes"] == [
        {"name": "thing", "score": 0.75, "left": 0.0, "top": 0.0, "right": 5.0, "bottom": 4.0}
    ]
    regions = seen_data(made[2], Halves())["regions"]
    assert [(c["name"], c["share"]) for c in regions["classes"]] == [("right", 0.5), ("left", pytest.approx(39 / 80))]
    assert picture_bytes(made[0].codes, "jpeg", 50)[:3] == b"\xff\xd8\xff"
    assert picture_bytes(made[0].codes, "png")[:4] == b"\x89PNG"


def test_darkness_is_a_raw_of_the_sensor_and_its_noise_grows_as_the_light_falls():
    picture, dark = display_frame(torch.full((1, 3, 65, 64), 0.5)), Darkness()
    bright, dim = (dark.shot(picture, lux, seed=4) for lux in (200.0, 3.0))
    assert (bright.domain, bright.size) == (Domain.RAW, (64, 64))
    assert dim.data[..., ::2, ::2].std() > 4 * bright.data[..., ::2, ::2].std()
    assert torch.equal(dark.shot(picture, 3.0, seed=4).data, dim.data)
    assert not torch.equal(dark.shot(picture, 3.0, seed=5).data, dim.data)
    assert float(dim.meta.iso) == pytest.approx(200_000 / 3)
    with pytest.raises(ParamError):
        Darkness(colors="blue")
    with pytest.raises(ShapeError):
        dark.shot(display_frame(torch.zeros(1, 3, 1, 8)), 3.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("isp", ["camera-like", "learned"])
def test_a_gpu_sees_what_a_cpu_sees(isp):
    def engine(device):
        return Engine(learned() if isp == "learned" else open_isp(isp), Halves(), device=device)

    jobs = [Job(frame, picture=True) for frame in raws()]
    for here, there in zip(engine("cpu")(jobs), engine("cuda")(jobs), strict=True):
        assert abs(here.codes.astype(int) - there.codes).max() <= 2
        assert seen_data(here, Halves()) == seen_data(there, Halves())


@pytest.mark.slow
def test_onnx_runtime_makes_the_same_pictures_and_knows_its_file(tmp_path):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    isp, path = learned(), tmp_path / "isp.onnx"
    with pytest.raises(FileError, match="no such file"):
        OnnxISP(isp, path)
    path.write_bytes(b"nothing")
    with pytest.raises(FileError, match="not an ONNX file"):
        OnnxISP(isp, path)
    export_onnx(path, isp)
    runtime = OnnxISP(isp, path, threads=1)
    for size in ((160, 130), (24, 32)):  # in the graph, and too small for some graphs
        frame = make_frame(Domain.RAW, size, batch=2, cfa="GRBG")
        want, got = isp(frame), runtime(frame)
        assert got.domain is Domain.DISPLAY_RGB
        assert float((want.data - got.data).abs().max()) < 1e-3
    made = Engine(runtime, Tint())([Job(make_frame(Domain.RAW, (160, 130), batch=1), picture=True)])
    assert made[0].codes.shape == (160, 130, 3)
    torch.manual_seed(1)
    with pytest.raises(FileError, match="differs from the weights"):
        OnnxISP(build("deepisp", preset="small", depth=2, width=8, high=2).eval(), path)
