"""Sidecars: what is written comes back, misspelt keys are refused, Infinite-ISP files are understood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ispkit.core.errors import FileError
from ispkit.io.dump import Facts, Geometry, read_dump
from ispkit.io.sidecar import find_sidecar, read_sidecar, sidecar_path, write_sidecar
from ispkit.ops.camera_color import camera_to_linear_srgb

levels = st.one_of(st.none(), st.floats(0, 60), st.tuples(*[st.floats(0, 60)] * 4))
positive = st.floats(1e-3, 1e3)
facts = {
    "cfa": st.sampled_from([None, "RGGB", "BGGR", "GRBG", "GBRG"]),
    "black_level": levels,
    "white_level": st.one_of(st.none(), st.floats(100, 255)),
    "neutral": st.one_of(st.none(), st.tuples(*[positive] * 3)),
    "iso": st.one_of(st.none(), positive),
    "exposure_time_s": st.one_of(st.none(), positive),
    "orientation": st.one_of(st.none(), st.integers(1, 8)),
    "color_matrix": st.one_of(st.none(), positive.map(lambda d: ((d, 0.0, 0.5), (0.0, d, 0.0), (0.0, 0.0, d)))),
}
layout = {
    "width": st.integers(2, 9000),
    "height": st.integers(2, 9000),
    "bits": st.sampled_from([8, 10, 12, 14, 16]),
    "offset": st.integers(0, 99),
    "stride": st.one_of(st.none(), st.integers(18000, 20000)),
}


@given(st.one_of(st.builds(Facts, **facts), st.builds(Geometry, **facts, **layout)))
def test_round_trip(tmp_path_factory, described):
    file = tmp_path_factory.mktemp("sidecar") / "shot.raw"
    assert write_sidecar(file, described) == sidecar_path(file) == find_sidecar(file)
    assert read_sidecar(sidecar_path(file)) == described


REFUSED = [
    ("ispkit_sidecar: 1\nwidht: 8\n", "no key 'widht'; did you mean 'width'"),
    ("ispkit_sidecar: 2\ncfa: RGGB\n", "ispkit_sidecar=2 is not supported; this version reads 1"),
    ("ispkit_sidecar: 1\nwidth: 8\n", "a layout also needs height, bits"),
    ("ispkit_sidecar: 1\ncfa: RGBB\n", "cfa='RGBB' is not a Bayer pattern"),
    ("ispkit_sidecar: 1\nblack_level: [1, 2, three, 4]\n", "black_level='three' must be a finite number"),
    ("ispkit_sidecar: 1\nneutral: {r: 1}\n", "must be three numbers"),
    ("cfa: RGGB\n", "neither a sidecar"),
    ("- 1\n- 2\n", "a sidecar is a list of 'name: value' lines"),
    ("a: [1, 2\nb: 3\n", r":2: not YAML"),
    ("a: !!python/object/apply:os.system [ls]\n", "not YAML"),
    ("\x00\x01\x02", "not YAML"),
    ("sensor_info: 3\n", "sensor_info must hold"),
    ("sensor_info: {width: 8, height: 4}\n", "sensor_info needs 'bit_depth'"),
    ("sensor_info: {width: 8, height: 4, bit_depth: 10, bayer_pattern: xx}\n", "cfa='XX' is not a Bayer pattern"),
    ("sensor_info: {width: 8.5, height: 4, bit_depth: 10, bayer_pattern: rggb}\n", "width=8.5 must be a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_wrong_sidecars_are_refused(tmp_path, text, message):
    path = tmp_path / "a.raw.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        read_sidecar(path)
    assert str(path) in str(caught.value)


INFINITE = """
sensor_info: {bayer_pattern: bggr, range: 1023, bit_depth: 10, width: 8, height: 4}
black_level_correction: {r_offset: 40, gr_offset: 50, gb_offset: 60, b_offset: 70,
                         r_sat: 1023, gr_sat: 1022, gb_sat: 1023, b_sat: 1023}
white_balance: {is_enable: true, is_auto: true, r_gain: 1.5, b_gain: 3.0}
color_correction_matrix: {corrected_red: [2256, -1116, -116], corrected_green: [-300, 1340, -16],
                          corrected_blue: [60, -908, 1872]}
"""


def test_infinite_isp_levels_follow_the_stored_bits(tmp_path):
    path = tmp_path / "configs.yml"
    path.write_text(INFINITE)
    ten = read_sidecar(path, 64)
    assert (ten.bits, ten.cfa, ten.black_level) == (10, "BGGR", (70, 60, 50, 40))
    assert ten.white_level == (1023, 1023, 1022, 1023)
    eight = read_sidecar(path, 32)
    assert (eight.bits, eight.file_size) == (8, 32)
    np.testing.assert_allclose(eight.black_level, np.array([70, 60, 50, 40]) * 255 / 1023)
    assert eight.white_level[0] == 255


def test_infinite_isp_matrix_means_what_its_isp_does(tmp_path):
    """Sensor RGB -> gains -> its matrix must equal our way through XYZ, also under another neutral."""
    path = tmp_path / "configs.yml"
    path.write_text(INFINITE)
    meta = read_dump(bytes(64), read_sidecar(path, 64)).meta
    matrix = torch.tensor([[2256, -1116, -116], [-300, 1340, -16], [60, -908, 1872]]) / 1024
    for gains in (torch.tensor([[1.5, 1.0, 3.0]]), torch.tensor([[1.9, 1.0, 2.1]])):
        args = (1 / gains / (1 / gains).max(), gains, meta.color_matrices, meta.forward_matrices, meta.illuminant_cct_k)
        ours = camera_to_linear_srgb(*(t.double() for t in args))[0]
        torch.testing.assert_close(ours, matrix.double(), atol=2e-4, rtol=0)


def test_shared_infinite_isp_files(shared):
    folder = shared / "raw_infinite_isp_8bit_grbg"
    for scene in ("Indoor1", "Outdoor1"):
        dump = folder / f"{scene}_2592x1536_8bit_GRBG.raw"
        geometry = read_sidecar(folder / f"{scene}_2592x1536_10bit_GRBG-configs.yml", dump.stat().st_size)
        frame = read_dump(dump, geometry)
        assert (frame.size, frame.meta.cfa, geometry.bits) == ((1536, 2592), "GRBG", 8)
        np.testing.assert_allclose(frame.meta.black_level, 50 * 255 / 1023, rtol=1e-6)
        assert frame.meta.white_level.unique().tolist() == [255]
