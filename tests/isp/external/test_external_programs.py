"""RawTherapee and darktable themselves, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from ispkit.core.frame import Frame
from ispkit.io.read_pictures import read_picture
from ispkit.isp.catalog import open_isp
from ispkit.isp.external.files import write_input
from ispkit.isp.recipe import preset
from ispkit.sensor.simulate import Sensor, capture

pytest.importorskip("tifffile")
needs_rawtherapee = pytest.mark.skipif(
    shutil.which("rawtherapee-cli") is None, reason="needs rawtherapee-cli, which is not installed"
)
PROFILE = """[Exposure]
Compensation=0.7
Contrast=20

[Directional Pyramid Denoising]
Enabled=true
Luma=35
Ldetail=60
Chroma=20
Method=Lab
LMethod=SLI
CMethod=MAN
Gamma=1.7

[Sharpening]
Enabled=true
Method=usm
Contrast=10
Radius=0.8
Amount=150
Threshold=20;80;2000;1200;

[HSV Equalizer]
Enabled=false
"""


@pytest.fixture(scope="module")
def frame() -> Frame:
    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    scene = torch.nn.functional.interpolate(coarse, size=(192, 192), mode="bilinear").clamp(0.02, 0.9)
    return capture(scene, Sensor(), iso=1600.0, seed=1)


@needs_rawtherapee
@pytest.mark.parametrize(("y", "x"), [(0, 0), (1, 0), (0, 1)])
def test_rawtherapee_gives_the_whole_frame_where_it_lies(frame, y, x):
    window = frame.crop(y, x, 90, 88)
    out = open_isp("rawtherapee")(window).data
    ours = preset("neutral")(window).data.clamp(0, 1)
    assert out.shape == ours.shape

    def error(dy, dx):
        return float((out.roll((dy, dx), (-2, -1)) - ours)[..., 4:-4, 4:-4].square().mean())

    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert min(shifts, key=lambda s: error(*s)) == (0, 0)
    border = torch.cat([(out - ours)[..., :4, :].flatten(), (out - ours)[..., -4:].flatten()])
    assert float(border.abs().mean()) < 0.05


def nearly_equal(a, b):
    """Same settings, same picture, but for the few pixels that RawTherapee's threads now and then make differ."""
    return a.shape == b.shape and float((a - b).abs().mean()) < 1e-3


@needs_rawtherapee
def test_knobs_of_rawtherapee_act_and_repeats_are_equal(frame):
    isp = open_isp("rawtherapee", workers=2)
    out = isp(frame, {"denoise.luma": torch.tensor([0.0, 60.0, 60.0])}).data
    assert nearly_equal(out[1], out[2])
    assert float(out[1].diff(dim=-1).std()) < 0.7 * float(out[0].diff(dim=-1).std())


@needs_rawtherapee
def test_a_users_profile_renders_as_rawtherapee_itself_does(frame, tmp_path):
    (tmp_path / "mine.pp3").write_text(PROFILE)
    isp = open_isp("rawtherapee", start=tmp_path / "mine.pp3")
    write_input(tmp_path / "a.dng", frame, isp.spec.input)
    words = ["rawtherapee-cli", "-q", "-Y", "-t", "-b16", "-o", tmp_path / "a.tif", "-p", tmp_path / "mine.pp3"]
    done = subprocess.run(
        [*map(str, words), "-c", str(tmp_path / "a.dng")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = torch.from_numpy(read_picture(Path(tmp_path / "a.tif")).pixels).permute(2, 0, 1)
    assert nearly_equal(isp(frame).data[0], theirs)


@needs_rawtherapee
@pytest.mark.slow
def test_random_settings_of_all_knobs_are_legal(frame):
    isp = open_isp("rawtherapee", workers=2)
    drawn = isp.space.from_vector(torch.rand(12, isp.space.dim, generator=torch.Generator().manual_seed(0)))
    assert isp(frame, drawn).batch == 12


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("darktable-cli") is None, reason="needs darktable-cli, which is not installed")
def test_darktable_follows_its_exposure(frame):
    isp = open_isp("darktable")
    dark, bright = (float(isp(frame, {"exposure.ev": ev}).data.mean()) for ev in ("-1", "+1"))
    assert bright > 1.3 * dark
