"""DiR: restoring a picture through a representation that does not depend on how it was degraded.

Guo, Zhang, Wu, "Learning Degradation-Independent Representations for Camera ISP Pipelines", CVPR 2024. DiRNet encodes
the degraded picture as r0, DfRNet, trained on clean pictures, encodes the same picture as the pilot, the alignment
network makes r+ of the two, and DfRNet's decoder makes the picture. What the encoders and the decoder look like is open
in the paper ("the encoder network of pix2pix"): preset "paper" cuts it after four halvings and has 256 numbers a cell,
one number for a pixel. "small" has as many numbers a pixel, three halvings and a linear map beside every network, so
that a training of minutes begins near the picture; 0.59 million parameters. The losses that train the parts one after
the other are in `ispkit.train.representation`.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.nets.dir_parts import Alignment, CodeShape, Decoder, DirShape, Encoder, cells_reach, reach
from ispkit.nets.layers import expect, expect_pooled
from ispkit.nets.picture_net import PictureNet

_LOOKS = 2
"""convolutions of a guided layer before its mean"""

PRESETS = {
    "paper": DirShape(),
    "small": DirShape(width=24, down=3, latent=64, linear=True, features=40),
}
CODE_PRESETS = {name: CodeShape(s.width, s.down, s.latent, s.linear) for name, s in PRESETS.items()}
"""of the auto-encoder: the same encoder and decoder"""


class Representations(NamedTuple):
    """What the alignment network reads, (B, latent, H / cell, W / cell) each."""

    r0: Tensor
    """DiRNet's of the picture"""
    pilot: Tensor
    """DfRNet's of the same picture"""


class DirNet(PictureNet):
    """Encoded sRGB in [0, 1], degraded (B, 3, H, W) -> restored, the same shape, not clipped.

    `dir` and `dfr` are the encoders (mean and log-variance; in use the mean is the representation), `decoder` is D*,
    `align` the alignment network. With `shape.align="alone"` it does without the pilot; with "decoder" it is a decoder
    of its own that reads r0 (the baseline of the paper's table 5). All variants have all four, so that the weights of
    the first stage fit every one; what a variant does not run costs memory alone. Only the guided layers look at the
    whole picture: `pool` gives what they average, one feature a cell.
    """

    stages: ClassVar[tuple[str, ...]] = ("dir", "dfr", "decoder", "align")
    inputs = 3

    def __init__(self, shape: DirShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or PRESETS["paper"]
        self.dir, self.dfr, self.decoder = Encoder(shape), Encoder(shape), Decoder(shape)
        self.align = Decoder(shape) if shape.align == "decoder" else Alignment(shape)
        self.multiple = shape.cell
        self._channels = self.align.pooled if isinstance(self.align, Alignment) else 0
        self.pool_stride = shape.cell if self._channels else 0
        self.halo = _halo(shape)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Restore; `pooled` is (B, guided x features), the mean of `pool`. Raises `ShapeError`."""
        return self.decoded(self.refined(x, pooled))

    def refined(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """What is decoded: r+, with `align="decoder"` r0; `pooled` as in `forward`. Raises `ShapeError`."""
        expect(self, x)
        r0 = self.dir(x)[0]
        return self.aligned(r0, self.dfr(x)[0] if self._channels else r0, pooled)

    def represent(self, x: Tensor) -> Representations:
        """Both representations of (B, 3, H, W), their means. Raises `ShapeError`."""
        expect(self, x)
        return Representations(self.dir(x)[0], self.dfr(x)[0])

    def aligned(self, r0: Tensor, pilot: Tensor, pooled: Tensor | None = None) -> Tensor:
        """r+ of r0 and the pilot; `pooled` as in `forward`. With `align="decoder"` r0 itself. Raises `ShapeError`."""
        if not isinstance(self.align, Alignment):
            return r0
        if pooled is not None:
            expect_pooled(self, pooled, r0, self._channels)
        refined: Tensor = self.align(r0, pilot, pooled)
        return refined

    def decoded(self, r: Tensor) -> Tensor:
        """The picture of what `aligned` gives: of D*, with `align="decoder"` of the decoder that reads r0."""
        picture: Tensor = (self.align if self.shape.align == "decoder" else self.decoder)(r)
        return picture

    def pool(self, x: Tensor) -> Tensor:
        """What the guided layers average (B, guided x features, H / cell, W / cell). Raises `ShapeError`."""
        expect(self, x)
        if not self._channels or not isinstance(self.align, Alignment):
            raise ParamError(f"DirNet: align={self.shape.align!r} averages nothing; only guided layers do")
        return self.align.pool(self.dfr(x)[0])


class AutoEncoder(PictureNet):
    """The paper's rival, the same encoder and decoder in a row: encoded sRGB (B, 3, H, W) -> the same shape."""

    stages: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    inputs = 3

    def __init__(self, shape: CodeShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or CODE_PRESETS["paper"]
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)
        self.multiple, self.halo = shape.cell, reach(shape, 0)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Restore through the mean; nothing is pooled. Raises `ShapeError`."""
        expect(self, x)
        picture: Tensor = self.decoder(self.encoder(x)[0])
        return picture


def _halo(shape: DirShape) -> int:
    """Of the picture, and of the features that are averaged."""
    if shape.align == "decoder":
        return reach(shape, 0)
    middle = shape.guided * (2 if shape.align == "alone" else 1)
    own = reach(shape, shape.before + middle + shape.after)
    first, last = cells_reach(shape, -_LOOKS, _LOOKS)
    return max(own, -first, last - shape.cell + 1)
