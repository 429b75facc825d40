"""What DiR is built of: encoder, decoder and the alignment network with its guided layers.

Guo, Zhang, Wu, "Learning Degradation-Independent Representations for Camera ISP Pipelines", CVPR 2024, sections 3.2 and
3.3, fig. 3. The encoder is that of pix2pix (Isola, Zhu, Zhou, Efros, CVPR 2017): 4x4 convolutions of stride 2, leaky
ReLU 0.2. There is no batch norm: statistics of a batch or picture would differ between tiles and between training and
frozen use. What the paper leaves open is said at each part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.nets.layers import Conv, at_least, mean_of, start, start_linear
from ispkit.ops.blur import pad_reflect

_SLOPE = 0.2
_WIDEST = 8
"""features grow to this many times those of the first layer, as in pix2pix"""
_TAPS = 3
_FIRST_LOG_VARIANCE = -4.0
"""draws near the mean at first: from a spread of 1 nothing is decoded, and training starts with forgetting x"""

Align = Literal["pilot", "alone", "decoder"]
Attended = Literal["pilot", "features"]


@dataclass(frozen=True)
class CodeShape:
    """Sizes of an encoder and of the decoder that mirrors it. Raises `ParamError`."""

    width: int = 64
    """features after the first halving; twice as many after each next, at most eight times"""
    down: int = 4
    """halvings: a representation has a cell for 2^down x 2^down pixels"""
    latent: int = 256
    """numbers a cell"""
    linear: bool = False
    """whether a linear transform of each cell's own numbers goes beside every network, between pixels and the
    representation starting as the `cosines`; what is left for the layers is the difference"""

    def __post_init__(self) -> None:
        at_least(type(self).__name__, 1, width=self.width, down=self.down, latent=self.latent)
        if self.linear and self.latent > 3 * self.cell**2:
            law = f"at most the {3 * self.cell**2} values of a cell's pixels"
            raise ParamError(f"{type(self).__name__}: latent={self.latent} must be {law} with linear=True")

    @property
    def cell(self) -> int:
        """Pixels of a cell, along a side."""
        return int(2**self.down)

    @property
    def widths(self) -> list[int]:
        """Features after each halving but the last."""
        return [self.width * min(2**i, _WIDEST) for i in range(self.down - 1)]


@dataclass(frozen=True)
class DirShape(CodeShape):
    """Sizes of a `DirNet`, and which alignment it has. Raises `ParamError`."""

    features: int = 256
    """of the alignment network's layers"""
    before: int = 4
    """convolutions before the guided layers, m1 [paper]"""
    guided: int = 2
    """guided layers, m2 [paper]"""
    after: int = 4
    """convolutions behind the guided layers, m3 [paper]"""
    align: Align = "pilot"
    """"pilot": guided by the pilot; "alone": without it, at the same depth; "decoder": a decoder that reads r0"""
    attended: Attended = "pilot"
    """what a guided layer's attention weighs: the features of the pilot's own branch, or those that are refined"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("DirShape", 1, features=self.features, before=self.before, after=self.after)
        at_least("DirShape", 0, guided=self.guided)


class Encoder(nn.Module):
    """Encoded RGB in [0, 1] (B, inputs, H, W) -> mean and log-variance, each (B, latent, H / cell, W / cell).

    The last of the halvings gives both, without activation. Four halvings from 64 features with 256 numbers a cell are
    pix2pix's encoder cut after its fourth layer, 2.757 million parameters.
    """

    def __init__(self, shape: CodeShape, inputs: int = 3) -> None:
        super().__init__()
        widths = [inputs, *shape.widths, 2 * shape.latent]
        self.halvings = nn.ModuleList(_Halving(i, o) for i, o in pairwise(widths))
        self.cell = shape.cell
        self.linear = nn.Conv2d(inputs * shape.cell**2, shape.latent, 1, bias=False) if shape.linear else None
        start(self, slope=_SLOPE)
        last = cast(_Halving, self.halvings[-1]).conv
        start_linear(last, 0.1 if shape.linear else 0.7)
        cast(Tensor, last.bias).data[shape.latent :] = _FIRST_LOG_VARIANCE
        if self.linear is not None:
            views = inputs // 3
            self.linear.weight.data = (cosines(shape.cell, shape.latent)[0] / views).repeat(1, views)[..., None, None]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both moments of p(r | x)."""
        mean, log_variance = self.features(x).chunk(2, 1)
        if self.linear is not None:
            mean = mean + self.linear(F.pixel_unshuffle(2 * x - 1, self.cell))
        return mean, log_variance

    def features(self, x: Tensor) -> Tensor:
        """(B, 2 latent, H / cell, W / cell): both in one."""
        x = 2 * x - 1
        for i, halve in enumerate(self.halvings):
            x = halve(F.leaky_relu(x, _SLOPE) if i else x)
        return x


