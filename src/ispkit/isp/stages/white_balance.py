"""White balance on the mosaic."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.isp.stages.levels import scaled_noise
from ispkit.ops import white_balance
from ispkit.ops.camera_color import xy_to_neutral
from ispkit.ops.temperature import cct_to_xy

_ESTIMATED = ("gray_world", "shades_of_gray")


class WhiteBalance(Stage):
    """Make the scene's white gray. The smallest gain is 1, so that clipped white stays clipped.

    `mode="gains"` applies the three gains as given. Later stages find the white in `meta.neutral`, which
    also selects the color matrix.
    """

    reads, writes = Domain.MOSAIC, Domain.MOSAIC
    global_statistics = True
    mode = Choice(
        default="as_shot",
        options=("as_shot", "gray_world", "shades_of_gray", "cct", "gains", "off"),
        doc="where the white comes from",
    )
    cct_k = Param(
        default=5500.0, low=1700.0, high=20000.0, unit="K", scale="log", when=("mode", ("cct",)),
        doc="color temperature of the light",
    )  # fmt: skip
    tint = Param(default=0.0, low=-150.0, high=150.0, when=("mode", ("cct",)), doc="green-magenta, DNG units")
    norm = Param(
        default=6.0, low=1.0, high=20.0, scale="log", when=("mode", ("shades_of_gray",)),
        doc="Minkowski norm; 1 is gray world, large is brightest pixel",
    )  # fmt: skip
    red_gain = Param(default=2.0, low=0.25, high=8.0, scale="log", when=("mode", ("gains",)), doc="gain on red")
    green_gain = Param(default=1.0, low=0.25, high=8.0, scale="log", when=("mode", ("gains",)), doc="gain on green")
    blue_gain = Param(default=1.5, low=0.25, high=8.0, scale="log", when=("mode", ("gains",)), doc="gain on blue")
    red_trim = Param(default=1.0, low=0.5, high=2.0, scale="log", doc="extra gain on red, in every mode")
    blue_trim = Param(default=1.0, low=0.5, high=2.0, scale="log", doc="extra gain on blue, in every mode")

    def apply(self, frame: Frame, mode: str, measured: Tensor | None = None, **knobs: Number) -> Frame:
        """The mosaic times its gains; noise profile, neutral and gains follow."""
        gains, neutral = self._gains(frame, mode, measured, knobs)
        trims = [torch.as_tensor(t).to(frame.data) for t in (knobs["red_trim"], 1.0, knobs["blue_trim"])]
        gains = gains * torch.stack(torch.broadcast_tensors(*trims), dim=-1)  # type: ignore[no-untyped-call]
        m = frame.meta
        return frame.with_data(
            white_balance.balance(frame.data, gains, m.cfa),
            neutral=neutral,
            wb_gains=m.wb_gains * gains.to(m.wb_gains),
            noise_profile=scaled_noise(m.noise_profile, gains),
        )

    def uses_statistics(self, values: Values) -> bool:
        """Only the modes that estimate the white look at the pixels."""
        modes = self.mode.index(values["mode"]).reshape(-1).tolist()
        return any(self.mode.options[i] in _ESTIMATED for i in modes)

    def measure(self, frame: Frame, values: Values) -> Tensor:
        """Minkowski sums per color for the modes that estimate the white; zeros otherwise."""
        mode = self.mode.name(values["mode"])
        if mode not in _ESTIMATED:
            return frame.data.new_zeros(frame.batch, 6)
        return white_balance.minkowski_sums(frame.data, frame.meta.cfa, self._norm(mode, values))

    def _norm(self, mode: str, values: Values) -> Number:
        norm = values["norm"]
        return 1.0 if mode == "gray_world" or isinstance(norm, str) else norm

    def _gains(
        self, frame: Frame, mode: str, measured: Tensor | None, knobs: dict[str, Number]
    ) -> tuple[Tensor, Tensor]:
        """Gains (B, 3) and the scene's white (B, 3) before trims."""
        m, like = frame.meta, frame.data
        if mode == "off":
            return torch.ones_like(m.neutral), m.neutral
        if mode == "gains":
            columns = [torch.as_tensor(knobs[f"{c}_gain"]).to(like) for c in ("red", "green", "blue")]
            gains = torch.stack(torch.broadcast_tensors(*columns), dim=-1).reshape(-1, 3)  # type: ignore[no-untyped-call]
            white = 1 / (gains * m.wb_gains.to(gains))
            return gains, white / white.amax(-1, keepdim=True)
        white = self._white(frame, mode, measured, knobs).to(like)
        gains = 1 / (white * m.wb_gains.to(white))
        return gains / gains.amin(-1, keepdim=True), white

    def _white(self, frame: Frame, mode: str, measured: Tensor | None, knobs: dict[str, Number]) -> Tensor:
        m = frame.meta
        if mode == "as_shot":
            return m.neutral
        if mode == "cct":
            cct, tint = (torch.as_tensor(knobs[k]).to(frame.data).reshape(-1) for k in ("cct_k", "tint"))
            cct, tint = torch.broadcast_tensors(cct, tint)  # type: ignore[no-untyped-call]
            xy = cct_to_xy(cct, tint)
            matrices, illuminants = m.color_matrices.to(xy), m.illuminant_cct_k.to(xy)
            return xy_to_neutral(xy, matrices, illuminants)
        sums = measured if measured is not None else self.measure(frame, {"mode": mode, "norm": knobs["norm"]})
        # the estimate sees balanced pixels if a gain was applied before; undo it to stay in sensor RGB
        white = white_balance.neutral_from_sums(sums, self._norm(mode, knobs)).to(frame.data) / m.wb_gains.to(
            frame.data
        )
        return white / white.amax(-1, keepdim=True)
