"""`ispkit evaluate` and `ispkit render --isp`, on RAW files of a simulated camera."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from ispkit.cli import main
from ispkit.cli.evaluate import _table
from ispkit.cli.evaluate import evaluate as command
from ispkit.core.errors import ParamError
from ispkit.data.demo import write_demo_raws
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.io.pictures import read_picture, write_picture
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.part import Part
from ispkit.isp.learned.weights import Card, save_learned
from ispkit.isp.recipe import preset
from ispkit.ops.luma import luminance
from ispkit.ops.stretch import stretch_luminance
from ispkit.report.evaluate import Judging, difference_rows, mean_rows, summary

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """RAW files in raws/, and weights that are not trained."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "raws").mkdir()
    write_demo_raws(folder / "raws", height=96, width=144)
    torch.manual_seed(0)
    options = {"preset": "small", "depth": 2, "width": 8, "high": 2}
    save_learned(folder / "net.safetensors", build("deepisp", **options), Card("deepisp", options, notes="untrained"))
    return folder


@pytest.fixture
def evaluate(cli):
    if "evaluate" not in [c.callback.__name__ for c in main.app.registered_commands]:
        main.app.command()(command)
    return lambda *args: cli("evaluate", *args)


def targets(cli, place):
    assert cli("render", place / "raws", "-o", place / "targets")[0] == 0
    return place / "targets"


def test_a_table_of_known_order_and_one_file_with_everything(cli, evaluate, place, tmp_path):
    args = ["-i", "neutral", "-i", "camera-like", "-i", place / "net.safetensors", "--data", place / "raws"]
    args += ["--targets", targets(cli, place), "--metrics", "psnr,de00", "--page", "-o", tmp_path]
    code, out, err = evaluate(*args)
    assert (code, "minus neutral" in out) == (0, True), err
    result = json.loads((tmp_path / "result.json").read_text())
    mean = {label: isp["mean"]["psnr"]["value"] for label, isp in result["isps"].items()}
    assert mean["neutral"] > 50 > mean["camera-like"]  # the targets are those of neutral, in 8 bits
    gap = result["isps"]["camera-like"]["difference"]["psnr"]
    assert gap["value"] == pytest.approx(mean["camera-like"] - mean["neutral"])
    assert gap["low"] <= gap["value"] <= gap["high"] < 0
    assert result["isps"]["neutral"]["difference"] == {}
    assert result["opened"]["net"]["card"]["notes"] == "untrained"
    assert len(result["pictures"]) == 3
    strip = read_picture(tmp_path / "pictures" / "studio_daylight_iso100.png").pixels
    assert strip.shape == (96, 4 * 144, 3)
    assert (tmp_path / "pictures" / "studio_daylight_iso100.html").is_file()


def test_a_second_run_renders_nothing_again(cli, evaluate, place, tmp_path, monkeypatch):
    args = ["-i", "neutral", "--data", place / "raws", "--targets", targets(cli, place), "--metrics", "psnr"]
    first = json.loads(evaluate(*args, "-o", tmp_path, "--json")[1])

    def refuse(isp, frame):
        raise AssertionError("rendered again")

    monkeypatch.setattr("ispkit.report.evaluate.rendered", refuse)
    assert json.loads(evaluate(*args, "-o", tmp_path, "--json")[1]) == first
    with pytest.raises(AssertionError, match="rendered again"):  # another judging is another measurement
        evaluate(*args, "-o", tmp_path, "--stretch")


def test_a_folder_as_a_camera_writes_it(evaluate, place, tmp_path):
    """Capitals, folders within, a turned shot, a picture a few px smaller; what makes no pair is told and counted."""
    shots = tmp_path / "DCIM" / "100CANON"
    shots.mkdir(parents=True)
    sources = sorted((place / "raws").glob("*.dng"))
    for i, source in enumerate(sources):
        frame = load(source)
        turned = frame.with_data(frame.data, orientation=(6 if i == 0 else 1,))
        write_dng(shots / f"IMG_{i}.DNG", turned)
        picture = preset("neutral")(frame).data[0].permute(1, 2, 0).clamp(0, 1)[3:-3, 3:-3]
        shown = picture.transpose(0, 1).flip(1) if i == 0 else picture
        write_picture(shots / f"IMG_{i}.JPG", shown.contiguous().numpy())
    (shots / "ALONE.DNG").write_bytes(sources[0].read_bytes())
    (shots / "IMG_2.DNG").write_bytes(sources[2].read_bytes()[:3000])
    args = ["-i", "neutral", "-d", tmp_path / "DCIM", "--metrics", "psnr", "-o", tmp_path / "out"]
    code, out, err = evaluate(*args)
    assert code == 0, err
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["pictures"] == ["100CANON/IMG_0", "100CANON/IMG_1"]
    assert min(result["isps"]["neutral"]["values"]["psnr"]) > 30
    assert list(result["skipped"]) == ["100CANON/IMG_2"]
    assert "2 pictures, 1 left out" in out
    strip = read_picture(tmp_path / "out" / "pictures" / "100CANON" / "IMG_1.png").pixels
    assert strip.shape == (90, 2 * 138, 3)
    code, _, err = evaluate(*args, "--crop", "60,48", "--no-pictures")
    assert code == 0, err
    code, _, err = evaluate(*args, "--crop", "200,48")
    assert code == 2
    assert "200 px wide and 48 high" in err.splitlines()[-1]
    assert "138 px wide and 90 high" in err.splitlines()[-1]


