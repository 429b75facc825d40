"""Adapters between frames and the numbers that a network of pictures was made for.

An adapter works in four steps, so that the arithmetic can be exported without the geometry: `gather` takes the pixels
out of a frame, `enter` is tensor maths on them before the net, `leave` after it, and `place` cuts the picture to the
frame's size and puts it back among the camera's facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from ispkit.core.errors import DomainError, ParamError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.isp.proxy import sites
from ispkit.ops.color_spaces import apply_matrix, rgb_to_xyz
from ispkit.ops.demosaic import demosaic
from ispkit.ops.encode import srgb_encode
from ispkit.ops.levels import linearize
from ispkit.ops.values import per_image

Exposure = Literal["none", "baseline"]
Space = Literal["rgb", "xyz"]
Curve = Literal["none", "srgb", "power"]

_FLOOR = 1e-4
"""least light of the curve "power", so that its slope stays finite [released code of CameraNet]"""
_FROM_XYZ = torch.linalg.inv(rgb_to_xyz("srgb"))


class Adapter(Protocol):
    """What a `Part` asks of its adapter."""

    @property
    def reads(self) -> Domain:
        """The domain of the frames it takes; one that reads MOSAIC takes RAW as well."""

    @property
    def writes(self) -> Domain:
        """The domain of the frames it gives."""

    @property
    def channels(self) -> int:
        """Channels of the net's input."""

    @property
    def gathers(self) -> str:
        """What `gather` gives, in words, for those who run an exported net elsewhere."""

    whole: ClassVar[bool]
    """whether `gather` looks at the whole picture, so that a window cannot be made of itself alone"""

    def gather(self, frame: Frame) -> Tensor:
        """The frame's pixels as (B, channels, h, w): levels, phase of the mosaic, noise map, exposure."""

    def enter(self, x: Tensor) -> Tensor:
        """Tensor maths before the net: (B, channels, h, w) -> the same shape."""

    def leave(self, out: Tensor) -> Tensor:
        """Tensor maths after the net: (B, 3, H, W) -> the same shape, in the units of `writes`, not clipped."""

    def place(self, picture: Tensor, frame: Frame) -> Frame:
        """The picture, which may be padded, as the frame that comes of `frame`."""


@dataclass(frozen=True)
class PackedAdapter:
    """Four half-size planes R, G, G, B of a mosaic, black 0 and white 1, and a noise map where wanted.

    A mosaic of another phase, or of odd sides, is continued by reflection to whole RGGB cells. The noise map is
    S + O of the frame's noise profile of green, the shot noise and the square of the read noise (Liang et al. 2021,
    section IV-A). `exposure="baseline"` multiplies by the frame's `baseline_exposure` and saturates at 1, which is how
    a known ratio of exposures enters (Chen et al., Learning to See in the Dark, 2018). `space="xyz"` says that the net
    gives CIE XYZ of the white D65.
    """

    writes: Domain = Domain.DISPLAY_RGB
    noise_map: bool = False
    exposure: Exposure = "none"
    space: Space = "rgb"
    reads: Domain = Domain.MOSAIC
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("exposure", self.exposure, ("none", "baseline"))
        _check("space", self.space, ("rgb", "xyz"))

    @property
    def channels(self) -> int:
        """Four planes, five with the noise map."""
        return 5 if self.noise_map else 4

    @property
    def gathers(self) -> str:
        """In words."""
        planes = "planes R, G, G, B of an RGGB mosaic, black 0, white 1"
        exposed = ", multiplied by 2^baseline_exposure and cut at 1" if self.exposure == "baseline" else ""
        return planes + exposed + (", and a plane of shot noise + read noise squared" if self.noise_map else "")

    def gather(self, frame: Frame) -> Tensor:
        """(B, 4 or 5, h, w). Raises `DomainError`, `ShapeError`."""
        lit = exposed(mosaic_of(frame, "PackedAdapter"), self.exposure)
        pixels, _ = sites(lit)
        if not self.noise_map:
            return pixels
        return torch.cat([pixels, _noise_plane(lit).to(pixels).expand(len(pixels), 1, *pixels.shape[-2:])], 1)

    def enter(self, x: Tensor) -> Tensor:
        """The planes as they are."""
        return x

    def leave(self, out: Tensor) -> Tensor:
        """To linear sRGB where the net gives XYZ."""
        return from_xyz(out) if self.space == "xyz" else out

    def place(self, picture: Tensor, frame: Frame) -> Frame:
        """Cut to the frame, whose first pixel lies where its phase says."""
        return _placed(picture, frame, divmod(frame.meta.cfa.index("R"), 2), self.writes)


@dataclass(frozen=True)
class BilinearAdapter:
    """The mosaic demosaiced bilinearly in the sensor's own RGB, encoded where wanted, minus 0.5.

    Schwartz et al., DeepISP, 2018: the released code encodes the input of the full ISP with the sRGB curve and shifts
    it to [-0.5, 0.5], the picture comes back with 0.5 added; for demosaicing alone (`encode=False`) the input is
    linear. There is no white balance. The black level is subtracted, in every preset; the released code divides what is
    stored by 1023 and subtracts none.
    """

    writes: Domain = Domain.DISPLAY_RGB
    encode: bool = True
    shift: float = 0.5
    exposure: Exposure = "none"
    reads: Domain = Domain.MOSAIC
    whole: ClassVar[bool] = False
    channels: int = 3

    def __post_init__(self) -> None:
        _check("exposure", self.exposure, ("none", "baseline"))

    @property
    def gathers(self) -> str:
        """In words."""
        exposed = ", multiplied by 2^baseline_exposure and cut at 1" if self.exposure == "baseline" else ""
        return "linear RGB of the sensor, demosaiced bilinearly, black 0, white 1" + exposed

    def gather(self, frame: Frame) -> Tensor:
        """Linear sensor RGB (B, 3, H, W). Raises `DomainError`, `ShapeError`."""
        lit = exposed(mosaic_of(frame, "BilinearAdapter"), self.exposure)
        return demosaic(lit.data, lit.meta.cfa, "bilinear")

    def enter(self, x: Tensor) -> Tensor:
        """The curve and the shift."""
        return (srgb_encode(x) if self.encode else x) - self.shift

    def leave(self, out: Tensor) -> Tensor:
        """The shift back."""
        return out + self.shift

    def place(self, picture: Tensor, frame: Frame) -> Frame:
        """Cut to the frame."""
        return _placed(picture, frame, (0, 0), self.writes)


