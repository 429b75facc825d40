"""`ispkit kpi` and `ispkit regress` end to end: numbers, pages, verdicts, and one sentence for what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ispkit.bench.tunings import load_tuning
from ispkit.charts.catalog import build
from ispkit.core.frame import Domain
from ispkit.io.dng_writer import write_dng
from ispkit.io.pictures import write_picture
from ispkit.ops.blur import gaussian_kernel, separable
from ispkit.ops.encode import srgb_encode
from ispkit.sensor.simulate import Sensor, capture

WORSE = """version: 1
stages: [linearize, lens_shading, {white_balance: {mode: as_shot}}, {highlights: {mode: clip}},
  {demosaic: {method: bilinear}}, color_matrix, exposure, {color_adjust: {saturation: 1.3}}, {encode: {space: srgb}}]
"""
SMALL = {"height": 800, "width": 1066}


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """A RAW shot and a finished picture of the lab chart, a truth file, and a picture of a ColorChecker."""
    folder = tmp_path_factory.mktemp("shots")
    chart = build("lab", **SMALL)
    write_dng(folder / "lab.dng", capture(chart.picture[None], Sensor(), iso=200.0))
    (folder / "lab.json").write_text(json.dumps(chart.truth()))
    save(folder / "lab.png", chart.picture)
    save(folder / "checker.png", build("colorchecker", height=400, width=600).picture)
    return folder


def save(path: Path, linear: torch.Tensor) -> None:
    write_picture(path, (srgb_encode(linear) * 255).round().byte().permute(1, 2, 0).numpy())


def test_a_raw_shot_gives_numbers_json_and_a_page(cli, shots, tmp_path):
    page, numbers = tmp_path / "kpi.html", tmp_path / "kpi.json"
    code, out, err = cli("kpi", shots / "lab.dng", "-c", shots / "lab.json", "-o", page, "--save", numbers)
    assert (code, err) == (0, "")
    assert "sfr.mtf50" in out
    groups = json.loads(numbers.read_text())["groups"]
    color = {k["name"]: k["value"] for k in groups["color"]["kpis"]}
    assert color["color.delta_e00.mean"] < 1
    html = page.read_text()
    assert "<svg" in html
    assert "data:image/png;base64," in html
    assert not re.search(r'(?:src|href)="(?!data:|#)', html), "the page loads nothing"


def test_a_finished_picture_is_measured_as_it_is(cli, shots):
    code, out, _ = cli("kpi", shots / "lab.png", "-c", shots / "lab.json", "--groups", "color,wb", "--json")
    groups = json.loads(out)["groups"]
    assert (code, set(groups)) == (0, {"color", "wb"})
    assert groups["color"]["kpis"][0]["value"] < 0.5


def test_a_colorchecker_without_markers_is_found_by_its_patches(cli, shots):
    code, out, _ = cli("kpi", shots / "checker.png", "--groups", "color", "--json")
    assert code == 0
    assert json.loads(out)["groups"]["color"]["kpis"][0]["value"] < 1


def test_corners_and_regions_of_the_user(cli, shots, tmp_path):
    corners = "0,0 1066,0 1066,800 0,800"
    code, out, _ = cli("kpi", shots / "lab.png", "-c", shots / "lab.json", "--corners", corners, "--groups", "wb")
    assert code == 0
    assert "wb.angular_error_deg" in out
    edge = next(r for r in build("lab", **SMALL).regions if r.kind == "edge")
    regions = tmp_path / "regions.json"
    regions.write_text(json.dumps([{"kind": "edge", "name": "mine", "box": list(edge.box)}]))
    code, out, _ = cli("kpi", shots / "lab.png", "--regions", regions)
    assert code == 0
    assert re.search(r"sfr.mtf50 +mine", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/checker.png", "-c", "lab"], "no chart found"),
        (["{}/lab.png", "-c", "labb"], "did you mean 'lab'"),
        (["{}/lab.png", "-c", "{}/absent.json"], "absent.json"),
        (["{}/lab.png", "-c", "{}/broken.json"], "broken.json"),
        (["{}/lab.png", "--groups", "sharpness"], "no group of KPIs"),
        (["{}/lab.png", "--preset", "neutral"], "is a finished picture"),
        (["{}/lab.png", "--corners", "1,2 3,4"], "should be four points"),
        (["{}/absent.png"], "absent.png"),
        (["{}/one.png"], "one.png"),
        (["{}/lab.png", "--save", "{}/nowhere/kpi.json"], "the folder does not exist"),
        (["{}/lab.png", "-o", "{}/lab.png"], "is an input of this command"),
        (["{}/lab.png", "-c", "{}/lab.json", "-o", "{}/nowhere/kpi.html"], "the folder does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(cli, shots, arguments, message):
    write_picture(shots / "one.png", np.zeros((1, 1, 3), np.uint8))
    (shots / "broken.json").write_text('{"version": 1,')
    before = sorted(p.name for p in shots.iterdir())
    code, out, err = cli("kpi", *(a.format(shots) for a in arguments))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert sorted(p.name for p in shots.iterdir()) == before


def test_a_clipped_and_a_blurred_chart_are_measured_with_a_warning(cli, shots, tmp_path):
    chart = build("lab", **SMALL)
    save(tmp_path / "clipped.png", chart.picture * 3)
    code, out, _ = cli("kpi", tmp_path / "clipped.png", "-c", shots / "lab.json", "--groups", "sfr,color")
    assert code == 0
    assert "clipped" in out
    clipped = json.loads(cli("kpi", tmp_path / "clipped.png", "-c", shots / "lab.json", "--groups", "sfr", "--json")[1])
    assert any("clipped" in w for w in clipped["groups"]["sfr"]["warnings"])
    soft = separable(chart.picture[None], gaussian_kernel(2.0, 6, chart.picture))[0]
    save(tmp_path / "soft.png", soft)
    code, out, _ = cli("kpi", tmp_path / "soft.png", "-c", shots / "lab.json", "--groups", "sfr,color")
    assert code == 0
    assert "blur" in out


def test_the_corners_of_a_colorchecker_are_the_centers_of_its_patches(cli, shots):
    named = {r.name.rsplit("/", maxsplit=1)[-1]: r.box for r in build("colorchecker", height=400, width=600).regions}
    ends = [named[n] for n in ("dark skin", "bluish green", "black 2", "white 9.5")]
    corners = " ".join(f"{left + width / 2},{top + height / 2}" for top, left, height, width in ends)
    arguments = ("--chart", "colorchecker", "--groups", "color", "--json")
    code, out, _ = cli("kpi", shots / "checker.png", "--corners", corners, *arguments)
    by_hand = json.loads(out)["groups"]["color"]["kpis"]
    assert code == 0
    assert by_hand[0]["value"] < 1


def test_a_fall_back_to_the_colorchecker_is_said(cli, shots):
    code, out, _ = cli("kpi", shots / "checker.png", "--groups", "color")
    assert code == 0
    assert "measured as a ColorChecker" in out


@pytest.fixture(scope="module")
def worse(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "worse.yaml"
    path.write_text(WORSE)
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """A folder with one small RAW shot of the lab chart as `ispkit regress` builds it."""
    folder = tmp_path_factory.mktemp("few")
    write_dng(folder / "shot.dng", capture(build("lab").picture[None], Sensor(), iso=100.0))
    return folder


@pytest.mark.slow
def test_regress_catches_a_worse_tuning_and_writes_the_page(cli, worse, few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("regress", "neutral", worse, "--shots", few)
    assert code == 1
    assert "B is worse" in out
    assert (tmp_path / "regress.html").is_file()
    code, out, _ = cli("regress", "neutral", worse, "--shots", few, "--json", "-o", "page.html")
    rows = {r["KPI"] + r["where"]: r["verdict"] for r in json.loads(out)["shots"][0]["changes"]}
    assert rows["color.delta_e00.mean"] == rows["sfr.mtf50"] == "worse"
    assert rows["wb.angular_error_deg"] == "same"


@pytest.mark.slow
def test_regress_passes_an_equal_tuning_and_tolerances_are_the_users(cli, worse, few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("regress", "neutral", "neutral", "--shots", few)
    assert (code, "B is not worse" in out) == (0, True)
    assert not list(tmp_path.iterdir())
    (tmp_path / "loose.yaml").write_text('"*": 1000\n')
    code, _, _ = cli("regress", "neutral", worse, "--shots", few, "--tolerances", "loose.yaml")
    assert code == 0
    (tmp_path / "misspelt.yaml").write_text("sfr.mtf5: 3\n")
    code, _, err = cli("regress", "neutral", "neutral", "--shots", few, "--tolerances", "misspelt.yaml")
    assert (code, "did you mean 'sfr.mtf50'" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["neutral", "absent.yaml"], "no such file, and no preset"),
        (["neutral", "{}/broken.json"], "broken.json"),
        (["neutral", "neutral", "--iso", "fast"], "--iso"),
        (["neutral", "neutral", "--charts", "labb"], "did you mean 'lab'"),
        (["neutral", "neutral", "--shots", "{}"], "no RAW file"),
        (["neutral", "neutral", "--tolerances", "{}/broken.json"], "broken.json"),
        (["neutral", "neutral", "--sensor", "imx"], "imx"),
        (["neutral", "neutral", "--cct", "99999"], "--cct"),
        (["neutral", "{}/empty.json"], "is no Raspberry Pi tuning"),
        (["neutral", "{}/mine.yaml", "-o", "{}/mine.yaml"], "is an input of this command"),
        (["neutral", "neutral", "-o", "{}/nowhere/page.html"], "the folder does not exist"),
    ],
)
def test_regress_says_what_is_wrong(cli, tmp_path, arguments, message):
    (tmp_path / "broken.json").write_text('{"version": 2.0, "algorithms": [')
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "mine.yaml").write_text(WORSE)
    code, _, err = cli("regress", *(a.format(tmp_path) for a in arguments))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert (tmp_path / "mine.yaml").read_text() == WORSE


@pytest.mark.slow
def test_a_raspberry_pi_tuning_develops_a_frame_of_its_own_camera(shared):
    tuning = load_tuning(shared / "rpi_tuning" / "vc4_imx219.json")
    chart = build("lab", **SMALL)
    frame = capture(chart.picture[None], tuning.sensor(chart.size), cct_k=5000.0, iso=100.0)
    assert frame.domain is Domain.RAW
    picture = tuning.develop(frame, cct_k=5000.0)
    gray = next(r for r in chart.regions if r.kind == "flat")
    top, left, height, width = (round(v) for v in gray.box)
    patch = picture[:, top : top + height, left : left + width].mean((1, 2))
    assert float(np.ptp(patch.numpy())) < 0.03, "gray stays gray"
