"""The EXIF facts of a finished picture, to be carried over to what is made of it."""

from __future__ import annotations

import os
import warnings
from io import BytesIO

from ispkit.core.errors import FileError
from ispkit.io.binary import read_bytes
from ispkit.io.exif_facts import Fact, exif_facts
from ispkit.io.tiff_tree import read_tree

_MARK = b"Exif\0\0"


def picture_facts(path: str | os.PathLike[str]) -> dict[str, Fact]:
    """Named EXIF tags of a PNG, JPEG or TIFF file that hold sensible values; none where the file's are damaged.

    The software that wrote the file is left out: what is made of the picture comes of another. Raises `FileError` where
    the file cannot be read.
    """
    data = read_bytes(path)
    block = data if data[:4] in (b"II*\0", b"MM\0*") else _block(data)
    try:
        facts = exif_facts(read_tree(block)) if block else {}
    except FileError:
        return {}
    return {name: value for name, value in facts.items() if name != "Software" and not _is_layout(value)}


def _is_layout(value: Fact) -> bool:
    """Whether it is what tifffile writes into a description for itself: the shape of the pixels of that file."""
    return isinstance(value, str) and value.startswith('{"shape"')


def _block(data: bytes) -> bytes:
    """The EXIF block of a PNG or JPEG, a TIFF without pixels."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=["PNG", "JPEG", "MPO"]) as picture:
                block = picture.info.get("exif", b"")
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError):
        return b""
    return bytes(block).removeprefix(_MARK)
