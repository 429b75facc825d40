"""`ispkit calibrate` as a user meets it: files written whole or not at all, one line for every mishap."""

from __future__ import annotations

import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from ispkit.cli.calibrate import calibrate
from ispkit.core.errors import IspkitError
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.io.profile import read_profile
from ispkit.sensor.simulate import Sensor, capture

app = typer.Typer()
app.command()(calibrate)


def run(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shots")
    for i in range(2):
        for name, level in (("dark", 0.0), ("flat_3000k", 0.5), ("flat_6000k", 0.5)):
            frame = capture(torch.full((1, 3, 96, 128), level), Sensor(), seed=10 * i + int(name[5:6] or 0))
            write_dng(folder / f"{name}_{i}.dng", frame, opcodes=False)
    return folder


def test_profile_page_and_tuning_file(shots, tmp_path):
    out, page, tuning = tmp_path / "camera.yaml", tmp_path / "page.html", tmp_path / "pi.json"
    result = run(shots, "-o", out, "--report", page, "--export", f"rpi-pisp={tuning}", "--name", "Pia", "--mesh", "6x8")
    assert result.exit_code == 0
    profile = read_profile(out)
    assert profile.name == "Pia"
    assert len(profile.shading[0].gains[0]) == 6
    assert "missing no ColorChecker picture" in result.output
    assert json.loads(tuning.read_text())["version"] == 2.0
    html = page.read_text()
    for heading in ("Still missing", "Black level", "Noise", "Defect pixels", "Lens shading"):
        assert f"<h2>{heading}</h2>" in html
    assert html.count("<svg") >= 5
    assert "no ColorChecker picture" in html[: html.index("Black level</h2>")]
    assert not [word for word in ("<script src", 'href="http', 'src="http') if word in html]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["camera.yaml", "page.html", "pi.json"]


def test_json_and_the_second_run_that_measures_nothing(shots, tmp_path):
    out = tmp_path / "camera.yaml"
    first = json.loads(run(shots, "-o", out, "--json").stdout)
    assert first["measured"] is True
    assert first["black"][0]["level_dn"] == pytest.approx([512.0] * 4, abs=0.3)
    assert first["written"] == [str(out)]
    written = out.read_bytes()
    again = json.loads(run(shots, "-o", out, "--json").stdout)
    assert again["measured"] is False
    assert again["written"] == []
    assert again["missing"] == first["missing"]
    assert out.read_bytes() == written
    assert json.loads(run(shots, "-o", out, "--json", "--force").stdout)["measured"] is True


def test_a_dng_with_the_profile_in_its_tags(shots, tmp_path):
    made = tmp_path / "new.dng"
    run(shots, "-o", tmp_path / "camera.yaml", "--export", f"dng={made}", "--template", shots / "flat_3000k_0.dng")
    profile, meta = read_profile(tmp_path / "camera.yaml"), load(made).meta
    assert meta.black_level[0].tolist() == pytest.approx(profile.black[0].level_dn, abs=1e-3)
    assert meta.noise_profile[0, :, 0].tolist() == pytest.approx(profile.noise[0].shot, rel=1e-5)
    assert {type(op).__name__ for op in meta.opcodes[0]} >= {"GainMap"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{shots}", "-o", "{out}", "--export", "rpi-psip={tmp}/a.json"], "did you mean 'rpi-pisp'?"),
        (["{shots}", "-o", "{out}", "--export", "rpi-pisp"], "is not KIND=PATH, as in rpi-pisp=camera.json"),
        (["{shots}", "-o", "{out}", "--export", "dng={tmp}/a.dng"], "give it with --template"),
        (["{shots}", "-o", "{out}", "--template", "{tmp}/none"], "there is no such file"),
        (["{shots}", "-o", "{out}", "--mesh", "1x7"], "is not ROWSxCOLUMNS"),
        (["{shots}", "-o", "{out}", "--mesh", "64x64"], "mesh=64x64 does not fit a picture of 96x128 px"),
        (["{shots}", "-o", "{tmp}/no/camera.yaml"], "does not exist"),
        (["{shots}", "-o", "{shots}/dark_0.dng"], "is an input of this command"),
        (["{shots}", "-o", "{out}", "--report", "{out}"], "is to be written twice"),
        (["{tmp}", "-o", "{out}"], "a folder without RAW files"),
        (["{tmp}/nothing", "-o", "{out}"], "not a folder"),
        (
            [
                "{shots}",
                "-o",
                "{out}",
                "--export",
                "libcamera-softisp={tmp}/s.yaml",
                "--template",
                "{shots}/dark_0.dng",
            ],
            "",
        ),
    ],
)
def test_mishaps_are_one_sentence_and_nothing_is_written(shots, tmp_path, words, said):
    names = {"shots": shots, "tmp": tmp_path, "out": tmp_path / "camera.yaml"}
    before = {p: p.stat().st_mtime_ns for p in shots.iterdir()}
    with pytest.raises(IspkitError) as error:
        run(*(w.format(**names) for w in words))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
    assert {p: p.stat().st_mtime_ns for p in shots.iterdir()} == before
