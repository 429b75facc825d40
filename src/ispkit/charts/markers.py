"""ArUco markers in the corners of a chart, by which a finder knows which chart it sees, and how it lies."""

from __future__ import annotations

from dataclasses import replace

import cv2
import torch
from torch import Tensor

from ispkit.charts.canvas import Canvas, check_size
from ispkit.charts.chart import Chart
from ispkit.core.errors import ShapeError

MODULES = 6
"""a DICT_4X4_50 marker: 4 x 4 bits and a black border"""
MARKED: tuple[str, ...] = (
    "lab", "slanted_edge", "siemens_star", "zone_plate", "log_frequency", "dead_leaves", "colorchecker",
    "gray_steps", "flat", "dark", "psf_noise", "rainbow",
)  # fmt: skip
"""chart k has the markers 4k ... 4k + 3; new charts go to the end, and the dictionary is then full"""
_LEAST_MARGIN = 60
WHITE, BLACK = 0.9, 0.02
OFFSET = 16
"""from the border of a picture in pixels; OpenCV's finder misses quiet zones 1 to 9 pixels from it"""


def marker_ids(chart: str) -> tuple[int, int, int, int]:
    """The ids of a chart's markers, clockwise from the top left.

    >>> marker_ids("slanted_edge")
    (4, 5, 6, 7)
    """
    first = 4 * MARKED.index(chart)
    return first, first + 1, first + 2, first + 3


def chart_of_marker(marker: int) -> str:
    """The chart that a marker belongs to; `KeyError` if none."""
    if not 0 <= marker < 4 * len(MARKED):
        raise KeyError(marker)
    return MARKED[marker // 4]


def draw_markers(canvas: Canvas, chart: str, side: int, at: int) -> dict[int, tuple[float, float, float]]:
    """Paint a marker of about `side` pixels with its quiet zone into each corner, `at` pixels from both borders.

    Returns what `Chart.markers` holds. The quiet zone is one module of white all around.
    """
    module = max(2, side // (MODULES + 2))
    height, width = canvas.picture.shape[-2:]
    whole = module * (MODULES + 2)
    far_y, far_x = height - at - whole, width - at - whole
    corners = ((at, at), (at, far_x), (far_y, far_x), (far_y, at))
    markers = {}
    for identity, (top, left) in zip(marker_ids(chart), corners, strict=True):
        canvas.fill((top, left, whole, whole), WHITE)
        bits = _bits(identity).repeat_interleave(module, 0).repeat_interleave(module, 1)
        canvas.crop((top + module, left + module, MODULES * module, MODULES * module))[:] = torch.where(
            bits, WHITE, BLACK
        )
        markers[identity] = (float(top + module), float(left + module), float(MODULES * module))
    return markers


def margin_for(chart: str, height: int, width: int) -> int:
    """Width of the border that holds the markers of a chart of this size. Raises `ShapeError`."""
    check_size(chart, height, width, (2 * _LEAST_MARGIN + 16, 2 * _LEAST_MARGIN + 16))
    return max(_LEAST_MARGIN, round(0.11 * min(height, width)))


def framed(inner: Chart, chart: str, height: int, width: int) -> Chart:
    """The chart in the middle of a gray border with its markers; the whole is `height` x `width`."""
    margin = margin_for(chart, height, width)
    if inner.size != (height - 2 * margin, width - 2 * margin):
        raise ShapeError(f"{chart}: {inner.size} does not leave {margin} pixels all around in {height}x{width}")
    canvas = Canvas(height, width)
    canvas.place(inner, margin, margin)
    markers = draw_markers(canvas, chart, margin - OFFSET - 4, OFFSET)
    parameters = dict(inner.parameters) | {"height": height, "width": width, "markers": True}
    return replace(canvas.chart(chart, parameters), markers=markers)


def _bits(identity: int) -> Tensor:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    return torch.from_numpy(cv2.aruco.generateImageMarker(dictionary, identity, MODULES)) > 127