def test_a_table_of_four_metrics_fits_80_columns(capsys):
    rng = np.random.default_rng(0)
    labels = ("camera-like", "deepisp-0001")
    rows = {label: [dict(zip("abcd", v, strict=True)) for v in rng.normal(0, 9, (6, 4))] for label in labels}
    judging = Judging(("psnr", "ssim", "scielab", "de00"))
    named = {k: [dict(zip(judging.metrics, r.values(), strict=True)) for r in v] for k, v in rows.items()}
    result = summary(named, [str(i) for i in range(6)], judging)
    for rows, most in ((mean_rows(result), 2), (difference_rows(result), 1)):
        console = Console(width=80, file=io.StringIO())
        console.print(_table(rows))
        lines = console.file.getvalue().splitlines()
        assert sum("±" in line for line in lines) == most
        assert all(line.count("±") in (0, 4) for line in lines)
    one = summary({k: v[:1] for k, v in named.items()}, ["0"], judging)
    assert "*" not in str(difference_rows(one))  # one picture tells nothing of chance


def test_wrong_requests_are_one_line(cli, evaluate, place, tmp_path):
    for args, message in (
        (["--metrics", "pnsr"], "did you mean 'psnr'"),
        (["--metrics", "niqe"], "not for pairs"),
        (["--page"], "--page compares two ISPs"),
        (["--crop", "4x4"], "is not W,H"),
        (["--crop", "33,32"], "is not W,H in even"),
    ):
        code, _, err = evaluate("-i", "neutral", "-d", place / "raws", "-o", tmp_path, *args)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err


def test_stretch_saturates_its_share_and_keeps_gray():
    picture = torch.rand(2, 3, 50, 40, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.1
    spread = stretch_luminance(picture)
    luma = luminance(picture).flatten(1)
    low, high = luma.sort(1).values[:, round(0.05 * 1999)], luma.sort(1).values[:, round(0.95 * 1999)]
    want = ((picture - low.reshape(-1, 1, 1, 1)) / (high - low).reshape(-1, 1, 1, 1)).clamp(0, 1)
    torch.testing.assert_close(spread, want)
    gray = torch.linspace(0.2, 0.4, 100).expand(1, 3, 1, 100)
    out = stretch_luminance(gray)
    assert torch.equal(out[:, 0], out[:, 2])
    assert int((out[0, 0] == 0).sum()) == int((out[0, 0] == 1).sum()) == 6  # 5 in a hundred, and the one at the bound
    flat = torch.full((1, 3, 4, 4), 0.3)
    assert torch.equal(stretch_luminance(flat), flat)
    with pytest.raises(ParamError, match="share"):
        stretch_luminance(flat, 0.5)


def test_render_by_weights_resumes_until_the_weights_change(cli, place, tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes((place / "net.safetensors").read_bytes())
    args = ["render", place / "raws", "-o", tmp_path / "out", "--isp", weights, "--json"]
    assert [r["skipped"] for r in json.loads(cli(*args)[1])] == [False] * 3
    assert [r["skipped"] for r in json.loads(cli(*args)[1])] == [True] * 3
    options = {"preset": "small", "depth": 2, "width": 8, "high": 2}
    torch.manual_seed(1)
    save_learned(weights, build("deepisp", **options), Card("deepisp", options))
    assert [r["skipped"] for r in json.loads(cli(*args)[1])] == [False] * 3


def test_render_by_weights_crops_shrinks_and_shows_its_parts(cli, place, tmp_path):
    raw, net = place / "raws" / "studio_daylight_iso100.dng", place / "net.safetensors"
    assert cli("render", raw, "-o", tmp_path / "a.png", "--isp", net)[0] == 0
    args = ("--crop", "20,10,60,40", "--stages", tmp_path / "parts")
    assert cli("render", raw, "-o", tmp_path / "b.png", "--isp", net, *args)[0] == 0
    whole, part = (read_picture(tmp_path / name).pixels for name in ("a.png", "b.png"))
    assert abs(whole[10:50, 20:80] - part).max() <= 1.01 / 255
    assert (tmp_path / "parts" / "00_isp.png").is_file()


def test_parts_are_shown_of_the_one_rendering(cli, place, tmp_path, monkeypatch):
    ran = []
    part = Part.forward
    monkeypatch.setattr(Part, "forward", lambda self, *args: ran.append(1) or part(self, *args))
    raw, net = place / "raws" / "studio_daylight_iso100.dng", place / "net.safetensors"
    assert cli("render", raw, "-o", tmp_path / "a.png", "--isp", net, "--stages", tmp_path / "parts")[0] == 0
    assert len(ran) == 1
    shown, made = (read_picture(p).pixels for p in (tmp_path / "parts" / "00_isp.png", tmp_path / "a.png"))
    assert (shown == made).all()


def test_options_without_sense_for_a_net_are_refused(cli, place, tmp_path):
    net = place / "net.safetensors"
    for args, message in (
        (["--isp", net, "--set", "exposure.ev=1"], "--set does not go with --isp"),
        (["--isp", net, "--preset", "neutral"], "--preset does not go"),
        (["--isp", net, "--executor", "fused"], "--executor does not go"),
        (["--isp", net, "--half", "bf16"], "needs a GPU"),
        (["--isp", net, "--half", "fp8"], "unknown"),
        (["--isp", tmp_path / "none.safetensors"], "no such file"),
        (["--half", "bf16"], "give --isp"),
    ):
        code, _, err = cli("render", place / "raws", "-o", tmp_path / "out", *args)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
    assert not (tmp_path / "out").exists()
