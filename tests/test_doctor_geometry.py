"""The doctor finds how a headerless dump holds its samples."""

from __future__ import annotations

import numpy as np
import pytest

from ispkit.doctor.depth import codes, depths
from ispkit.doctor.dump_search import search_dump
from ispkit.doctor.encodings import ENCODINGS
from ispkit.doctor.layout import Edges, layouts
from ispkit.doctor.period import fundamental_evidence
from ispkit.doctor.predict import Strips, code_length
from ispkit.doctor.sizes import padding_log_prior, size_log_prior

REAL = {
    "raw_infinite_isp_8bit_grbg/Indoor1_2592x1536_8bit_GRBG.raw": (2592, 1536, "u8", 8),
    "raw_infinite_isp_8bit_grbg/Outdoor1_2592x1536_8bit_GRBG.raw": (2592, 1536, "u8", 8),
    "raw_openisp_chart/test_1920x1080_10bit_RGGB_u16le.RAW": (1920, 1080, "u16le", 10),
    "raw_nikon_dsc1339_14bit/DSC_1339_768x512_grbg.raw": (768, 512, "u16le", 14),
    "raw_nikon_dsc1339_14bit/DSC_1339_768x512_rggb.raw": (768, 512, "u16le", 14),
    "raw_nikon_dsc1339_14bit/DSC_1339_768x512_rggb_bpc_test.raw": (768, 512, "u16le", 14),
    "raw_black_frame/BlackImage_1920x1080_12bits_BGGR.raw": (1920, 1080, "u16le", 12),
}
BY_NAME = {e.name: e for e in ENCODINGS}


def scene(height: int, width: int, bits: int, seed: int = 0) -> np.ndarray:
    """An RGGB mosaic of overlapping colored discs with shot noise, in [0, 2**bits)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    rgb = np.full((height, width, 3), 0.2, np.float32) + 0.2 * (y / height)[..., None]
    for _ in range(120):
        cy, cx, r = rng.random() * height, rng.random() * width, (0.01 + 0.1 * rng.random() ** 2) * width
        rgb[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.random(3) * 0.7 + 0.05
    rgb *= np.array([0.5, 1.0, 0.65], np.float32)
    channel = np.array([[0, 1], [1, 2]])[(y.astype(int) % 2), (x.astype(int) % 2)]
    light = np.take_along_axis(rgb, channel[..., None], axis=2)[..., 0]
    light = light + rng.normal(0, 1, light.shape) * np.sqrt(light * 4e-4 + 1e-6)
    return np.clip(np.rint((0.06 + 0.94 * light) * (2**bits - 1)), 0, 2**bits - 1).astype(np.int64)


def stored(samples: np.ndarray, encoding: str) -> np.ndarray:
    """Rows of bytes, written down from the layouts' definitions and not from the reader."""
    height, bits = len(samples), BY_NAME[encoding].bits
    if encoding.startswith("u"):
        kind = {"u8": "u1", "u16le": "<u2", "u16be": ">u2"}[encoding]
        return np.ascontiguousarray(samples.astype(kind)).view(np.uint8).reshape(height, -1)
    if encoding.startswith("packed"):
        big = encoding.endswith("be")
        order = np.arange(bits)[::-1] if big else np.arange(bits)
        stream = (samples[..., None] >> order & 1).astype(np.uint8).reshape(height, -1)
        return np.packbits(stream, axis=1, bitorder="big" if big else "little")
    if encoding == "gige12":
        a, b = samples[:, 0::2], samples[:, 1::2]
        return np.stack([a >> 4, a & 15 | (b & 15) << 4, b >> 4], axis=-1).astype(np.uint8).reshape(height, -1)
    pixels, low = (2 if bits == 12 else 4), bits - 8
    group = samples.reshape(height, -1, pixels)
    rest = sum((group[..., i] & (2**low - 1)) << low * i for i in range(pixels))
    tail = [rest >> 8 * i & 255 for i in range(pixels * low // 8)]
    packed = np.stack([*(group[..., i] >> low for i in range(pixels)), *tail], axis=-1)
    return packed.astype(np.uint8).reshape(height, -1)


def dump(samples: np.ndarray, encoding: str, padding: int = 0, header: int = 0) -> np.ndarray:
    rows = np.pad(stored(samples, encoding), ((0, 0), (0, padding)))
    head = np.random.default_rng(1).integers(0, 256, header).astype(np.uint8)
    return np.concatenate([head, rows.ravel()])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "truth"), REAL.items())