@dataclass(frozen=True)
class PictureAdapter:
    """Three colors in, three colors out: between the parts of an ISP.

    CameraNet's Enhance-Net reads the restored picture behind a curve: "srgb" clips linear sRGB to [0, 1] and encodes it
    (the paper's "sRGB gamma" for the step from XYZ to sRGB); "power" is max(x, 1e-4)^(1/2.2) of XYZ, without an upper
    end (the released code, with `space="xyz"`): white has a Z of 1.089.
    `writes_space="xyz"` says that the net gives XYZ.
    """

    reads: Domain = Domain.LINEAR_RGB
    whole: ClassVar[bool] = False
    writes: Domain = Domain.DISPLAY_RGB
    curve: Curve = "none"
    space: Space = "rgb"
    writes_space: Space = "rgb"
    channels: int = 3

    def __post_init__(self) -> None:
        _check("curve", self.curve, ("none", "srgb", "power"))
        _check("space", self.space, ("rgb", "xyz"))
        _check("writes_space", self.writes_space, ("rgb", "xyz"))

    @property
    def gathers(self) -> str:
        """In words."""
        return f"{self.reads.value} (B, 3, H, W), white 1"

    def gather(self, frame: Frame) -> Tensor:
        """The frame's own pixels. Raises `DomainError`."""
        frame.expect(self.reads, "PictureAdapter")
        return frame.data

    def enter(self, x: Tensor) -> Tensor:
        """The space and the curve."""
        x = to_xyz(x) if self.space == "xyz" else x
        if self.curve == "srgb":
            return srgb_encode(x)
        return x.clamp(min=_FLOOR) ** (1 / 2.2) if self.curve == "power" else x

    def leave(self, out: Tensor) -> Tensor:
        """To linear sRGB where the net gives XYZ."""
        return from_xyz(out) if self.writes_space == "xyz" else out

    def place(self, picture: Tensor, frame: Frame) -> Frame:
        """Cut to the frame."""
        return _placed(picture, frame, (0, 0), self.writes)


def mosaic_of(frame: Frame, who: str) -> Frame:
    """A RAW frame linearized; a MOSAIC frame as it is. Raises `DomainError`."""
    if frame.domain is Domain.RAW:
        data = linearize(frame.data, frame.meta.black_level, frame.meta.white_level)
        return frame.with_data(data, Domain.MOSAIC)
    if frame.domain is not Domain.MOSAIC:
        raise DomainError(f"{who!r} reads raw or mosaic, got a {frame.domain.value} frame")
    return frame


def exposed(frame: Frame, exposure: Exposure) -> Frame:
    """A mosaic as it is, or times 2^baseline_exposure and saturated at 1, its noise profile with it."""
    if exposure == "none":
        return frame
    gain = frame.meta.baseline_exposure.exp2()
    profile = frame.meta.noise_profile * torch.stack([gain, gain.square()], -1)[:, None]
    return frame.with_data((frame.data * per_image(gain, frame.data)).clamp(max=1.0), noise_profile=profile)


def to_xyz(rgb: Tensor) -> Tensor:
    """Linear sRGB (B, 3, H, W) -> CIE XYZ of the white D65, Y of white 1."""
    return apply_matrix(rgb, rgb_to_xyz("srgb"))


def from_xyz(xyz: Tensor) -> Tensor:
    """Inverse of `to_xyz`."""
    return apply_matrix(xyz, _FROM_XYZ)


def _noise_plane(frame: Frame) -> Tensor:
    """S + O of green, (B, 1, 1, 1), or (B, 1, h, w) where the gain differs per pixel: variance = g S x + g^2 O."""
    shot, offset = (frame.meta.noise_profile[:, 1, i].reshape(-1, 1, 1, 1) for i in range(2))
    gain = frame.meta.noise_map
    if gain is None:
        return shot + offset
    whole, _ = sites(frame.with_data(gain.expand(frame.batch, 1, *frame.size).to(frame.data)))
    mean = whole.mean(1, keepdim=True)
    return mean * shot.to(mean) + mean.square() * offset.to(mean)


def _placed(picture: Tensor, frame: Frame, corner: tuple[int, int], writes: Domain) -> Frame:
    """The facts that no longer hold are left out: the noise is another one, white is neutral."""
    (y, x), (height, width) = corner, frame.size
    ones = torch.ones_like(frame.meta.neutral)
    facts = {"noise_profile": torch.zeros_like(frame.meta.noise_profile), "noise_map": None, "neutral": ones}
    return frame.with_data(
        picture[..., y : y + height, x : x + width], writes, color_space=("srgb",) * frame.meta.batch, **facts
    )


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParamError(f"{name}={value!r} is unknown; {nearest(value, known)}")
