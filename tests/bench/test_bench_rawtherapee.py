"""Experiment (f): targets are the program's own noise-free pictures, rivals are what they say, a run leaves tables."""

from __future__ import annotations

import shutil

import pytest
import torch

from ispkit.bench import rawtherapee as experiment
from ispkit.bench.rawtherapee import RawTherapeeBench, profile_values, rawtherapee_problem, run_rawtherapee
from ispkit.bench.rawtherapee_scenes import composite, mirrored, noise_free, pictures_of, shots_with_targets
from ispkit.core.errors import FileError, ShapeError
from ispkit.data.tuning_sets import Shooting, from_pictures
from ispkit.io.tuning.pp3 import IniText
from ispkit.isp.external.command import CommandISP
from ispkit.isp.recipe import preset
from ispkit.sensor.catalog import load_sensor

SENSOR = "sidd-google-pixel"
needs_program = pytest.mark.skipif(
    shutil.which("rawtherapee-cli") is None, reason="needs rawtherapee-cli (apt-get install rawtherapee)"
)


def test_a_noise_free_shot_is_the_mean_of_noisy_ones():
    pictures = pictures_of((), (64, 64), count=1, seed=0)
    sensor = load_sensor(SENSOR)
    clean = from_pictures(pictures, noise_free(sensor), Shooting((16.0,)))[0]
    other = from_pictures(pictures, noise_free(sensor), Shooting((16.0,), seed=9))[0]
    assert torch.equal(clean.frame.data, other.frame.data)
    noisy = torch.stack([from_pictures(pictures, sensor, Shooting((16.0,), seed=s))[0].frame.data for s in range(40)])
    black, white = clean.frame.meta.black_level.mean(), clean.frame.meta.white_level.mean()
    bright = ((clean.frame.data - black) / (white - black) > 0.1) & (clean.frame.data < 0.7 * white)
    off = ((noisy.mean(0) - clean.frame.data) / noisy.std(0).clamp(min=1e-3) * 40**0.5)[bright]
    assert abs(float(off.mean())) < 0.1
    assert float(off.std()) == pytest.approx(1, abs=0.15)


def test_targets_are_the_isps_own_pictures_without_noise():
    isp, pictures = preset("neutral"), pictures_of((), (64, 64), count=2, seed=0)
    scenes = shots_with_targets(isp, pictures, load_sensor(SENSOR), Shooting((16.0,), crop=(64, 64)))
    made = isp(scenes[0].frame).data
    assert scenes[0].target.shape == made.shape
    assert float((made - scenes[0].target).abs().mean()) > 0.02  # the noise
    assert abs(float((made - scenes[0].target).mean())) < 0.02
    quiet = shots_with_targets(isp, pictures, noise_free(load_sensor(SENSOR)), Shooting((16.0,), crop=(64, 64)))
    assert float((isp(quiet[0].frame).data - quiet[0].target).abs().max()) <= 0.5 / 255 + 1e-6
    assert torch.equal(quiet[0].target, scenes[0].target)


def test_small_pictures_are_continued_and_windows_make_a_square():
    picture = torch.rand(1, 3, 50, 60)
    wide = mirrored(picture, (56, 56))
    assert wide.shape[-2:] == (56, 60)
    assert torch.equal(wide[..., 50, :], picture[..., 48, :])
    assert mirrored(picture, (32, 32)) is picture
    with pytest.raises(ShapeError, match="too small to be continued"):
        mirrored(picture, (120, 60))
    square = composite([torch.full((1, 3, 40, 40), 0.1 * i) for i in range(4)], 16, seed=0)
    assert square.shape == (1, 3, 32, 32)
    assert float(square[0, 0, 0, -1]) == pytest.approx(0.1)
    assert float(square[0, 0, -1, 0]) == pytest.approx(0.2)
    with pytest.raises(ShapeError, match="3 pictures make no square"):
        composite([picture] * 3, 16, seed=0)


def test_the_preset_frees_twenty_knobs_and_more_and_none_that_changes_colors():
    free = CommandISP("rawtherapee").space.select(*RawTherapeeBench().free)
    assert len(free) >= 20
    assert not {"raw.red", "raw.blue", "dehaze.strength"} & set(free)


def test_a_profile_is_read_as_far_as_knobs_go():
    isp = CommandISP("rawtherapee")
    text = (
        "[Directional Pyramid Denoising]\nEnabled=true\nLuma=50\nLdetail=60\nLMethod=SLI\nCMethod=AUT\n"
        "[RAW Bayer]\nMethod=lmmse\n[Exposure]\nContrast=20\n"
    )
    values = profile_values(isp, IniText(text), isp.space.select("denoise.*", "raw.method"))
    assert (values["denoise.luma"], values["denoise.luma_detail"], values["raw.method"]) == (50.0, 60.0, "lmmse")
    assert values["denoise.chroma"] == 0  # it is the program's own automatic, which no knob stands for
    assert "exposure.contrast" not in values


def test_a_missing_profile_is_told(monkeypatch):
    monkeypatch.setattr(experiment, "PROFILE_FOLDERS", ("/nowhere",))
    with pytest.raises(FileError, match="say where RawTherapee's profile is"):
        experiment.bundled_profile()


@needs_program
def test_the_problem_in_one_render(tmp_path):
    tuning, held = rawtherapee_problem(RawTherapeeBench(crop=(192, 192)), seed=1, cache=tmp_path)
    assert len(tuning.pictures) == len(held.pictures) == 1
    assert tuning.scenes[0].frame.size == (192, 192)
    plain, smooth = tuning.measure({}), tuning.measure({"denoise.luma": 40.0})
    assert smooth.scores["psnr"] < plain.scores["psnr"]  # lower is better
    assert plain.residual is not None


@needs_program
@pytest.mark.slow
def test_the_experiment_leaves_its_tables_and_goes_on(tmp_path):
    profile = tmp_path / "own.pp3"
    profile.write_text("[Directional Pyramid Denoising]\nEnabled=true\nLuma=30\nLMethod=SLI\n")
    bench = RawTherapeeBench(count=2, crop=(128, 128), budget=4, luma=(0.0, 40.0), profile=profile, method="random")
    made = run_rawtherapee(tmp_path, bench, command="ispkit bench rawtherapee")
    judged = made.tables[0]
    assert [r["contestant"] for r in judged.rows] == ["default", "auto profile", "luma sweep", "tuned"]
    assert len(made.claims) == 3
    assert made.details["scores"]["auto profile"] != made.details["scores"]["default"]
    again = run_rawtherapee(tmp_path, bench, command="ispkit bench rawtherapee")
    assert again.details["tuned"] == made.details["tuned"]
