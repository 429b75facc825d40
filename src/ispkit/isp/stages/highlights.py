"""Highlights that the sensor clipped."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import highlights
from ispkit.ops.values import per_image


class Highlights(Stage):
    """Keep clipped highlights from turning magenta; place it after the white balance.

    `clip`: out = min(x, threshold x smallest white-balance gain), which is 1 where the smallest gain is 1.
    `blend` raises a clipped color to the mean of the others around it, `reconstruct` adds the color that
    highlights of this picture have; both exceed 1, for a tone curve to bring back. A photosite counts as
    clipped from threshold x its own white-balance and shading gain on.
    """

    reads, writes = Domain.MOSAIC, Domain.MOSAIC
    global_statistics = True
    align = highlights.BLOCK
    mode = Choice(
        default="clip", options=("clip", "blend", "reconstruct"), doc="cut at one level, or estimate what is missing"
    )
    threshold = Param(default=1.0, low=0.5, high=1.0, doc="part of the full scale at which a photosite is clipped")

    def apply(self, frame: Frame, mode: str, threshold: Number, measured: Tensor | None = None) -> Frame:
        """The mosaic with its highlights cut or filled."""
        m = frame.meta
        if mode == "clip":
            return frame.with_data(highlights.clip(frame.data, highlights.clip_level(m.wb_gains, threshold)))
        levels = _levels(frame, threshold)
        if mode == "blend":
            return frame.with_data(highlights.blend(frame.data, levels, m.cfa))
        sums = highlights.chroma_sums(frame.data, levels, m.cfa) if measured is None else measured
        return frame.with_data(highlights.reconstruct(frame.data, levels, m.cfa, sums))

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """The 3x3 neighborhood of the modes that estimate."""
        return int(bool((self.mode.index(values["mode"]) > 0).any()))

    def uses_statistics(self, values: Values) -> bool:
        """Only `reconstruct` looks at the whole picture."""
        return bool((self.mode.index(values["mode"]) == 2).any())

    def measure(self, frame: Frame, values: Values) -> Tensor:
        """Sums that give the color of highlights; zeros where the mode does not need them."""
        threshold = values["threshold"]
        if not self.uses_statistics(values) or isinstance(threshold, str):
            return frame.data.new_zeros(frame.batch, 6)
        return highlights.chroma_sums(frame.data, _levels(frame, threshold), frame.meta.cfa)


def _levels(frame: Frame, threshold: Number) -> Tensor:
    m = frame.meta
    levels = highlights.site_levels(m.wb_gains, m.cfa, frame.data, m.noise_map)
    return levels * per_image(threshold, torch.as_tensor(levels))
