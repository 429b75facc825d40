"""What is no RAW file, or a damaged one: a frame or one clear `FileError`, never anything else."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ispkit.core.errors import FileError
from ispkit.io.raw import describe, read_raw, read_thumbnail
from ispkit.io.tiff_tree import read_tree
from mutations import mutations
from tiny_dng import (
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    opcode_list,
    rational,
    scene,
    sub_ifd_dng,
    tiny_dng,
)

SHARED_RAWS = ("raw_gopro_hero7/gopro_hero7_crop1536x1024.dng", "raw_dng/Blackmagic.dng")
REPO = Path(__file__).resolve().parents[1]


def complaint(source) -> str:
    with pytest.raises(FileError) as caught:
        read_raw(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def picture(kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def tiff(maker: str | None) -> bytes:
    import tifffile

    file = io.BytesIO()
    tags = [(271, 2, 0, maker, True), (272, 2, 0, "EOS 5D", True)] if maker else []
    tifffile.imwrite(file, scene(), photometric="minisblack", metadata=None, extratags=tags)
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, scene())
    return file.getvalue()


OTHERS = {
    "empty": (lambda: b"", "is empty"),
    "zeros": (lambda: bytes(4096), "nothing but zero bytes.*geometry"),
    "text": (lambda: b"camera: nikon\n" * 9, "is text"),
    "jpeg": (lambda: picture("JPEG"), "a JPEG picture"),
    "png": (lambda: picture("PNG"), "a PNG picture"),
    "webp": (lambda: picture("WEBP"), "a WebP picture"),
    "heif": (lambda: b"\0\0\0\x18ftypheic" + bytes(100), "a HEIF picture"),
    "npy": (npy, "a NumPy array"),
    "tiff": (lambda: tiff(None), "a TIFF picture"),
    "tiff of a camera": (lambda: tiff("Canon"), "a TIFF picture of a camera"),
    "tiff header alone": (lambda: b"II*\0\x08\0\0\0", "truncated or damaged"),
    "dump": (lambda: scene(480, 640).tobytes(), "headerless dump, give its geometry"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_raw_file_is_called_by_its_name(name):
    import re

    make, words = OTHERS[name]
    assert re.search(words, complaint(make())), complaint(make())
    for read in (describe, read_thumbnail):
        with pytest.raises(FileError):
            read(make())


def test_folders_missing_files_and_locked_files(tmp_path):
    assert "folder" in complaint(tmp_path)
    assert "No such file" in complaint(tmp_path / "none.dng")
    locked = tmp_path / "locked.dng"
    locked.write_bytes(tiny_dng())
    locked.chmod(0)
    if not os.access(locked, os.R_OK):  # root reads everything
        assert "ermission" in complaint(locked)


def test_a_headerless_dump_is_never_guessed_by_its_size(shared):
    """LibRaw alone opens the first of these as some camera's dump."""
    for path in sorted((shared).glob("raw_*/*.[rR][aA][wW]")):
        assert "give its geometry" in complaint(path)


@pytest.mark.parametrize("name", ["shot.jpg", "shot.raw", "shot", "shot.nef"])
def test_the_name_of_a_file_does_not_matter(tmp_path, name):
    (tmp_path / name).write_bytes(tiny_dng())
    assert read_raw(tmp_path / name).size == (48, 64)


def test_every_truncation_is_noticed():
    for data in (tiny_dng(), sub_ifd_dng(scene()), tiny_dng(scene(), byteorder=">")):
        whole = read_raw(data).data
        for length in range(0, len(data), 97):
            assert complaint(data[:length])
        assert read_raw(data).data.equal(whole)


@pytest.mark.parametrize("part", [0.002, 0.3, 0.9, 0.9999])
def test_a_truncated_camera_file_is_an_error_not_a_black_area(shared, part, capfd):
    for name in SHARED_RAWS:
        data = (shared / name).read_bytes()
        assert "truncated or damaged" in complaint(data[: int(part * len(data))])
    assert capfd.readouterr().err == ""


def test_corrupt_pixel_data_is_an_error_and_libraw_keeps_quiet(shared, capfd):
    data = bytearray((shared / SHARED_RAWS[1]).read_bytes())
    data[900_000:1_600_000] = b"\xff\xd9" * 350_000
    assert "corrupt" in complaint(bytes(data))
    os.write(2, b"still there\n")
    assert capfd.readouterr().err == "still there\n"


