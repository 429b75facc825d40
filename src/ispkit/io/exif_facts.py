"""EXIF facts of a RAW file by name, to be carried over to whatever is written from it."""

from __future__ import annotations

import math

from ispkit.core.errors import FileError
from ispkit.io.tiff_tree import Directory, TiffTree

Fact = str | int | float | tuple[int, ...] | tuple[float, ...]

# Names as in the EXIF 2.32 specification (ISOSpeedRatings by its older, common name).
IMAGE_TAGS = {
    270: "ImageDescription", 271: "Make", 272: "Model", 305: "Software", 306: "DateTime", 315: "Artist",
    33432: "Copyright", 50708: "UniqueCameraModel", 50735: "CameraSerialNumber",
}  # fmt: skip
EXIF_TAGS = {
    33434: "ExposureTime", 33437: "FNumber", 34850: "ExposureProgram", 34855: "ISOSpeedRatings",
    36867: "DateTimeOriginal", 36868: "DateTimeDigitized", 36880: "OffsetTime", 36881: "OffsetTimeOriginal",
    37380: "ExposureBiasValue", 37381: "MaxApertureValue", 37383: "MeteringMode", 37384: "LightSource",
    37385: "Flash", 37386: "FocalLength", 37520: "SubSecTime", 37521: "SubSecTimeOriginal",
    41989: "FocalLengthIn35mmFilm", 42033: "BodySerialNumber", 42034: "LensSpecification",
    42035: "LensMake", 42036: "LensModel",
}  # fmt: skip
_LONGEST = 1024
_TEXT, _FRACTIONS = 2, (5, 10, 11, 12)


def exif_facts(tree: TiffTree | None) -> dict[str, Fact]:
    """The named tags of a tree that hold sensible values; damaged ones are left out."""
    if tree is None:
        return {}
    facts = _facts(tree.main, IMAGE_TAGS | EXIF_TAGS)
    return facts | (_facts(tree.exif, EXIF_TAGS) if tree.exif else {})


def _facts(directory: Directory, names: dict[int, str]) -> dict[str, Fact]:
    found = {name: _fact(directory, code) for code, name in names.items() if code in directory}
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _fact(directory: Directory, code: int) -> Fact | None:
    entry = directory.entries[code]
    if entry.count > _LONGEST:
        return None
    try:
        if entry.kind == _TEXT:
            return "".join(c for c in directory.text(code) if c.isprintable())
        values = [float(v) for v in directory.numbers(code)]
    except FileError:
        return None
    if not values or not all(map(math.isfinite, values)):
        return None
    if entry.kind in _FRACTIONS:
        return values[0] if len(values) == 1 else tuple(values)
    return int(values[0]) if len(values) == 1 else tuple(int(v) for v in values)