class Decoder(nn.Module):
    """A representation (B, latent, h, w) -> a picture (B, 3, cell h, cell w), encoded RGB, not clipped.

    The encoder mirrored: 4x4 transposed convolutions of stride 2, no skips from the picture. pix2pix ends with tanh;
    here the last layer is linear, as black and white are frequent and tanh reaches neither.
    """

    def __init__(self, shape: CodeShape) -> None:
        super().__init__()
        widths = [shape.latent, *reversed(shape.widths), 3]
        self.doublings = nn.ModuleList(_Doubling(i, o) for i, o in pairwise(widths))
        start(self, slope=_SLOPE)
        for i, layer in enumerate(self.doublings):
            # each of its outputs sees four of the sixteen taps
            last = i == len(self.doublings) - 1
            power = 0.1 if last else 2 / (1 + _SLOPE**2)
            nn.init.normal_(layer.conv.weight, std=math.sqrt(power / (4 * widths[i])))  # type: ignore[arg-type, union-attr]
        self.cell = shape.cell
        self.linear = nn.Conv2d(shape.latent, 3 * shape.cell**2, 1, bias=False) if shape.linear else None
        if self.linear is not None:
            nn.init.zeros_(self.doublings[-1].conv.weight)  # type: ignore[arg-type, union-attr]
            self.linear.weight.data = cosines(shape.cell, shape.latent)[1][..., None, None] / 2

    def forward(self, r: Tensor) -> Tensor:
        """Make the picture."""
        x = r
        for i, double in enumerate(self.doublings):
            x = double(F.leaky_relu(x, _SLOPE) if i else x)
        return x + 0.5 if self.linear is None else x + 0.5 + F.pixel_shuffle(self.linear(r), self.cell)


