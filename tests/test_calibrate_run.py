"""A folder of simulated shots becomes the sensor that took them; whatever is wrong or missing is said in words."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from ispkit.calibrate.run import calibrate, fingerprint
from ispkit.calibrate.shots import facts_of_name, take_inventory
from ispkit.charts.catalog import build
from ispkit.charts.checker import colorchecker_chart
from ispkit.core.errors import FileError
from ispkit.io.dng_writer import write_dng
from ispkit.io.profile import dump_profile, parse_profile
from ispkit.sensor.simulate import Defect, Sensor, capture

SMALL = (96, 128)
SENSOR = Sensor(defects=(Defect(10, 11, "dead", 0.0), Defect(50, 61, "stuck", 1.0), Defect(101, 200, "hot", 2e5)))


def shoot(path, level=0.5, *, size=SMALL, sensor=None, **settings):
    """One flat field (a dark frame at level 0) as DNG."""
    scene = level if isinstance(level, torch.Tensor) else torch.full((1, 3, *size), float(level))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(path, capture(scene, sensor or Sensor(), **settings), opcodes=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Darks and flats at two gains and two lights, charts under two lights."""
    root = tmp_path_factory.mktemp("camera")
    size, seed = (256, 384), 0
    for iso in (100, 400):
        for i in range(2):
            seed += 1
            shoot(root / f"dark_iso{iso}_{i}.dng", 0.0, size=size, sensor=SENSOR, iso=iso, seed=seed)
            for cct in (3000, 6000):
                seed += 1
                settings = {"iso": iso, "seed": seed, "cct_k": cct, "size": size, "sensor": SENSOR}
                shoot(root / f"alsc_{cct}k_iso{iso}_{i}.dng", 0.6, **settings)
    for light, cct in (("A", 2856), ("D65", 6504)):
        seed += 1
        chart = colorchecker_chart(*size, light=light).picture[None].float() * 0.7
        shoot(root / f"chart_{light}_800l.dng", chart, sensor=SENSOR, cct_k=cct, seed=seed)
    return root


@pytest.fixture(scope="module")
def calibration(folder):
    return calibrate(folder)


def test_the_profile_is_the_sensor(calibration):
    profile = calibration.profile
    assert (profile.name, profile.cfa, profile.size) == ("ispkit Simulated Camera", "RGGB", (256, 384))
    assert profile.white_level == SENSOR.white_level
    assert [b.iso for b in profile.black] == [100, 400]
    assert all(round(v) == 512 for b in profile.black for v in b.level_dn)
    assert profile.defects == ((10, 11), (50, 61), (101, 200))
    for point in profile.noise:
        assert point.method == "flat_pairs"
        assert point.shot == pytest.approx([SENSOR.shot_at_iso100 * point.iso / 100] * 3, rel=0.03)
        truth = SENSOR.read_at_iso100 * (point.iso / 100) ** 2 + 1 / 12 / (SENSOR.white_level - 512) ** 2
        assert point.read == pytest.approx([truth] * 3, rel=0.1)
    assert [s.cct_k for s in profile.shading] == [3000, 6000]
    corners = np.array([s.gains for s in profile.shading])[:, :, ::12, ::16]
    assert np.abs(corners / 1.35 - 1).max() < 0.015  # two frames of 0.1 MP; the 1 % over ten seeds is tested apart
    assert [c.name for c in profile.colors] == ["A", "D65"]
    assert calibration.evidence.law == (pytest.approx(1, abs=0.02), pytest.approx(0, abs=0.02))


def test_it_says_what_is_missing_and_survives_the_file(calibration):
    assert [m.split(":")[0] for m in calibration.missing] == ["no noise chart (psf_*)"]
    assert parse_profile(dump_profile(calibration.profile)) == calibration.profile
    assert calibration.profile.made["shots"]["chart"] == ["chart_A_800l.dng", "chart_D65_800l.dng"]