def test_truth_ranks_first_on_renamed_dumps(shared, name, truth):
    search = search_dump(np.fromfile(shared / name, np.uint8))
    best = search.candidates[0]
    assert (best.layout.width, best.layout.height, best.encoding.name, best.depth.bits) == truth
    assert (best.layout.offset, best.layout.trailing) == (0, 0)
    assert search.basis == ("pattern" if "black" in name else "picture")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["u16be", "mipi10", "mipi12", "packed12be", "gige12"])
def test_encoding_padding_and_header_are_found(encoding):
    samples = scene(390, 504, BY_NAME[encoding].bits if encoding != "u16be" else 12)
    tight = stored(samples[:2], encoding).shape[1]
    data = dump(samples, encoding, padding=-(tight + 4) % 64 + 4, header=512)
    best = search_dump(data).candidates[0]
    assert best.encoding.name == encoding
    assert (best.layout.width, best.layout.height, best.layout.offset) == (504, 390, 512)
    np.testing.assert_array_equal(best.samples(data, slice(10, 12)), samples[10:12])


def test_every_encoding_reads_its_own_bytes():
    for encoding in ENCODINGS:
        samples = scene(8, 560, encoding.bits)
        np.testing.assert_array_equal(encoding.decode(stored(samples, encoding.name)), samples, err_msg=encoding.name)


def test_true_stride_gives_the_shortest_code():
    samples = scene(400, 300, 10)
    data = dump(samples, "u16le")
    strips = Strips.spread(data, 96, 1200)
    word = BY_NAME["u16le"]
    lengths = {s: code_length(strips, word, s, 0).mean() for s in (596, 598, 600, 602, 604)}
    assert min(lengths, key=lengths.get) == 600
    nats = {s: fundamental_evidence(data, word, s) for s in (300, 600, 1200)}
    assert nats[600] > max(nats[300], nats[1200]) + 4


@pytest.mark.slow
def test_noise_without_rows_is_undeterminable():
    data = np.random.default_rng(0).normal(64, 4, 300_000).astype("<u2").view(np.uint8)
    assert not search_dump(data).determinable
    assert not search_dump(np.zeros(200_000, np.uint8)).candidates
    assert not search_dump(np.zeros(100, np.uint8)).candidates


def test_depth_from_codes_in_use():
    samples = scene(64, 64, 12).astype(np.int32)
    assert [d.bits for d in depths(codes(samples), 16)][:2] == [12, 14]
    assert depths(codes(samples << 4), 16)[0].align == "msb"
    assert depths(codes(samples << 4), 16)[0].bits == 12
    marked = samples.copy()
    marked[10, 10] = 65535
    found = codes(marked)
    assert found.outliers == 1
    assert depths(found, 16)[0].bits == 12
    assert depths(found, 10)[0].bits == 10


def test_layouts_prefer_no_header_and_known_sizes():
    quiet = Edges(np.zeros(3840), None)
    assert layouts(3840 * 1080, BY_NAME["u16le"], 3840, quiet)[0].width == 1920
    assert layouts(3840 * 1080 + 4096, BY_NAME["u16le"], 3840, quiet)[0].offset == 4096
    assert size_log_prior(1920, 1080) > size_log_prior(1904, 1088) > size_log_prior(1903, 1087)
    assert padding_log_prior(0, 6112) > padding_log_prior(28, 6112) > padding_log_prior(28, 6113)
