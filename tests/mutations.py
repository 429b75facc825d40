"""Damage done to files on purpose, the same for the same seed: what a reader must survive."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

_HEAD = 4096
_SUFFIXES = (".dng", ".jpg", ".raw", ".nef", ".txt", ".tif", ".DNG", "")
_INTEGERS = (0, 1, 2, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADS = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n", b"FUJIFILMCCD-RAW 0201", b"\x00\x00\x00\x18ftypcrx ",
    b"II\x1a\x00\x00\x00HEAPCCDR", b"MM\x00*", b"IIU\x00", b"IIRO", b"\x00MRM", b"FOVb",
    b"II*\x00\x10\x00\x00\x00CR\x02",
)  # fmt: skip


def mutations(data: bytes, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged copies of `data`: (a file name that says what was done, the bytes).

    The kinds take turns, so that even a few copies hold each of them. A renamed copy has its bytes whole.
    """
    kinds = list(_KINDS.items())
    for index in range(count):
        rng = random.Random(f"{seed}/{index}")
        kind, damage = kinds[index % len(kinds)]
        suffix = _SUFFIXES[rng.randrange(len(_SUFFIXES))] if kind == "renamed" else ".dng"
        yield f"{index:04d}-{kind}{suffix}", damage(data, rng)


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((0, 1, 8, rng.randrange(_HEAD), rng.randrange(len(data)), len(data) - 1))]


def _flipped(data: bytes, rng: random.Random, stop: int | None = None) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 8, 64))):
        damaged[rng.randrange(min(stop or len(data), len(data)))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _head_flipped(data: bytes, rng: random.Random) -> bytes:
    return _flipped(data, rng, _HEAD)


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start, length = (
        rng.choice((0, rng.randrange(_HEAD), rng.randrange(len(data)))),
        rng.choice((4, 64, 4096, len(data))),
    )
    stop = min(start + length, len(data))
    return data[:start] + bytes(stop - start) + data[stop:]


def _absurd_integers(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 3))):
        at = rng.randrange(min(_HEAD, len(data) - 4))
        damaged[at : at + 4] = rng.choice(_INTEGERS).to_bytes(4, rng.choice(("little", "big")))
    return bytes(damaged)


def _absurd_tag(data: bytes, rng: random.Random) -> bytes:
    """Another type, count or value for one of the first directory's tags (the file is little-endian)."""
    first = int.from_bytes(data[4:8], "little")
    tags = int.from_bytes(data[first : first + 2], "little")
    if data[:2] != b"II" or not 0 < tags < 500 or first + 2 + 12 * tags > len(data):
        return _absurd_integers(data, rng)
    entry = first + 2 + 12 * rng.randrange(tags)
    at, size = rng.choice(((2, 2), (4, 4), (8, 4)))
    value = rng.randrange(14) if at == 2 else rng.choice(_INTEGERS)
    return data[: entry + at] + value.to_bytes(size, "little") + data[entry + at + size :]


def _inserted(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 7, 512))) + data[at:]


def _cut_out(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 4096)) :]


def _other_head(data: bytes, rng: random.Random) -> bytes:
    head = rng.choice(_HEADS)
    return head + data[len(head) :]


def _noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 100, 100_000)))


def _renamed(data: bytes, rng: random.Random) -> bytes:
    return data


_KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": _truncated,
    "flipped": _flipped,
    "head-flipped": _head_flipped,
    "zeroed": _zeroed,
    "absurd-integers": _absurd_integers,
    "absurd-tag": _absurd_tag,
    "inserted": _inserted,
    "cut-out": _cut_out,
    "other-head": _other_head,
    "noise": _noise,
    "renamed": _renamed,
}
