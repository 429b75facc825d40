"""Camera RAW files in: any Bayer file that LibRaw opens becomes a `Frame` in `Domain.RAW`.

LibRaw decodes the pixels; of a DNG the tags, not LibRaw's reading of them, say what the pixels mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from ispkit.core.cfa import CfaPattern
from ispkit.core.errors import FileError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import XYZ_TO_SRGB, CameraMeta, View
from ispkit.core.opcodes import Area
from ispkit.io import libraw
from ispkit.io.binary import Source, name_of, read_bytes
from ispkit.io.containers import identify
from ispkit.io.describe import describe as describe_frame
from ispkit.io.dng_tags import DngTags
from ispkit.io.exif_facts import exif_facts
from ispkit.io.half_size import halved
from ispkit.io.tiff_tree import TiffTree

MAX_FILE_BYTES = 1 << 30
_LARGEST_SAMPLE = 65535  # LibRaw decodes to 16 bits
_LIBRAW_MATRIX_CCT = 6504.0
_PLACEHOLDER_CFA: CfaPattern = "RGGB"


def read_raw(source: Source, *, half_size: bool = False) -> Frame:
    """A camera's RAW file from a path, bytes or an open binary file -> a frame of one picture.

    A Bayer file gives `Domain.RAW`: float32 DN (1, 1, H, W), black level still in, the *active area* only,
    with `meta.cfa`, `black_level`, `white_level` of that area's top-left 2x2. Black levels that vary by row,
    by column or over more than 2x2 sites are evened out: the pixels lose the deviation from their site's
    mean. Orientation is recorded, not applied. DNG's DefaultCrop is recorded (`meta.exif["ispkit:default_crop"]`,
    `(top, left, bottom, right)`), not applied, as LibRaw does.

    Files without a Bayer pattern (X-Trans, LinearRaw, sRAW, monochrome) enter at `Domain.CAMERA_RGB`
    through LibRaw's own linear demosaic, black 0, white 1; `meta.exif["ispkit:layout"]` says which it is,
    `meta.cfa` means nothing then.

    `half_size=True` gives a quick preview in `Domain.CAMERA_RGB`: every 2x2 binned into one pixel (the two
    greens averaged), black 0, white 1, without the opcodes, whose coordinates would no longer fit.

    Raises `FileError` with one sentence that says what the file is and what would be right.
    """
    data = read_bytes(source, MAX_FILE_BYTES + 1)
    with _named(name_of(source)):
        frame = _decode(data)
        return _halved(frame) if half_size else frame


def read_thumbnail(source: Source) -> NDArray[np.uint8]:
    """The largest preview picture embedded in a RAW file, (H, W, 3) uint8 sRGB, in the sensor's orientation.

    Raises `FileError` if there is none; `read_raw(source, half_size=True)` always gives a preview.
    """
    data = read_bytes(source, MAX_FILE_BYTES + 1)
    with _named(name_of(source)):
        _check_length(data)
        identify(data)
        return libraw.thumbnail(data)


def describe(source: Source) -> dict[str, Any]:
    """Plain facts that a RAW file states, ready for JSON; see `ispkit info`. Raises `FileError`."""
    return describe_frame(read_raw(source), name_of(source))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Puts the file's name in front of every complaint about its content."""
    try:
        yield
    except FileError as error:
        raise FileError(f"{name}: {error}") from error.__cause__


def _check_length(data: bytes) -> None:
    if len(data) > MAX_FILE_BYTES:
        raise FileError(f"it is larger than {MAX_FILE_BYTES >> 30} GiB, no camera's RAW file is; not read")


def _decode(data: bytes) -> Frame:
    _check_length(data)
    container, tree = identify(data)
    is_dng = container == "DNG" and tree is not None
    if is_dng and tree is not None:
        DngTags(tree).check_extent()
    with libraw.opened(data) as raw:
        stored = (int(raw.sizes.raw_height), int(raw.sizes.raw_width))
        tags = DngTags(tree, stored) if is_dng and tree is not None else None
        facts = _common_facts(raw, tree, tags)
        facts["exif"] |= {"ispkit:container": container, "ispkit:bytes": len(data), "ispkit:stored_size": stored}
        cfa = _bayer(raw, tags)
        return _colors(raw, tags, facts) if cfa is None else _mosaic(raw, tags, cfa, facts)


