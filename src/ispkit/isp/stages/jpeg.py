"""JPEG compression as a stage, for studies of degradation."""

from __future__ import annotations

from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import jpeg

_ON = ("mode", ("straight_through", "soft"))


class Jpeg(Stage):
    """What JPEG leaves of a picture: color conversion, chroma subsampling, quantized 8x8 cosines.

    A model of the IJG library's codec, not the codec; no file is made. Blocks are counted from the
    frame's top-left pixel.
    """

    reads, writes = Domain.DISPLAY_RGB, Domain.DISPLAY_RGB
    align = 16
    mode = Choice(
        default="off",
        options=("off", "straight_through", "soft"),
        doc="off leaves the image; straight_through rounds as a codec and passes gradients; soft rounds smoothly",
    )
    quality = Param(default=75.0, low=1.0, high=100.0, step=1, differentiable=False, when=_ON, doc="IJG scale")
    subsampling = Choice(default="4:2:0", options=("4:4:4", "4:2:0"), when=_ON, doc="resolution of the chroma")

    def apply(self, frame: Frame, mode: str, quality: Number, subsampling: jpeg.Subsampling) -> Frame:
        """Compress and decompress; the result holds 8-bit codes / 255 (with soft rounding, nearly)."""
        if mode == "off":
            return frame
        rounding: jpeg.Rounding = "soft" if mode == "soft" else "straight_through"
        return frame.with_data(jpeg.jpeg(frame.data, quality, subsampling=subsampling, rounding=rounding))

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """A block, and with subsampled chroma its neighbor, for tiles that start at multiples of 16."""
        mode, subsampling = values["mode"], values["subsampling"]
        if not isinstance(mode, Tensor) and self.mode.name(mode) == "off":
            return 0
        whole = isinstance(subsampling, Tensor) or self.subsampling.name(subsampling) == "4:2:0"
        return 16 if whole else 7