def test_progress_goes_on_and_the_fingerprint_knows_the_files(folder, tmp_path):
    seen = []
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("dark_iso100_0.dng", "dark_iso100_1.dng"):
        shutil.copy2(folder / name, copy / name)
    key = calibrate(copy, progress=lambda *told: seen.append(told)).profile.made["key"]
    assert [done for what, done, _ in seen if what.startswith("black")] == [0]
    assert all(done < total for _, done, total in seen)
    assert fingerprint(copy) == key
    assert fingerprint(copy, (4, 4)) != key
    (copy / "shots.yaml").write_text("shots: {}")
    assert fingerprint(copy) != key


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("dark_1.dng", {"kind": "dark"}),
        ("alsc_3850k_1.dng", {"kind": "flat", "cct_k": 3850.0}),
        ("flat/IMG_0007_iso800.dng", {"kind": "flat", "iso": 800.0}),
        ("D65_6500k_1000l.dng", {"kind": "chart", "cct_k": 6500.0, "light": "D65", "lux": 1000.0}),
        ("macbeth-A.dng", {"kind": "chart", "cct_k": 2856.0, "light": "A"}),
        ("ColorChecker_TL84.nef", {"kind": "chart", "cct_k": 3995.0, "light": "TL84"}),
        ("noise_chart_1.dng", {"kind": "psf"}),
        ("BlackImage_1920x1080_12bits_BGGR.raw", {"kind": "dark"}),
        ("IMG_0001.dng", {}),
    ],
)
def test_names_tell_what_a_shot_is(name, facts):
    found = facts_of_name(name)
    if "cct_k" in facts:
        assert found.pop("cct_k") == pytest.approx(facts.pop("cct_k"), rel=0.01)
    assert found == facts


def test_without_dark_frames_the_tag_is_taken_and_said_so(tmp_path):
    for i in range(2):
        shoot(tmp_path / f"flat_5000k_{i}.dng", seed=i)
    done = calibrate(tmp_path)
    assert done.profile.black[0].level_dn == (512.0,) * 4
    assert done.missing[0].startswith("no dark frame: the black level is the file's tag")
    assert any("second color temperature" in m for m in done.missing)
    assert any("O needs dark frames" in m for m in done.missing)


def test_one_flat_only_falls_back_to_the_single_image_method(tmp_path):
    for i in range(2):
        shoot(tmp_path / f"dark_{i}.dng", 0.0, seed=i, size=(256, 384))
    shoot(tmp_path / "flat_5000k.dng", seed=9, size=(256, 384))
    done = calibrate(tmp_path)
    assert done.profile.noise[0].method == "single_image"
    assert done.profile.noise[0].shot == pytest.approx([SENSOR.shot_at_iso100] * 3, rel=0.1)
    assert any("only single flats at ISO 100: noise needs two" in m for m in done.missing)
    assert any("single-image method" in n for n in done.notes)


def test_black_is_that_of_the_same_gain_then_of_the_nearest_exposure(tmp_path):
    levels = {(100, 1.0): 512.0, (100, 8.0): 1200.0, (400, 0.01): 2000.0}
    for (iso, seconds), black in levels.items():
        sensor = Sensor(black_level=black)
        for i in range(2):
            name = f"dark_{iso}_{seconds:g}_{i}.dng"
            shoot(tmp_path / name, 0.0, sensor=sensor, iso=iso, exposure_time_s=seconds, seed=i)
    for i in range(2):
        shoot(
            tmp_path / f"flat_5000k_{i}.dng", 0.6, seed=10 + i, sensor=replace(Sensor(), vignetting=(1.0, 0, 0, 0, 0))
        )
    profile = calibrate(tmp_path).profile
    assert sorted((b.iso, b.exposure_time_s, round(b.level_dn[0])) for b in profile.black) == [
        (iso, seconds, black) for (iso, seconds), black in levels.items()
    ]
    # a gain of 2 in the corners is only seen above the right black level
    assert np.array(profile.shading[0].gains)[:, ::12, ::16] == pytest.approx(np.full((4, 2, 2), 2.0), rel=0.03)


