"""The loop: show the Gray codes, capture each, fit the map, and look at the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.charts.gray_code import gray_code_sequence
from ispkit.core.frame import Frame
from ispkit.ops.encode import srgb_encode
from ispkit.rig.contracts import Camera, Codes, Display, Floats, green_light
from ispkit.rig.gray_code import Correspondence, Shot, decode
from ispkit.rig.light_transport import LightTransport, light_transport
from ispkit.rig.simulated import SimulatedCamera

Progress = Callable[[int, int], None]
_LINES = 12  # grid lines along the screen's width in the overlay
_TILES = 8  # of the overlay's checkerboard along the picture's width
_INK = np.array((255, 210, 60), np.uint8)


@dataclass(frozen=True)
class Aligned:
    """What a calibration gives."""

    transport: LightTransport
    found: Correspondence
    seconds: float
    """of decoding and fitting, without the captures"""

    def report(self) -> dict[str, Any]:
        """JSON-able: sizes, the alignment, warnings."""
        return {
            "version": 1,
            "display_size": list(self.transport.display_size),
            "camera_size": list(self.transport.camera_size),
            "alignment": asdict(self.transport.alignment),
            "confidence_median": float(np.median(self.found.confidence[self.transport.mask]))
            if self.transport.mask.any()
            else None,
            "decode_and_fit_s": self.seconds,
            "warnings": [*self.found.warnings, *self.transport.alignment.warnings()],
        }


def align(display: Display, camera: Camera, *, settle_s: float = 0.0, progress: Progress | None = None) -> Aligned:
    """Calibrate where each camera pixel looks. Raises `DeviceError`, also if nothing can be fitted.

    `settle_s` is waited after each frame for what no acknowledgement can know: the panel's own response.
    Nothing may move, and exposure, focus and gains must be fixed.
    """
    size = display.size
    spent = [0.0]
    start = time.monotonic()
    found = decode(_shots(display, camera, size, spent, (settle_s, progress)), size)
    transport = light_transport(found)
    return Aligned(transport, found, time.monotonic() - start - spent[0])


def capture_of(display: Display, camera: Camera, encoded: Tensor | Codes, *, settle_s: float = 0.0) -> Frame:
    """Show a picture and capture it."""
    display.show(encoded)
    time.sleep(settle_s)
    return camera.capture()


def overlay(transport: LightTransport, linear: Tensor, frame: Frame) -> Codes:
    """A picture (H, W, 3) to judge the alignment by: capture and target in turn, with the screen's grid.

    `linear` is what the screen showed, (3, h, w) linear light; green is compared, at equal exposure. Edges
    that run on from tile to tile say that the map is right. What the camera sees beside the screen is dimmed.
    """
    target = transport.target_on_camera(linear.float())[1]
    seen = torch.from_numpy(green_light(frame))
    mask = torch.from_numpy(transport.mask)
    gain = float(target[mask].mean() / seen[mask].mean().clamp(min=1e-9)) if mask.any() else 1.0
    height, width = transport.camera_size
    tile = max(8, width // _TILES)
    rows, columns = (torch.arange(n) // tile for n in (height, width))
    take_target = ((rows[:, None] + columns[None]) % 2 == 0) & mask
    gray = torch.where(take_target, target, seen * gain * torch.where(mask, 1.0, 0.3))
    codes = (srgb_encode(gray) * 255).round().byte().numpy()
    picture = np.repeat(codes[..., None], 3, -1)
    picture[_grid(transport)] = _INK
    return picture


def true_error_px(camera: SimulatedCamera, transport: LightTransport) -> Floats:
    """Error of the map at every masked pixel, camera px: needs the simulated rig's truth.

    The distance on the screen between where a pixel's center looks and where the map says, divided by the
    size of a camera pixel there.
    """
    height, width = camera.size
    truth = np.stack(camera.display_positions(*np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)))
    (yx, xx), (yy, xy) = (np.gradient(p) for p in truth)
    footprint = np.sqrt(np.abs(xx * yy - xy * yx))
    error = np.hypot(*(transport.positions - truth)) / footprint
    return np.asarray(error[transport.mask], np.float32)


def _shots(
    display: Display, camera: Camera, size: tuple[int, int], spent: list[float], how: tuple[float, Progress | None]
) -> Iterator[Shot]:
    """Captures of the sequence; the time that they take is added to `spent`."""
    code = gray_code_sequence(*size)
    settle_s, progress = how
    for i, pattern in enumerate(code.patterns):
        start = time.monotonic()
        frame = capture_of(display, camera, code.picture(pattern), settle_s=settle_s)
        light = green_light(frame)
        spent[0] += time.monotonic() - start
        if progress is not None:
            progress(i + 1, len(code.patterns))
        yield pattern, light


def _grid(transport: LightTransport) -> NDArray[np.bool_]:
    """Camera pixels on lines of equal screen coordinate."""
    step = transport.display_size[1] / _LINES
    lines = np.zeros(transport.mask.shape, bool)
    for position in transport.positions:
        cell = np.floor(position / step)
        lines[:, 1:] |= cell[:, 1:] != cell[:, :-1]
        lines[1:] |= cell[1:] != cell[:-1]
    thick = cv2.dilate(lines.astype(np.uint8), np.ones((2, 2), np.uint8)) if transport.mask.shape[1] > 1500 else lines
    return np.asarray(thick.astype(bool) & transport.mask)
