"""The one door: what a file is decides who reads it, and a bare dump is never guessed."""

from __future__ import annotations

import shutil
from io import BytesIO

import cv2
import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import FileError, IspkitError, ParamError
from ispkit.core.frame import Domain
from ispkit.io.dng_writer import write_dng
from ispkit.io.dump import Facts, Geometry
from ispkit.io.load import load
from ispkit.io.sidecar import write_sidecar

SAMPLES = np.random.default_rng(0).integers(0, 1024, (24, 32)).astype(np.uint16)
SAMPLES[5, 7] = 1023
LAYOUT = Geometry(width=32, height=24, bits=10, cfa="GRBG", black_level=64)


def npy(array) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(array) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.mark.parametrize(
    "content",
    [SAMPLES.tobytes(), npy(SAMPLES), npy(np.asfortranarray(SAMPLES)), npy(SAMPLES.astype(">f8")), png(SAMPLES)],
)
def test_bare_samples_with_facts(tmp_path, content):
    path = tmp_path / "shot.bin"
    path.write_bytes(content)
    write_sidecar(path, LAYOUT)
    for frame in (load(path), load(content, geometry=LAYOUT), load(BytesIO(content), geometry=LAYOUT)):
        np.testing.assert_array_equal(frame.data[0, 0].numpy(), SAMPLES)
        assert (frame.domain, frame.meta.cfa) == (Domain.RAW, "GRBG")
        assert frame.meta.black_level.unique().tolist() == [64]
        assert frame.meta.white_level.unique().tolist() == [1023]


def test_half_size_means_what_it_says():
    frame = load(npy(SAMPLES), geometry=LAYOUT, half_size=True)
    linear = (SAMPLES.astype(np.float64) - 64) / (1023 - 64)
    assert (frame.domain, frame.size) == (Domain.CAMERA_RGB, (12, 16))
    wanted = [linear[0::2, 1::2], (linear[0::2, 0::2] + linear[1::2, 1::2]) / 2, linear[1::2, 0::2]]
    np.testing.assert_allclose(frame.data[0].numpy(), wanted, atol=1e-6)


def test_a_dump_is_never_guessed(tmp_path):
    path = tmp_path / "shot.raw"
    path.write_bytes(SAMPLES.tobytes())
    with pytest.raises(
        FileError, match=r"perhaps a headerless dump of 1536 bytes; give its geometry .*`ispkit doctor FILE`"
    ):
        load(path)
    with pytest.raises(FileError, match="give width, height and bits"):
        load(path, geometry=Facts(cfa="RGGB"))
    (tmp_path / "shot.raw.yaml").write_text("exposure: 3\n")
    with pytest.raises(FileError, match=r"shot\.raw\.yaml: neither a sidecar"):
        load(path)


REFUSED = [
    (b"", None, "the file is empty"),
    (npy(SAMPLES), None, "does not say its CFA pattern"),
    (npy(SAMPLES), Facts(cfa="RGGB"), "uint16 samples do not say where white is; give bits or white_level"),
    (npy(SAMPLES), Facts(cfa="RGGB", bits=8), "the largest sample is 1023, but 8 bits hold at most 255"),
    (npy(SAMPLES), Geometry(width=24, height=32, bits=10, cfa="RGGB"), "holds 32x24 samples, the geometry says 24x32"),
    (npy(SAMPLES)[:-2], LAYOUT, "takes 1536 bytes, the file has 1534: truncated"),
    (npy(SAMPLES)[:20], LAYOUT, "a damaged NumPy file"),
    (npy(np.zeros((2, 3, 4))), LAYOUT, r"shape \(2, 3, 4\); a mosaic has shape \(height, width\)"),
    (npy(np.array([["a"]])), LAYOUT, "a mosaic has shape"),
    (npy(np.array([[{}]], dtype=object)), LAYOUT, "a mosaic has shape"),
    (npy(np.full((4, 4), np.nan)), Facts(cfa="RGGB", bits=10), "no finite numbers"),
    (png(np.zeros((4, 4, 3), np.uint8)), LAYOUT, "3 channels is a finished picture, not a mosaic"),
    (png(SAMPLES)[:-20], LAYOUT, "a truncated PNG"),
    (b"%PDF-1.4" + bytes(99), None, "PDF document"),
    (b"hello, this is a text file\n" * 9, None, "text"),
    (b"II*\0" + bytes(200), None, "directory of tags"),
]


@pytest.mark.parametrize(("content", "facts", "message"), REFUSED)
def test_what_cannot_enter_is_named(content, facts, message):
    with pytest.raises((FileError, ParamError), match=message):
        load(content, geometry=facts)


def test_a_container_speaks_for_itself_unless_overridden(tmp_path):
    frame, path = make_frame(Domain.RAW, batch=1, size=(32, 48)), tmp_path / "shot.dng"
    frame = frame.with_data(frame.data.round())
    write_dng(path, frame)
    (tmp_path / "shot.dng.yaml").write_text("rating: 5\n")
    torch.testing.assert_close(load(path).data, frame.data)
    write_sidecar(path, Facts(black_level=60, cfa="BGGR"))
    meta = load(path).meta
    assert (meta.cfa, meta.black_level.unique().tolist(), meta.white_level.unique().tolist()) == ("BGGR", [60], [1023])
    assert load(path, half_size=True).size == (16, 24)
    assert load(path, geometry=Facts(iso=50)).meta.iso.tolist() == [50]
    with pytest.raises(FileError, match="it looks like a TIFF or DNG file, which needs no geometry"):
        load(path, geometry=LAYOUT)


@pytest.mark.parametrize("seed", range(5))
def test_noise_never_does_worse_than_an_error(seed):
    """Any bytes, with or without facts: a frame or one of our errors."""
    rng = np.random.default_rng(seed)
    heads = [b"", b"\x93NUMPY\x01\0", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"FUJIFILMCCD-RAW "]
    for head in heads:
        content = head + rng.integers(0, 256, int(rng.integers(1, 4000)), dtype=np.uint8).tobytes()
        for facts in (None, Facts(cfa="RGGB", bits=16), LAYOUT):
            with pytest.raises(IspkitError):
                load(content, geometry=facts)


def test_infinite_isp_beside_the_dump(tmp_path, shared):
    folder = shared / "raw_infinite_isp_8bit_grbg"
    dump = tmp_path / "Indoor1.raw"
    shutil.copy(folder / "Indoor1_2592x1536_8bit_GRBG.raw", dump)
    shutil.copy(folder / "Indoor1_2592x1536_10bit_GRBG-configs.yml", tmp_path / "Indoor1-configs.yml")
    frame = load(dump)
    assert (frame.size, frame.meta.cfa, float(frame.meta.white_level[0, 0])) == ((1536, 2592), "GRBG", 255)
    assert float(frame.meta.neutral[0, 0]) == pytest.approx(1 / 1.44921875)
    explicit = load(folder / "Indoor1_2592x1536_8bit_GRBG.raw", sidecar=tmp_path / "Indoor1-configs.yml")
    torch.testing.assert_close(explicit.data, frame.data)


def test_shared_png_mosaic(shared):
    frame = load(shared / "raw_halide_small" / "bayer_small.png", geometry=Facts(cfa="GRBG", white_level=1023, bits=16))
    assert frame.size == (344, 256)
    assert float(frame.data.max()) == 1053
