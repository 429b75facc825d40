"""EXIF: the free facts of a frame as tags of a written file. Source: CIPA DC-008 (EXIF 2.32)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ispkit.core.meta import CameraMeta
from ispkit.io.tiff_write import HEADER, Kind, Tag, directory, rational

EXIF_DIRECTORY = 34665
SOFTWARE = "ispkit"

# name -> (code, kind)
_MAIN: dict[str, tuple[int, Kind]] = {
    "ImageDescription": (270, "ASCII"), "Make": (271, "ASCII"), "Model": (272, "ASCII"),
    "Software": (305, "ASCII"), "DateTime": (306, "ASCII"), "Artist": (315, "ASCII"), "Copyright": (33432, "ASCII"),
}  # fmt: skip
_EXIF: dict[str, tuple[int, Kind]] = {
    "ExposureTime": (33434, "RATIONAL"), "FNumber": (33437, "RATIONAL"), "ExposureProgram": (34850, "SHORT"),
    "PhotographicSensitivity": (34855, "SHORT"), "DateTimeOriginal": (36867, "ASCII"),
    "DateTimeDigitized": (36868, "ASCII"), "OffsetTime": (36880, "ASCII"), "OffsetTimeOriginal": (36881, "ASCII"),
    "ShutterSpeedValue": (37377, "SRATIONAL"), "ApertureValue": (37378, "RATIONAL"),
    "BrightnessValue": (37379, "SRATIONAL"), "ExposureBiasValue": (37380, "SRATIONAL"),
    "MaxApertureValue": (37381, "RATIONAL"), "SubjectDistance": (37382, "RATIONAL"), "MeteringMode": (37383, "SHORT"),
    "LightSource": (37384, "SHORT"), "Flash": (37385, "SHORT"), "FocalLength": (37386, "RATIONAL"),
    "SubSecTime": (37520, "ASCII"), "SubSecTimeOriginal": (37521, "ASCII"), "ExposureMode": (41986, "SHORT"),
    "WhiteBalance": (41987, "SHORT"), "DigitalZoomRatio": (41988, "RATIONAL"),
    "FocalLengthIn35mmFilm": (41989, "SHORT"), "SceneCaptureType": (41990, "SHORT"),
    "CameraOwnerName": (42032, "ASCII"), "BodySerialNumber": (42033, "ASCII"), "LensSpecification": (42034, "RATIONAL"),
    "LensMake": (42035, "ASCII"), "LensModel": (42036, "ASCII"), "LensSerialNumber": (42037, "ASCII"),
}  # fmt: skip
_ALIASES = {"ISO": "PhotographicSensitivity", "ISOSpeedRatings": "PhotographicSensitivity"}
_ALIASES |= {"SubsecTime": "SubSecTime", "SubsecTimeOriginal": "SubSecTimeOriginal"}
_COUNTS = {"LensSpecification": 4}
_VERSION = Tag(36864, "UNDEFINED", b"0232")


def meta_facts(meta: CameraMeta) -> dict[str, Any]:
    """The EXIF facts of a frame of one picture, its ISO and exposure time among them."""
    facts = {_ALIASES.get(name, name): value for name, value in meta.exif[0].items()}
    iso, time = float(meta.iso[0]), float(meta.exposure_time_s[0])
    if iso > 0:
        facts["PhotographicSensitivity"] = min(round(iso), 65535)
    if time > 0:
        facts["ExposureTime"] = time
    return facts


def main_tags(facts: Mapping[str, Any]) -> list[Tag]:
    """The facts that stand in the main directory. What is unknown or does not fit its type is left out."""
    return _tags({"Software": SOFTWARE, **facts}, _MAIN)


def exif_tag(facts: Mapping[str, Any], *, srgb: bool | None = None) -> Tag:
    """The tag that holds the EXIF directory; `srgb` tells the color space of a finished picture."""
    tags = [_VERSION, *_tags(facts, _EXIF)]
    if srgb is not None:
        tags.append(Tag(40961, "SHORT", [1 if srgb else 65535]))
    return Tag(EXIF_DIRECTORY, "DIRECTORY", tags)


def exif_block(facts: Mapping[str, Any], *, srgb: bool) -> bytes:
    """A whole EXIF block (a TIFF without pixels) for a picture that stands upright."""
    return HEADER + directory([*main_tags(facts), Tag(274, "SHORT", [1]), exif_tag(facts, srgb=srgb)], len(HEADER))


def _tags(facts: Mapping[str, Any], known: Mapping[str, tuple[int, Kind]]) -> list[Tag]:
    named = {_ALIASES.get(name, name): value for name, value in facts.items()}
    made = [_tag(name, *known[name], named[name]) for name in known if name in named]
    return [tag for tag in made if tag is not None]


def _tag(name: str, code: int, kind: Kind, value: Any) -> Tag | None:
    """A tag, or None where the value does not fit: a free fact must not stop a file from being written."""
    if kind == "ASCII":
        return Tag(code, kind, value.strip()) if isinstance(value, str) and value.strip("\0 ") else None
    many = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        numbers = [Fraction(v) if kind != "SHORT" else int(v) for v in many]
        if kind == "SHORT" and not all(0 <= n <= 65535 for n in numbers):
            return None
        if kind != "SHORT":
            [rational(n, signed=kind == "SRATIONAL") for n in numbers]
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        return None
    return Tag(code, kind, numbers) if len(numbers) == _COUNTS.get(name, 1) else None
