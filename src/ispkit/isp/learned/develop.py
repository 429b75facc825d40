"""A RAW frame through a learned ISP to the codes of a finished picture."""

from __future__ import annotations

from math import lcm

from ispkit.core.errors import DomainError
from ispkit.core.frame import Domain, Frame
from ispkit.io.exif import meta_facts
from ispkit.io.pictures import Look
from ispkit.isp.develop import Window, sensor_window, turned
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.tiles import Execution
from ispkit.isp.tiled import Codes, codes

_DEMOSAIC_PX = 2
"""what an adapter itself looks at, whole cells"""


def develop_learned(
    frame: Frame,
    isp: LearnedISP,
    *,
    bits: int = 8,
    crop: Window | None = None,
    execution: Execution | None = None,
) -> Codes:
    """Render one frame upright, (H, W, 3) uint8 or uint16; with `crop` that window of the upright picture.

    Where no net looks at the whole picture only the window and its halo are computed. Raises `DomainError` for frames
    that the ISP does not take, `ShapeError`.
    """
    orientation = frame.meta.orientation[0]
    if crop is None:
        return codes_of(isp.render(frame, execution), bits=bits)
    y, x, height, width = sensor_window(crop, frame.size, orientation)
    top, left, part = _reach(frame, isp, (y, x, height, width))
    data = isp.render(part, execution).data[0]
    return turned(codes(data[:, y - top : y - top + height, x - left : x - left + width], bits), orientation)


def codes_of(finished: Frame, *, bits: int = 8, crop: Window | None = None) -> Codes:
    """A finished frame upright, or the window `crop` of it, as codes. Raises `ShapeError` for one outside."""
    data, orientation = finished.data[0], finished.meta.orientation[0]
    if crop is not None:
        y, x, height, width = sensor_window(crop, finished.size, orientation)
        data = data[:, y : y + height, x : x + width]
    return turned(codes(data, bits), orientation)


def learned_look(frame: Frame, isp: LearnedISP) -> Look:
    """Color space and EXIF of the ISP's pictures. Raises `DomainError` where it ends before a picture."""
    if isp.writes not in (Domain.LINEAR_RGB, Domain.DISPLAY_RGB):
        raise DomainError(f"this ISP ends with a {isp.writes.value} frame, not a picture")
    isp.entered_at(frame)
    return Look("srgb", linear=isp.writes is Domain.LINEAR_RGB, exif=meta_facts(frame.meta))


def _reach(frame: Frame, isp: LearnedISP, window: tuple[int, int, int, int]) -> tuple[int, int, Frame]:
    """The part of the frame that a window depends on, and where it begins."""
    parts = isp.entered_at(frame).values()
    nets = [part.net for part in parts]
    if any(part.net.pool_stride or part.adapter.whole for part in parts):
        return 0, 0, frame
    y, x, height, width = window
    margin = sum(net.halo * net.scale + _DEMOSAIC_PX for net in nets)
    align = lcm(2, *(net.multiple * net.scale for net in nets))
    top, left = (max(0, (start - margin) // align * align) for start in (y, x))
    bottom, right = min(frame.size[0], y + height + margin), min(frame.size[1], x + width + margin)
    return top, left, frame.crop(top, left, bottom - top, right - left)
