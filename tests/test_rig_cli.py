"""`ispkit rig` as a user meets it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ispkit.cli.rig import rig
from ispkit.core.errors import ParamError
from ispkit.io.load import load
from ispkit.io.pictures import write_picture
from ispkit.io.read_pictures import read_picture
from ispkit.rig.contracts import DeviceError
from ispkit.rig.light_transport import LightTransport


def run(*words):
    return CliRunner().invoke(rig, [str(w) for w in words], catch_exceptions=False)


def test_the_whole_loop_on_the_simulated_rig(tmp_path):
    done = run("align", "--simulate", "--size", "320x208", "--seed", 2, "-o", tmp_path / "rig", "--json")
    report = json.loads(done.stdout)
    assert report["true_error_px"]["median"] < 0.05
    assert report["alignment"]["display_coverage"] > 0.9
    assert report == json.loads((tmp_path / "rig" / "report.json").read_text())
    transport = LightTransport.load(tmp_path / "rig" / "map.npz")
    assert transport.display_size == (208, 320)
    assert read_picture(tmp_path / "rig" / "overlay.png").pixels.shape == (104, 160, 3)

    picture = np.tile(np.linspace(0, 1, 320)[None, :, None], (208, 1, 3))
    write_picture(tmp_path / "ramp.png", picture)
    simulated = ("--simulate", "--size", "320x208", "--seed", 2)
    run("capture", tmp_path / "ramp.png", *simulated, "--map", tmp_path / "rig" / "map.npz", "-o", tmp_path / "shots")
    frame = load(tmp_path / "shots" / "ramp.dng")
    target = read_picture(tmp_path / "shots" / "ramp-target.tif")
    assert target.linear
    assert frame.size == target.pixels.shape[:2] == (104, 160)
    seen = (frame.data[0, 0].numpy() - 512)[transport.mask]
    assert np.corrcoef(seen, target.pixels[transport.mask].mean(-1))[0, 1] > 0.9
    assert set(np.unique(read_picture(tmp_path / "shots" / "mask.png").pixels)) == {0, 1}


def test_printed_results(tmp_path):
    done = run("align", "--simulate", "--size", "240x160", "-o", tmp_path)
    assert "display 240x160, camera 120x80" in done.stdout
    assert "true error of the map: median 0.0" in done.stdout
    done = run("color", "--simulate", "--size", "160x100", "-o", tmp_path / "color.json")
    assert "TL84  linear RGB" in done.stdout
    lights = json.loads(
        run("color", "--simulate", "--size", "160x100", "-o", tmp_path / "color.json", "--json").stdout
    )["lights"]
    assert [light["light"] for light in lights] == ["A", "D65", "TL84"]
    assert "rpicam" in run("cameras").stdout
    assert "shutter_us" in json.loads(run("cameras", "--json").stdout)["commands"]["rpicam"]["settings"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("align", "-o", "OUT"), "which camera"),
        (("align", "-o", "OUT", "-c", "rpicm"), "did you mean 'rpicam'"),
        (("align", "-o", "OUT", "--simulate", "--size", "big"), "should be WIDTHxHEIGHT"),
        (("align", "-o", "OUT", "-c", "rpicam", "--set", "gain"), "should be NAME=VALUE"),
    ],
)
def test_wrong_words_are_one_sentence_each(tmp_path, words, message):
    words = [tmp_path / "out" if w == "OUT" else w for w in words]
    with pytest.raises(ParamError, match=message):
        run(*words)
    assert not list(tmp_path.iterdir())  # nothing is left


def test_a_missing_program_is_told_before_anybody_waits_for_a_screen(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="needs the program 'gphoto2'"):
        run("align", "-c", "gphoto2", "-o", tmp_path / "out")
    assert "Commands:" in run().stdout


@pytest.mark.parametrize("command", ["display", "align", "capture", "color", "cameras"])
def test_every_command_has_help_with_examples(command):
    assert f"ispkit rig {command}" in run(command, "--help").stdout
