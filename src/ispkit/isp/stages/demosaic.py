"""From one color a pixel to three, and the suppression of the false colors that this leaves."""

from __future__ import annotations

import torch

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops.demosaic import METHODS, SUPPORT, demosaic
from ispkit.ops.false_color import MAX_PASSES, suppress_false_color


class Demosaic(Stage):
    """Interpolate the two missing colors of every pixel."""

    reads, writes = Domain.MOSAIC, Domain.CAMERA_RGB
    method = Choice(default="malvar2004", options=tuple(METHODS), doc="algorithm, from fast to careful")

    def apply(self, frame: Frame, method: str) -> Frame:
        """The frame in the sensor's RGB; measured samples are kept."""
        return frame.with_data(demosaic(frame.data, frame.meta.cfa, method), Domain.CAMERA_RGB)

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """What the chosen method looks at, rounded up to whole 2x2 cells."""
        reach = [SUPPORT[self.method.options[int(i)]] for i in self.method.index(values["method"]).reshape(-1)]
        return (max(reach) + 1) // 2 * 2


class FalseColor(Stage):
    """Suppress the color errors of demosaicing: median of the color differences against green."""

    reads, writes = Domain.CAMERA_RGB, Domain.CAMERA_RGB
    strength = Param(default=0.0, low=0.0, high=1.0, doc="0 leaves the image unchanged, 1 is the full median")
    passes = Param(
        default=1.0,
        low=1.0,
        high=float(MAX_PASSES),
        unit="passes",
        step=1.0,
        differentiable=False,
        doc="how often the 3x3 median is taken; more removes wider color errors, and small colored detail",
    )

    def apply(self, frame: Frame, strength: Number, passes: Number) -> Frame:
        """The frame with smoother colors; green is unchanged."""
        return frame.with_data(suppress_false_color(frame.data, strength, passes=passes))

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """One pixel a pass."""
        return int(torch.as_tensor(values["passes"]).max().round())
