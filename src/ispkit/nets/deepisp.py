"""DeepISP: residual images at full size, then one quadratic color transform of the whole picture.

Schwartz, Giryes, Bronstein, "DeepISP: Toward Learning an End-to-End Image Processing Pipeline", IEEE Trans. Image
Processing 28(2), 2019, section III and fig. 2. Preset "paper" follows the text, "released" the authors' Theano script
where it differs; what both leave open is said here. The factor 1/10 of the residual is in the script alone and kept
in every preset. "small" is narrower and shallower, 0.10 million parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.layers import Conv, Edge, at_least, expect, expect_pooled, mean_of, start
from ispkit.nets.picture_net import PictureNet
from ispkit.ops.blur import pad_reflect

MONOMIALS = ("r", "g", "b", "rr", "rg", "rb", "gg", "gb", "bb", "1")
"""what the columns of W multiply [released]"""


@dataclass(frozen=True)
class DeepISPShape:
    """Sizes and ablations of a `DeepISP`. Raises `ParamError`."""

    depth: int = 15
    """convolutions of the low-level stage"""
    width: int = 64
    """their outputs: 3 of the residual image, the rest features"""
    high: int = 3
    """convolutions of the high-level stage"""
    skips: bool = True
    """False: a block's picture replaces the one before, tanh without 1/10, and is not added to it"""
    shared: bool = True
    """False: the high-level stage sees the picture alone, not the features"""
    low_only: bool = False
    """True: DeepISP-LL, no high-level stage; the last convolution then has 3 outputs"""
    raw_features: bool = False
    """True: the last convolution does not change the picture; the high-level stage alone reads it, all its outputs
    before their nonlinearity, so that `depth` convolutions make `depth` - 1 changes"""
    high_edge: Edge = "reflect"
    """what the high-level stage sees past the picture"""
    pad_once: bool = False
    """True: the picture is mirrored once, by `depth` pixels, and each convolution takes one off"""

    def __post_init__(self) -> None:
        if self.raw_features and self.low_only:
            raise ParamError("DeepISP: raw_features=True feeds a high-level stage; low_only=True has none")
        at_least("DeepISP", 1, depth=self.depth, high=self.high)
        at_least("DeepISP", 4, width=self.width)
        if self.raw_features and not self.shared:
            raise ParamError("DeepISP: raw_features=True needs shared=True; without sharing no feature is read")


PRESETS = {
    "paper": DeepISPShape(),
    "released": DeepISPShape(depth=16, raw_features=True, high_edge="valid"),
    "small": DeepISPShape(depth=9, width=32),
}
LOW_PRESETS = {
    "paper": DeepISPShape(depth=20, low_only=True),
    "released": DeepISPShape(depth=20, low_only=True, pad_once=True),
    "small": DeepISPShape(depth=13, width=32, low_only=True),
}
"""DeepISP-LL, for joint denoising and demosaicing (section IV-A)"""


