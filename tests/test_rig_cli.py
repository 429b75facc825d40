"""`ispkit rig` as a user meets it."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from ispkit.io.load import load
from ispkit.io.pictures import write_picture
from ispkit.io.read_pictures import read_picture
from ispkit.rig.light_transport import LightTransport


def test_the_whole_loop_on_the_simulated_rig(cli, tmp_path):
    simulated = ("--simulate", "--size", "208x320", "--seed", 2)  # height x width, as `ispkit chart` has it
    code, out, err = cli("rig", "align", *simulated, "-o", tmp_path / "rig", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["true_error_px"]["median"] < 0.05
    assert report["alignment"]["display_coverage"] > 0.9
    assert report == json.loads((tmp_path / "rig" / "report.json").read_text())
    transport = LightTransport.load(tmp_path / "rig" / "map.npz")
    assert transport.display_size == (208, 320)
    assert read_picture(tmp_path / "rig" / "overlay.png").pixels.shape == (104, 160, 3)

    picture = np.tile(np.linspace(0, 1, 320)[None, :, None], (208, 1, 3))
    write_picture(tmp_path / "ramp.png", picture)
    known = ("--map", tmp_path / "rig" / "map.npz", "-o", tmp_path / "shots")
    code, out, err = cli("rig", "capture", tmp_path / "ramp.png", *simulated, *known)
    assert (code, err, out.count("written: ")) == (0, "", 2)
    frame = load(tmp_path / "shots" / "ramp.dng")
    target = read_picture(tmp_path / "shots" / "ramp-target.tif")
    assert target.linear
    assert frame.size == target.pixels.shape[:2] == (104, 160)
    seen = (frame.data[0, 0].numpy() - 512)[transport.mask]
    assert np.corrcoef(seen, target.pixels[transport.mask].mean(-1))[0, 1] > 0.9
    assert set(np.unique(read_picture(tmp_path / "shots" / "mask.png").pixels)) == {0, 1}


def test_printed_results(cli, tmp_path):
    code, out, err = cli("rig", "align", "--simulate", "--size", "160x240", "-o", tmp_path)
    assert (code, err) == (0, "")
    assert "display 160x240, camera 80x120" in out
    assert "true error of the map: median 0.0" in out
    color = ("rig", "color", "--simulate", "--size", "100x160", "-o", tmp_path / "color.json")
    code, out, _ = cli(*color)
    assert code == 0
    assert "TL84  linear RGB" in out
    lights = json.loads(cli(*color, "--json")[1])["lights"]
    assert [light["light"] for light in lights] == ["A", "D65", "TL84"]
    assert set(lights[0]) == {"light", "white_xy", "linear_rgb", "luminance", "in_gamut"}
    assert "rpicam" in cli("rig", "cameras")[1]
    assert "shutter_us" in json.loads(cli("rig", "cameras", "--json")[1])["commands"]["rpicam"]["settings"]
    assert "Commands:" in cli("rig")[1]


def test_wrong_words_are_one_sentence_each(cli, tmp_path):
    out = tmp_path / "out"
    for words, message in (
        (("align", "-o", out), "which camera"),
        (("align", "-o", out, "-c", "rpicm"), "did you mean 'rpicam'"),
        (("align", "-o", out, "--simulate", "--size", "big"), "should be HEIGHTxWIDTH"),
        (("align", "-o", out, "-c", "rpicam", "--set", "gain"), "should be NAME=VALUE"),
        (("display", "--screen", "left wall"), "screen name 'left wall' should be letters"),
        (("align", "-o", out, "-c", f"watch:{tmp_path}", "-d", "browser:a/b"), "screen name 'a/b' should be letters"),
    ):
        code, told, err = cli("rig", *words)
        assert (code, told) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing is left


def test_no_file_of_the_user_is_written_over(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for name in ("a.png", "mask.png", "frame-0001.png", "other/a.png"):
        write_picture(tmp_path / name, np.full((8, 12, 3), 0.5))
    (tmp_path / "cam.yaml").write_text("command: cp a.png {out}\nsuffix: .png\n")
    (tmp_path / "m.csv").write_text("R,G,B,X,Y,Z\n0,0,0,0,0,0\n")
    assert cli("rig", "align", "--simulate", "--size", "80x120", "-o", "rig", "--json")[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    finished = ("-c", "cam.yaml", "-d", "folder:prints")
    for words, message in (
        (("capture", "a.png", *finished, "-o", "."), "a.png is an input of this command"),
        (("capture", "a.png", "other/a.png", *finished, "-o", "shots"), "other/a.png would both be written to shots"),
        (("capture", "mask.png", *finished, "--map", "rig/map.npz", "-o", "shots"), "be written to shots/mask.png"),
        (("capture", "frame-0001.png", "-c", "cam.yaml", "-d", "folder:.", "-o", "shots"), "is an input"),
        (("color", "--measurements", "m.csv", "-o", "m.csv"), "m.csv is an input of this command"),
        (("color", "-c", "cam.yaml", "-d", "folder:prints", "-o", "cam.yaml"), "cam.yaml is an input of this command"),
    ):
        code, told, err = cli("rig", *words)
        assert (code, told) == (2, "")
        assert message in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    assert not (tmp_path / "prints").exists()  # nothing was shown


def test_a_missing_program_is_told_before_anybody_waits_for_a_screen(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    start = time.monotonic()
    code, _, err = cli("rig", "align", "-c", "gphoto2", "-o", tmp_path / "out")
    assert (code, "needs the program 'gphoto2'" in err) == (2, True)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("command", ["display", "align", "capture", "color", "cameras"])
def test_every_command_has_help_with_examples(cli, command):
    code, out, err = cli("rig", command, "--help")
    assert (code, err) == (0, "")
    assert f"ispkit rig {command}" in " ".join(out.split())
    shared = ("--simulate", "--display", "--camera", "--set", "--host", "--port", "--token", "--size", "--settle")
    assert all(word in out for word in shared) == (command in ("align", "capture", "color"))