def _bayer(raw: Any, tags: DngTags | None) -> CfaPattern | None:
    """The pattern of the active area; None if the picture is no Bayer mosaic. Raises `FileError`."""
    if tags is None or not tags.is_mosaic:
        return libraw.bayer_pattern(raw) if tags is None else None
    tags.check_layout()
    if tags.cfa_shape == (6, 6):
        return None
    # LibRaw moves an odd active area to even margins, so its pattern only fits its own area
    return tags.cfa if _tags_fit(raw, tags) and tags.cfa else libraw.bayer_pattern(raw)


def _tags_fit(raw: Any, tags: DngTags) -> bool:
    """Whether the directory of `tags` describes the picture that LibRaw decoded."""
    return raw.raw_image is not None and tuple(raw.raw_image.shape[:2]) == tags.size


@dataclass(frozen=True)
class _Levels:
    """Active area, black and white per site, and what else varies of black, (H, W) or None."""

    area: Area
    black: list[float]
    white: list[float]
    residue: NDArray[np.float32] | None = None


def _mosaic(raw: Any, tags: DngTags | None, cfa: CfaPattern, facts: dict[str, Any]) -> Frame:
    levels = _levels(raw, tags)
    top, left, bottom, right = levels.area
    data = raw.raw_image[top:bottom, left:right].astype(np.float32)
    if tags is not None and tags.is_float and not data.any():
        raise FileError("it holds half-float samples that LibRaw cannot decode; write it with deflate compression")
    if levels.residue is not None:
        data -= levels.residue
    _check_levels(levels.black, levels.white)
    facts["exif"] |= {"ispkit:layout": f"Bayer {cfa}", "ispkit:active_area": levels.area}
    meta = CameraMeta.make(cfa, data.shape, black_level=levels.black, white_level=levels.white, **facts)
    return Frame(torch.from_numpy(data)[None, None], Domain.RAW, meta)


