"""The one door in: RAW container, NumPy or PNG mosaic, or headerless dump, told by content."""

from __future__ import annotations

import os

from ispkit.core.errors import FileError, IspkitError
from ispkit.core.frame import Domain, Frame
from ispkit.io.binary import Source, name_of, path_of, read_bytes, size_of
from ispkit.io.containers import describe_other, identify
from ispkit.io.dump import read_dump
from ispkit.io.geometry import Facts, Geometry
from ispkit.io.half_size import halved
from ispkit.io.mosaic_files import is_mosaic_file, read_mosaic
from ispkit.io.sidecar import find_sidecar, is_own_sidecar, read_sidecar

_HEAD = 4096
_BARE = ("data without a known signature", "nothing but zero bytes")


def load(
    source: Source,
    *,
    geometry: Facts | None = None,
    sidecar: str | os.PathLike[str] | None = None,
    half_size: bool = False,
) -> Frame:
    """One picture from a path, bytes or an open file: `Frame(RAW)`, or CAMERA_RGB where there is no mosaic.

    `geometry` tells what the file cannot: a `Geometry` makes it a headerless dump, `Facts` complete a
    NumPy or PNG mosaic or override what a container says. Without it the `sidecar` is asked, or the one
    that stands beside the file. With `half_size` every 2x2 becomes one pixel of CAMERA_RGB, for previews.
    Raises `FileError`; a dump without a geometry is never guessed.
    """
    head = read_bytes(source, _HEAD)
    if not head:
        raise FileError(f"{name_of(source)}: the file is empty (0 bytes)")
    facts = geometry if geometry is not None else _from_sidecar(source, sidecar, head)
    if is_mosaic_file(head):
        return _finished(read_mosaic(source, facts or Facts()), half_size)
    if isinstance(facts, Geometry):
        return _finished(read_dump(source, facts), half_size)
    if _is_bare(head):
        raise FileError(_how_to_tell(source, facts))
    from ispkit.io.raw import read_raw

    if facts is None:
        return read_raw(source, half_size=half_size)
    try:
        return _finished(facts.override(read_raw(source)), half_size)
    except IspkitError as error:
        raise FileError(f"{name_of(source)}: {error}") from error


def _finished(frame: Frame, half_size: bool) -> Frame:
    return halved(frame) if half_size and frame.domain is Domain.RAW else frame


def _from_sidecar(source: Source, sidecar: str | os.PathLike[str] | None, head: bytes) -> Facts | None:
    path = path_of(source)
    size = size_of(source)
    if sidecar is not None:
        return read_sidecar(sidecar, size)
    beside = find_sidecar(path) if path is not None else None
    if beside is None or (not is_own_sidecar(beside) and not _is_bare(head)):
        return None  # some other program's YAML beside a file that speaks for itself
    return read_sidecar(beside, size)


def _is_bare(head: bytes) -> bool:
    """Whether no known signature stands at the start."""
    if head[:2] in (b"II", b"MM") or describe_other(head) not in _BARE:
        return False
    try:
        identify(head)
    except FileError:
        return True
    return False


def _how_to_tell(source: Source, facts: Facts | None) -> str:
    missing = "width, height and bits" if facts is not None else "its geometry (width, height, bits, cfa)"
    return (
        f"{name_of(source)}: no known signature, so perhaps a headerless dump of {size_of(source)} bytes; "
        f"give {missing} by flags or in a sidecar, or ask `ispkit doctor FILE` for what would fit"
    )
