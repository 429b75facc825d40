"""Headerless dumps: every layout against slow loops written from the specifications, and refusals."""

from __future__ import annotations

import errno
import os
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain
from ispkit.io import atomic
from ispkit.io.atomic import atomic_write, write_bytes
from ispkit.io.dump import Facts, Geometry, read_dump, read_samples
from ispkit.io.packing import PACKINGS


def bits_of(value: int, count: int) -> list[int]:
    """The bits of a number, lowest first."""
    return [value >> i & 1 for i in range(count)]


def bytes_low_first(stream: list[int]) -> bytes:
    stream = stream + [0] * (-len(stream) % 8)
    return bytes(sum(b << i for i, b in enumerate(stream[k : k + 8])) for k in range(0, len(stream), 8))


def bytes_high_first(stream: list[int]) -> bytes:
    stream = stream + [0] * (-len(stream) % 8)
    return bytes(sum(b << 7 - i for i, b in enumerate(stream[k : k + 8])) for k in range(0, len(stream), 8))


def pack_row(row: list[int], bits: int, packing: str, big: bool, msb: bool) -> bytes:
    """One row, bit by bit, as the specifications draw it."""
    if packing == "unpacked":
        shift = 16 - bits if msb else 0
        return b"".join((v << shift).to_bytes(1 if bits == 8 else 2, "big" if big else "little") for v in row)
    if packing.startswith("packed"):
        if big:
            return bytes_high_first([b for v in row for b in reversed(bits_of(v, bits))])
        return bytes_low_first([b for v in row for b in bits_of(v, bits)])
    group = {"mipi10": 4, "mipi12": 2, "mipi14": 4}.get(packing, 2)
    row = row + [0] * (-len(row) % group)
    out = b""
    for k in range(0, len(row), group):
        pixels = row[k : k + group]
        high = bytes(v >> bits - 8 for v in pixels)
        if packing.startswith("mipi"):
            out += high + bytes_low_first([b for v in pixels for b in bits_of(v, bits - 8)])
        else:
            nibbles = [[*bits_of(v, bits - 8), 0, 0][:4] for v in pixels]
            out += high[:1] + bytes_low_first(nibbles[0] + nibbles[1]) + high[1:]
    return out


LAYOUTS = [(packing, bits) for packing, rule in PACKINGS.items() for bits in rule.bits]


@st.composite
def dumps(draw):
    packing, bits = draw(st.sampled_from(LAYOUTS))
    width, height = draw(st.integers(2, 13)), draw(st.integers(2, 4))
    wide = packing == "unpacked" and bits > 8
    big = draw(st.booleans()) if wide or packing.startswith("packed") else False
    msb = draw(st.booleans()) if wide and bits < 16 else False
    seed, offset, padding, trailing = (draw(st.integers(0, n)) for n in (1000, 7, 5, 6))
    pixels = np.random.default_rng(seed).integers(0, 2**bits, (height, width))
    rows = [pack_row([int(v) for v in r], bits, packing, big, msb) for r in pixels]
    geometry = Geometry(
        width=width, height=height, bits=bits, packing=packing, byte_order="big" if big else "little",
        align="msb" if msb else "lsb", stride=len(rows[0]) + padding, offset=offset, trailing=trailing, cfa="GBRG",
    )  # fmt: skip
    content = b"\xa5" * offset + b"".join(r + b"\x5a" * padding for r in rows) + b"\xff" * trailing
    return geometry, pixels, content


@given(dumps())
def test_every_layout_is_read_back(case):
    geometry, pixels, content = case
    assert len(content) == geometry.file_size
    frame = read_dump(content, geometry)
    assert (frame.domain, frame.meta.cfa, frame.data.dtype) == (Domain.RAW, "GBRG", torch.float32)
    np.testing.assert_array_equal(frame.data[0, 0].numpy(), pixels)
    np.testing.assert_array_equal(read_samples(BytesIO(content), geometry), pixels)


@given(dumps(), st.integers(1, 40))
def test_a_file_of_another_size_is_refused(case, missing):
    geometry, _, content = case
    padding = geometry.row_stride - geometry.row_bytes
    cut = content[:-missing]
    if missing in (padding, 0) or not cut:
        return
    with pytest.raises(FileError, match=f"is {len(content)} bytes, the file has {len(cut)}"):
        read_samples(cut, geometry)