IMPOSSIBLE = {
    "white below black": ((50717, LONG, 1, 10, True), "black level"),
    "white of 32 bits": ((50717, LONG, 1, 0xFFFFFFFF, True), "white level"),
    "singular matrix": ((50721, SRATIONAL, 9, rational([1] * 9), True), "ColorMatrix1"),
    "division by zero": ((50728, RATIONAL, 3, (1, 0) * 3, True), "AsShotNeutral"),
    "black neutral": ((50728, RATIONAL, 3, (0, 1) * 3, True), "AsShotNeutral"),
    "area outside": ((50829, LONG, 4, (0, 0, 4000, 4000), True), "ActiveArea"),
    "area turned over": ((50829, LONG, 4, (40, 0, 4, 60), True), "ActiveArea"),
    "too many black levels": ((50714, SHORT, 3, (1, 2, 3), True), "BlackLevel"),
    "opcodes cut off": ((51009, UNDEFINED, 20, opcode_list((5, b"abcd"))[:20], True), "OpcodeList2"),
    "odd pattern": ((33422, BYTE, 4, bytes((0, 0, 0, 0)), True), "not Bayer"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_metadata_is_named(name):
    tag, word = IMPOSSIBLE[name]
    assert word in complaint(tiny_dng(None, tag))


def survives(data: bytes) -> str:
    """ "frame" or "refused"; any other exception fails the test."""
    for read in (describe, read_thumbnail):
        with suppress(FileError):
            read(data)
    try:
        frames = [read_raw(data, half_size=half_size) for half_size in (False, True)]
    except FileError:
        return "refused"
    assert all(frame.data.isfinite().all() for frame in frames)
    return "frame"


def test_mutations_are_the_same_for_the_same_seed():
    data = tiny_dng()
    first, again = (list(mutations(data, 3, 30)) for _ in range(2))
    assert first == again
    assert first != list(mutations(data, 4, 30))
    assert sum(damaged == data for _, damaged in first) <= 6


def test_damaged_tiny_files_give_a_frame_or_a_complaint():
    tiny = tiny_dng(
        None, (50829, LONG, 4, (3, 5, 47, 63), True), (51009, UNDEFINED, 28, opcode_list((4, bytes(8))), True)
    )
    outcomes = {survives(data) for file in (tiny, sub_ifd_dng(scene())) for _, data in mutations(file, 1, 22)}
    assert outcomes == {"frame", "refused"}


@given(st.binary(max_size=300), st.sampled_from([b"II*\0", b"MM\0*", b"IIU\0", b""]))
def test_the_tag_tree_of_any_bytes_raises_nothing_but_file_errors(body, head):
    tree = read_tree(head + b"\x08\0\0\0" + body)
    for directory in tree.directories if tree else ():
        for code in directory.entries:
            try:
                directory.numbers(code)
                directory.text(code)
            except FileError:
                continue


CHILD = """
import io, resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
sys.path.insert(0, "tests")
import torch
torch.set_num_threads(1)
from mutations import mutations
from ispkit.core.errors import FileError
from ispkit.io.raw import read_raw
data = open(sys.argv[1], "rb").read()
for name, damaged in mutations(data, int(sys.argv[2]), int(sys.argv[3])):
    print("begin", name, flush=True)
    signal.alarm(60)
    try:
        outcome = f"frame {tuple(read_raw(damaged).data.shape)}"
    except FileError as error:
        outcome = f"refused {str(error).count(chr(10))}"
    signal.alarm(0)
    print("end", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, outcome, flush=True)
"""


@pytest.mark.slow
def test_500_damaged_camera_files_neither_crash_nor_hang_nor_eat_memory(shared):
    names = (*SHARED_RAWS, "raw_gopro_hero7/gopro_hero7_GOPR9231.dng")
    refused = 0
    for name, count in zip(names, (200, 200, 100), strict=True):
        command = [sys.executable, "-c", CHILD, str(shared / name), "7", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=False)
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"{name}: {lines[-1:]} {done.stderr[-500:]}"
        assert done.stderr == ""
        ends = [line.split(" ", 2) for line in lines if line.startswith("end")]
        assert len(ends) == count
        assert max(int(kib) for _, kib, _ in ends) < 4 << 20
        assert all(outcome == "refused 0" or outcome.startswith("frame (1, ") for *_, outcome in ends)
        refused += sum(outcome == "refused 0" for *_, outcome in ends)
    assert 100 < refused < 400


def test_the_mutation_kinds_take_turns():
    names = [name.split("-", 1)[1] for name, _ in itertools.islice(mutations(tiny_dng(), 0, 11), 11)]
    assert len({name.rsplit(".", 1)[0] for name in names}) == 11
