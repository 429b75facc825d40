"""Linear light to display values, and looks applied to them."""

from __future__ import annotations

from torch import Tensor

from ispkit.core.errors import FileError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param
from ispkit.io.cube import read_cube
from ispkit.isp.stage import Stage
from ispkit.ops.color_spaces import COLOR_SPACES, apply_matrix, linear_srgb_to
from ispkit.ops.encode import encode_for, gamma_encode
from ispkit.ops.lut import apply_lut3d
from ispkit.ops.values import is_zero, per_image


class Encode(Stage):
    """Linear sRGB -> encoded values of a color space, clipped to [0, 1]; the file's ICC profile follows."""

    reads, writes = Domain.LINEAR_RGB, Domain.DISPLAY_RGB
    space = Choice(
        default="srgb", options=COLOR_SPACES, doc="color space of the result; xyz and linear-srgb stay linear"
    )
    transfer = Choice(
        default="standard", options=("standard", "gamma"), doc="the space's own curve, or a plain power law"
    )
    gamma = Param(default=2.2, low=1.0, high=3.0, when=("transfer", ("gamma",)), doc="exponent of the power law")

    def apply(self, frame: Frame, space: str, transfer: str, gamma: Number) -> Frame:
        """Display values; clipping to the gamut happens here and nowhere before."""
        rgb = frame.data if space in ("srgb", "linear-srgb") else apply_matrix(frame.data, linear_srgb_to(space))
        encoded = gamma_encode(rgb, gamma) if transfer == "gamma" else encode_for(rgb, space)
        return frame.with_data(encoded, self.writes, color_space=(space,) * frame.meta.batch)


class Lut3D(Stage):
    """A look from a .cube file on display values; without a file it changes nothing."""

    reads, writes = Domain.DISPLAY_RGB, Domain.DISPLAY_RGB
    options = ("file",)
    strength = Param(default=1.0, low=0.0, high=1.0, doc="0 leaves the picture unchanged")

    def __init__(self, file: str | None = None) -> None:
        self.file = file
        self.table: Tensor | None = None
        if file is not None:
            if not isinstance(file, str):
                raise FileError(f"lut3d: file={file!r} must be the path of a .cube file")
            self.table = read_cube(file)

    def apply(self, frame: Frame, strength: Number) -> Frame:
        """A blend of the picture and its lookup."""
        if self.table is None or is_zero(strength):
            return frame
        looked_up = apply_lut3d(frame.data, self.table)
        mixed = frame.data + per_image(strength, frame.data) * (looked_up - frame.data)
        return frame.with_data(mixed)
