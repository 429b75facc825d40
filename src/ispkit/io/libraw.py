"""LibRaw behind one door: open bytes quietly, speak of failures as `FileError`, hand out arrays that live on.

Nothing here guesses: `containers.identify` has said before that the bytes are a RAW file.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ispkit.core.cfa import CfaPattern, is_cfa
from ispkit.core.errors import FileError
from ispkit.core.opcodes import Area

MAX_MOSAIC_PIXELS = 256_000_000
"""a mosaic of this size needs about 2 GiB while it is read"""
MAX_COLOR_PIXELS = 80_000_000
"""three colors through LibRaw's own demosaic need about 28 bytes a pixel"""

# LibRaw's flip -> EXIF orientation
_ORIENTATION = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
_XTRANS_TILE = 600  # LibRaw 0.22's X-Trans demosaic refuses pictures about the size of its own tile


@contextmanager
def opened(data: bytes) -> Iterator[Any]:
    """A decoded `rawpy.RawPy`; copy what should outlive the block. Raises `FileError`."""
    import io

    import rawpy

    with _quiet_stderr(), rawpy.RawPy() as raw:
        try:
            raw.open_buffer(io.BytesIO(data))
            _check_size(raw)
            raw.unpack()
            yield raw
        except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
            raise FileError(_explain(error)) from error
        except MemoryError as error:
            raise FileError("decoding it needs more memory than there is; close other programs") from error


def _check_size(raw: Any) -> None:
    sizes = raw.sizes
    height, width = sizes.raw_height, sizes.raw_width
    _limit(height, width, MAX_MOSAIC_PIXELS)
    if sizes.height < 1 or sizes.width < 1 or sizes.height > height or sizes.width > width:
        raise FileError(f"its visible area {sizes.height}x{sizes.width} does not fit in {height}x{width}: damaged")


def _limit(height: int, width: int, limit: int) -> None:
    if not 0 < height * width <= limit:
        raise FileError(f"it declares {height}x{width} pixels, at most {limit:,} are read at once: damaged?")


def declared_size(data: bytes) -> tuple[int, int]:
    """Stored height and width as the headers say, without decoding. Raises `FileError`."""
    import io

    import rawpy

    with _quiet_stderr(), rawpy.RawPy() as raw:
        try:
            raw.open_buffer(io.BytesIO(data))
        except rawpy.LibRawError as error:
            raise FileError(_explain(error)) from error
        return int(raw.sizes.raw_height), int(raw.sizes.raw_width)


def _explain(error: Exception) -> str:
    import rawpy

    if isinstance(error, rawpy.LibRawFileUnsupportedError):
        return "LibRaw does not support this kind of RAW file, or its header is damaged"
    if isinstance(error, rawpy.LibRawIOError | rawpy.LibRawDataError):
        return "its pixel data ends early or is corrupt: truncated or damaged; copy the file again from the camera"
    if isinstance(error, rawpy.LibRawTooBigError | rawpy.LibRawUnsufficientMemoryError):
        return "it declares a picture too large to decode: damaged?"
    text = error.args[0].decode("utf-8", "replace") if error.args and isinstance(error.args[0], bytes) else str(error)
    return f"LibRaw cannot decode it ({text}): damaged or unsupported"


def bayer_pattern(raw: Any) -> CfaPattern | None:
    """The 2x2 pattern at the visible area's top-left; None where the sensor is no Bayer one."""
    pattern = raw.raw_pattern
    if pattern is None or pattern.shape != (2, 2) or pattern.max() > 3:
        return None
    word = "".join(raw.color_desc.decode("ascii", "replace")[i] for i in pattern.ravel())
    return word if is_cfa(word) else None


def visible_area(raw: Any) -> Area:
    """`(top, left, bottom, right)` of LibRaw's visible area in stored pixels."""
    s = raw.sizes
    return s.top_margin, s.left_margin, s.top_margin + s.height, s.left_margin + s.width


def site_levels(raw: Any) -> tuple[list[float], list[float]]:
    """Black and white level at the visible area's 2x2 sites, row by row, in stored DN.

    White is the camera's own per-channel value where the file holds a plausible one, else LibRaw's.
    """
    channels = raw.raw_pattern.ravel()
    black = [float(raw.black_level_per_channel[i]) for i in channels]
    top = float(raw.white_level)
    own = raw.camera_white_level_per_channel or [0] * 4
    return black, [float(own[i]) if top / 2 < own[i] <= top else top for i in channels]


def orientation(raw: Any) -> int:
    """LibRaw's flip as EXIF orientation."""
    return _ORIENTATION.get(raw.sizes.flip, 1)


def neutral(raw: Any) -> tuple[float, float, float]:
    """The as-shot white in sensor RGB, else the daylight one, else ones."""
    for gains in (raw.camera_whitebalance, raw.daylight_whitebalance):
        rgb = np.array(gains[:3], dtype=np.float64)
        if np.isfinite(rgb).all() and (rgb > 0).all():
            red, green, blue = 1 / rgb
            return float(red), float(green), float(blue)
    return 1.0, 1.0, 1.0