def _levels(raw: Any, tags: DngTags | None) -> _Levels:
    """Levels and active area: of a DNG from its tags, else from LibRaw."""
    if tags is None or not _tags_fit(raw, tags):
        return _Levels(libraw.visible_area(raw), *libraw.site_levels(raw))
    area = tags.active_area
    if tags.is_float:  # LibRaw has rescaled the samples, only its own levels fit them
        return _Levels(area, [float(min(raw.black_level_per_channel))] * 4, [float(raw.white_level)] * 4)
    black = tags.black_map()[:, :, 0]
    rows, columns = tags.black_deltas()
    white = tags.white_level()[:1] * 4
    if max(black.shape) <= 2 and not rows.any() and not columns.any():
        return _Levels(area, np.tile(black, (2, 2))[:2, :2].ravel().tolist(), white)
    y, x = np.arange(len(rows)) % black.shape[0], np.arange(len(columns)) % black.shape[1]
    full = black[np.ix_(y, x)].astype(np.float32)
    full += rows[:, None]
    full += columns
    sites = [float(full[y::2, x::2].mean()) for y in (0, 1) for x in (0, 1)]
    for i, level in enumerate(sites):
        full[i // 2 :: 2, i % 2 :: 2] -= level
    return _Levels(area, sites, white, full)


def _colors(raw: Any, tags: DngTags | None, facts: dict[str, Any]) -> Frame:
    """A picture without Bayer pattern: decoded, and demosaiced where needed, by LibRaw."""
    kind = libraw.layout(raw)
    if kind in ("LinearRaw", "monochrome"):
        picture = _planes(raw, tags)
    else:
        picture = libraw.demosaiced(raw)
        facts["noise_profile"] = ((0.0, 0.0),)  # interpolation has mixed the pixels
        facts["opcodes"] = [op for op in facts.get("opcodes", ()) if op.stage == 3]
    facts["exif"] |= {
        "ispkit:layout": kind,
        "ispkit:demosaic": "LibRaw",
        "ispkit:active_area": libraw.visible_area(raw),
    }
    meta = CameraMeta.make(_PLACEHOLDER_CFA, picture.shape[:2], **facts)
    data = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
    return Frame(data, Domain.CAMERA_RGB, meta)


def _planes(raw: Any, tags: DngTags | None) -> NDArray[np.float32]:
    """Full-color or monochrome samples, (H, W, 3), black 0, white 1, not clipped."""
    stored = raw.raw_image_visible
    picture = np.repeat(stored[..., None], 3, axis=2) if stored.ndim == 2 else stored[..., :3]
    black = np.array(raw.black_level_per_channel[:3], dtype=np.float32)
    white = np.full(3, raw.white_level, dtype=np.float32)
    if tags is not None and not tags.is_float and tags.samples in (1, 3):
        black = np.resize(tags.black_map().mean(axis=(0, 1)), 3).astype(np.float32)
        white = np.resize(tags.white_level(), 3).astype(np.float32)
    _check_levels(black.tolist(), white.tolist())
    planes = np.array(picture, dtype=np.float32)
    planes -= black
    planes /= white - black
    return planes


def _check_levels(black: list[float], white: list[float]) -> None:
    if not all(b < w for b, w in zip(black, white, strict=True)):
        raise FileError(f"its black level {black} is not below its white level {white}: damaged")
    if max(white) > _LARGEST_SAMPLE:
        raise FileError(f"its white level {white} is more than a sample can hold ({_LARGEST_SAMPLE}): damaged")


def _common_facts(raw: Any, tree: TiffTree | None, tags: DngTags | None) -> dict[str, Any]:
    """What does not depend on how the pixels are laid out, as keywords of `CameraMeta.make`."""
    exif: dict[str, Any] = dict(exif_facts(tree))
    facts: dict[str, Any] = {
        "iso": _sane(exif.get("ISOSpeedRatings"), raw.other.iso_speed, below=65535),
        "exposure_time_s": _sane(exif.get("ExposureTime"), raw.other.shutter_speed, below=1e6),
        "orientation": libraw.orientation(raw) if tags is None else tags.orientation,
    }
    color, source = _color_facts(raw, tags)
    exif["ispkit:color_matrix_from"] = source
    if raw.sizes.pixel_aspect != 1.0:
        exif["ispkit:pixel_aspect"] = float(raw.sizes.pixel_aspect)
    if tags is not None:
        facts |= _tag_facts(tags)
        exif |= {"ispkit:bits": tags.bits, "ispkit:compression": tags.compression}
        exif |= {"ispkit:linearization_table": tags.has_linearization_table, "ispkit:default_crop": tags.default_crop}
    return facts | color | {"exif": exif}


def _tag_facts(tags: DngTags) -> dict[str, Any]:
    exposure = tags.numbers("BaselineExposure")
    noise = tags.noise_profile()
    facts: dict[str, Any] = {"opcodes": tags.opcodes(), "baseline_exposure": exposure[0] if exposure else 0.0}
    return facts | ({"noise_profile": noise} if noise else {})


def _color_facts(raw: Any, tags: DngTags | None) -> tuple[dict[str, Any], str]:
    color = tags.color() if tags is not None else None
    if color is not None:
        facts: dict[str, Any] = {
            "color_matrices": [m.tolist() for m in color.color_matrices],
            "forward_matrices": [m.tolist() for m in color.forward_matrices],
            "illuminant_cct_k": color.illuminant_cct_k,
            "neutral": color.neutral or libraw.neutral(raw),
        }
        return facts, "DNG tags"
    matrix, source = libraw.color_matrix(raw, np.array(XYZ_TO_SRGB))
    facts = {"neutral": libraw.neutral(raw), "illuminant_cct_k": (_LIBRAW_MATRIX_CCT,)}
    return facts | ({} if matrix is None else {"color_matrices": [matrix.tolist()]}), source


def _sane(stated: Any, fallback: float, below: float) -> float:
    for value in (stated, fallback):
        if isinstance(value, int | float) and 0 < value < below:
            return float(value)
    return 0.0


def _halved(frame: Frame) -> Frame:
    """A preview of half the size; an odd last line is dropped."""
    if min(frame.size) < 2:
        raise FileError("the picture is too small to be halved")
    if frame.domain is Domain.RAW:
        return halved(frame)
    view = View((frame.size[0] // 2, frame.size[1] // 2))
    noise = frame.meta.noise_profile / 4
    return frame.with_data(avg_pool2d(frame.data, 2), view=(view,), opcodes=((),), noise_profile=noise)
