"""`ispkit export`: ONNX that does what torch does, at sizes that the export did not see."""

from __future__ import annotations

import json

import pytest
import torch

from conftest import make_frame
from ispkit.cli import main
from ispkit.cli.export import export as command
from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain
from ispkit.data.demo import write_demo_raws
from ispkit.isp.learned import onnx_export
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.onnx_export import export_onnx, graph_of, inputs_of
from ispkit.isp.learned.weights import Card, save_learned

onnx = pytest.importorskip("onnx", reason="needs onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pytest.importorskip("onnxscript", reason="needs onnxscript")

TINY = {"preset": "small", "depth": 2, "width": 8, "high": 2}
TINY_NET = {"channels": [4, 6], "rates": [1, 2], "convs": 2}


def tiny(name="deepisp", **options):
    torch.manual_seed(0)
    return build(name, **(options or TINY)).eval()


def run(path, x):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


@pytest.fixture
def export(cli):
    if "export" not in [c.callback.__name__ for c in main.app.registered_commands]:
        main.app.command()(command)
    return lambda *args: cli("export", *args)


@pytest.mark.slow
def test_one_graph_is_the_whole_isp_at_two_sizes(tmp_path):
    isp = tiny("cameranet", preset="small", restore=TINY_NET, enhance=TINY_NET).requires_grad_(False)
    path = tmp_path / "isp.onnx"
    made = export_onnx(path, isp)
    assert (made.parts, made.channels, made.multiple) == (("restore", "enhance"), 5, 2)
    for size in ((64, 84), (96, 64)):
        frame = make_frame(Domain.RAW, size, batch=1)
        torch.testing.assert_close(run(path, inputs_of(isp, frame)), isp(frame).data, atol=1e-4, rtol=0)
    facts = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["ispkit"])
    assert "shot noise" in facts["reads"]


@pytest.mark.slow
def test_a_part_alone_reads_any_mosaic(tmp_path):
    isp = tiny("cameranet", preset="small", restore=TINY_NET, enhance=TINY_NET).requires_grad_(False)
    path = tmp_path / "restore.onnx"
    made = export_onnx(path, isp, part="restore")
    assert (made.parts, made.channels, made.writes) == (("restore",), 5, "linear_rgb")
    frame = make_frame(Domain.RAW, (61, 82), batch=1, cfa="GBRG")
    y, x = divmod("GBRG".index("R"), 2)
    picture = run(path, inputs_of(isp, frame, "restore"))[..., y : y + 61, x : x + 82]
    torch.testing.assert_close(picture, isp.parts["restore"](frame).data, atol=1e-4, rtol=0)
    assert inputs_of(isp, frame, "enhance").shape == (1, 3, 64, 84)
    with pytest.raises(ParamError, match="no part 'restor'"):
        graph_of(isp, "restor")


@pytest.mark.slow
def test_precisions_by_the_command_line(export, tmp_path):
    weights, raws = tmp_path / "net.safetensors", tmp_path / "raws"
    save_learned(weights, tiny(), Card("deepisp", TINY))
    raws.mkdir()
    write_demo_raws(raws, height=96, width=144)
    found = {}
    for name, args in {"float32": [], "fp16": ["--fp16"], "int8": ["--int8", "--calibrate", raws]}.items():
        code, out, err = export(weights, "-o", tmp_path / f"{name}.onnx", "--json", *args)
        assert code == 0, err
        found[name] = json.loads(out)
        x = torch.rand(1, 3, 70, 90, generator=torch.Generator().manual_seed(0))
        want = graph_of(tiny())(x)
        atol = {"float32": 1e-5, "fp16": 5e-3, "int8": 0.1}[name]
        torch.testing.assert_close(run(tmp_path / f"{name}.onnx", x), want, atol=atol, rtol=0)
    assert found["float32"]["psnr_db"] is None
    assert found["float32"]["difference"] < 1e-5
    assert found["fp16"]["psnr_db"] > found["int8"]["psnr_db"] > 25


@pytest.mark.slow
def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    def tampered(graph):
        model, least = traced(graph)
        with torch.no_grad():
            graph.chain[0].net.low[0].bias.add_(0.05)
        return model, least

    traced = onnx_export._traced
    monkeypatch.setattr(onnx_export, "_traced", tampered)
    with pytest.raises(FileError, match="differs from torch"):
        export_onnx(tmp_path / "a.onnx", tiny())
    assert not list(tmp_path.iterdir())


def test_wrong_requests_are_one_line(export, tmp_path):
    weights = tmp_path / "net.safetensors"
    save_learned(weights, tiny(), Card("deepisp", TINY))
    for args, message in (
        (["-o", "a.png"], "end in .onnx"),
        (["-o", "a.onnx", "--fp16", "--int8"], "exclude each other"),
        (["-o", "a.onnx", "--int8"], "needs calibration pictures"),
        (["-o", "a.onnx", "--int8", "--calibrate", tmp_path / "none"], "no such folder"),
        (["-o", tmp_path / "none" / "a.onnx"], "the folder does not exist"),
        (["-o", "a.onnx", "--part", "restore"], "no part 'restore'"),
    ):
        code, _, err = export(weights, *args)
        assert (code, err.count("\n")) == (2, 1), err
        assert message in err