def test_the_intercept_is_that_of_the_shortest_dark_frames(tmp_path):
    for seconds, read in ((0.01, 2e-7), (4.0, 3e-6)):  # dark current adds noise with time
        for i in range(2):
            name = f"dark_{seconds:g}_{i}.dng"
            shoot(tmp_path / name, 0.0, sensor=Sensor(read_at_iso100=read), exposure_time_s=seconds, seed=i)
    for i in range(2):
        shoot(tmp_path / f"flat_5000k_{i}.dng", seed=i, sensor=Sensor(read_at_iso100=2e-7))
    (noise,) = calibrate(tmp_path).profile.noise
    assert noise.read == pytest.approx([2e-7] * 3, rel=0.1)


def test_charts_give_noise_only_where_no_flats_do(tmp_path):
    chart = colorchecker_chart(512, 768).picture[None].float() * 0.7
    shoot(tmp_path / "chart_D65.dng", chart, iso=800)
    alone = calibrate(tmp_path).profile
    assert [(n.iso, n.method) for n in alone.noise] == [(800, "single_image")]
    for i in range(2):
        shoot(tmp_path / f"flat_5000k_{i}.dng", seed=i, size=(512, 768))
    assert [(n.iso, n.method) for n in calibrate(tmp_path).profile.noise] == [(100, "flat_pairs")]


def test_pixels_tell_what_a_name_does_not(tmp_path):
    torch.manual_seed(0)
    shoot(tmp_path / "IMG_1.dng", 0.0)
    shoot(tmp_path / "IMG_2.dng", 0.5)
    scene = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 16), SMALL)
    shoot(tmp_path / "IMG_3.dng", scene)
    (tmp_path / "IMG_4.dng").write_bytes(b"no picture at all")
    found = take_inventory(tmp_path)
    assert [(s.name, s.kind) for s in found.shots] == [("IMG_1.dng", "dark"), ("IMG_2.dng", "flat")]
    assert len(found.notes) == 2
    assert found.notes[0].startswith("IMG_3.dng is left out: neither its name nor its pixels")
    assert found.notes[1].startswith("IMG_4.dng is left out: ")


