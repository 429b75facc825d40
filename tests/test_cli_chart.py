"""`ispkit chart` end to end: what it writes can be read back and made again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ispkit.charts.catalog import CHARTS, build, from_truth
from ispkit.io.load import load
from ispkit.io.pictures import read_picture
from ispkit.ops.encode import srgb_decode


@pytest.fixture
def chart(cli):
    """Run `ispkit chart ARGS`, which must succeed; gives what it printed."""

    def run(*args) -> str:
        code, out, err = cli("chart", *args)
        assert (code, err) == (0, "")
        return out

    return run


def test_a_chart_is_written_as_picture_data_truth_and_raw(chart, tmp_path):
    out = chart("slanted_edge", "-o", tmp_path, "--size", "80x120", "--set", "angles_deg=5", "--set", "sigma_px=0.8",
              "--raw", "--iso", 400, "--bits", 16, "--json")  # fmt: skip
    files = json.loads(out)["files"]
    assert [f.rsplit(".")[-1] for f in files] == ["png", "tiff", "dng", "json"]
    truth = json.loads((tmp_path / "slanted_edge.json").read_text())
    chart = build("slanted_edge", height=80, width=120, angles_deg=[5.0], sigma_px=0.8)
    assert torch.equal(from_truth(truth).picture, chart.picture)
    assert truth["simulate"] | {"camera": ""} == {
        "sensor": "default", "camera": "", "cfa": "RGGB", "iso": 400.0, "exposure_ev": 0.0, "seed": 0, "light": None,
        "cct_k": 6504.0,
    }  # fmt: skip
    linear = chart.picture.permute(1, 2, 0).numpy()
    assert np.abs(read_picture(tmp_path / "slanted_edge.tiff").pixels - linear).max() < 1e-6
    shown = srgb_decode(torch.from_numpy(read_picture(tmp_path / "slanted_edge.png").pixels)).numpy()
    assert np.abs(shown - linear).max() < 5e-5
    frame = load(tmp_path / "slanted_edge.dng")
    assert frame.size == (80, 120)
    assert float(frame.meta.iso) == 400.0


def test_light_seed_and_sensor_reach_the_chart_and_the_shot(chart, tmp_path):
    chart(
        "colorchecker", "-o", tmp_path, "--size", "120x180", "--light", "A", "--raw", "--sensor", "ov2740", "--seed", 7
    )
    truth = json.loads((tmp_path / "colorchecker.json").read_text())
    assert truth["parameters"]["light"] == truth["simulate"]["light"] == "A"
    assert truth["simulate"]["cct_k"] == pytest.approx(2856, abs=2)
    assert (truth["simulate"]["sensor"], truth["simulate"]["seed"]) == ("ov2740", 7)
    chart("dead_leaves", "-o", tmp_path, "--size", "64x96", "--seed", 3, "--set", "r_max=20")
    assert json.loads((tmp_path / "dead_leaves.json").read_text())["parameters"]["seed"] == 3


def test_the_gray_code_is_written_as_numbered_pictures(chart, tmp_path):
    chart("gray_code", "-o", tmp_path, "--size", "6x10")
    truth = json.loads((tmp_path / "gray_code.json").read_text())
    assert len(truth["files"]) == len(truth["patterns"]) == 2 + 2 * (4 + 3)
    for file, pattern in zip(truth["files"], truth["patterns"], strict=True):
        assert pattern["name"] in file
        picture = read_picture(tmp_path / file).pixels
        assert picture.shape == (6, 10, 3)
        assert picture[..., [0, 2]].max() == 0
    assert read_picture(tmp_path / truth["files"][0]).pixels[..., 1].min() == 1.0


def test_the_list_tells_every_chart(chart):
    shown = chart("--list")
    for name in (*CHARTS, "gray_code", "TL84"):
        assert name in shown
    listed = json.loads(chart("--list", "--json"))["charts"]
    assert set(listed) == {*CHARTS, "gray_code"}
    assert listed["rainbow"]["markers"] == [44, 45, 46, 47]
    assert set(json.loads(chart("lab", "--list", "--json"))["charts"]) == {"lab"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--list tells them all"),
        (["labb"], "did you mean 'lab'?"),
        (["gray_cod"], "did you mean 'gray_code'?"),
        (["labb", "--list"], "did you mean 'lab'?"),
        (["lab", "--size", "big"], "HEIGHTxWIDTH"),
        (["lab", "--size", "10x10"], "lab.height=10"),
        (["flat", "--set", "value"], "KEY=VALUE"),
        (["flat", "--set", "value=[1"], "neither a number"),
        (["flat", "--set", "valu=1"], "did you mean 'value'?"),
        (["flat", "--bits", "12"], "8 or 16"),
        (["flat", "--light", "D66"], "did you mean 'D65'?"),
        (["flat", "--raw", "--sensor", "ov2470"], "did you mean 'ov2740'?"),
        (["flat", "--raw", "--iso", "0"], "--iso 0"),
        (["flat", "--raw", "--ev", "nan"], "--ev nan"),
        (["gray_code", "--raw"], "--raw, --markers and --light"),
        (["gray_code", "--set", "colour=1"], "did you mean 'color'?"),
        (["gray_code", "--set", "color=1"], "gray_code.color"),
        (["gray_code", "--set", "color=[a,b,c]"], "gray_code.color"),
    ],
)
def test_mistakes_are_told_in_one_line_and_write_nothing(cli, tmp_path, arguments, message):
    code, _, err = cli("chart", *arguments, "-o", tmp_path / "new")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()
