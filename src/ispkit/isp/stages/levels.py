"""From stored numbers to linear light, and exposure."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import levels
from ispkit.ops.values import is_zero


class Linearize(Stage):
    """Subtract the black level and scale white to 1; negatives are kept for the denoisers."""

    reads, writes = Domain.RAW, Domain.MOSAIC
    black_offset = Param(default=0.0, low=-0.02, high=0.02, doc="correction of the black level, fraction of the range")

    def apply(self, frame: Frame, black_offset: Number) -> Frame:
        """MOSAIC with black 0, white 1."""
        m = frame.meta
        data = levels.linearize(frame.data, m.black_level, m.white_level, black_offset)
        if is_zero(black_offset):
            return frame.with_data(data, self.writes)
        gain = 1 / (1 - torch.as_tensor(black_offset))
        return frame.with_data(data, self.writes, noise_profile=scaled_noise(m.noise_profile, gain))


class Exposure(Stage):
    """Brighten or darken linear light, by hand, as the file's maker asks, and to a wanted mean.

    `auto="log_average"` brings the geometric mean of the luminance to `key` (Reinhard et al. 2002), by at
    most 4 EV; `ev` and the file's baseline come on top of it.
    """

    reads, writes = Domain.LINEAR_RGB, Domain.LINEAR_RGB
    global_statistics = True
    ev = Param(default=0.0, low=-6.0, high=6.0, unit="EV", doc="+1 doubles the light")
    baseline = Choice(default="file", options=("file", "off"), doc="add the EV that the file's maker asks for")
    auto = Choice(default="off", options=("off", "log_average"), doc="bring the picture to a mean brightness")
    key = Param(default=0.14, low=0.02, high=0.5, scale="log", when=("auto", ("log_average",)), doc="the wanted mean")

    def apply(
        self, frame: Frame, *, ev: Number, baseline: str, auto: str, key: Number, measured: Tensor | None = None
    ) -> Frame:
        """The signal and its noise, scaled."""
        total = torch.as_tensor(ev).to(frame.data)
        if baseline == "file":
            total = total + frame.meta.baseline_exposure.to(frame.data)
        if auto != "off":
            sums = levels.log_luminance_sums(frame.data) if measured is None else measured
            total = total + levels.auto_ev(sums, key).to(frame.data)
        elif baseline == "off" and is_zero(ev):
            return frame
        gain = total.exp2()
        noise = scaled_noise(frame.meta.noise_profile, gain)
        return frame.with_data(levels.expose(frame.data, total), noise_profile=noise)

    def uses_statistics(self, values: Values) -> bool:
        """Only where the mean is asked for."""
        return bool((self.auto.index(values["auto"]) == 1).any())

    def measure(self, frame: Frame, values: Values) -> Tensor:
        """Sum of log2 luminance, and the number of pixels."""
        return levels.log_luminance_sums(frame.data)


def scaled_noise(profile: Tensor, gain: Tensor) -> Tensor:
    """The noise profile (B, 3, 2) after the signal was multiplied by `gain`, () or (B,) or (B, 3)."""
    g = gain.to(profile)
    g = g.reshape(-1, 1) if g.ndim < 2 else g
    return torch.stack([profile[..., 0] * g, profile[..., 1] * g.square()], dim=-1)