class DeepISP(PictureNet):
    """Pictures (B, 3, H, W) of range [-0.5, 0.5], demosaiced -> pictures of the same size and range, not clipped.

    Black is -0.5 and white 0.5 on both sides: sRGB-encoded for the full ISP, linear for DeepISP-LL. Each block adds
    tanh / 10 of its first three outputs to the picture; the rest are features behind a ReLU, and the next block reads
    (picture, features). The high-level stage (stride 2, ReLU, 2x2 maximum, three times; feature (i, j) belongs to the
    64x64 pixels from 64 (i, j) on) gives through its mean and one fully connected layer the 3x10 matrix W, to which
    `initial`, a constant that starts as the identity, is added; the output is W times the monomials of the picture
    in the order `MONOMIALS`. A last feature that the picture fills in part counts as a whole one; with
    `high_edge="valid"` there is none, and a picture needs 85 px a side.
    """

    inputs = 3

    def __init__(self, shape: DeepISPShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or PRESETS["paper"]
        edge: Edge = "valid" if shape.pad_once else "reflect"
        into = [3] + [shape.width] * (shape.depth - 1)
        out = [shape.width] * (shape.depth - 1) + [3 if shape.low_only else shape.width]
        self.low = nn.ModuleList(Conv(i, o, edge=edge) for i, o in zip(into, out, strict=True))
        self.halo = shape.depth
        if not shape.low_only:
            self._add_high(shape)
        self._start()

    def _add_high(self, shape: DeepISPShape) -> None:
        features = 3 if not shape.shared else shape.width if shape.raw_features else shape.width - 3
        into = [features] + [shape.width] * (shape.high - 1)
        self.high = nn.ModuleList(Conv(i, shape.width, stride=2, edge=shape.high_edge) for i in into)
        self.say = nn.Linear(shape.width, 3 * len(MONOMIALS))
        self.initial: Tensor
        self.register_buffer("initial", torch.zeros(3, len(MONOMIALS)))
        self.pool_stride = 4**shape.high
        # of a pixel's 4x4 cell a stage sees one neighbor more, to one side
        self.halo += sum(4**i for i in range(shape.high))

    def _start(self) -> None:
        start(self)
        if not self.shape.low_only:
            # near, not at, zero: at zero no gradient would reach the features
            nn.init.normal_(self.say.weight, std=1e-3)
            self.set_initial_transform(torch.eye(3, 4))

    def set_initial_transform(self, transform: Tensor) -> None:
        """Let W start at an affine color transform (3, 4) of (r, g, b, 1) in [-0.5, 0.5]. Raises `ShapeError`.

        The paper takes the mean of `fit_affine` over the training pictures, the released script the median.
        """
        if self.shape.low_only:
            raise ShapeError("DeepISP-LL has no color transform to start from; leave set_initial_transform out")
        if tuple(transform.shape) != (3, 4):
            raise ShapeError(f"initial transform {tuple(transform.shape)} must be (3, 4): columns r, g, b, 1")
        self.initial.zero_()
        self.initial[:, :3] = transform[:, :3].detach().to(self.initial)
        self.initial[:, -1] = transform[:, -1].detach().to(self.initial)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Make the picture; `pooled` is (B, width), the mean of `pool`. Raises `ShapeError`."""
        expect(self, x)
        picture, features = self._low_level(x)
        if self.shape.low_only:
            return picture
        if pooled is None:
            pooled = mean_of(self._high_level(picture, features))
        expect_pooled(self, pooled, x, self.shape.width)
        return apply_quadratic(self._transform(pooled), picture)

    def pool(self, x: Tensor) -> Tensor:
        """Features of the high-level stage (B, width, ~H / 64, ~W / 64); none where x is too small for one."""
        expect(self, x)
        return self._high_level(*self._low_level(x))

    def transform(self, x: Tensor) -> Tensor:
        """The matrix W of each picture, (B, 3, 10)."""
        return self._transform(mean_of(self.pool(x)))

    def _transform(self, pooled: Tensor) -> Tensor:
        said: Tensor = self.say(pooled)
        return said.reshape(-1, 3, len(MONOMIALS)) + self.initial

    def _low_level(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The corrected picture and what the high-level stage reads besides it."""
        shape = self.shape
        picture = x = pad_reflect(x, shape.depth) if shape.pad_once else x
        for block, conv in enumerate(self.low, 1):
            out = conv(x)
            picture = picture[..., 1:-1, 1:-1] if shape.pad_once else picture
            if shape.raw_features and block == shape.depth:
                return picture, out
            change = torch.tanh(out[:, :3])
            picture = picture + change / 10 if shape.skips else change
            x = torch.cat([picture, F.relu(out[:, 3:])], 1)
        return picture, x[:, 3:]

    def _high_level(self, picture: Tensor, features: Tensor) -> Tensor:
        x = features if self.shape.shared else picture
        valid = self.shape.high_edge == "valid"
        for conv in self.high:
            if valid and min(x.shape[-2:]) < 5:
                return x.new_zeros(len(x), self.shape.width, 0, 0)
            x = F.relu(conv(x))
            # zeros behind a ReLU change no maximum; so an odd row or column counts, at any size an exporter meets
            x = F.max_pool2d(x if valid else F.pad(x, (0, 1, 0, 1)), 2)
        return x


def apply_quadratic(transform: Tensor, picture: Tensor) -> Tensor:
    """W (B, 3, 10) times the monomials of (B, 3, H, W), pixel by pixel, in the order `MONOMIALS` (section III-A)."""
    r, g, b = picture.unbind(1)
    products = torch.stack([r, g, b, r * r, r * g, r * b, g * g, g * b, b * b], 1)
    weights = transform.to(products.dtype)
    out: Tensor = torch.bmm(weights[..., :-1], products.flatten(2)).reshape(picture.shape)
    return out + weights[..., -1, None, None]


def fit_affine(source: Tensor, target: Tensor) -> Tensor:
    """The affine color transform (B, 3, 4) that takes each picture nearest to its target, least squares.

    Both (B, 3, H, W), in [-0.5, 0.5] for `DeepISP.set_initial_transform`; columns of the result: r, g, b, 1. A picture
    of one color, where many transforms fit, gets the least one. Computed in float64. Raises `ShapeError`.
    """
    if source.ndim != 4 or source.shape[1] != 3 or source.shape != target.shape:
        raise ShapeError(f"source {tuple(source.shape)} and target {tuple(target.shape)} must be one (B, 3, H, W)")
    colors = source.double().flatten(2)
    known = torch.cat([colors, torch.ones_like(colors[:, :1])], 1)
    normal = known @ known.mT
    fitted: Tensor = torch.linalg.pinv(normal, hermitian=True, rtol=1e-12) @ known @ target.double().flatten(2).mT
    return fitted.mT.to(source.dtype)
