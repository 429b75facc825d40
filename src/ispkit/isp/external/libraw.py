"""`LibRawISP`: LibRaw's own converter (dcraw's), through rawpy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ispkit.core.errors import BlackBoxError, FileError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Knob, Param
from ispkit.core.space import ParamSpace
from ispkit.io.libraw import opened
from ispkit.isp.external.base import BlackBox, Plain
from ispkit.isp.external.files import Rooms, frame_digest
from ispkit.isp.external.spec import InputRule

_HIGHLIGHTS = {"clip": 0, "ignore": 1, "blend": 2, "rebuild": 5}
_FBDD = {"off": 0, "light": 1, "full": 2}
_DEMOSAIC = ("LINEAR", "VNG", "PPG", "AHD", "DCB", "DHT", "AAHD")
_TOP = 65535.0


class LibRawISP(BlackBox):
    """RAW -> DISPLAY_RGB by `rawpy.postprocess`: 16 bits, sRGB, no automatic brightness.

    White balance is the frame's own neutral times the trims `wb.red` and `wb.blue`; the demosaicers are those
    of the installed wheel. Frames of 22 pixels a side and more. The file goes through a temporary DNG, written
    once a frame; its lens corrections are left out. LibRaw's wavelet threshold is no knob: with rawpy 0.28 it corrupts
    the memory of the process. Raises `BlackBoxError`.

    >>> LibRawISP().space["demosaic.method"].default
    'AHD'
    """

    reads = Domain.RAW
    writes = Domain.DISPLAY_RGB

    def __init__(self) -> None:
        self.space = ParamSpace(_knobs())
        self._rooms = Rooms()

    def render_one(self, frame: Frame, values: Plain) -> Tensor:
        """Decode the frame's DNG and convert it."""
        path = self._rooms.input(frame, InputRule(), frame_digest(frame))
        try:
            with opened(path.read_bytes()) as raw:
                pixels = raw.postprocess(**_arguments(frame, values))
        except (FileError, RuntimeError) as error:
            raise BlackBoxError(f"LibRaw cannot render this frame: {error}") from error
        if pixels.shape != (*frame.size, 3):
            raise BlackBoxError(f"LibRaw's picture is {pixels.shape} where the frame is {frame.size}")
        return torch.from_numpy(pixels.astype("float32") / _TOP).permute(2, 0, 1)


def supported() -> tuple[str, ...]:
    """The demosaicers of the installed wheel (the GPL ones are not in the public wheels)."""
    import rawpy

    have = {method.name for method in rawpy.DemosaicAlgorithm if method.isSupported}
    return tuple(name for name in _DEMOSAIC if name in have)


def _number(default: float, low: float, high: float, doc: str, **more: Any) -> Param:
    return Param(default=default, low=low, high=high, differentiable=False, doc=doc, **more)


def _knobs() -> dict[str, Knob]:
    return {
        "demosaic.method": Choice(default="AHD", options=supported(), doc="LibRaw's demosaicers"),
        "demosaic.dcb_passes": _number(0, 0, 5, "of color correction", step=1, when=("method", ("DCB",))),
        "demosaic.four_colors": Choice(default="off", options=("off", "on"), doc="both greens apart"),
        "denoise.fbdd": Choice(default="off", options=tuple(_FBDD), doc="before demosaicing"),
        "denoise.median_passes": _number(0, 0, 5, "median of color differences after demosaicing", step=1),
        "highlights.mode": Choice(default="clip", options=tuple(_HIGHLIGHTS), doc="of clipped channels"),
        "wb.red": _number(1.0, 0.7, 1.4, "on the as-shot red gain", scale="log"),
        "wb.blue": _number(1.0, 0.7, 1.4, "on the as-shot blue gain", scale="log"),
        "exposure.bright": _number(1.0, 0.25, 8.0, "factor on linear values", scale="log"),
        "exposure.shift": _number(1.0, 0.25, 8.0, "factor before demosaicing", scale="log"),
        "exposure.preserve_highlights": _number(0.0, 0.0, 1.0, "rolls off what exposure.shift clips"),
        "tone.gamma": _number(2.4, 1.0, 3.0, "power of the curve is 1 / gamma"),
        "tone.slope": _number(12.92, 1.0, 20.0, "of the curve at black"),
        "lens.red_scale": _number(1.0, 0.998, 1.002, "size of the red plane"),
        "lens.blue_scale": _number(1.0, 0.998, 1.002, "size of the blue plane"),
    }


def _arguments(frame: Frame, values: Plain) -> dict[str, Any]:
    import rawpy

    red, green, blue = (1 / max(float(v), 1e-3) for v in frame.meta.neutral[0])
    number = {name: float(v) for name, v in values.items() if not isinstance(v, str)}
    return {
        "demosaic_algorithm": rawpy.DemosaicAlgorithm[str(values["demosaic.method"])],
        "dcb_iterations": int(number["demosaic.dcb_passes"]),
        "four_color_rgb": values["demosaic.four_colors"] == "on",
        "fbdd_noise_reduction": rawpy.FBDDNoiseReductionMode(_FBDD[str(values["denoise.fbdd"])]),
        "median_filter_passes": int(number["denoise.median_passes"]),
        "highlight_mode": _HIGHLIGHTS[str(values["highlights.mode"])],
        "user_wb": [red * number["wb.red"], green, blue * number["wb.blue"], green],
        "bright": number["exposure.bright"],
        "exp_shift": None if number["exposure.shift"] == 1 else number["exposure.shift"],
        "exp_preserve_highlights": number["exposure.preserve_highlights"],
        "gamma": (number["tone.gamma"], number["tone.slope"]),
        "chromatic_aberration": (number["lens.red_scale"], number["lens.blue_scale"]),
        "output_color": rawpy.ColorSpace.sRGB,
        "output_bps": 16,
        "user_flip": 0,
        "no_auto_bright": True,
    }
