"""MobileNet-v1 and -v2: small networks that name what a picture shows.

Howard et al. 2017, "MobileNets", arXiv 1704.04861, table 1; Sandler et al. 2018, "MobileNetV2", CVPR, table 2. Details
that the papers leave out are those of the authors' code (github.com/tensorflow/models, research/slim/nets): batch norm
with epsilon 1e-3, ReLU6, first weights from a normal distribution of deviation 0.09 cut at two deviations, and
TensorFlow's padding, which on even sizes puts the row and column that a stride of 2 needs below and to the right.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError

NORM_EPSILON = 1e-3
_DEVIATION = 0.09
_LEAST = 8
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *(((512, 1),) * 5), (1024, 2), (1024, 1))
"""channels and stride of each depthwise separable block"""
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""expansion, channels, blocks and stride of the first block, of each stage of MobileNet-v2"""
_V2_FEATURES = 1280


class SameConv(nn.Conv2d):
    """A convolution whose result has ceil(side / stride) pixels a side, padded with zeros as TensorFlow's "SAME".

    An odd row or column of padding is the last one. Kernels are odd and square; no bias, batch norm follows.
    """

    def __init__(
        self, before: int, after: int, size: int = 3, *, stride: int = 1, groups: int = 1, rate: int = 1
    ) -> None:
        reach = rate * (size // 2)
        super().__init__(
            before, after, size, stride, reach if stride == 1 else 0, dilation=rate, groups=groups, bias=False
        )

    def forward(self, input: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, ceil(H / stride), ceil(W / stride))."""
        if self.stride[0] == 1 or self.kernel_size[0] == 1:
            return super().forward(input)
        height, width = (_padding(int(side), self) for side in input.shape[-2:])
        return super().forward(F.pad(input, (*width, *height)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project to few; the input is added where the shapes allow it (Sandler 2018)."""

    def __init__(
        self, before: int, after: int, *, stride: int = 1, expansion: int = 6, rate: int = 1, momentum: float = 0.05
    ) -> None:
        super().__init__()
        wide = before * expansion
        expand = conv_norm(SameConv(before, wide, 1), momentum) if expansion > 1 else []
        filtered = conv_norm(SameConv(wide, wide, stride=stride, groups=wide, rate=rate), momentum)
        self.body = nn.Sequential(*expand, *filtered, *conv_norm(SameConv(wide, after, 1), momentum)[:-1])
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.adds else y


class _Classifier(nn.Module):
    """Features, their mean over the picture, and one linear layer."""

    def __init__(self, features: nn.Sequential, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        if classes < 1 or not 0 <= dropout < 1:
            raise ParamError(f"classes={classes} must be at least 1 and dropout={dropout:g} in [0, 1)")
        self.features = features
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(channels, classes)
        start_truncated(self)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> logits (B, classes); any size of one pixel and more. Raises `ShapeError`."""
        if picture.ndim != 4 or picture.shape[1] != 3:
            raise ShapeError(f"a classifier reads pictures (B, 3, H, W), got {tuple(picture.shape)}")
        found: Tensor = self.logits(self.dropout(self.features(picture).mean((-2, -1))))
        return found


class MobileNetV1(_Classifier):
    """MobileNet-v1 with fresh weights; 4,233,001 parameters with 1001 classes at width 1.

    Args:
        classes: outputs; the published weights have 1001, the first one being "background".
        width: multiplies all channels; published are 0.25, 0.5, 0.75 and 1. Never below 8 channels.
        stem_stride: 2 as published; 1 for pictures of 32 pixels and so.
        dropout: share of the features that training leaves out (published: 0.001).
        momentum: of batch norm, the share of the newest batch. Published is 0.0003, for 300,000 steps and more.
    """

    def __init__(
        self,
        classes: int = 1001,
        *,
        width: float = 1.0,
        stem_stride: int = 2,
        dropout: float = 0.001,
        momentum: float = 0.05,
    ) -> None:
        _check(width, stem_stride)
        wide = [max(int(c * width), _LEAST) for c in (32, *(c for c, _ in _V1))]
        layers = conv_norm(SameConv(3, wide[0], stride=stem_stride), momentum)
        for (before, after), (_, stride) in zip(pairwise(wide), _V1, strict=True):
            layers += conv_norm(SameConv(before, before, stride=stride, groups=before), momentum)
            layers += conv_norm(SameConv(before, after, 1), momentum)
        super().__init__(nn.Sequential(*layers), wide[-1], classes, dropout)


class MobileNetV2(_Classifier):
    """MobileNet-v2 with fresh weights; 3,504,872 parameters with 1000 classes at width 1.

    Args:
        classes: outputs; the published weights have 1001, the first one being "background".
        width: multiplies all channels, which are then rounded to multiples of 8; the last layer never has fewer than
            1280.
        stem_stride: 2 as published; 1 for pictures of 32 pixels and so.
        dropout: share of the features that training leaves out (published: 0.2).
        momentum: of batch norm, the share of the newest batch.
    """

    def __init__(
        self,
        classes: int = 1001,
        *,
        width: float = 1.0,
        stem_stride: int = 2,
        dropout: float = 0.2,
        momentum: float = 0.05,
    ) -> None:
        _check(width, stem_stride)
        before = rounded(32 * width)
        layers = conv_norm(SameConv(3, before, stride=stem_stride), momentum)
        for expansion, channels, blocks, stride in V2:
            after = rounded(channels * width)
            for i in range(blocks):
                block = InvertedResidual(
                    before, after, stride=1 if i else stride, expansion=expansion, momentum=momentum
                )
                layers.append(block)
                before = after
        last = rounded(_V2_FEATURES * max(1.0, width))
        layers += conv_norm(SameConv(before, last, 1), momentum)
        super().__init__(nn.Sequential(*layers), last, classes, dropout)


def conv_norm(conv: SameConv, momentum: float) -> list[nn.Module]:
    """A convolution, its batch norm and a ReLU6."""
    return [conv, nn.BatchNorm2d(conv.out_channels, NORM_EPSILON, momentum), nn.ReLU6()]


def rounded(channels: float, step: int = 8) -> int:
    """The multiple of `step` next to `channels`, but not below 90 % of it (Sandler's code).

    >>> rounded(24 * 1.4), rounded(16 * 0.35)
    (32, 8)
    """
    near = max(step, int(channels + step / 2) // step * step)
    return near + step if near < 0.9 * channels else near


def start_truncated(net: nn.Module) -> None:
    """First weights as the authors draw them; biases 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=_DEVIATION, a=-2 * _DEVIATION, b=2 * _DEVIATION)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _padding(side: int, conv: nn.Conv2d) -> tuple[int, int]:
    stride = conv.stride[0]
    reach = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1
    total = max((-(-side // stride) - 1) * stride + reach - side, 0)
    return total // 2, total - total // 2


def _check(width: float, stem_stride: int) -> None:
    if not width > 0:
        raise ParamError(f"width={width:g} must be above 0; published are 0.25 to 1.4")
    if stem_stride not in (1, 2):
        raise ParamError(f"stem_stride={stem_stride} must be 2, or 1 for small pictures")
