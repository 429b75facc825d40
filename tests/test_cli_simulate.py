"""`ispkit simulate`: real DNG files with their truth, resumed, listed, and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rawpy
import torch

from ispkit.charts.scene import studio_scene
from ispkit.core.profile import CameraProfile, NoisePoint
from ispkit.io.load import load
from ispkit.io.pictures import read_picture, write_picture
from ispkit.io.profile import write_profile
from ispkit.ops.encode import srgb_encode


@pytest.fixture
def run(cli):
    """Run `ispkit simulate ARGS`; gives what it printed, or the one line of the error."""

    def simulate(*words, code=0) -> str:
        ended, out, err = cli("simulate", *words)
        if code == 0 and ended == 2:
            assert err.count("\n") == 1
            return err
        assert ended == code
        return out

    return simulate


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.jpg", "c.tif")):
        scene = srgb_encode(studio_scene(48, 64, seed=seed).clamp(0, 1))[0].permute(1, 2, 0).numpy()
        write_picture(folder / name, scene, bits=8)
    return folder


def test_pictures_become_files_that_libraw_opens_with_their_truth(run, photos, tmp_path):
    out = tmp_path / "raw"
    shots = json.loads(run(photos, "-o", out, "--sensor", "nexus-6p-rear", "--lux", "2-200", "--json"))
    assert [s["error"] for s in shots] == ["", "", ""]
    for shot in shots:
        facts = json.loads(Path(shot["truth"]).read_text())
        with rawpy.imread(shot["raw"]) as raw:
            assert raw.raw_image.shape == (48, 64)
            assert raw.raw_pattern.tolist() == [[2, 3], [1, 0]]  # BGGR
            assert raw.black_level_per_channel == [64, 64, 64, 64]
            assert raw.white_level == 1023
            assert raw.postprocess().shape == (48, 64, 3)
        frame = load(shot["raw"])
        assert frame.meta.noise_profile[0].tolist() == [pytest.approx(row) for row in facts["noise_profile"]]
        assert frame.meta.neutral[0].tolist() == pytest.approx(facts["neutral"], abs=1e-4)
        assert float(frame.meta.baseline_exposure) == pytest.approx(facts["exposure_ev"], abs=1e-4)
        assert 2 <= facts["lux"] <= 200
        assert facts["iso"] == pytest.approx(200000 / facts["lux"])
        clean = read_picture(shot["clean"])
        assert (clean.bits, clean.linear, clean.pixels.shape) == (16, True, (48, 64, 3))
        source = read_picture(shot["picture"]).pixels
        shown = srgb_encode(torch.from_numpy(clean.pixels)).numpy()
        np.testing.assert_allclose(shown, source, atol=2e-3)
    assert len({json.dumps(json.loads(Path(s["truth"]).read_text())["neutral"]) for s in shots}) == 3


def test_the_noise_in_the_file_is_the_noise_of_its_tag(run, tmp_path):
    write_picture(tmp_path / "gray.png", np.full((256, 256, 3), 0.5, np.float32))
    (shot,) = json.loads(
        run(tmp_path / "gray.png", "-o", tmp_path / "out", "--sensor", "sony-a7s2", "--iso", 6400, "--json")
    )
    frame = load(shot["raw"])
    signal = (frame.data - 800) / (16383 - 800)
    s, o = frame.meta.noise_profile[0, 1].tolist()
    greens = signal[0, 0, 0::2, 1::2], signal[0, 0, 1::2, 0::2]
    for site in greens:
        # 128 rows share one offset each, which the profile does not hold
        inside = float((site - site.mean(-1, keepdim=True)).var()) * 128 / 127
        assert inside == pytest.approx(s * float(site.mean()) + o, rel=0.05)


def test_a_second_run_makes_only_what_changed(run, photos, tmp_path):
    out = tmp_path / "raw"
    words = (photos, "-o", out, "--seed", 4, "--json")
    first = json.loads(run(*words))
    data = {s["raw"]: Path(s["raw"]).read_bytes() for s in first}
    assert all(s["skipped"] for s in json.loads(run(*words)))
    (out / "b_clean.png").unlink()
    again = json.loads(run(*words))
    assert [s["skipped"] for s in again] == [True, False, True]
    assert all(Path(name).read_bytes() == content for name, content in data.items()), "same seed, same files"
    assert not any(s["skipped"] for s in json.loads(run(*words, "--force")))
    other = json.loads(run(photos, "-o", out, "--seed", 5, "--json"))
    assert not any(s["skipped"] for s in other)
    assert Path(first[0]["raw"]).read_bytes() != data[first[0]["raw"]]
    alone = json.loads(run(photos / "b.jpg", "-o", tmp_path / "alone", "--seed", 4, "--json"))
    assert Path(alone[0]["raw"]).read_bytes() == data[first[1]["raw"]], "a shot does not depend on the others"
    assert not list(out.glob(".*")), "nothing half-written"


@pytest.mark.parametrize("method", ["unprocess", "kim", "linear"])
def test_every_method_and_pattern(run, method, photos, tmp_path):
    (shot,) = json.loads(
        run(photos / "a.png", "-o", tmp_path / "o", "--method", method, "--cfa", "gbrg", "--iso", 200, "--json")
    )
    facts = json.loads(Path(shot["truth"]).read_text())
    assert (facts["method"], facts["cfa"], load(shot["raw"]).meta.cfa) == (method, "GBRG", "GBRG")
    assert ("response_exponents" in facts) == (method == "kim")


def test_a_calibrated_camera_can_be_the_sensor(run, photos, tmp_path):
    profile = CameraProfile("mine", "GRBG", (48, 64), 4095.0, noise=(NoisePoint(100.0, (1e-3,) * 3, (1e-6,) * 3, ""),))
    write_profile(tmp_path / "camera.yaml", profile)
    (shot,) = json.loads(
        run(photos / "a.png", "-o", tmp_path / "o", "--sensor", tmp_path / "camera.yaml", "--iso", 400, "--json")
    )
    meta = load(shot["raw"]).meta
    assert (meta.cfa, float(meta.white_level[0, 0])) == ("GRBG", 4095.0)
    assert float(meta.noise_profile[0, 0, 0]) == pytest.approx(4e-3)


def test_the_sensors_are_listed_with_their_sources(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    listed = json.loads(run("--list", "--json"))
    names = [row["name"] for row in listed["sensors"]]
    assert {"default", "nexus-6p-rear", "sony-a7s2", "sidd-lg-g4"} <= set(names)
    assert listed["light_levels"] == ["3 lux", "6 lux", "2-20 lux", "2-200 lux"]
    assert "DirtyPixels" in run("--list")


def test_mistakes_are_named_in_one_sentence(run, photos, tmp_path):
    out = tmp_path / "o"
    picture = photos / "a.png"
    assert "needs pictures and a folder" in run(picture)
    assert "no sensor 'nexus-6p'" in run(picture, "-o", out, "--sensor", "nexus-6p")
    assert "no light level 'dark lux'" in run(picture, "-o", out, "--lux", "dark")
    assert "did you mean 'linear'" in run(picture, "-o", out, "--method", "linea")
    assert "not a Bayer pattern" in run(picture, "-o", out, "--cfa", "RGB")
    (tmp_path / "empty").mkdir()
    assert "folder without pictures" in run(tmp_path / "empty", "-o", out)
    assert not out.exists(), "nothing is made when the request makes no sense"
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    write_picture(photos / "small.png", np.zeros((10, 10, 3), np.float32))
    shots = json.loads(run(photos, photos / "none.png", "-o", out, "--json", code=2))
    errors = {s["picture"].split("/")[-1]: s["error"] for s in shots}
    assert errors["a.png"] == errors["b.jpg"] == errors["c.tif"] == ""
    assert "bad.png" in errors["bad.png"]
    assert "22 pixels" in errors["small.png"]
    assert errors["none.png"].endswith("no such file")
    assert not (out / "bad.dng").exists()
    target = photos / "x_clean.png"
    write_picture(target, np.zeros((32, 32, 3), np.float32))
    write_picture(photos / "x.png", np.zeros((32, 32, 3), np.float32))
    assert "is an input of this command" in run(photos / "x.png", target, "-o", photos)
