"""`ispkit calibrate` as a user meets it: files written whole or not at all, one line for every mishap."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from ispkit.charts.checker import colorchecker_chart
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.io.profile import read_profile
from ispkit.sensor.simulate import Sensor, capture


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shots")
    for i in range(2):
        for name, level in (("dark", 0.0), ("flat_3000k", 0.5), ("flat_6000k", 0.5)):
            frame = capture(torch.full((1, 3, 96, 128), level), Sensor(), seed=10 * i + int(name[5:6] or 0))
            write_dng(folder / f"{name}_{i}.dng", frame, opcodes=False)
    return folder


def test_profile_page_and_tuning_file(cli, shots, tmp_path):
    out, page, tuning = tmp_path / "camera.yaml", tmp_path / "page.html", tmp_path / "pi.json"
    words = ("--report", page, "--export", f"rpi-pisp={tuning}", "--name", "Pia", "--mesh", "6x8")
    code, said, _ = cli("calibrate", shots, "-o", out, *words)
    assert code == 0
    profile = read_profile(out)
    assert profile.name == "Pia"
    assert len(profile.shading[0].gains[0]) == 6
    assert "missing no ColorChecker picture" in said
    assert json.loads(tuning.read_text())["version"] == 2.0
    html = page.read_text()
    for heading in ("Still missing", "Black level", "Noise", "Defect pixels", "Lens shading"):
        assert f"<h2>{heading}</h2>" in html
    assert html.count("<svg") >= 5
    assert "no ColorChecker picture" in html[: html.index("Black level</h2>")]
    assert not [word for word in ("<script src", 'href="http', 'src="http') if word in html]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["camera.yaml", "page.html", "pi.json"]


def test_json_and_the_second_run_that_measures_nothing(cli, shots, tmp_path):
    out = tmp_path / "camera.yaml"
    first = json.loads(cli("calibrate", shots, "-o", out, "--json")[1])
    assert first["measured"] is True
    assert first["black"][0]["level_dn"] == pytest.approx([512.0] * 4, abs=0.3)
    assert first["written"] == [str(out)]
    written = out.read_bytes()
    again = json.loads(cli("calibrate", shots, "-o", out, "--json")[1])
    assert again["measured"] is False
    assert again["written"] == []
    assert again["missing"] == first["missing"]
    assert out.read_bytes() == written
    assert json.loads(cli("calibrate", shots, "-o", out, "--json", "--force")[1])["measured"] is True


def test_two_lights_have_a_white_balance_curve(cli, tmp_path):
    folder, out, page = tmp_path / "shots", tmp_path / "camera.yaml", tmp_path / "page.html"
    folder.mkdir()
    for light, cct_k in (("A", 2856.0), ("D65", 6504.0)):
        chart = 0.7 * colorchecker_chart(192, 288, light=light).picture[None].float()
        write_dng(folder / f"chart_{light}.dng", capture(chart, Sensor(), cct_k=cct_k))
    _, said, _ = cli("calibrate", folder, "-o", out, "--report", page)
    assert "white-balance curve of R/G and B/G, transverse margins +0.0100 -0.0100" in said
    html = page.read_text()
    assert "Distance of the whites from the white-balance curve" in html
    assert "A +0.0000, D65 +0.0000" in html.replace("-0.0000", "+0.0000")
    assert "Transverse margins: +0.0100 and −0.0100" in html
    told = json.loads(cli("calibrate", folder, "-o", out, "--json")[1])  # from the profile alone
    assert (told["measured"], told["awb"]) == (False, {"transverse_pos": 0.01, "transverse_neg": 0.01})


def test_a_dng_with_the_profile_in_its_tags(cli, shots, tmp_path):
    made = tmp_path / "new.dng"
    words = ("--export", f"dng={made}", "--template", shots / "flat_3000k_0.dng")
    assert cli("calibrate", shots, "-o", tmp_path / "camera.yaml", *words)[0] == 0
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
        (["{shots}", "-o", "{out}", "--report", "{shots}/flat_3000k_1.dng"], "is an input of this command"),
        (["{shots}", "-o", "{out}", "--export", "rpi-pisp={shots}/dark_1.dng"], "is an input of this command"),
        (
            ["{shots}", "-o", "{out}", "--export", "dng={shots}/new.dng", "--template", "{shots}/dark_0.dng"],
            "would be one of the shots",
        ),
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
def test_mishaps_are_one_sentence_and_nothing_is_written(cli, shots, tmp_path, words, said):
    names = {"shots": shots, "tmp": tmp_path, "out": tmp_path / "camera.yaml"}
    before = {p: p.stat().st_mtime_ns for p in shots.iterdir()}
    code, _, told = cli("calibrate", *(w.format(**names) for w in words))
    assert code > 0
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert {p: p.stat().st_mtime_ns for p in shots.iterdir()} == before


@pytest.mark.parametrize("output", ["-o", "--report", "--export"])
def test_no_output_replaces_the_template(cli, shots, tmp_path, output):
    template = tmp_path / "own.dng"
    shutil.copyfile(shots / "flat_3000k_0.dng", template)
    before, link = template.read_bytes(), tmp_path / "link.dng"
    link.symlink_to(template)
    for target in (template, link):
        wanted = {"-o": tmp_path / "camera.yaml", "--export": f"dng={tmp_path / 'new.dng'}"}
        wanted[output] = f"dng={target}" if output == "--export" else target
        words = [str(w) for pair in wanted.items() for w in pair]
        code, _, told = cli("calibrate", shots, *words, "--template", template)
        assert code > 0
        assert "is an input of this command; choose another name" in told
    assert template.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.dng", "own.dng"]


def test_no_output_replaces_what_lies_beside_the_shots(cli, shots, tmp_path):
    folder = tmp_path / "shots"
    shutil.copytree(shots, folder)
    for name in ("shots.yaml", "psf_noise.json"):
        (folder / name).write_text("shots: {}\n")
        code, _, told = cli("calibrate", folder, "-o", folder / name)
        assert code > 0
        assert "is an input of this command" in told
        assert (folder / name).read_text() == "shots: {}\n"


def test_a_copy_of_a_flat_is_no_pair(cli, shots, tmp_path):
    folder = tmp_path / "shots"
    shutil.copytree(shots, folder)
    flats = sorted(folder.glob("flat*.dng"))
    shutil.copy(flats[0], flats[1])
    code, _, told = cli("calibrate", folder, "-o", tmp_path / "camera.yaml")
    assert code == 2
    assert "hold the same pixels" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "camera.yaml").exists()


def test_without_darks_the_read_noise_is_left_out(cli, shots, tmp_path):
    folder = tmp_path / "shots"
    shutil.copytree(shots, folder)
    for dark in folder.glob("dark*.dng"):
        dark.unlink()
    code, said, _ = cli("calibrate", folder, "-o", tmp_path / "camera.yaml")
    assert code == 0
    assert "cannot be told from these shots" in said
    assert 0.0 in read_profile(tmp_path / "camera.yaml").noise[0].read