class Alignment(nn.Module):
    """A: a representation (B, latent, h, w), guided by a pilot of the same shape -> the refined one (section 3.3).

    A1 is `before` convolutions, A2 `guided` layers, A3 `after` convolutions, 3x3 with ReLU, the last linear. With
    `align="alone"` A2 is ordinary 5x5 convolutions: the same depth, and 25 weights a pair of features where a guided
    layer of as many features as the latent has 27. With `shape.linear` a linear map of r0 and the pilot, cell by cell,
    goes beside it and starts as the pilot, which lies near what is looked for (fig. 4); with "alone" as r0.
    """

    def __init__(self, shape: DirShape) -> None:
        super().__init__()
        width, latent = shape.features, shape.latent
        self.alone = shape.align == "alone"
        self.before = nn.ModuleList(Conv(i, width) for i in [latent, *[width] * (shape.before - 1)])
        self.middle = nn.ModuleList(
            Conv(width, width, 5) if self.alone else Guided(latent, width, shape.attended) for _ in range(shape.guided)
        )
        self.after = nn.ModuleList(Conv(width, o) for o in [*[width] * (shape.after - 1), latent])
        for layers in (self.before, self.after, *([self.middle] if self.alone else [])):
            start(layers)
        start_linear(self.after[-1], 0.1 if shape.linear else 0.5)  # type: ignore[arg-type]
        read = latent if self.alone else 2 * latent
        self.linear = nn.Conv2d(read, latent, 1, bias=False) if shape.linear else None
        if self.linear is not None:
            self.linear.weight.data = torch.eye(read)[-latent:, :, None, None]
        self.pooled = 0 if self.alone else width * shape.guided
        """channels of `pool`"""

    def forward(self, r0: Tensor, pilot: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Refine; `pooled` is the mean of `pool(pilot)` over the whole picture, (B, channels), if not of this one."""
        x = r0
        for conv in self.before:
            x = F.relu(conv(x))
        looks = [] if self.alone else [layer.look(pilot) for layer in self.middle]  # type: ignore[operator]
        means = [mean_of(look) for look in looks] if pooled is None else pooled.chunk(max(1, len(looks)), 1)
        for i, layer in enumerate(self.middle):
            x = F.relu(layer(x) if self.alone else layer(x, pilot, looks[i], means[i]))
        for conv in self.after[:-1]:
            x = F.relu(conv(x))
        refined: Tensor = self.after[-1](x)
        if self.linear is not None:
            refined = refined + self.linear(r0 if self.alone else torch.cat([r0, pilot], 1))
        return refined

    def pool(self, pilot: Tensor) -> Tensor:
        """What the guided layers average, side by side: (B, guided x features, h, w)."""
        return torch.cat([layer.look(pilot) for layer in self.middle], 1)  # type: ignore[operator]


class Guided(nn.Module):
    """One guided layer: features (B, width, h, w) convolved with kernels that the pilot gives, and attended to.

    f_k: 3x3 convolutions of the pilot, averaged over the picture, become one 3x3 kernel a feature (depthwise). Their
    last convolution is 1x1 and so commutes with the mean: it is a linear layer behind it. f_a: the "attention-weighted
    intermediate features" are those of the pilot before they are averaged, or with `attended="features"` the layer's
    input, times a map of the pilot, sigmoid. Out: f_k + f_a. Open in the paper besides: number of convolutions (two),
    kernels (3x3, as many as features), channels of the attention (one). The kernels start near the identity.
    """

    def __init__(self, latent: int, width: int, attended: Attended = "pilot") -> None:
        super().__init__()
        self.attended = attended
        self.looks = nn.ModuleList([Conv(latent, width), Conv(width, width)])
        self.say = nn.Linear(width, width * _TAPS**2)
        self.attend = Conv(latent, 1)
        start(self.looks)
        nn.init.normal_(self.say.weight, std=0.1 / math.sqrt(width))
        bias = torch.zeros(width, _TAPS**2)
        bias[:, _TAPS**2 // 2] = 1.0
        self.say.bias.data.copy_(bias.flatten())
        start_linear(self.attend)
        nn.init.zeros_(self.attend.bias)  # type: ignore[arg-type]

    def look(self, pilot: Tensor) -> Tensor:
        """What is averaged over the picture: (B, latent, h, w) -> (B, width, h, w)."""
        for conv in self.looks:
            pilot = F.relu(conv(pilot))
        return pilot

    def forward(self, x: Tensor, pilot: Tensor, look: Tensor, mean: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape; `look` of the pilot, and its mean (B, width) over the whole picture."""
        kernels = self.say(mean).reshape(len(x), -1, _TAPS**2, 1, 1)
        weighed = look if self.attended == "pilot" else x
        fused: Tensor = _depthwise(x, kernels) + weighed * torch.sigmoid(self.attend(pilot))
        return fused


class _Halving(nn.Module):
    """A 4x4 convolution of stride 2: cell i sees the pixels 2 i - 1 to 2 i + 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(pad_reflect(x, 1))
        return out


class _Doubling(nn.Module):
    """A 4x4 transposed convolution of stride 2: pixels 2 i and 2 i + 1 see cell i and one neighbor each."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        # the mirrored border is cut off again with what the transposed convolution spreads past it
        self.conv = nn.ConvTranspose2d(before, after, 4, 2, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(pad_reflect(x, 1))
        return out


def _depthwise(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each channel of (B, C, h, w) with its own 3x3 kernel (B, C, 9, 1, 1); sums of shifted copies."""
    height, width = x.shape[-2:]
    padded = pad_reflect(x, _TAPS // 2)
    total = padded[..., :height, :width] * kernels[:, :, 0]
    for i in range(1, _TAPS**2):
        y, x0 = divmod(i, _TAPS)
        total = total + padded[..., y : y + height, x0 : x0 + width] * kernels[:, :, i]
    return total


def cosines(cell: int, latent: int) -> tuple[Tensor, Tensor]:
    """The `latent` lowest frequencies of a cell's colors: (latent, 3 cell^2) to them, and (3 cell^2, latent) back.

    Cosine transform of luma and two chromas in the order of `pixel_unshuffle`, chroma counting as twice its frequency,
    each number divided by what is usual of natural pictures in [-1, 1]: a spread that falls with the frequency.
    """
    place, order = torch.arange(cell) + 0.5, torch.arange(cell)
    waves = torch.cos(math.pi / cell * order[:, None] * place) * math.sqrt(2 / cell)
    waves[0] /= math.sqrt(2)
    colors = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])
    colors = colors / colors.norm(dim=1, keepdim=True)
    # (color, y order, x order, channel, y, x)
    basis = torch.einsum("kc,vy,ux->kvucyx", colors, waves, waves).reshape(3 * cell**2, -1)
    steps = (order[:, None].square() + order.square()).sqrt() + torch.tensor([1.0, 2.0, 2.0])[:, None, None]
    frequency, chosen = (steps * torch.tensor([1.0, 2.0, 2.0])[:, None, None]).flatten().sort(stable=True)
    spread = 0.5 * math.sqrt(3) * cell / frequency[:latent].square()
    basis = basis[chosen[:latent]]
    return basis / spread[:, None], basis.T * spread


def reach(shape: CodeShape, cells: int) -> int:
    """Pixels past its own place that a pixel depends on: decoder, `cells` cells to each side, encoder."""
    most = 0
    for pixel in range(shape.cell):
        low = high = pixel
        for _ in range(shape.down):
            low, high = (low - 1) // 2, (high + 1) // 2
        first, last = cells_reach(shape, low - cells, high + cells)
        most = max(most, pixel - first, last - pixel)
    return most


def cells_reach(shape: CodeShape, low: int, high: int) -> tuple[int, int]:
    """First and last pixel that the cells from `low` to `high` of an encoder see, along a side."""
    for _ in range(shape.down):
        low, high = 2 * low - 1, 2 * high + 2
    return low, high