def test_published_bytes():
    """A RAW10 group from the MIPI CSI-2 layout: pixels 0x3FF, 0, 0x155, 0x2AA."""
    g = {"width": 4, "height": 2, "bits": 10, "cfa": "RGGB"}
    row = bytes([0xFF, 0x00, 0x55, 0xAA, 0b10_01_00_11])
    assert read_samples(row * 2, Geometry(packing="mipi10", **g)).tolist() == [[0x3FF, 0, 0x155, 0x2AA]] * 2
    row12 = bytes([0xAB, 0xDE, 0xFC, 0x12, 0x45, 0x63])
    g["bits"] = 12
    assert read_samples(row12 * 2, Geometry(packing="mipi12", **g)).tolist() == [[0xABC, 0xDEF, 0x123, 0x456]] * 2
    row12 = bytes([0xAB, 0xCD, 0xEF, 0x12, 0x34, 0x56])
    stream = Geometry(packing="packed12", byte_order="big", **g)
    assert read_samples(row12 * 2, stream).tolist() == [[0xABC, 0xDEF, 0x123, 0x456]] * 2


REFUSED = [
    ({"width": 0}, r"width=0 must be a whole number in \[2"),
    ({"height": 2.5}, "height=2.5 must be a whole number"),
    ({"bits": 11}, "bits=11 is not a sample size; use one of 8, 10, 12, 14, 16"),
    ({"bits": True}, "bits=True is not"),
    ({"packing": "mipy10"}, "did you mean 'mipi10'"),
    ({"packing": "mipi12"}, "bits=10 does not fit packing='mipi12'; use 12"),
    ({"packing": "mipi10", "byte_order": "big"}, "byte_order='big' means nothing"),
    ({"bits": 8, "align": "msb"}, "align='msb' means nothing"),
    ({"byte_order": "bigg"}, "did you mean 'big'"),
    ({"stride": 15}, "stride=15 is less than the 16 bytes"),
    ({"offset": -1}, "offset=-1 must be"),
    ({"cfa": "RGBG"}, "not a Bayer pattern"),
    ({"black_level": (1, 2)}, "black_level has 2 values; give 1, or 4"),
    ({"black_level": 1023}, "black_level=1023 must be below white_level=1023"),
    ({"white_level": 1024}, "white_level=1024 is more than 10 bits hold"),
    ({"black_level": float("nan")}, "must be a finite number"),
    ({"neutral": (1, 0, 1)}, "three positive numbers"),
    ({"color_matrix": ((1, 0, 0), (2, 0, 0), (0, 0, 1))}, "color_matrix has no inverse"),
    ({"orientation": 9}, "orientation=9"),
    ({"iso": -3}, "iso=-3 must be"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_impossible_geometry_is_refused(fields, message):
    with pytest.raises(ParamError, match=message):
        Geometry(**({"width": 8, "height": 4, "bits": 10, "cfa": "RGGB"} | fields))


def test_refusals_say_what_would_fit():
    g = Geometry(width=8, height=4, bits=10, cfa="RGGB")
    with pytest.raises(FileError, match=r"is 64 bytes, the file has 32; it would fit bits=8 packing=unpacked or heig"):
        read_samples(bytes(32), g)
    with pytest.raises(FileError, match=r"bits=10 packing=mipi10"):
        read_samples(bytes(40), g)
    with pytest.raises(FileError, match=r"stride=20"):
        read_samples(bytes(80), g)
    with pytest.raises(FileError, match=r"offset=7 \(a header\) or trailing=7"):
        read_samples(bytes(71), g)
    with pytest.raises(FileError, match="looks like a TIFF or DNG file, which needs no geometry"):
        read_samples(b"II*\0" + bytes(90), g)
    with pytest.raises(FileError, match=r"largest sample is 65535, but 10 bits hold at most 1023"):
        read_samples(b"\xff" * 64, g)
    with pytest.raises(FileError, match="align='msb' with 10 bits leaves the low 6 bits empty, but 32 samples"):
        read_samples(b"\xff" * 64, Geometry(width=8, height=4, bits=10, cfa="RGGB", align="msb"))
    with pytest.raises(ParamError, match="CFA pattern is not known"):
        read_dump(bytes(64), Geometry(width=8, height=4, bits=10))


def test_facts_reach_the_frame_and_override_it():
    g = Geometry(
        width=8, height=4, bits=12, cfa="BGGR", black_level=(1, 2, 3, 4), neutral=(1, 2, 1.5), iso=200,
        exposure_time_s=0.01, orientation=6, color_matrix=((2, 0, 0), (0, 1, 0), (0, 0, 3)), illuminant_cct_k=5003,
    )  # fmt: skip
    frame = read_dump(bytes(64), g)
    meta = frame.meta
    assert meta.black_level.tolist() == [[1, 2, 3, 4]]
    assert meta.white_level.tolist() == [[4095] * 4]
    assert meta.neutral.tolist() == [[0.5, 1, 0.75]]
    assert (float(meta.iso), meta.orientation, float(meta.illuminant_cct_k[0, 0])) == (200, (6,), 5003)
    assert meta.color_matrices[0, 1].diagonal().tolist() == [2, 1, 3]
    changed = Facts(cfa="RGGB", black_level=64).override(frame).meta
    assert (changed.cfa, changed.black_level.tolist(), changed.white_level.tolist()) == (
        "RGGB", [[64.0] * 4], [[4095.0] * 4],
    )  # fmt: skip
    assert changed.neutral.tolist() == meta.neutral.tolist()
    with pytest.raises(ParamError, match="black must be below white"):
        Facts(black_level=5000).override(frame)


SHARED_DUMPS = [
    ("raw_infinite_isp_8bit_grbg/Indoor1_2592x1536_8bit_GRBG.raw", 2592, 1536, 8, "GRBG", 12, 255),
    ("raw_openisp_chart/test_1920x1080_10bit_RGGB_u16le.RAW", 1920, 1080, 10, "RGGB", 0, 1020),
    ("raw_nikon_dsc1339_14bit/DSC_1339_768x512_rggb.raw", 768, 512, 14, "RGGB", 616, 16383),
    ("raw_black_frame/BlackImage_1920x1080_12bits_BGGR.raw", 1920, 1080, 12, "BGGR", 0, 2816),
]


@pytest.mark.parametrize(("name", "width", "height", "bits", "cfa", "least", "most"), SHARED_DUMPS)
def test_shared_dumps(shared, name, width, height, bits, cfa, least, most):
    frame = read_dump(shared / name, Geometry(width=width, height=height, bits=bits, cfa=cfa))
    assert frame.size == (height, width)
    assert (float(frame.data.min()), float(frame.data.max())) == (least, most)
    if bits > 8:
        with pytest.raises(FileError, match="check bits, byte_order, align and offset"):
            read_dump(shared / name, Geometry(width=width, height=height, bits=8 + bits % 8, byte_order="big", cfa=cfa))
    if least:  # a scene: the two greens agree better than the phase shifted by one column says
        a = frame.data[0, 0]
        i, j = [k for k, c in enumerate(cfa) if c == "G"]
        greens = (a[i // 2 :: 2, i % 2 :: 2], a[j // 2 :: 2, j % 2 :: 2])
        assert abs(greens[0].mean() - greens[1].mean()) < 0.02 * greens[0].mean()


class FullDisk:
    """A file system that has room for some bytes and none after them."""

    def __init__(self, monkeypatch, room: int):
        self.room = room
        real = os.fdopen

        def fdopen(*args, **kwargs):
            file = real(*args, **kwargs)
            write = file.write

            class Limited:
                def __enter__(inner):
                    return inner

                def __exit__(inner, *error):
                    file.close()

                def __getattr__(inner, name):
                    return getattr(file, name)

                def write(inner, data):
                    self.room -= len(data)
                    if self.room < 0:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    return write(data)

            return Limited()

        monkeypatch.setattr(atomic.os, "fdopen", fdopen)


def test_atomic_write_is_all_or_nothing(tmp_path, monkeypatch):
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")
    with monkeypatch.context() as patch:
        FullDisk(patch, 10)
        with pytest.raises(FileError, match="no space is left on the disk"):
            write_bytes(target, bytes(11))
    with pytest.raises(ZeroDivisionError), atomic_write(target) as file:
        file.write(bytes(1 // 0))
    assert target.read_bytes() == b"old"
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    link = tmp_path / "link.bin"
    link.symlink_to(target)
    write_bytes(link, b"through")
    assert link.is_symlink()
    assert target.read_bytes() == b"through"
    umask = os.umask(0o022)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "link.bin"]


def test_atomic_write_names_the_obstacle(tmp_path):
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "none" / "a.png", "the folder does not exist"),
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "a.png", "is a file, not a folder"),
        ("/dev/full", "not a regular file"),
    ):
        with pytest.raises(FileError, match=message):
            write_bytes(path, b"x")
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(FileError, match="permission denied"):
            write_bytes(tmp_path / "a.png", b"x")
        tmp_path.chmod(0o700)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
