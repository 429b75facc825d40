"""The doctor's checks on mosaics whose faults are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import FileError
from ispkit.core.meta import CameraMeta
from ispkit.doctor.examine import examination, examine
from ispkit.doctor.levels import check_levels, measure_levels
from ispkit.doctor.noise import check_noise, noise_curve
from ispkit.doctor.phase import find_phase
from ispkit.doctor.sanity import check_metadata
from ispkit.doctor.shading import check_shading
from ispkit.doctor.sites import Mosaic
from ispkit.io.geometry import Geometry
from test_doctor_geometry import dump, scene

SAMPLES = scene(480, 640, 12)
BLACK, WHITE = (245.0,) * 4, (4095.0,) * 4


def mosaic(pixels, cfa="RGGB", black=BLACK, white=WHITE) -> Mosaic:
    return Mosaic(np.asarray(pixels, np.float32), cfa, black, white)


def by_check(findings):
    return {f.check: f for f in findings}


@pytest.mark.parametrize(("dy", "dx", "greens"), [(0, 0, "RGGB BGGR"), (0, 1, "GRBG GBRG"), (1, 1, "RGGB BGGR")])
def test_greens_follow_the_crop(dy, dx, greens):
    found = find_phase(mosaic(SAMPLES[dy : 478 + dy, dx : 638 + dx]))
    assert found.determinable
    assert set(list(found.probabilities)[:2]) == set(greens.split())
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_swapping_red_and_blue_swaps_the_odds():
    turned = SAMPLES[::-1, ::-1]  # an even-sized RGGB read backwards is BGGR
    here, there = find_phase(mosaic(SAMPLES)), find_phase(mosaic(turned))
    assert {here.best, there.best} == {"RGGB", "BGGR"}
    assert here.red_probability == pytest.approx(there.red_probability, abs=0.05)


@pytest.mark.parametrize(
    ("name", "size", "kind", "cfa"),
    [
        ("raw_infinite_isp_8bit_grbg/Indoor1_2592x1536_8bit_GRBG.raw", (1536, 2592), "u1", "GRBG"),
        ("raw_infinite_isp_8bit_grbg/Outdoor1_2592x1536_8bit_GRBG.raw", (1536, 2592), "u1", "GRBG"),
        ("raw_openisp_chart/test_1920x1080_10bit_RGGB_u16le.RAW", (1080, 1920), "<u2", "RGGB"),
        ("raw_nikon_dsc1339_14bit/DSC_1339_768x512_grbg.raw", (512, 768), "<u2", "GRBG"),
        ("raw_nikon_dsc1339_14bit/DSC_1339_768x512_rggb_bpc_test.raw", (512, 768), "<u2", "RGGB"),
        ("raw_black_frame/BlackImage_1920x1080_12bits_BGGR.raw", (1080, 1920), "<u2", None),
    ],
)
def test_phase_of_real_dumps(shared, name, size, kind, cfa):
    found = find_phase(Mosaic(np.fromfile(shared / name, kind).reshape(size).astype(np.float32)))
    assert found.determinable == (cfa is not None)
    if cfa is not None:
        assert found.best == cfa


def test_no_color_no_phase():
    rng = np.random.default_rng(0)
    for dark in (rng.normal(64, 3, (300, 400)), rng.normal(0, 3, (300, 400)) + np.arange(400) % 2):
        assert not find_phase(Mosaic(dark.astype(np.float32))).determinable
    gray = np.repeat(np.repeat(rng.random((60, 80)), 5, 0), 5, 1) * 3000 + rng.normal(0, 5, (300, 400))
    assert not find_phase(Mosaic(gray.astype(np.float32))).determinable


def test_wrong_levels_are_problems():
    clipped = np.minimum(SAMPLES, 1600)
    found = by_check(check_levels(mosaic(clipped), measure_levels(mosaic(clipped))))
    assert found["white_level"].verdict == "problem"
    assert found["white_level"].remedy == "set white_level=1600"
    sound = by_check(check_levels(mosaic(SAMPLES), measure_levels(mosaic(SAMPLES))))
    assert sound["white_level"].verdict == "ok"
    high = mosaic(SAMPLES, black=(600.0,) * 4)
    assert by_check(check_levels(high, measure_levels(high)))["black_level"].verdict == "problem"


def test_comb_tells_the_true_depth():
    coarse = mosaic(SAMPLES // 16 * 16)
    found = by_check(check_levels(coarse, measure_levels(coarse)))["codes"]
    assert (found.verdict, found.numbers["step"], found.numbers["effective_bits"]) == ("warning", 16, 8)


def test_lines_and_hot_pixels():
    rng = np.random.default_rng(0)
    flat = rng.normal(1000, 6, (400, 480))
    quiet = by_check(check_noise(mosaic(flat)))
    assert {quiet[c].verdict for c in ("row_noise", "column_noise", "hot_pixels")} == {"ok"}
    rows = by_check(check_noise(mosaic(flat + rng.normal(0, 3, (400, 1)))))
    assert (rows["row_noise"].verdict, rows["column_noise"].verdict) == ("warning", "ok")
    assert rows["row_noise"].numbers["line_sigma_dn"] == pytest.approx(3, rel=0.25)
    columns = by_check(check_noise(mosaic(flat + rng.normal(0, 3, (1, 480)))))
    assert (columns["row_noise"].verdict, columns["column_noise"].verdict) == ("ok", "warning")
    hot = flat.copy()
    hot[10::40, 11::40] = 4000
    found = by_check(check_noise(mosaic(hot)))["hot_pixels"]
    assert found.numbers["count"] == hot[10::40, 11::40].size
    assert (10, 11) in found.numbers["examples_row_column"]


def test_noise_curve_of_a_ramp():
    rng = np.random.default_rng(0)
    light = np.repeat(np.linspace(0, 2000, 512)[:, None], 512, 1)
    noisy = 200 + light + rng.normal(0, 1, light.shape) * np.sqrt(0.8 * light + 30)
    slope, offset = noise_curve(mosaic(noisy).planes(), 200.0)
    assert slope == pytest.approx(0.8, rel=0.2)
    assert offset == pytest.approx(30, rel=0.5)


def test_shading_of_a_flat_field():
    y, x = np.mgrid[-1:1:480j, -1:1:640j]
    fall = 1 - 0.25 * (x**2 + y**2)
    dim = check_shading(mosaic(245 + 3000 * fall))
    assert dim.verdict == "warning"
    assert dim.numbers["corner_to_center"] == pytest.approx(0.63, abs=0.03)
    assert check_shading(mosaic(np.full((480, 640), 2000.0))).verdict == "ok"


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"black_level": 2000.0, "white_level": 1023.0}, "not below"),
        ({"neutral": (0.0, 1.0, 0.5)}, "neutral"),
        ({"neutral": (1.0, 0.1, 0.9)}, "green"),
        ({"color_matrices": [((1, 0, 0), (1, 0, 0), (0, 0, 1))]}, "no inverse"),
        ({"illuminant_cct_k": (0.0,)}, "illuminants"),
        ({"noise_profile": [(-1.0, 0.0)]}, "NoiseProfile"),
    ],
)
def test_impossible_metadata(facts, word):
    known = {"neutral": (0.5, 1.0, 0.7), "color_matrices": [((0.9, -0.3, 0), (-0.4, 1.2, 0.1), (0, 0.2, 0.6))]}
    assert [f.verdict for f in check_metadata(CameraMeta.make("RGGB", (8, 8), **known))] == ["ok"]
    found = check_metadata(CameraMeta.make("RGGB", (8, 8), **(known | facts)))
    assert any(word in f.what and f.verdict != "ok" for f in found)


@pytest.mark.slow
def test_dump_to_sidecar_and_back(tmp_path):
    path = tmp_path / "frame.bin"
    path.write_bytes(dump(SAMPLES, "mipi12", padding=16, header=64).tobytes())
    report = examine(path)
    assert report.kind == "dump"
    geometry = report.suggested
    assert isinstance(geometry, Geometry)
    assert (geometry.width, geometry.height, geometry.packing, geometry.offset) == (640, 480, "mipi12", 64)
    again = examination(path, geometry)
    assert again.report.finding("phase").verdict == "ok"
    np.testing.assert_array_equal(again.mosaic.pixels, SAMPLES.astype(np.float32))
    stated_wrong = examine(path, Geometry(**(geometry.stated() | {"cfa": "GRBG"})))
    assert stated_wrong.finding("phase").verdict == "problem"
    assert stated_wrong.suggested.cfa in ("RGGB", "BGGR")
    json.dumps(report.as_dict(), default=str)


@pytest.mark.slow
def test_proof_pictures(tmp_path):
    result = examination(dump(SAMPLES, "u16le").tobytes())
    for picture in (result.proof(), result.contact_sheet()):
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert picture.std() > 10


def test_bare_mosaic_picture(tmp_path):
    path = tmp_path / "mosaic.npy"
    np.save(path, SAMPLES.astype(np.uint16))
    report = examine(path)
    assert set(report.suggested.stated()) >= {"cfa", "bits", "black_level"}


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"\x89PNG\r\n\x1a\n\0\0", b"II*\0\xff\xff\xff\xff", b"hello\n" * 50]
)
def test_bad_files_give_one_error(tmp_path, content):
    path = tmp_path / "bad.raw"
    path.write_bytes(content)
    with pytest.raises(FileError):
        examine(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path, tmp_path / "absent.raw"):
        with pytest.raises(FileError):
            examine(path)


@pytest.mark.slow
def test_structureless_bytes_are_named_so(tmp_path):
    path = tmp_path / "noise.bin"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 200_000).astype(np.uint8).tobytes())
    report = examine(path)
    assert report.finding("geometry").verdict == "undeterminable"
    assert report.suggested is None


def test_every_pattern_is_weighed():
    assert set(find_phase(mosaic(SAMPLES)).probabilities) == set(CFA_PATTERNS)
    assert torch.get_num_threads() == 1