def test_shots_yaml_wins(tmp_path):
    shoot(tmp_path / "IMG_1.dng", 0.5)
    shoot(tmp_path / "broken_dark.dng", 0.9)
    (tmp_path / "shots.yaml").write_text(
        "shots:\n  IMG_1.dng: {kind: flat, cct_k: 4200, iso: 320}\n  broken_dark.dng: {kind: skip}\n"
    )
    (shot,) = take_inventory(tmp_path).shots
    assert (shot.kind, shot.cct_k, shot.iso) == ("flat", 4200, 320)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shots: {IMG_2.dng: {kind: flat}}", "shots.IMG_2.dng: there is no such RAW file"),
        ("shots: {IMG_1.dng: {kind: flut}}", "kind='flut' is not known; did you mean 'flat'?"),
        ("shots: {IMG_1.dng: {cct: 5000}}", "no key 'cct'; did you mean 'cct_k'?"),
        ("shots: {IMG_1.dng: {cct_k: warm}}", "cct_k='warm' must be a number"),
        ("shots: [IMG_1.dng]", "it must hold 'shots:'"),
        ("shots: {", "cannot be read as YAML"),
    ],
)
def test_a_wrong_shots_yaml_is_one_sentence(tmp_path, text, said):
    shoot(tmp_path / "IMG_1.dng")
    (tmp_path / "shots.yaml").write_text(text)
    with pytest.raises(FileError) as error:
        take_inventory(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def stripes():
    picture = torch.full((1, 3, *SMALL), 0.3)
    picture[..., ::16] = 0.6
    return picture.repeat_interleave(4, -1)[..., : SMALL[1]]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (("flat_2.dng", 0.5, {"sensor": replace(Sensor(), cfa="GBRG")}), "flat_1.dng and flat_2.dng are not of one"),
        (("flat_2.dng", 0.5, {"size": (96, 160)}), "size 96x128 and 96x160; keep one folder a camera"),
        (("flat_2.dng", 0.5, {"sensor": Sensor(bits=12, black_level=256)}), "white level 16383.0 and 4095.0"),
        (("flat_2.dng", 0.5, {"sensor": Sensor(name="Other")}), "camera ispkit Simulated Camera and ispkit Other"),
        (("flat_2.dng", 1.4, {}), "of its pixels are clipped at 16383 DN; expose less"),
        (("chart_2.dng", 3.0, {}), "chart_2.dng: 100.0% of its pixels are clipped"),
        (("flat_2.dng", 0.002, {}), "flat_2.dng: too dark"),
        (("chart_D65.dng", 0.02, {}), "chart_D65.dng: too dark"),
        (("dark_2.dng", 0.4, {}), "dark_2.dng: named a dark frame, but light reached it"),
        (("flat_2.dng", stripes(), {}), "flat_2.dng: named a flat field, but it shows structure"),
        (("chart_D65.dng", 0.5, {}), "chart_D65.dng: "),
    ],
)
def test_a_shot_that_would_spoil_the_profile_is_one_sentence(tmp_path, second, said):
    shoot(tmp_path / "flat_1.dng")
    name, level, settings = second
    shoot(tmp_path / name, level, **settings)
    with pytest.raises(FileError) as error:
        calibrate(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_noise_chart_gives_the_lens_blur(tmp_path):
    chart = psf_noise_chart()
    (tmp_path / "psf_noise.json").write_text(json.dumps(chart.truth()))
    sensor = replace(Sensor(), blur_px=0.8)
    shoot(tmp_path / "dark_1.dng", 0.0, size=(256, 384), sensor=sensor)
    shoot(tmp_path / "psf_noise.dng", chart.picture[None].float(), sensor=sensor)
    done = calibrate(tmp_path)
    assert set(done.profile.psf.kernels) == {"R", "G", "B"}
    for grid in done.profile.psf.kernels.values():
        assert np.array(grid).shape == (1, 2, 15, 15)
        assert np.array(grid).sum((2, 3)) == pytest.approx(np.ones((1, 2)))
    # a Gaussian of sigma 0.8 px: exp(-2 pi^2 sigma^2 f^2) = 1 / 2
    truth = np.sqrt(np.log(2) / 2) / (np.pi * 0.8)
    assert np.array(done.evidence.psf.mtf50["G"]) == pytest.approx(np.full((1, 2, 2), truth), rel=0.1)
    (tmp_path / "psf_noise.json").write_text("[]")
    with pytest.raises(FileError, match=r"psf_noise\.dng: psf_noise\.json is not the description of a chart"):
        calibrate(tmp_path)


def psf_noise_chart():
    return build("psf_noise", height=256, width=384, rows=1, columns=2, markers=True)


def test_folders_without_shots_are_told(tmp_path):
    with pytest.raises(FileError, match="a folder without RAW files"):
        calibrate(tmp_path)
    with pytest.raises(FileError, match="not a folder"):
        calibrate(tmp_path / "nothing")
    (tmp_path / "a.dng").write_bytes(b"\0" * 100)
    with pytest.raises(FileError, match="none of its 1 RAW files can be used"):
        calibrate(tmp_path)


def test_a_real_dark_frame(shared, tmp_path):
    name = "BlackImage_1920x1080_12bits_BGGR.raw"
    shutil.copyfile(shared / "raw_black_frame" / name, tmp_path / name)
    (tmp_path / f"{name}.yaml").write_text("ispkit_sidecar: 1\nwidth: 1920\nheight: 1080\nbits: 12\ncfa: BGGR\n")
    done = calibrate(tmp_path)
    pixels = np.fromfile(tmp_path / name, "<u2").reshape(1080, 1920)
    usual = [pixels[y::2, x::2][pixels[y::2, x::2] < 14].mean() for y in (0, 1) for x in (0, 1)]
    assert done.profile.black[0].level_dn == pytest.approx(usual, abs=0.01)
    assert pixels.max() == 2816
    assert tuple(np.argwhere(pixels == 2816)[0]) in done.profile.defects
    assert 500 < len(done.profile.defects) < 2000
    assert any("cut off at code 0" in n for n in done.notes)
    assert any("scaled before" in n for n in done.notes)