def color_matrix(raw: Any, xyz_to_srgb: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, str]:
    """XYZ (D65) -> sensor RGB and where it is from; None if LibRaw knows no matrix of this camera.

    LibRaw's `color_matrix` takes RGB balanced for daylight to linear sRGB; its inverse, freed from the
    daylight gains, is the same fact.
    """
    direct = np.array(raw.rgb_xyz_matrix, dtype=np.float64)[:3]
    if _invertible(direct):
        return direct, "LibRaw's table of cameras"
    to_srgb = np.array(raw.color_matrix, dtype=np.float64)[:, :3]
    gains = np.array(raw.daylight_whitebalance[:3], dtype=np.float64)
    if _invertible(to_srgb) and not np.allclose(to_srgb, np.eye(3)) and (gains > 0).all():
        return np.diag(1 / gains) @ np.linalg.inv(to_srgb) @ xyz_to_srgb, "LibRaw's camera to sRGB matrix"
    return None, "none known: the sensor's primaries are taken for those of sRGB"


def _invertible(matrix: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(matrix).all() and matrix.any() and np.linalg.cond(matrix) < 1e6)


def layout(raw: Any) -> str:
    """What kind of picture a non-Bayer file holds.

    Raises `FileError` if it is too large for three colors, or has filter colors other than R, G, B.
    """
    import rawpy

    _limit(raw.sizes.raw_height, raw.sizes.raw_width, MAX_COLOR_PIXELS)
    if raw.num_colors == 1:
        return "monochrome"
    if raw.num_colors != 3:
        colors = raw.color_desc.decode("ascii", "replace")
        raise FileError(f"its sensor has {raw.num_colors} filter colors ({colors}); only R, G, B can enter")
    if raw.raw_type == rawpy.RawType.Stack:
        return "LinearRaw"
    pattern = raw.raw_pattern
    return "X-Trans" if pattern is not None and pattern.shape == (6, 6) else "other RGB filter array"


def demosaiced(raw: Any) -> NDArray[np.float32]:
    """LibRaw's own linear demosaic, (H, W, 3): sensor RGB, black 0, white 1, clipped to that range."""
    import rawpy

    small = min(raw.sizes.height, raw.sizes.width) < _XTRANS_TILE
    picture = raw.postprocess(
        demosaic_algorithm=rawpy.DemosaicAlgorithm.LINEAR if small else None,
        gamma=(1, 1),
        no_auto_bright=True,
        adjust_maximum_thr=0.0,
        output_color=rawpy.ColorSpace.raw,
        user_wb=[1.0, 1.0, 1.0, 1.0],
        user_flip=0,
        output_bps=16,
    )
    return np.asarray(picture, dtype=np.float32) / np.float32(65535)


def thumbnail(data: bytes) -> NDArray[np.uint8]:
    """The largest embedded preview, (H, W, 3) uint8. Raises `FileError` if there is none or it is damaged."""
    import io

    import rawpy
    from PIL import Image

    with _quiet_stderr(), rawpy.RawPy() as raw:
        try:
            raw.open_buffer(io.BytesIO(data))
            found = raw.extract_thumb()
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
            raise FileError("it has no embedded preview; use half_size=True (--preview)") from error
        except rawpy.LibRawError as error:
            raise FileError(_explain(error)) from error
        if found.format == rawpy.ThumbFormat.BITMAP:
            return np.array(found.data)
        jpeg = bytes(found.data)
    try:
        with Image.open(io.BytesIO(jpeg)) as picture:
            if picture.width * picture.height > MAX_COLOR_PIXELS:
                raise FileError(f"its preview declares {picture.height}x{picture.width} pixels: damaged?")
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError("its embedded preview is damaged; use half_size=True (--preview)") from error


class _Muffler:
    """Holds back what LibRaw prints on file descriptor 2 about damaged files; other text comes out later."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.kept: int | None = None
        self.spool: IO[bytes] | None = None

    def enter(self) -> None:
        with self.lock:
            self.users += 1
            if self.users > 1:
                return
            try:
                self.spool = tempfile.TemporaryFile()  # noqa: SIM115
                self.kept = os.dup(2)
                os.dup2(self.spool.fileno(), 2)
            except OSError:  # no stderr, or no room for a spool: LibRaw may print then
                self.kept = None

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users or self.kept is None or self.spool is None:
                return
            os.dup2(self.kept, 2)
            os.close(self.kept)
            self.spool.seek(0)
            others = b"".join(line for line in self.spool if not line.startswith(b"unknown file: "))
            self.spool.close()
            self.kept = self.spool = None
            if others:
                os.write(2, others)


_MUFFLER = _Muffler()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    _MUFFLER.enter()
    try:
        yield
    finally:
        _MUFFLER.leave()
