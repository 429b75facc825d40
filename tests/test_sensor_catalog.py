"""The sensors that ship say what their sources say, and a sensor file says what is wrong with it."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ispkit.core.errors import FileError, ParamError
from ispkit.sensor import catalog
from ispkit.sensor.catalog import LIGHT_LEVELS, iso_of, light_level, load_sensor, sensor_doc, sensor_names
from ispkit.sensor.simulate import Sensor, capture

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "import_noise_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sensor_names())
def test_every_sensor_takes_a_picture(name):
    sensor = load_sensor(name)
    frame = capture(torch.full((1, 3, 16, 16), 0.4), sensor, iso=400.0)
    assert frame.meta.cfa == sensor.cfa
    assert bool((frame.meta.noise_profile > 0).all())
    assert sensor_doc(name)
    assert name == "default" or sensor.source


def test_every_published_number_is_the_shipped_one(tables, shared):
    folder = ROOT / "src" / "ispkit" / "sensor" / "profiles"
    made = tables.sensors(shared) | {"light_levels": tables.light_levels()}
    assert {p.stem for p in folder.glob("*.yaml")} == set(made)
    for name, content in made.items():
        text = tables.as_yaml(content)
        assert yaml.safe_load((folder / f"{name}.yaml").read_text()) == yaml.safe_load(text), name


def test_the_light_levels_of_dirty_pixels_have_their_published_noise():
    """alpha and sigma of the paper's four profiles, for the rear camera of the Nexus 6P."""
    sensor = load_sensor("nexus-6p-rear")
    published = {
        0.0015: (0.12483, 0.31553),
        0.003: (0.06241, 0.15777),
        0.001: (0.18724, 0.4733),
        0.1: (0.0018724, 0.004733),
    }
    for level, (alpha, sigma) in published.items():
        shot, read = sensor.noise_at(iso_of(level))[0, 0].tolist()
        assert shot == pytest.approx(alpha, rel=1e-4)
        assert read**0.5 == pytest.approx(sigma, rel=1e-4)
    assert {n: (v.low, v.high) for n, v in LIGHT_LEVELS.items()} == {
        "3 lux": (0.0015, 0.0015), "6 lux": (0.003, 0.003), "2-20 lux": (0.001, 0.01), "2-200 lux": (0.001, 0.1)
    }  # fmt: skip
    assert load_sensor("Pixel").noise_at(8000.0)[0, 0].tolist() == pytest.approx([0.0153, 0.0328**2])


def test_light_is_drawn_evenly_in_its_logarithm():
    drawn = light_level("2-200 lux").draw(4000, torch.Generator().manual_seed(0))
    logs = drawn.log10()
    assert float(drawn.min()) >= 0.001
    assert float(drawn.max()) <= 0.1
    assert float(logs.mean()) == pytest.approx(-2.0, abs=0.04)
    assert float(logs.std()) == pytest.approx(2 / 12**0.5, rel=0.03)
    assert light_level("5-50 lux").low == pytest.approx(0.0025)
    for wrong in ("dim", "9-3 lux", "0 lux", "nan lux"):
        with pytest.raises(ParamError):
            light_level(wrong)


def test_eld_lines_in_closed_form():
    """log std = slope log K + bias, in DN of 14 bits less 800; K doubles with the ISO."""
    sensor = load_sensor("sony-a7s2")
    k = 0.09391607086816033 * 8
    shot, read = sensor.noise_at(800.0)[0, 0].tolist()
    assert shot * 15583 == pytest.approx(k, rel=1e-5)
    assert read**0.5 * 15583 == pytest.approx(np.exp(0.5407496082896145 * np.log(k) + 1.218237123334061), rel=1e-5)
    row = float(sensor.row_noise_at(800.0)) * 15583
    assert row == pytest.approx(np.exp(0.5275360468633209 * np.log(k) - 0.5917002648887661), rel=1e-5)


def test_a_pickle_that_is_more_than_numbers_is_refused(tables, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "evil.npy"
    head = np.lib.format.magic(1, 0)
    text = "{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + "\n"
    path.write_bytes(head + len(text).to_bytes(2, "little") + text.encode() + pickle.dumps(Evil(), 2))
    with pytest.raises(FileError, match="print"):
        tables.read_object_npy(path)


GOOD = """version: 1
name: mine
cfa: GBRG
bits: 12
black_level: 256
black_offsets: [0, 1, 1, 2]
noise: [{iso: 100, shot: [1.0e-4, 2.0e-4, 3.0e-4], read: 1.0e-8}]
row_noise: [[100, 1.0e-5]]
black: [{iso: 100, level_dn: 256}, {iso: 800, level_dn: [256, 257, 257, 258]}]
defects: [[3, 4, hot, 500.0], [5, 6]]
vignetting: [0.2, 0, 0, 0, 0]
"""


def test_a_sensor_file_is_read_whole(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    sensor = load_sensor(path)
    assert isinstance(sensor, Sensor)
    assert (sensor.cfa, sensor.bits, sensor.black_offsets) == ("GBRG", 12, (0.0, 1.0, 1.0, 2.0))
    assert sensor.noise[0].shot == (1e-4, 2e-4, 3e-4)
    assert sensor.black[1].level_dn == (256.0, 257.0, 257.0, 258.0)
    assert (sensor.defects[0].kind, sensor.defects[1].kind) == ("hot", "stuck")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("bits: 12", "bitz: 12"), "unknown key 'bitz'; did you mean 'bits'"),
        (("bits: 12", "bits: 24"), "bits=24 is outside 1..16"),
        (("bits: 12", "bits: 8"), "black_level=256 and white=255"),
        (("cfa: GBRG", "cfa: RGBG"), "cfa='RGBG' is not a Bayer pattern"),
        (("shot: [1.0e-4", "shot: [1e-4"), "noise: '1e-4' is not a number"),
        (("read: 1.0e-8", "read: -1.0"), "noise must not be negative"),
        (("iso: 100, shot", "gain: 100, shot"), "noise: 'iso' is missing"),
        (("hot, 500.0", "odd, 500.0"), "defects: kind 'odd'"),
        (("version: 1", "version: 2"), "a sensor is a mapping with 'version: 1'"),
        (("vignetting: [0.2,", "vignetting: [0.2, 0,"), "is not a list of 5"),
        (("name: mine", "name: ["), "cannot be read as a YAML sensor"),
    ],
)
def test_a_wrong_sensor_file_is_named_with_its_place(change, complaint, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises((FileError, ParamError)) as error:
        load_sensor(path)
    assert complaint in str(error.value)
    assert str(path) in str(error.value)


def test_unknown_names_get_a_hint(tmp_path):
    with pytest.raises(ParamError, match="did you mean 'sony-a7s2'"):
        load_sensor("sony-a7s3")
    with pytest.raises(FileError, match="no such file"):
        load_sensor(tmp_path / "none.yaml")
    assert catalog.lux_to_iso(3.0) == pytest.approx(66666.67)
